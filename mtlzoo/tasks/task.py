"""The base of all tasks: everything the library wants to know about one thing to learn."""

import numbers
from typing import Any

import keras
from keras import ops

from mtlzoo.tasks import heads, losses, monitoring
from mtlzoo.tasks.configs import check_config
from mtlzoo.tasks.labels import Labelled, dtype_of, fits
from mtlzoo.tasks.names import check_name


@keras.saving.register_keras_serializable(package="mtlzoo")
class Task(Labelled):
    """One thing to learn: its head, loss, metrics, missing labels and served answers.

    Use a kind (`BinaryClassification`, `Classification`, `MultiLabelClassification`, `Regression`)
    where one fits. `Task` itself is the generic task: any loss on any output, without a head and
    without metrics of its own. To make a new kind, subclass it, register the class with
    `keras.saving.register_keras_serializable`, and supply `label_shape`, `output_shape`,
    `loss_family`, `monitor`, `mode`, `head`, `default_loss`, `default_metrics`, and where they
    differ `canonical`, `legal` and `serve`.

    Args:
        name: Name of the task, an identifier: the key of its labels, weights, metrics and outputs.
        loss: A Keras loss, its name, or a function `fn(y_true, y_pred)` of one value per row.
            Defaults to the kind's own.
        metrics: List of metrics: names of the kind's own (`"auc"`), Keras metrics or their names,
            or functions. They receive raw outputs, as `predict` returns them. Defaults to the
            kind's own.
        missing: The label that says "no label". Defaults to `float("nan")`.
        output_shape: Shape of the output without the batch, for the generic task.
        label_shape: Shape of a label without the batch, for the generic task. Defaults to
            `output_shape`.

    Attributes:
        label_shape: Shape of a label without the batch.
        output_shape: Shape of the output without the batch.
        loss_rank: Number of axes, with the batch, over which the loss has a value for each entry:
            1 for one value per row, 2 per step of a sequence, 3 per pixel.
        loss_family: `"regression"` or `"classification"`: the likelihood that uncertainty weighting
            assumes.
        monitor: Name of the deciding metric, in the logs `<name>_<monitor>`; `"loss"` where the
            kind's own deciding metric is not among `metrics`.
        mode: `"max"` or `"min"`: which direction of `monitor` is better.
        from_logits: Whether outputs are logits; `None` where there is no such thing.

    Raises:
        ValueError: If `name` cannot name a task, or a generic task has no loss or output shape.

    Example:
    ```python
    from mtlzoo.tasks import Task

    task = Task("direction", loss="cosine_similarity", output_shape=(3,))
    read = task.read_labels([[0.0, 0.0, 1.0]])
    task.loss_values(task.loss, read.values, read.values)  # [-1.]
    ```
    """

    loss_family: str = "regression"
    monitor: str = "loss"
    mode: str = "min"
    from_logits: bool | None = None
    # Whether a temperature softens raw outputs in `soft_loss_values`.
    softened: bool = False
    # What `serve` answers beside `<name>`, which no other task may answer too.
    served: tuple[str, ...] = ("class",)
    # The arguments that are widths of the head, of which a student has less.
    width_arguments: tuple[str, ...] = ()

    def __init__(
        self,
        name: str,
        *,
        loss: Any = None,
        metrics: list | tuple | None = None,
        missing: float = float("nan"),
        output_shape: tuple[int | None, ...] | None = None,
        label_shape: tuple[int | None, ...] | None = None,
    ) -> None:
        check_name(name)
        self.name = name
        if isinstance(missing, bool) or not isinstance(missing, numbers.Real):
            raise ValueError(
                f"`missing` of task `{name}` should be a number. Received: missing={missing!r}"
            )
        if metrics is not None and not isinstance(metrics, list | tuple):
            raise ValueError(
                f"`metrics` of task `{name}` should be a list. Received: metrics={metrics!r}"
            )
        if not isinstance(self.from_logits, bool | None):
            raise ValueError(
                f"`from_logits` of task `{name}` should be a bool. "
                f"Received: from_logits={self.from_logits!r}"
            )
        self.missing = int(missing) if isinstance(missing, numbers.Integral) else float(missing)
        self._loss: Any = loss
        self._metrics: list | tuple | None = metrics
        if loss is not None:
            self.resolve_loss(loss)
        if metrics is not None:
            names = {m if isinstance(m, str) else getattr(m, "name", None) for m in metrics}
            if self.monitor not in names:
                self.monitor, self.mode = "loss", "min"
        if type(self) is Task:
            if loss is None or output_shape is None:
                raise ValueError(
                    f"The generic task `{name}` should have a `loss` and an `output_shape`. "
                    f"Received: loss={loss!r}, output_shape={output_shape!r}"
                )
            text = getattr(self.loss, "name", None) or getattr(self.loss, "__name__", "")
            self.loss_family = "classification" if "entropy" in text else "regression"
        if output_shape is not None:
            self.output_shape = check_shape(name, "output_shape", output_shape)
            self.label_shape = self.output_shape
        if label_shape is not None:
            self.label_shape = check_shape(name, "label_shape", label_shape)

    # -- model ------------------------------------------------------------------------------

    def head(self, features: Any) -> Any:
        """The task's output: one dense layer named as the task, of raw values in float32.

        Args:
            features: Symbolic tensor, `(B, F)`, or for most kinds also `(B, S, F)`, `(B, H, W, F)`
                or `(B, D, H, W, F)`, of which the average over all axes but the last is taken.

        Returns:
            Symbolic tensor `(B,) + output_shape`; float64 if the program computes in float64.

        Raises:
            ValueError: If `features` have another rank, or the kind of task has no head.
        """
        raise ValueError(
            f"Task `{self.name}` should be of a kind that has a head, or be given a finished "
            f"output. Received: a task of type {type(self).__name__}"
        )

    def check_output(self, shape: tuple[int | None, ...]) -> None:
        """Checks that an output of `shape`, with the batch, fits.

        Raises:
            ValueError: If it does not.
        """
        shape = tuple(shape)
        if not shape or not fits(shape[1:], self.output_shape):
            raise ValueError(
                f"The output of task `{self.name}` should have shape "
                f"{(None, *self.output_shape)}. Received: shape={shape}"
            )

    # -- loss -------------------------------------------------------------------------------

    @property
    def loss(self) -> losses.Loss:
        """The loss in force: the one given, or the kind's own."""
        return self.resolve_loss(self._loss)

    def default_loss(self) -> Any:
        """The loss used when none is given."""
        raise ValueError(f"`loss` of task `{self.name}` should be given. Received: loss=None")

    def resolve_loss(self, identifier: Any) -> losses.Loss:
        """The loss that `identifier` means for this task.

        Args:
            identifier: A Keras loss, its name, a function, or `None` for the kind's own.

        Returns:
            A Keras loss, or a function as it was given. Names get the task's `from_logits`.

        Raises:
            ValueError: If Keras does not know `identifier`, if its reduction is `"sum"`, or if its
                `from_logits` is not the task's.
        """
        if identifier is None:
            identifier = self.default_loss()
        return losses.resolve(self.name, identifier, self.from_logits)

    def masks_cells(self, loss: losses.Loss) -> bool:
        """Whether `loss` is taken per cell of a label instead of per row."""
        is_of_cells = len(self.label_shape) == 1 and self.label_shape == self.output_shape
        return is_of_cells and losses.is_of_cells(loss)

    def loss_values(self, loss: losses.Loss, values: Any, outputs: Any) -> Any:
        """The loss of every label, unreduced.

        Args:
            loss: What `resolve_loss` returned.
            values: `read_labels(...).values`.
            outputs: Raw outputs `(B,) + output_shape`.

        Returns:
            A tensor of the shape of `read_labels(labels, loss).present`, float64 for float64
            outputs, else float32.

        Raises:
            ValueError: If `loss` does not give one value per row (per step, per pixel), or if
                labels and outputs differ in size.
        """
        outputs = self._meeting(values, as_float(outputs))
        if "float" in dtype_of(values):
            values = ops.cast(values, outputs.dtype)
        rank = self.rank_of(loss)
        if self.masks_cells(loss):
            values, outputs = ops.expand_dims(values, -1), ops.expand_dims(outputs, -1)
        function = loss.call if isinstance(loss, keras.losses.Loss) else loss
        result = ops.convert_to_tensor(function(values, outputs))
        if len(result.shape) < rank:
            raise ValueError(
                f"The loss of task `{self.name}` should give one value for each "
                f"{('row', 'step', 'pixel')[rank - 1]}. Received: values of shape "
                f"{tuple(result.shape)}"
            )
        if len(result.shape) > rank:
            result = ops.mean(result, axis=tuple(range(rank, len(result.shape))))
        return ops.cast(result, outputs.dtype)

    def soft_loss_values(self, teacher: Any, outputs: Any, temperature: float) -> Any:
        """How far outputs are from those of a teacher, unreduced, as `loss_values`.

        Of a kind without classes it is the task's own loss, with the teacher's outputs as labels;
        where labels have another shape than outputs, the square of the difference.

        Args:
            teacher: Raw outputs of the teacher.
            outputs: Raw outputs, of the same shape.
            temperature: Positive; softens the outputs of kinds with classes (`softened`).
        """
        if self.label_shape == self.output_shape or self.output_shape == (1,):
            return self.loss_values(self.loss, teacher, outputs)
        return ops.square(as_float(outputs) - as_float(teacher))

    # -- metrics ----------------------------------------------------------------------------

    def default_metrics(self) -> list[keras.metrics.Metric]:
        """New objects of the metrics used when none are given."""
        return []

    def metrics(self) -> list[keras.metrics.Metric]:
        """New objects of the task's metrics, named without the task."""
        if self._metrics is None:
            return self.default_metrics()
        return [self.resolve_metric(metric) for metric in self._metrics]

    def resolve_metric(self, identifier: Any) -> keras.metrics.Metric:
        """A new metric object for `identifier`.

        Args:
            identifier: Name of one of the kind's own metrics, a Keras metric or its name, or a
                function `fn(y_true, y_pred)` of raw outputs.

        Raises:
            ValueError: If `identifier` is none of these, or a Keras metric that reads
                probabilities where outputs are logits, or logits where they are probabilities.
        """
        own = self.default_metrics() if isinstance(identifier, str) else []
        return monitoring.resolve(self.name, identifier, self.from_logits, own)

    def update_metric(
        self, metric: keras.metrics.Metric, values: Any, outputs: Any, weights: Any
    ) -> None:
        """Updates a metric with one batch.

        Args:
            metric: One of `metrics()`, or another Keras metric that reads raw outputs.
            values: `read_labels(...).values`.
            outputs: Raw outputs `(B,) + output_shape`.
            weights: Float, of the shape of `present`; 0 where an entry does not count. A metric of
                whole rows counts a row with the least weight of its cells.
        """
        # Labels say what counts. A Keras mask, which is lost here, would change the weights too.
        outputs = ops.stop_gradient(self._meeting(values, outputs))
        if 0 in values.shape[1:]:  # of which some metrics would take the mean
            values, outputs, weights = (_with_an_entry(t) for t in (values, outputs, weights))
        monitoring.update(metric, values, outputs, weights, self.loss_rank)

    # -- serving and saving -----------------------------------------------------------------

    def serve(self, outputs: Any) -> dict[str, Any]:
        """What a server answers for raw outputs, by name.

        Args:
            outputs: Raw outputs `(B,) + output_shape`.

        Returns:
            `{name: values}`; classifiers answer probabilities and also `{name}_class`, the class
            ids as int64.
        """
        return {self.name: as_float(outputs)}

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        config = {
            "name": self.name,
            "loss": _serialize(self._loss),
            "metrics": None if self._metrics is None else [_serialize(m) for m in self._metrics],
            # JSON has no NaN.
            "missing": self.missing if self.missing == self.missing else "nan",
        }
        if type(self) is Task:
            config |= {"output_shape": self.output_shape, "label_shape": self.label_shape}
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Task":
        """A task with the arguments of `config`."""
        config = check_config(f"a `{cls.__name__}`", config, "name")
        config = check_config(f"task `{config['name']}`", config, "loss", "metrics", "missing")
        config["loss"] = _deserialize(config["loss"])
        if config["metrics"] is not None:
            config["metrics"] = [_deserialize(m) for m in config["metrics"]]
        if config["missing"] == "nan":
            config["missing"] = float("nan")
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"

    # -- for the kinds ----------------------------------------------------------------------

    def _dense(self, features, activation: str | None = None):
        return heads.of_rows(self.name, features, self.output_shape[0] or 1, activation)

    def _meeting(self, values, outputs):
        """The outputs that have a label: none where the data have no labels of an unknown size."""
        labels, sizes = (tuple(t.shape)[1 : self.loss_rank] for t in (values, outputs))
        if 0 in labels:
            return outputs[(slice(None), *(slice(size) for size in labels))]
        if not fits(labels, sizes):
            raise ValueError(
                f"Labels of task `{self.name}` should have the size {sizes} of its outputs. "
                f"Received: labels of size {labels}; `size={labels}` of the task brings them there"
            )
        return outputs

    def _at_least(self, argument: str, value: int, least: int) -> int:
        is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if not is_integer or value < least:
            raise ValueError(
                f"`{argument}` of task `{self.name}` should be an integer of at least {least}. "
                f"Received: {argument}={value!r}"
            )
        return int(value)


def check_shape(name: str, argument: str, shape: Any) -> tuple[int | None, ...]:
    """A tuple of positive sizes, or `None` for a size that is not known.

    Raises:
        ValueError: Naming task and argument, for anything else.
    """
    if isinstance(shape, list | tuple) and all(
        size is None
        or (isinstance(size, numbers.Integral) and not isinstance(size, bool) and int(size) > 0)
        for size in shape
    ):
        return tuple(shape)
    raise ValueError(
        f"`{argument}` of task `{name}` should be a tuple of positive integers or None. "
        f"Received: {argument}={shape!r}"
    )


def as_float(tensor: Any) -> Any:
    """A tensor in float32, or in float64 as it was."""
    tensor = ops.convert_to_tensor(tensor)
    return tensor if dtype_of(tensor) == "float64" else ops.cast(tensor, "float32")


def _with_an_entry(tensor):
    """The tensor with a 0 on each axis that is empty."""
    tensor = ops.convert_to_tensor(tensor)
    return ops.pad(tensor, [(0, int(size == 0)) for size in tensor.shape])


def _serialize(thing: Any) -> Any:
    if thing is None or isinstance(thing, str):
        return thing
    return keras.saving.serialize_keras_object(thing)


def _deserialize(thing: Any) -> Any:
    if thing is None or isinstance(thing, str):
        return thing
    return keras.saving.deserialize_keras_object(thing)
