"""How a multi-task model is saved: by the names of its tasks, with all state, all or nothing."""

import os
from typing import Any

import keras
import numpy as np

from mtlzoo.layers.trainability import freeze_again, frozen_layers, unknown_layers
from mtlzoo.models import optimizers
from mtlzoo.tasks.configs import check_config

# Keys in a weights file.
_TASK_NAMES, _SEEDS = "task_names", "seeds"


class SavedByName(keras.Model):
    """The part of `MultiTaskModel` that Keras calls in saving."""

    # A layer beside the graph that is saved with the model: it has `attach(model)`.
    attached: Any = None

    def save(self, filepath: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        """Save as `keras.Model.save` does, in the format `.keras`.

        Raises:
            ValueError: for the old format `.h5`, from which the model could not be loaded.
        """
        if str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(
                "`filepath` should end in '.keras', or be given to `save_weights`: a model with "
                f"tasks cannot be loaded from HDF5. Received: filepath={str(filepath)!r}"
            )
        super().save(filepath, *args, **kwargs)

    def load_weights(self, filepath: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        """Load as `keras.Model.load_weights` does, or nothing at all.

        Raises:
            ValueError: for weights of other tasks, of another balancer or of another architecture.
        """
        variables = [*self.variables, *(self.optimizer.variables if self.compiled else [])]
        before = [keras.ops.convert_to_numpy(v).copy() for v in variables]
        parts = [p for p in self._flatten_layers() if isinstance(p, SavedByName)]
        for part in parts:
            part._held.of_other_tasks = None
        try:
            super().load_weights(filepath, *args, **kwargs)
            for part in parts:
                if part._held.of_other_tasks:  # `skip_mismatch=True` has put them in their places
                    raise part._held.of_other_tasks
        except Exception:
            for variable, value in zip(variables, before, strict=True):
                variable.assign(value)
            raise

    def save_own_variables(self, store: Any) -> None:
        """Store also what Keras does not: the names of the tasks, since layers are saved by
        position only, and the state of random generators (dropout).
        """
        super().save_own_variables(store)
        store[_TASK_NAMES] = np.frombuffer(" ".join(self.task_names).encode(), "uint8")
        seeds = [keras.ops.convert_to_numpy(v) for v in self._seeds()]
        if seeds:
            store[_SEEDS] = np.stack(seeds)

    def load_own_variables(self, store: Any) -> None:
        """Check that the weights are those of the same tasks; load the state of generators.

        Raises:
            ValueError: if they are of other tasks, whose heads would be taken for these.
        """
        stored = {key: store[key] for key in store.keys()}  # noqa: SIM118
        names = stored.pop(_TASK_NAMES, None)
        seeds = stored.pop(_SEEDS, ())
        if names is not None:
            saved = bytes(np.array(names)).decode().split()
            if saved != list(self.task_names):
                self._held.of_other_tasks = ValueError(
                    f"The weights should be those of the tasks {list(self.task_names)}. "
                    f"Received: weights of the tasks {saved}"
                )
                raise self._held.of_other_tasks
        super().load_own_variables(stored)
        own = self._seeds()
        if len(own) == len(seeds):  # else of the same layers with another dropout
            for variable, seed in zip(own, seeds, strict=True):
                variable.assign(seed)

    def _seeds(self) -> list[keras.Variable]:
        return [v for v in self.variables if v.name == "seed_generator_state"]

    def get_compile_config(self) -> dict[str, Any]:
        """What `compile` was called with."""
        if not self.compiled:
            return {}
        config = {
            key: keras.saving.serialize_keras_object(value)
            for key, value in self._held.compile_config.items()
        }
        leaves = [leaf for leaf in optimizers.leaves(self.optimizer) if leaf.built]
        known = [v for leaf in leaves for v in leaf._trainable_variables]
        return {**config, "frozen": unknown_layers(self, known)}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as the saved model was, with what was frozen then, if that is another part."""
        keys = ("optimizer", "balancer")
        config = check_config("`compile`", config, *keys)
        frozen = frozen_layers(self)
        freeze_again(self, config.pop("frozen", frozen))
        self.compile(**keras.saving.deserialize_keras_object(config))
        freeze_again(self, frozen)

    def get_config(self) -> dict[str, Any]:
        """As that of any functional model, with the frozen layers, also of layers that do not say
        what is frozen in them.
        """
        return {**super().get_config(), **self._added_later()}

    def _added_later(self) -> dict[str, Any]:
        """What was done to the model since it was made, for its config."""
        config: dict[str, Any] = {"frozen": frozen_layers(self)}
        if self.attached is not None:
            config["attached"] = keras.saving.serialize_keras_object(self.attached)
        return config

    @staticmethod
    def _take_later(config: dict[str, Any]) -> tuple[list[int] | None, Any]:
        """What `_added_later` gave, taken out of a config; nothing in a file from before."""
        return config.pop("frozen", None), config.pop("attached", None)

    def _add_again(self, frozen: list[int] | None, attached: Any) -> Any:
        """The model with what `_take_later` found."""
        if frozen is not None:
            freeze_again(self, frozen)
        if attached is not None:
            keras.saving.deserialize_keras_object(attached).attach(self)
        return self

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """The model of a config, with new variables."""
        config = dict(config)
        later = cls._take_later(config)
        return super().from_config(config, custom_objects)._add_again(*later)

    def export(self, filepath: Any, format: Any = "tf_saved_model", **kwargs: Any) -> Any:
        """Export for serving; a SavedModel has the signature `serve` and one for each task.

        See `mtlzoo.export.save`, which this calls. What it does not write is left to Keras.
        """
        from mtlzoo import export

        if format not in export.names():
            return super().export(filepath, format=format, **kwargs)
        return export.save(self, filepath, format=format, **kwargs)

    def save_to_preset(
        self, path: str | os.PathLike, *, card: Any = None, storage: str = "float32"
    ) -> Any:
        """Save the model as a preset: a folder of plain data with weights in few bytes and a card.

        See `mtlzoo.presets.save`, which this calls.

        Args:
            path: a new or an empty folder; its name becomes the preset's name.
            card: a `mtlzoo.presets.Card` with what is known of the model. Defaults to `None`, what
                can be read from it alone.
            storage: how learned matrices are stored: `"float32"`, `"float16"`, `"bfloat16"` or
                `"int8"`. Defaults to `"float32"`.

        Returns:
            The path of the folder.

        Raises:
            ValueError: for a path that is taken, an unknown `storage`, or a model that cannot be
                made again from its configuration.
        """
        from mtlzoo import presets

        return presets.save(self, path, card=card, storage=storage)

    @classmethod
    def from_preset(cls, name_or_dir: str | os.PathLike, *, load_weights: bool = True) -> Any:
        """The model of a preset of this class or a subclass.

        See `mtlzoo.presets.load`, which is this of any class.

        Args:
            name_or_dir: a name of `mtlzoo.presets.names()`, or the folder of a preset.
            load_weights: whether to load the trained weights; `False` gives new ones. Defaults to
                `True`.

        Raises:
            ValueError: if there is no such preset, it is of another class, it has no weights, or
                its files are not those that were saved.
        """
        from mtlzoo.presets.loading import load_as

        return load_as(cls, name_or_dir, load_weights=load_weights)
