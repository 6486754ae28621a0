"""The base of all tasks: everything the library wants to know about one thing to learn."""

from typing import Any, NamedTuple

import keras
from keras import ops

from mtlzoo.tasks import losses
from mtlzoo.tasks.names import check_name

# Metrics that Keras averages over the last axis before it weighs: a mask of cells needs that axis
# to be one cell.
_AVERAGED = (
    keras.metrics.BinaryAccuracy,
    keras.metrics.BinaryCrossentropy,
    keras.metrics.LogCoshError,
    keras.metrics.MeanAbsoluteError,
    keras.metrics.MeanAbsolutePercentageError,
    keras.metrics.MeanSquaredError,
    keras.metrics.MeanSquaredLogarithmicError,
)


class Labels(NamedTuple):
    """Labels of one batch, told apart.

    Attributes:
        values: The labels with a harmless 0 wherever one is missing or invalid.
        present: Bool, the shape of the loss values: where there is a label.
        invalid: Bool, the same shape: where there is something that is neither a label nor missing.
    """

    values: Any
    present: Any
    invalid: Any


@keras.saving.register_keras_serializable(package="mtlzoo")
class Task:
    """One thing to learn: its head, loss, metrics, missing labels and served answers.

    Use a kind (`BinaryClassification`, `Classification`, `MultiLabelClassification`, `Regression`)
    where one fits. `Task` itself is the generic task: any loss on any output, without a head and
    without metrics of its own; labels have the shape of the output. To make a new kind, subclass it,
    register the class with `keras.saving.register_keras_serializable`, and supply `label_shape`,
    `output_shape`, `loss_family`, `monitor`, `mode`, `head`, `default_loss`, `default_metrics`, and
    where they differ `canonical`, `legal` and `serve`.

    Args:
        name: Name of the task, an identifier: the key of its labels, weights, metrics and outputs.
        loss: A Keras loss, its name, or a function `fn(y_true, y_pred)` of one value per row.
            Defaults to the kind's own.
        metrics: List of metrics: names of the kind's own (`"auc"`), Keras metrics or their names,
            or functions. They receive raw outputs, as `predict` returns them. Defaults to the
            kind's own.
        missing: The label that says "no label". Defaults to `float("nan")`.
        output_shape: Shape of the output, without the batch. For the generic task only.
        label_shape: Shape of a label, without the batch. For the generic task only. Defaults to
            `output_shape`.

    Attributes:
        label_shape: Shape of a label, without the batch.
        output_shape: Shape of the output, without the batch.
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

    label_shape: tuple[int | None, ...]
    output_shape: tuple[int | None, ...]
    loss_family: str
    monitor: str = "loss"
    mode: str = "min"
    from_logits: bool | None = None

    def __init__(
        self,
        name: str,
        *,
        loss: Any = None,
        metrics: Any = None,
        missing: float = float("nan"),
        output_shape: tuple[int | None, ...] | None = None,
        label_shape: tuple[int | None, ...] | None = None,
    ):
        check_name(name)
        if isinstance(missing, bool) or not isinstance(missing, int | float):
            raise ValueError(
                f"`missing` of task `{name}` should be a number. Received: missing={missing!r}"
            )
        if metrics is not None and not isinstance(metrics, list | tuple):
            raise ValueError(
                f"`metrics` of task `{name}` should be a list. Received: metrics={metrics!r}"
            )
        self.name = name
        self.missing = missing
        self._loss = loss
        self._metrics = metrics
        if type(self) is Task:
            if loss is None or output_shape is None:
                raise ValueError(
                    f"The generic task `{name}` should have a `loss` and an `output_shape`. "
                    f"Received: loss={loss!r}, output_shape={output_shape!r}"
                )
            self.output_shape = tuple(output_shape)
            self.label_shape = self.output_shape if label_shape is None else tuple(label_shape)
            text = getattr(self.loss, "name", None) or getattr(self.loss, "__name__", "")
            self.loss_family = "classification" if "entropy" in text else "regression"
        if metrics is not None and self.monitor not in {m.name for m in self.metrics()}:
            self.monitor, self.mode = "loss", "min"

    # -- model ------------------------------------------------------------------------------

    def head(self, features):
        """The task's output: one dense layer named as the task, in float32.

        Args:
            features: Symbolic tensor `(B, F)`.

        Returns:
            Symbolic tensor of raw values, `(B,) + output_shape`.

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
        if not _fits(tuple(shape)[1:], self.output_shape) or len(shape) == 0:
            raise ValueError(
                f"The output of task `{self.name}` should have shape "
                f"{(None, *self.output_shape)}. Received: shape={tuple(shape)}"
            )

    # -- loss and metrics -------------------------------------------------------------------

    @property
    def loss(self) -> losses.Loss:
        """The loss in force: the one given, or the kind's own."""
        return self.resolve_loss(self._loss)

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

    def default_loss(self) -> Any:
        """The loss used when none is given."""
        raise ValueError(f"`loss` of task `{self.name}` should be given. Received: loss=None")

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
            ValueError: If `identifier` is none of these, or if its `from_logits` is not the task's.
        """
        for metric in self.default_metrics():
            if metric.name == identifier:
                return metric
        try:
            metric = keras.metrics.get(identifier)
        except (ValueError, TypeError):
            metric = None
        if isinstance(metric, keras.metrics.Metric):
            config = metric.get_config()
            own = config.get("from_logits")
            if own is not None and self.from_logits is not None and own != self.from_logits:
                raise ValueError(
                    f"The metric `{metric.name}` of task `{self.name}` should have "
                    f"`from_logits={self.from_logits}`, as metrics read raw outputs. Received: "
                    f"{type(metric).__name__} with from_logits={own}"
                )
            return type(metric).from_config(config)
        if callable(metric):
            name = getattr(metric, "__name__", type(metric).__name__)
            return keras.metrics.MeanMetricWrapper(metric, name=name)
        raise ValueError(
            f"The metrics of task `{self.name}` should be Keras metrics, functions, or names of "
            f"either. Received: {identifier!r}"
        )

    def loss_values(self, loss: losses.Loss, values, outputs):
        """The loss of every label, unreduced.

        Args:
            loss: What `resolve_loss` returned.
            values: `read_labels(...).values`.
            outputs: Raw outputs, `(B,) + output_shape`.

        Returns:
            A tensor of the shape of `read_labels(labels, loss).present`, float64 for float64
            outputs, else float32.

        Raises:
            ValueError: If `loss` does not give one value per row.
        """
        outputs = self._float(outputs)
        if "float" in keras.backend.standardize_dtype(values.dtype):
            values = ops.cast(values, outputs.dtype)
        if self._masks_cells(loss):
            values, outputs = ops.expand_dims(values, -1), ops.expand_dims(outputs, -1)
        function = loss.call if isinstance(loss, keras.losses.Loss) else loss
        result = ops.convert_to_tensor(function(values, outputs))
        rank = len(self.output_shape) + 1 if self._masks_cells(loss) else 1
        if len(result.shape) < rank:
            raise ValueError(
                f"The loss of task `{self.name}` should give one value for each row. Received: "
                f"values of shape {tuple(result.shape)}"
            )
        if len(result.shape) > rank:
            result = ops.mean(result, axis=tuple(range(rank, len(result.shape))))
        return ops.cast(result, outputs.dtype)

    def update_metric(self, metric: keras.metrics.Metric, values, outputs, weights) -> None:
        """Updates a metric with one batch.

        Args:
            metric: One of `metrics()`, or another Keras metric that reads raw outputs.
            values: `read_labels(...).values`.
            outputs: Raw outputs, `(B,) + output_shape`.
            weights: Float, of the shape of `present`; 0 where an entry does not count.
        """
        if len(weights.shape) > 1 and isinstance(metric, _AVERAGED):
            values, outputs = ops.expand_dims(values, -1), ops.expand_dims(outputs, -1)
        metric.update_state(values, outputs, sample_weight=weights)

    # -- labels -----------------------------------------------------------------------------

    def check_labels(self, labels) -> None:
        """Checks shape and dtype of labels, without reading them.

        Args:
            labels: Anything with `shape` and `dtype`: an array, a tensor, a `TensorSpec`.

        Raises:
            ValueError: If shape or dtype cannot be labels of this task.
        """
        if not hasattr(labels, "shape") or not hasattr(labels, "dtype"):
            raise ValueError(
                f"Labels of task `{self.name}` should be an array or a tensor. Received: labels of "
                f"type {type(labels).__name__}"
            )
        shape = _shape(labels)
        fits = shape is not None and len(shape) > 0 and _fits(shape[1:], self.label_shape)
        if self.label_shape in {(), (1,)}:
            fits = fits or (shape is not None and len(shape) > 0 and shape[1:] in {(), (1,)})
        if not fits:
            raise ValueError(
                f"Labels of task `{self.name}` should have shape {(None, *self.label_shape)}. "
                f"Received: shape={shape}"
            )
        dtype = self._dtype_name(labels)
        if "int" not in dtype and "float" not in dtype and dtype != "bool":
            raise ValueError(
                f"Labels of task `{self.name}` should be numbers. Received: dtype={dtype}"
            )

    def read_labels(self, labels, loss: losses.Loss | None = None) -> Labels:
        """Tells labels, missing labels and invalid entries apart.

        Args:
            labels: An array or tensor of the shape that `check_labels` accepts.
            loss: The loss that will be used, if it is not the task's own: one that needs whole rows
                makes a row with a missing cell missing.

        Returns:
            A `Labels`.

        Raises:
            ValueError: As `check_labels`.
        """
        labels = ops.convert_to_tensor(labels)
        self.check_labels(labels)
        labels = self.canonical(labels)
        is_float = "float" in keras.backend.standardize_dtype(labels.dtype)
        if self.missing == self.missing:
            missing = labels == ops.cast(self.missing, labels.dtype)
        elif is_float:
            missing = ops.isnan(labels)
        else:
            missing = ops.zeros_like(labels, dtype="bool")
        legal = self.legal(labels)
        values = ops.where(legal & ~missing, labels, ops.zeros_like(labels))
        invalid = ~(legal | missing)
        present = legal & ~missing
        if not self._masks_cells(self.loss if loss is None else loss):
            axes = tuple(range(1, len(present.shape)))
            if axes:
                present, invalid = ops.all(present, axis=axes), ops.any(invalid, axis=axes)
        return Labels(values, present, invalid)

    def canonical(self, labels):
        """Labels in the one shape and type that losses and metrics see."""
        if self.label_shape in {(), (1,)} and len(labels.shape) == 1 and self.output_shape == (1,):
            labels = ops.expand_dims(labels, -1)
        dtype = keras.backend.standardize_dtype(labels.dtype)
        return labels if dtype == "float64" else ops.cast(labels, "float32")

    def legal(self, labels):
        """Where canonical labels are labels of this task; missing ones do not matter."""
        return ops.isfinite(labels)

    def missing_labels(self, batch_size):
        """Labels of `batch_size` rows that are all missing."""
        is_integer = float(self.missing).is_integer()
        dtype = "int32" if is_integer else "float32"
        return ops.full((batch_size, *self.label_shape), self.missing, dtype=dtype)

    # -- serving and saving -----------------------------------------------------------------

    def serve(self, outputs) -> dict[str, Any]:
        """What a server answers for raw outputs, by name.

        Args:
            outputs: Raw outputs, `(B,) + output_shape`.

        Returns:
            `{name: values}`; classifiers answer probabilities and also `{name}_class`, the class
            ids as int64.
        """
        return {self.name: self._float(outputs)}

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
        config = dict(config)
        config["loss"] = _deserialize(config["loss"])
        if config["metrics"] is not None:
            config["metrics"] = [_deserialize(m) for m in config["metrics"]]
        if config["missing"] == "nan":
            config["missing"] = float("nan")
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"

    # -- for the kinds ----------------------------------------------------------------------

    def _dense(self, features, activation: str | None):
        """One dense layer, float32 unless the program computes in float64."""
        if len(features.shape) != 2:
            raise ValueError(
                f"The features of task `{self.name}` should have shape (None, F). Received: "
                f"shape={tuple(features.shape)}"
            )
        is_double = keras.config.dtype_policy().variable_dtype == "float64"
        return keras.layers.Dense(
            self.output_shape[0],
            activation=activation,
            name=self.name,
            dtype="float64" if is_double else "float32",
        )(features)

    def _at_least(self, argument: str, value: int, least: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(
                f"`{argument}` of task `{self.name}` should be an integer of at least {least}. "
                f"Received: {argument}={value!r}"
            )
        return value

    def _masks_cells(self, loss: losses.Loss) -> bool:
        """Whether loss values are per cell of a label instead of per row."""
        return len(self.label_shape) == 1 and losses.is_of_cells(loss)

    @staticmethod
    def _float(tensor):
        """A tensor in float32, or float64 as it was."""
        tensor = ops.convert_to_tensor(tensor)
        is_double = keras.backend.standardize_dtype(tensor.dtype) == "float64"
        return tensor if is_double else ops.cast(tensor, "float32")

    @staticmethod
    def _dtype_name(labels) -> str:
        return getattr(labels.dtype, "name", str(labels.dtype))


def check_not_legal(name: str, missing: float, is_legal: bool) -> None:
    """Checks that the missing value is not a label."""
    if is_legal:
        raise ValueError(
            f"`missing` of task `{name}` should not be a label. Received: missing={missing!r}"
        )


def _shape(labels) -> tuple[int | None, ...] | None:
    try:
        return tuple(labels.shape)
    except ValueError:  # a TensorFlow shape of unknown rank
        return None


def _fits(shape: tuple[int | None, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(
        a == b or a is None or b is None for a, b in zip(shape, expected, strict=True)
    )


def _serialize(thing: Any) -> Any:
    if thing is None or isinstance(thing, str):
        return thing
    return keras.saving.serialize_keras_object(thing)


def _deserialize(thing: Any) -> Any:
    if thing is None or isinstance(thing, str):
        return thing
    return keras.saving.deserialize_keras_object(thing)
