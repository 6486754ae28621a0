"""Writing a model in a format."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from mtlzoo.export import formats, saved_model
from mtlzoo.export.parts import check_keywords, parts
from mtlzoo.export.portable import make_portable
from mtlzoo.models.multi_task_model import MultiTaskModel


def save(
    model: MultiTaskModel,
    path: str | os.PathLike,
    tasks: Sequence[str] | None = None,
    *,
    preprocessor: keras.Model | str | None = "own",
    format: str = "tf_saved_model",
    options: Mapping[str, Any] | None = None,
    verbose: bool = False,
) -> str | os.PathLike:
    r"""Write a model that answers for all tasks together and for each alone, for serving.

    A TensorFlow SavedModel has the signature `serve`, which is `serving_default` too, and answers
    for all chosen tasks; one more signature for each task, named as the task, computes and answers
    that task only. With a model $f$, a preprocessor $p$ and raw rows $x$, the answers are

    $$\mathrm{serve}_t\big(f_t(p(x))\big),$$

    with `Task.serve` as $\mathrm{serve}_t$: the key `<task>`, and for classifiers `<task>_class`.
    The optimizer, the balancer and the heads of tasks that are not chosen are left out. A nested
    model or a layer that also works for a chosen task stays whole.

    Every signature has the same keyword inputs, whether its task needs all of them or not: the raw
    columns by name where there is a preprocessor, else the model's inputs by name. TensorFlow alone
    reads the result: no class of this library is in it.

    The answers are those of `Task.serve` on `model.predict` up to the rounding of float32, 1e-6 for
    answers of order one. In bfloat16 they are those on `model(x)`: `predict` may be compiled by
    XLA, which rounds at other places (5e-3 in a probability over a trunk of three layers).

    The other formats are converted from a SavedModel: `"litert"`, a `.tflite` file with the same
    signatures; `"onnx"`, an `.onnx` file, and `"openvino"`, an `.xml` file with a `.bin` file
    beside it, which have no signatures and answer for all chosen tasks: for one task alone, write
    a file with `tasks=[name]`. Inputs and answers have the same names in all of them. `compare`
    runs the file and says how far its answers are from those of the model.

    Args:
        model: the model; it need not be compiled if it was made with `tasks`.
        path: a new or an empty directory; for the other formats a new file.
        tasks: list of names of the tasks to serve. Defaults to all.
        preprocessor: the model from raw columns to the model's inputs that stands in front.
            Defaults to `"own"`, the model's own if it has one; `None` for none.
        format: one of `names()`. Defaults to `"tf_saved_model"`.
        options: settings of what converts to the other formats: for `"litert"` attributes of
            `tf.lite.TFLiteConverter` such as `optimizations`, for `"onnx"` the `opset`, for
            `"openvino"` arguments of `openvino.save_model`. Defaults to none.
        verbose: whether to print the signatures of a SavedModel. Defaults to `False`.

    Shapes:
        Inputs `(B, ...)` with any `B`; outputs as `Task.serve` returns them.

    Returns:
        `path`.

    Raises:
        ValueError: for another model, unknown, repeated or no tasks, a preprocessor that is no
            built Keras model, inputs whose names cannot be keywords, tasks that answer under the
            same key, a path that is taken, or a format that has no such operation as the model.
        ImportError: if what converts to the format is not installed.

    Example:
    ```python
    import tempfile

    import keras
    import tensorflow as tf
    from mtlzoo import BinaryClassification, HardSharing, Regression, export

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = HardSharing(keras.Input((8,), name="features"), tasks, shared_units=(16,))
    path = export.save(model, tempfile.mkdtemp())

    served = tf.saved_model.load(path)  # anywhere: `mtlzoo` is not needed
    rows = tf.zeros((2, 8))
    served.serve(rows)  # {"click": (2, 1), "click_class": (2,), "stay": (2, 1)}
    served.signatures["stay"](features=rows)  # {"stay": (2, 1)}, as a server calls it
    keras.layers.TFSMLayer(path, call_endpoint="click")(rows)
    ```

    The attributes `served.serve` and `served.<task>` take what `model.predict` takes (with a
    preprocessor, what the preprocessor takes): a tensor, a list or a dict of tensors.
    """
    chosen = parts(model, tasks, preprocessor)
    check_keywords(chosen.named())
    if format not in formats.names():
        raise ValueError(
            f"`format` should be one of {formats.names()}. Received: format={format!r}"
        )
    if options is not None and not isinstance(options, Mapping):
        raise ValueError(f"`options` should be a dict. Received: options={options!r}")
    if format == "tf_saved_model":
        _check_directory(path)
        if options:
            raise ValueError(
                "`options` should be none for the format 'tf_saved_model'. "
                f"Received: options={dict(options)!r}"
            )
        saved_model.write(chosen, os.fspath(path), bool(verbose))
        return path

    converter = formats.CONVERTED[format]
    place = _check_file(path, format, converter.SUFFIX, converter.BESIDE)
    converter.check(options or {})
    with tempfile.TemporaryDirectory() as folder:
        saved_model.write(chosen, folder)
        make_portable(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        converter.write(folder, place, ["serve", *chosen.tasks], options or {})
    return path


def _check_directory(path: Any) -> None:
    # `tf.io.gfile` also reads remote paths, to which SavedModels may be written.
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise ValueError(f"`path` should be the path of a directory. Received: path={path!r}")
    place = os.fspath(path)
    if tf.io.gfile.exists(place) and not (
        tf.io.gfile.isdir(place) and not tf.io.gfile.listdir(place)
    ):
        raise ValueError(f"`path` should be a new or an empty directory. Received: path={place!r}")


def _check_file(path: Any, format: str, suffix: str, beside: Sequence[str]) -> Path:
    if not isinstance(path, str | os.PathLike) or Path(path).suffix != suffix:
        raise ValueError(
            f"`path` should end in {suffix!r} for the format {format!r}. Received: path={path!r}"
        )
    if os.path.lexists(path):
        raise ValueError(f"`path` should be a new file. Received: path={os.fspath(path)!r}")
    for other in (Path(path).with_suffix(each) for each in beside):
        if os.path.lexists(other):
            raise ValueError(
                "`path` should be a new file, and so the one that is written beside it. "
                f"Received: path={os.fspath(path)!r}, where {str(other)!r} is there"
            )
    return Path(path)
