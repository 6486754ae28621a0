"""Presets by name or folder: their names, their cards, and the models."""

import copy
import difflib
import json
import os
import pathlib
from typing import Any

import keras

from mtlzoo.models.multi_task_model import MultiTaskModel
from mtlzoo.presets import files, fingerprints, weights
from mtlzoo.presets.model_card import Card

_SHIPPED = pathlib.Path(__file__).parent


def names(trained: bool | None = None) -> list[str]:
    """The names of the presets in the package.

    Args:
        trained: `True` for those with trained weights, `False` for configurations without. Defaults
            to `None`, all of them.

    Raises:
        ValueError: if `trained` is none of these.

    Example:
        ```python
        from mtlzoo import presets

        print(presets.names(trained=True))
        ```
    """
    if trained is not None and not isinstance(trained, bool):
        raise ValueError(f"`trained` should be a bool or None. Received: trained={trained!r}")
    found = sorted(path.parent.name for path in _SHIPPED.glob(f"*/{files.CONFIG}"))
    if trained is None:
        return found
    return [name for name in found if (_SHIPPED / name / files.WEIGHTS).is_file() == trained]


def folder_of(name_or_dir: str | os.PathLike) -> pathlib.Path:
    """Where a preset is: in the package, if it has one of this name, else in a folder.

    Args:
        name_or_dir: a name of `names()`, or the path of a folder that `save_to_preset` wrote. A
            `pathlib.Path` is a folder, whatever its name.

    Raises:
        ValueError: if there is no such preset; the message has the nearest names. Or if it is a
            name and a folder as well.
    """
    if not isinstance(name_or_dir, str | os.PathLike):
        raise ValueError(
            "`name_or_dir` should be the name of a preset or the path of its folder. "
            f"Received: name_or_dir={name_or_dir!r}"
        )
    known, given = names(), os.fspath(name_or_dir)
    folder, shipped = pathlib.Path(given), _SHIPPED / given
    there = (folder / files.CONFIG).is_file()
    if isinstance(name_or_dir, str) and given in known:
        if there and not folder.samefile(shipped):
            raise ValueError(
                f"`name_or_dir` should say which of two: {given!r} is a preset of the package, and "
                f"a folder here. Say {'./' + given!r} for the folder, or rename it. "
                f"Received: name_or_dir={name_or_dir!r}"
            )
        return shipped
    if there:
        return folder
    near = difflib.get_close_matches(given.lower(), known, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise ValueError(
        f"`name_or_dir` should be one of {known}, or a folder with {files.CONFIG!r}.{hint} "
        f"Received: name_or_dir={name_or_dir!r}"
    )


def card(name_or_dir: str | os.PathLike) -> Card:
    """The card of a preset; the model is not made.

    Args:
        name_or_dir: a name of `names()`, or the path of a folder.

    Raises:
        ValueError: if there is no such preset, or its files are not those that were saved.

    Example:
        ```python
        from mtlzoo import presets

        print(presets.card("mmoe_census_income").metrics["income"])
        ```
    """
    _, beside = files.read(folder_of(name_or_dir))
    return Card.from_dict(json.loads(beside[files.CARD]))


def load(name_or_dir: str | os.PathLike, *, load_weights: bool = True) -> MultiTaskModel:
    """The model of a preset, which predicts, compiles, trains on and exports like any other.

    Its preprocessor, if it has one, stands in front where it is exported: the served model takes
    raw rows. Of the files every checksum, shape and class is checked, nothing is unpickled, and no
    class is imported on their behalf; a checksum finds accidents, not who wrote a folder.

    Args:
        name_or_dir: a name of `names()`, or the path of a folder that `save_to_preset` wrote.
        load_weights: whether to load the trained weights; `False` gives new ones. Defaults to
            `True`.

    Returns:
        The model, not compiled.

    Raises:
        ValueError: if there is no such preset, it has no weights, its files are not those that were
            saved, or its class is not known.
        TypeError: if the class of a layer is not known, as Keras says it.

    Example:
        ```python
        from mtlzoo import data, presets

        model = presets.load("mmoe_census_income")
        census = data.load("census_income")
        model.predict(census.test.take(1), verbose=0)["income"].shape  # (256, 1)
        ```
    """
    return load_as(MultiTaskModel, name_or_dir, load_weights=load_weights)


def load_as(wanted: type[Any], name_or_dir: str | os.PathLike, *, load_weights: bool = True) -> Any:
    """What `load` does, for a model of the class `wanted`.

    Args:
        wanted: the class, or one of which the model's class is a subclass.
        name_or_dir: as for `load`.
        load_weights: as for `load`. Defaults to `True`.

    Raises:
        ValueError: as `load`, and if the preset is of another class.
    """
    if not isinstance(load_weights, bool):
        raise ValueError(
            f"`load_weights` should be a bool. Received: load_weights={load_weights!r}"
        )
    folder = folder_of(name_or_dir)
    config, beside = files.read(folder)
    if load_weights and config["weights"] is None:
        raise ValueError(
            f"`load_weights` should be False for {folder.name!r}, a configuration without trained "
            "weights; its card says why, and how to train it. Received: load_weights=True"
        )
    cls = class_of(config["model"])
    if not issubclass(cls, wanted):
        raise ValueError(
            f"The preset {folder.name!r} should be loaded as what it is, "
            f"`{cls.__name__}.from_preset`, or by `presets.load`. "
            f"Received: `{wanted.__name__}.from_preset`"
        )
    model = rebuild(config["model"])
    if load_weights:
        entries = config["weights"]["arrays"]
        weights.assign(model, files.unpacked(beside[files.WEIGHTS], entries))
    return model


def rebuild(config: dict[str, Any]) -> MultiTaskModel:
    """A model with new weights.

    Args:
        config: what `keras.saving.serialize_keras_object` made of one.
    """
    # Keras takes a functional model's configuration to pieces.
    return keras.saving.deserialize_keras_object(copy.deepcopy(config), safe_mode=True)


def class_of(config: dict[str, Any]) -> type[MultiTaskModel]:
    """The class of a model: one that is registered already. Nothing is imported for it.

    Args:
        config: what `keras.saving.serialize_keras_object` made of the model.

    Raises:
        ValueError: if it is another one.
    """
    registered = config.get("registered_name")
    cls = keras.saving.get_registered_object(registered) if isinstance(registered, str) else None
    if not isinstance(cls, type) or not issubclass(cls, MultiTaskModel):
        raise ValueError(
            "The model of a preset should be of a class that is registered with Keras and is a "
            "`MultiTaskModel`; import the module that defines it first. Received: "
            f"class {config.get('class_name')!r} registered as {registered!r}"
        )
    return cls


def check(name_or_dir: str | os.PathLike) -> dict[str, float]:
    """Check that a preset answers here what it answered where it was made.

    Args:
        name_or_dir: a name of `names()`, or the path of a folder.

    Returns:
        By task how far the answers to a few fixed rows are from those of the card, as a share of
        the largest of them, or as they are where that is below 1.

    Raises:
        ValueError: if they are further apart than 1e-3, or the preset cannot be loaded.

    Example:
        ```python
        from mtlzoo import presets

        presets.check("mmoe_census_income")  # {"education": 0.0, ...}
        ```
    """
    model = load(name_or_dir)
    apart = fingerprints.distance(
        fingerprints.fingerprint(model), {t: card(name_or_dir).fingerprint[t] for t in model.tasks}
    )
    for task, value in apart.items():
        if not value <= fingerprints.TOLERANCE:
            raise ValueError(
                f"The preset should answer for task `{task}` what its card says, up to "
                f"{fingerprints.TOLERANCE} of it. Received: {value:.3g}, of {name_or_dir!r}"
            )
    return apart
