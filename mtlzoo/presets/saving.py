"""Saving a model as a preset: its configuration, its arrays in few bytes, and its card."""

import dataclasses
import importlib.metadata
import json
import os
import pathlib
from collections.abc import Container, Iterator
from typing import Any

import keras
import numpy as np

import mtlzoo
from mtlzoo.models.multi_task_model import MultiTaskModel
from mtlzoo.presets import files, fingerprints, loading, weights
from mtlzoo.presets import storage as storages
from mtlzoo.presets.model_card import Card


def save(
    model: MultiTaskModel,
    path: str | os.PathLike,
    *,
    card: Card | None = None,
    storage: str = "float32",
    with_weights: bool = True,
) -> pathlib.Path:
    """Save a model as a preset, which is what `model.save_to_preset` does.

    A folder gets `preset.json` (the configuration, with that of the preprocessor, and the checksums
    of the other files), `weights.npz`, `card.json`, and `README.md`, the card to read. The model is
    made anew from what is written before anything is: it must answer the same. What `compile` was
    given is left out.

    Args:
        model: the model. Its class, and those of its layers, are registered with Keras.
        path: a new or an empty folder; its name becomes the preset's name.
        card: what is known of the model; what can be read from it is filled in. Defaults to an
            empty one.
        storage: how learned matrices of float32 are stored: `"float32"` as they are, `"float16"`
            and `"bfloat16"` in half of the bytes, `"int8"` in a quarter, as whole numbers of steps
            of a 127th of the largest number of each column. Whether a metric bears that is to be
            measured. Defaults to `"float32"`.
        with_weights: whether the weights are saved; else it is a configuration only. Defaults to
            `True`.

    Returns:
        The path of the folder.

    Raises:
        ValueError: for another model, a path that is taken, an unknown `storage`, a card with
            metrics of tasks that the model lacks, or a model that cannot be made again from its
            configuration.

    Example:
        ```python
        import tempfile

        import keras
        from mtlzoo import BinaryClassification, HardSharing, presets

        tasks = [BinaryClassification("click"), BinaryClassification("buy")]
        model = HardSharing(keras.Input((8,), name="features"), tasks, shared_units=(16,))
        path = presets.save(
            model,
            f"{tempfile.mkdtemp()}/my_clicks",
            card=presets.Card(title="Clicks", limits=["Not trained at all."]),
            storage="float16",
        )
        again = HardSharing.from_preset(path)
        ```
    """
    if not isinstance(model, MultiTaskModel) or not model.tasks:
        raise ValueError(f"`model` should be a `MultiTaskModel` with tasks. Received: {model!r}")
    if card is not None and not isinstance(card, Card):
        raise ValueError(f"`card` should be a `presets.Card` or None. Received: card={card!r}")
    if card is not None:
        groups = [group for groups in card.groups.values() for group in groups.values()]
        named = {*card.metrics, *(task for group in groups for task in group["metrics"])}
        if named - set(model.task_names):
            raise ValueError(
                f"`card` should have metrics of the tasks {list(model.task_names)} only. "
                f"Received: {sorted(named - set(model.task_names))}"
            )
    if not isinstance(with_weights, bool):
        raise ValueError(
            f"`with_weights` should be a bool. Received: with_weights={with_weights!r}"
        )
    storages.check_storage(storage)
    folder = _checked(path)

    config: dict[str, Any] = {
        "format": files.FORMAT,
        "versions": {
            "mtlzoo": mtlzoo.__version__,
            **{name: importlib.metadata.version(name) for name in ("keras", "numpy")},
        },
        "model": _config_of(model),
        "weights": None,
    }
    beside = {}
    arrays, learned = weights.arrays_of(model), weights.learned_names(model)
    again = _made_again(model, config["model"], compared=with_weights)
    if with_weights:
        written, entries = storages.pack(arrays, storage, learned)
        weights.assign(again, {e["name"]: storages.unpack(written, e) for e in entries})
        if storage not in {"float32", *(entry["stored"] for entry in entries)}:
            raise ValueError(
                "`storage` should be 'float32' for a model without learned matrices of float32, "
                f"which leaves all as it is. Received: storage={storage!r}"
            )
        beside[files.WEIGHTS] = files.packed(written)
        config["weights"] = {"storage": storage, "arrays": entries}
    size = sum(map(len, beside.values())) + len(files.to_json(config).encode())
    filled = dataclasses.replace(
        card or Card(),
        name=folder.name,
        model=type(model).__name__,
        tasks={task.name: _facts(task) for task in model.tasks.values()},
        parameters=sum(arrays[name].size for name in learned),
        trained=with_weights,
        size_bytes=size if with_weights else None,
        storage=storage if with_weights else None,
        fingerprint=fingerprints.fingerprint(again) if with_weights else {},
    )
    beside[files.CARD] = files.to_json(filled.to_dict()).encode()
    beside[files.README] = filled.markdown().encode()
    files.write(folder, config, beside)
    return folder


def _checked(path: Any) -> pathlib.Path:
    """The folder, if it is free."""
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise ValueError(f"`path` should be the path of a folder. Received: path={path!r}")
    folder = pathlib.Path(path)
    if folder.name in ("", ".."):
        raise ValueError(
            "`path` should end in a name, which becomes that of the preset. "
            f"Received: path={path!r}"
        )
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ValueError(f"`path` should be a new or an empty folder. Received: path={path!r}")
    return folder


def _facts(task: Any) -> dict[str, Any]:
    """What a card says of a task."""
    return {
        "kind": type(task).__name__,
        "metric": task.monitor,
        "mode": task.mode,
        "classes": getattr(task, "num_classes", None),
    }


def _config_of(model: MultiTaskModel) -> dict[str, Any]:
    """The configuration as it will be read, without what `compile` was given."""
    config = keras.saving.serialize_keras_object(model)
    for part in _parts(config):
        part.pop("compile_config", None)
    # A lookup's configuration lacks the words that it was adapted to.
    if model.preprocessor is not None:
        _add_words(config["config"]["preprocessor"], model.preprocessor)
    _add_words(config, model)
    loading.class_of(config)
    return json.loads(json.dumps(config))


def _add_words(config: dict[str, Any], layer: keras.Layer) -> None:
    """Write the words of a layer and of all inside it into its configuration."""
    inner = config["config"]
    if hasattr(layer, "get_vocabulary") and inner.get("vocabulary", 0) is None:
        words = layer.get_vocabulary(include_special_tokens=False)
        inner["vocabulary"] = np.asarray(words).tolist()
    # Names are unique within a model only: two nested ones may have a lookup of one name.
    layers = layer._flatten_layers(include_self=False, recursive=False)
    inside = {each.name: each for each in layers}
    for part in _outermost(inner, inside):
        _add_words(part, inside[part["config"]["name"]])


def _outermost(config: Any, names: Container[str]) -> Iterator[dict[str, Any]]:
    """The objects of these names in a configuration, without those inside them."""
    if isinstance(config, dict):
        inner = config.get("config")
        if "class_name" in config and isinstance(inner, dict) and inner.get("name") in names:
            yield config
        else:
            for value in config.values():
                yield from _outermost(value, names)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _outermost(value, names)


def _parts(config: Any) -> Iterator[dict[str, Any]]:
    """All objects in a configuration."""
    if isinstance(config, dict):
        if "class_name" in config and "config" in config:
            yield config
        for value in config.values():
            yield from _parts(value)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _parts(value)


def _made_again(model: MultiTaskModel, config: dict[str, Any], compared: bool) -> MultiTaskModel:
    """A twin of the model from its configuration, with its weights."""
    try:
        again = loading.rebuild(config)
        weights.assign(again, weights.arrays_of(model))
    except (TypeError, ValueError) as error:
        raise ValueError(
            "`model` should be one that can be made again from its configuration. "
            f"Received: {model!r}, of which {error}"
        ) from error
    if compared:
        apart = fingerprints.distance(
            fingerprints.fingerprint(again), fingerprints.fingerprint(model)
        )
        if model.preprocessor is not None:
            apart["preprocessor"] = fingerprints.front_distance(
                again.preprocessor, model.preprocessor
            )
        if not all(each <= fingerprints.TOLERANCE for each in apart.values()):
            raise ValueError(
                "`model` should answer the same when it is made again from its configuration. "
                f"Received: {model!r}, whose answers are then apart by {apart}"
            )
    return again
