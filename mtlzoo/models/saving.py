"""How a multi-task model is saved: by the names of its tasks, with all state, all or nothing."""

import os
from typing import Any

import keras
import numpy as np

from mtlzoo.tasks.configs import check_config

# Keys in a weights file.
_TASK_NAMES, _SEEDS = "task_names", "seeds"


class SavedByName(keras.Model):
    """The part of `MultiTaskModel` that Keras calls in saving."""

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
        return {
            key: keras.saving.serialize_keras_object(value)
            for key, value in self._held.compile_config.items()
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as the saved model was."""
        keys = ("optimizer", "balancer")
        config = check_config("`compile`", config, *keys)
        self.compile(**keras.saving.deserialize_keras_object(config))

    def export(self, filepath: Any, format: Any = "tf_saved_model", **kwargs: Any) -> Any:
        """Export for serving; a SavedModel has the signature `serve` and one for each task.

        See `mtlzoo.export.save`, which this calls; other formats are Keras's own.
        """
        if format != "tf_saved_model":
            return super().export(filepath, format=format, **kwargs)
        from mtlzoo import export

        return export.save(self, filepath, **kwargs)
