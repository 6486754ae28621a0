"""A callback with which a killed training goes on as if it had not been killed."""

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from mtlzoo.distribution import is_chief
from mtlzoo.training import backup_files, callback_states, data_order, model_state
from mtlzoo.training.going_on import FromStep, pass_steps
from mtlzoo.training.workers import check_same

# Of the form of the files.
VERSION = 1


class Backup(keras.callbacks.Callback):
    """Writes all that a training is made of to one file, and goes on from it after a kill.

    Start the same program again: `fit` goes on at the step of the last backup and ends with the
    weights, logs and history of a training that was never interrupted, bit by bit on one device.
    When all epochs are done it trains nothing, and gives the trained model again.

    The file is replaced as a whole, so that a kill or a full disk leaves the last one as it was; a
    backup that cannot be written is logged as an error, and training goes on. It has the variables
    of the model, its random generators, metrics, balancer and optimizer, the epoch and the step,
    the logs of the epochs that are over, and the states of callbacks: of `EarlyStopping`,
    `ModelCheckpoint`, `ReduceLROnPlateau` and `SwapEMAWeights`, and of those that have methods
    `get_state()` and `set_state(state)`, of arrays and of what JSON can hold. It is called after
    all other callbacks.

    On several workers all call it, the first one writes, and all must see the same file.

    Args:
        path: the file.
        every: how many steps there are between two backups; there is one at the end of each epoch,
            too. Defaults to 100.
        mixture: the `mtlzoo.data.Mixture` that gives the data, if its sampling weights are changed
            in training. Defaults to `None`.

    Attributes:
        path: the file.

    Raises:
        ValueError: if an argument is out of its range; in `fit`, before the first step, if the data
            cannot be brought into the same order again, or the file is damaged or that of a
            training of another model, balancer, optimizer or number of steps.

    Example:
    ```python
    import keras
    import tensorflow as tf
    from mtlzoo import HardSharing, Regression
    from mtlzoo.training import Backup

    tasks = [Regression("a"), Regression("b")]
    model = HardSharing(keras.Input((4,)), tasks, shared_units=[8])
    model.compile("adam", balancer="pcgrad")
    x = tf.random.stateless_normal((64, 4), seed=(0, 0))
    data = tf.data.Dataset.from_tensor_slices((x, {"a": x[:, 0], "b": x[:, 1]}))
    data = data.shuffle(64, seed=0).batch(8)
    model.fit(data, epochs=2, callbacks=[Backup("run/backup.npz", every=5)])
    ```
    """

    def __init__(
        self, path: str | os.PathLike, every: int = 100, mixture: Any | None = None
    ) -> None:
        super().__init__()
        if not isinstance(path, str | os.PathLike) or not str(path):
            raise ValueError(f"`path` should be that of a file. Received: path={path!r}")
        if Path(path).is_dir():
            raise ValueError(
                f"`path` should be a file, and not a folder. Received: path={str(path)!r}"
            )
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ValueError(
                f"`every` should be an integer of at least 1. Received: every={every!r}"
            )
        if mixture is not None and not (hasattr(mixture, "state") and hasattr(mixture, "restore")):
            raise ValueError(
                "`mixture` should be what `mtlzoo.data.mix` gives, or None. "
                f"Received: mixture={mixture!r}"
            )
        self.path = Path(path)
        self._every, self._mixture = every, mixture
        self._others: list[keras.callbacks.Callback] = []
        self._found: dict[str, Any] | None = None  # what is to be restored when training begins
        self._ready = False

    # -- before training ------------------------------------------------------------------------

    def resumes(self, model: Any, given: dict[str, Any]) -> dict[str, Any]:
        """Restore the model from the file, if there is one; `fit` calls it.

        Args:
            model: the model that is fitted.
            given: the arguments of `fit`, with a list of callbacks.

        Returns:
            The arguments with which it goes on.
        """
        callbacks = given["callbacks"]
        if not isinstance(callbacks, list) or sum(isinstance(c, Backup) for c in callbacks) > 1:
            raise ValueError(
                f"`callbacks` should be a list with one `Backup`. Received: callbacks={callbacks!r}"
            )
        self._others = [callback for callback in callbacks if callback is not self]
        self._chief = is_chief(model.distribute_strategy)
        if self._chief:
            backup_files.prepare(self.path)
        batches = self._check_data(given)
        self._steps_of_epoch = given.get("steps_per_epoch") or batches
        found = backup_files.read(self.path) if self.path.exists() else None
        where = [0, 0] if found is None else [found["epoch"] + 1, found["step"]]
        check_same(model.distribute_strategy, where, self.path)
        model_state.build_metrics(model)
        callback_states.warn(self._others)
        self._found, self._ready = found, True
        self._first_epoch: int = given.get("initial_epoch", 0)
        self._logs: list[dict[str, Any]] = []  # of the epochs that are over
        self._epoch, self._done, self._before = self._first_epoch, 0, 0
        if found is None:
            return {**given, "callbacks": [*self._others, self]}
        return {**given, **self._go_on(model, given, found, batches)}

    def _go_on(
        self, model: Any, given: dict[str, Any], found: dict[str, Any], batches: int | None
    ) -> dict[str, Any]:
        """Restore what was found; the arguments of `fit` that change."""
        self._check_found(model, found)
        self._restore(model, found)  # what follows depends on it
        self._first_epoch, self._logs = found["first_epoch"], found["logs"]
        self._epoch, self._done = found["epoch"], found["step"]
        epochs = given.get("epochs", 1)
        if found["model"]["stopped"] or self._epoch >= epochs:
            stopped = found["model"]["stopped"]
            logging.warning(
                "Nothing is left to train after epoch %d%s, and the model and its optimizer are "
                "given back as they were then. %so begin anew, delete the file or give another "
                "path: %s",
                self._epoch,
                ", where a callback has stopped it" if stopped else "",
                "T" if stopped else "To go on, give more `epochs`; t",
                self.path,
            )
            return {"initial_epoch": max(epochs, self._epoch), "callbacks": [*self._others, self]}
        logging.info(
            "Going on in epoch %d after %d steps of it: %s", self._epoch + 1, self._done, self.path
        )
        steps = given.get("steps_per_epoch")
        lengths = [each["steps"] for each in self._logs]
        if self._steps_of_epoch is None and lengths and min(lengths) < max(lengths):
            logging.warning(
                "The epochs had different numbers of steps, %s, of which Keras remembers the first "
                "until it is killed: what follows may not be what would have followed. "
                "`steps_per_epoch`, with data that are repeated without end, would make it so.",
                lengths,
            )
        begun, self._before = data_order.iterations(
            self._epoch - self._first_epoch, batches, steps, model.steps_per_execution
        )
        if isinstance(given["x"], tf.data.Dataset):
            data_order.repeat(given["x"], model.distribute_strategy, begun)
        self._evaluated_again(model, given)
        callbacks: Any = [*self._others, self]
        if self._done:
            verbose = given.get("verbose", "auto")
            callbacks = FromStep(
                self._done,
                callbacks,
                add_history=True,
                add_progbar=verbose != 0,
                verbose=verbose,
                epochs=epochs,
                steps=self._steps_of_epoch,
                model=model,
            )
        return {"initial_epoch": self._epoch, "callbacks": callbacks}

    def _check_data(self, given: dict[str, Any]) -> int | None:
        """The number of batches of the data, if it is known."""
        x, steps = given["x"], given.get("steps_per_epoch")
        self._seeds: list[list] = []
        if given.get("y") is not None:
            if given.get("shuffle", True) is not False:
                raise ValueError(
                    "`shuffle` should be False with arrays and a `Backup`, since Keras could not "
                    "shuffle them in the same order again; or give a `tf.data.Dataset` with "
                    f"`shuffle(..., seed=0)`. Received: shuffle={given.get('shuffle', True)!r}"
                )
            rows = len(keras.tree.flatten(x)[0])
            rows = int(rows * (1 - given.get("validation_split", 0.0)))
            batches = -(-rows // (given.get("batch_size") or 32))
        elif isinstance(x, tf.data.Dataset):
            data_order.check(x)
            self._seeds = data_order.seeds(x)
            batches = int(x.cardinality())
        else:
            raise ValueError(
                "`x` should be a `tf.data.Dataset`, or arrays with shuffle=False, since other data "
                "cannot be brought to where a killed training was. "
                f"Received: x of type {type(x).__name__}"
            )
        if steps and batches >= 0 and steps < batches:
            raise ValueError(
                "`steps_per_epoch` should be left out with a `Backup`, or the data repeated without"
                f" end. Received: steps_per_epoch={steps} of {batches} batches"
            )
        return batches if batches >= 0 else None

    def _check_found(self, model: Any, found: dict[str, Any]) -> None:
        if found.get("version") != VERSION:
            raise ValueError(
                f"`path` should be a file of version {VERSION}; give another path to begin anew. "
                f"Received: path={str(self.path)!r} of version {found.get('version')!r}"
            )
        model_state.check_identity(model, found["identity"], self.path)
        if found["steps"] != self._steps_of_epoch:
            raise ValueError(
                f"`path` should be a file of a training with {self._steps_of_epoch} steps per "
                "epoch; give another path to begin anew. "
                f"Received: path={str(self.path)!r} with {found['steps']}"
            )
        if found["seeds"] != self._seeds:
            raise ValueError(
                "`x` should be shuffled with the seeds that it had before, of which that of "
                f"`keras.utils.set_random_seed` may be one: {found['seeds']}. "
                f"Received: {self._seeds}"
            )
        if found["step"] % model.steps_per_execution:
            raise ValueError(
                f"`steps_per_execution` should divide the {found['step']} steps of the epoch that "
                f"are done. Received: steps_per_execution={model.steps_per_execution}"
            )
        if (found["mixture"] is None) != (self._mixture is None):
            raise ValueError(
                "`mixture` should be given if it was before. Received: "
                f"mixture={self._mixture!r}, and path={str(self.path)!r} with "
                f"{'none' if found['mixture'] is None else 'one'}"
            )

    def _evaluated_again(self, model: Any, given: dict[str, Any]) -> None:
        """Bring validation data to where they were, which may be shuffled as well."""
        data = given.get("validation_data")
        if not isinstance(data, tf.data.Dataset):
            return
        often, steps = given.get("validation_freq", 1), given.get("validation_steps")
        epochs = range(self._first_epoch + 1, self._epoch + 1)
        each = [e for e in epochs if (e in often if isinstance(often, list) else e % often == 0)]
        known = int(data.cardinality()) >= 0
        begun = [True, False] if known and steps is None else [True]
        data_order.repeat(data, model.distribute_strategy, begun * len(each), steps)

    # -- in training ----------------------------------------------------------------------------

    def on_train_begin(self, logs: Any = None) -> None:
        """Give the other callbacks their states back."""
        if not self._ready:
            raise ValueError("`Backup` should be given to `fit` of a multi-task model.")
        self._ready = False
        callback_states.get(self._others)  # what cannot be kept is seen now
        if self._found is not None:  # others may have changed the model as they do at the begin
            self._restore(self.model, self._found)
            callback_states.restore(self._others, self._found["callbacks"])

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Pass over what was done, if this is the epoch in which the training was killed."""
        self._epoch = epoch
        if self._found is None:
            return
        if self._done:  # others have seen the begin of this epoch before
            self._restore(self.model, self._found)
            callback_states.restore(self._others, self._found["callbacks"])
            model_state.restore_metrics(self.model, self._found["model"])
        self._tell_history()
        pass_steps(self.model, self._done, self._before)
        self._found = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Write a backup, if it is time."""
        done = batch + 1
        due = done // self._every > self._done // self._every
        if due and not self.model.stop_training:  # else the epoch ends here
            self._write(self._epoch, done)
        self._done = done

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write a backup."""
        numbers = {name: np.asarray(value).tolist() for name, value in (logs or {}).items()}
        self._logs.append({"epoch": epoch, "steps": self._done, "logs": numbers})
        self._done = 0
        self._write(epoch + 1, 0)

    def on_train_end(self, logs: Any = None) -> None:
        """Show the history of a training of which nothing was left."""
        if self._found is not None:
            self._tell_history()
            self._found = None

    def _restore(self, model: Any, found: dict[str, Any]) -> None:
        model_state.restore(model, found["model"])
        if self._mixture is not None:
            self._mixture.restore(found["mixture"])

    def _tell_history(self) -> None:
        history = self.model.history
        history.epoch = [each["epoch"] for each in self._logs]
        history.history = {}
        for each in self._logs:
            for key, value in each["logs"].items():
                history.history.setdefault(key, []).append(value)

    def _write(self, epoch: int, step: int) -> None:
        state = model_state.read(self.model)  # on all workers
        if not self._chief:
            return
        content = {
            "version": VERSION,
            "identity": model_state.identity(self.model),
            "first_epoch": self._first_epoch,
            "epoch": epoch,
            "step": step,
            "steps": self._steps_of_epoch,
            "seeds": self._seeds,
            "logs": self._logs,
            "model": state,
            "mixture": None if self._mixture is None else self._mixture.state,
            "callbacks": callback_states.get(self._others),
        }
        try:
            backup_files.write(self.path, content)
        except OSError as error:
            logging.error(
                "A backup could not be written, and the last one is kept: %s: %s", self.path, error
            )
