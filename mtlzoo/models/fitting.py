"""How a multi-task model is trained and evaluated by Keras, on one replica or several."""

import inspect
import itertools
import types
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from mtlzoo.gradients import may_branch
from mtlzoo.models import lost_workers, optimizers
from mtlzoo.models.callbacks import BalancerEpochs, set_modes, told_of_failure
from mtlzoo.models.compile_checks import check_replicas
from mtlzoo.models.gramian_record import GramianRecord
from mtlzoo.models.refreshing import surely_kept, surely_looks
from mtlzoo.models.selection import SelectedByTask


class FittedByTask(SelectedByTask):
    """The part of `MultiTaskModel` that Keras calls in training."""

    train_function: Any
    test_function: Any

    def train_step(self, data: Any) -> Any:
        """One training step on `(x, y)` or `(x, y, sample_weight)`; used by `fit`."""
        self._step.train(*keras.utils.unpack_x_y_sample_weight(data))
        return self.get_metrics_result()

    def test_step(self, data: Any) -> Any:
        """One evaluation step; used by `evaluate`."""
        self._step.test(*keras.utils.unpack_x_y_sample_weight(data))
        return self.get_metrics_result()

    def make_train_function(self, force: bool = False) -> Any:
        """Keras's training function, which then reports a failed step with its task's name.

        It is traced anew where the balancer has come to another method.
        """
        optimizers.average_what_is_trained(self.optimizer)
        phase = self._step.balancer.phase()
        force = force or phase != self._step.phase
        self._step.phase = phase
        if self.train_function is None or force:
            self.train_function = self._reporting(self._of_selected(), training=True)
        return self.train_function

    def _of_selected(self):
        """The training function of the tasks that are selected, each made when it is needed."""
        made = {}

        def train(iterator):
            selected = self._step.selection.names
            if selected not in made:
                made[selected] = self._traced_train_function()
            return made[selected](iterator)

        return train

    def _traced_train_function(self):
        if not may_branch(self.distribute_strategy):
            return self._replicated(self.train_step, training=True)
        used = self.train_function  # which Keras replaces
        super().make_train_function(force=True)
        made, self.train_function = self.train_function, used
        return made

    def make_test_function(self, force: bool = False) -> Any:
        """Keras's evaluation function, which then reports illegal labels."""
        if self.test_function is None or force:
            if not may_branch(self.distribute_strategy):
                self.test_function = self._replicated(self.test_step)
            else:
                super().make_test_function(force)
            self.test_function = self._reporting(self.test_function)
        return self.test_function

    def _replicated(self, step, training=False):
        """Several steps of all replicas, each a call of one traced function.

        Keras's own loop nests branches, which TensorFlow cannot place on several devices: there
        `steps_per_execution` fails with "You must feed a value for placeholder tensor". And a loop
        in a graph that runs out of data cancels the step that it is in.

        A balancer that keeps its weights for several steps has a second function for those in
        between, without reductions of task gradients, which no branch may hold; and so have steps
        whose Gramian is not looked at.
        """
        strategy = self.distribute_strategy

        def one(data, keeps_weights, looks):
            self._step.keeps_weights = keeps_weights
            if self._step.record is not None:
                self._step.record.looks = looks
            try:
                logs = strategy.run(step, args=(data,))
            finally:
                self._step.keeps_weights = False
            return {
                key: strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None)
                for key, value in logs.items()
            }

        if not self.run_eagerly:
            one = tf.function(one, reduce_retracing=True, jit_compile=self.jit_compile or None)

        def chosen():  # what no branch of the graph may choose
            if not training:
                return False, False
            return surely_kept(self._step.method), surely_looks(self._step)

        def several(iterator):
            logs = one(next(iterator), *chosen())
            for data in itertools.islice(iterator, self.steps_per_execution - 1):
                logs = one(data, *chosen())
            return logs

        return several

    def _reporting(self, function, training=False):
        def reporting(iterator):
            try:
                logs = function(iterator)
            finally:  # also when the data ended within the function
                self._step.failures.raise_on_failure()
            if training:
                self._step.report_scales()
            return logs

        return reporting

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Everything is built in `__init__` and `compile`. Under a strategy Keras would first
        # average a batch over the replicas here, which fails where it does not divide evenly.
        return

    @property
    def gramian_record(self) -> GramianRecord:
        """What is known of the tasks' gradients in the steps of the present epoch of `fit`.

        With `train_on_batch` it goes on from step to step; `gramian_record.reset()` begins anew.

        Raises:
            ValueError: if the model was compiled without `track_gramian`.
        """
        if self._step.record is None:
            raise ValueError(
                "The model should be compiled with `track_gramian='shared'` or 'groups', so that "
                "the products of the tasks' gradients are kept. Received: track_gramian=None"
            )
        return self._step.record

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train as `keras.Model.fit` does, with labels and sample weights as dicts by task.

        Sample weights may be given for some of the tasks only; the others have 1. Callbacks that
        monitor a task's loss or deciding metric with `mode="auto"` are told the direction by the
        task. The balancer's epoch end comes before that of the other callbacks.

        Raises:
            ValueError: for labels that are not those of the tasks, and for what was made trainable
                after `compile` and cannot be trained so.
            FloatingPointError: when a task's loss is not finite; its gradients were not applied.
            RuntimeError: when another worker process was lost.
        """
        self._assert_compile_called("fit")
        self._check_trained()
        given = inspect.signature(super().fit).bind(x, y, *args, **kwargs).arguments
        if x is None:
            raise ValueError("`x` should be inputs, or batches with labels. Received: x=None")
        if y is not None:
            given["y"], given["sample_weight"] = self._arrays(y, given.get("sample_weight"))
        elif isinstance(x, types.GeneratorType):
            given["x"] = self._checked(x)
        validation = given.get("validation_data")
        if isinstance(validation, list | tuple):
            val_x, val_y, val_weight = keras.utils.unpack_x_y_sample_weight(tuple(validation))
            given["validation_data"] = (val_x, *self._arrays(val_y, val_weight))
        elif isinstance(validation, types.GeneratorType):
            given["validation_data"] = self._checked(validation)
        elif isinstance(validation, tf.data.Dataset):  # else seen at the end of the first epoch
            self._step.objectives.check_batches(validation.element_spec)
        elif hasattr(validation, "shape") or isinstance(validation, Mapping):
            self._step.objectives.check_batches((validation,))
        hook = BalancerEpochs(self)
        callbacks = given.get("callbacks")
        if isinstance(callbacks, keras.callbacks.CallbackList):
            others = [c for c in callbacks.callbacks if not isinstance(c, BalancerEpochs)]
            callbacks.callbacks[:] = [hook, *others]  # used again, it has the hook of last time
            set_modes(callbacks.callbacks, self)
        else:
            callbacks = keras.tree.flatten(callbacks) if callbacks is not None else []
            for callback in callbacks:
                if not isinstance(callback, keras.callbacks.Callback):
                    raise ValueError(
                        f"`callbacks` should hold Keras callbacks only. Received: {callback!r}"
                    )
            set_modes(callbacks, self)
            given["callbacks"] = [hook, *callbacks]
        told = told_of_failure(getattr(given["callbacks"], "callbacks", given["callbacks"]))
        with lost_workers.named(self.distribute_strategy), self._as_chosen_after_errors(), told:
            return super().fit(**self._resumed(given))

    def _check_trained(self):
        """Refuse what `compile` did not see, since it was frozen then, or not there."""
        optimizer = self._step.model.optimizer  # an error where `compile` was refused
        replicas = self.distribute_strategy.num_replicas_in_sync
        if replicas > 1:
            check_replicas(self, replicas)
        unknown = optimizers.unknown(optimizer, self.trained_variables)
        if unknown:
            raise ValueError(
                f"The model `{self.name}` should be compiled again, since its optimizer was not "
                f"built for all that is trained now. Received: `{unknown[0].path}` and "
                f"{len(unknown) - 1} more variables that it does not know"
            )

    def _resumed(self, given):
        """The arguments of `fit` with which it goes on, if a callback knows where it was."""
        for callback in getattr(given["callbacks"], "callbacks", given["callbacks"]):
            if hasattr(callback, "resumes"):
                return callback.resumes(self, given)
        return given

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Evaluate as `keras.Model.evaluate` does, with labels as a dict by task.

        Raises:
            ValueError: for labels that are not those of the tasks.
            RuntimeError: when another worker process was lost.
        """
        self._assert_compile_called("evaluate")
        given = inspect.signature(super().evaluate).bind(x, y, *args, **kwargs).arguments
        given |= given.pop("kwargs", {})
        if y is not None and "_use_cached_eval_dataset" not in kwargs:
            given["y"], given["sample_weight"] = self._arrays(y, given.get("sample_weight"))
        with lost_workers.named(self.distribute_strategy):
            return super().evaluate(**given)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Predict as `keras.Model.predict` does: a dict by task.

        Raises:
            RuntimeError: when another worker process was lost.
        """
        with lost_workers.named(self.distribute_strategy):
            return super().predict(x, *args, **kwargs)

    def _checked(self, batches):
        """The batches of a generator, of which Keras would name no task."""
        for batch in batches:
            self._step.objectives.check_batches(batch)
            yield batch

    def _arrays(self, y, sample_weight):
        return self._step.objectives.arrays(y, sample_weight)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The loss tracker, then each task's loss and metrics, then those of layers."""
        metrics = super().metrics
        if self._held.step is None:
            return metrics
        return [*metrics[:1], *self._step.objectives.all_metrics(), *metrics[1:]]

    def get_metrics_result(self) -> dict[str, Any]:
        """The logs: `loss`, `<task>_loss`, `<task>_<metric>`.

        `loss` is the mean over rows of the sum of a batch's task losses times their loss weights,
        plus regularization: it means the same with every balancer. `<task>_loss` is without loss
        weight, the mean over the task's labels.
        """
        objectives = self._step.objectives
        own = {id(m) for m in objectives.all_metrics()}
        logs = {m.name: m.result() for m in self.metrics if id(m) not in own}
        loss = logs.pop("loss")
        return {"loss": loss, **objectives.results(), **logs}
