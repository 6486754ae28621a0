"""What is said when another worker is gone, by which methods, and when nothing is."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import HardSharing, Regression
from mtlzoo.models import lost_workers

LOST = tf.errors.UnavailableError(None, None, "Connection refused")


class WorkersOfTest(tf.distribute.MultiWorkerMirroredStrategy):
    """As many workers as are named, of which there is nothing else."""

    def __init__(self, **jobs):
        self.cluster_spec = lambda: tf.train.ClusterSpec(jobs)

    cluster_resolver = property(lambda self: self)


@pytest.mark.parametrize(
    "jobs", [{"worker": ["a:1", "b:1"]}, {"chief": ["a:1"], "worker": ["b:1"]}]
)
def test_a_lost_one_of_several_is_named(jobs):
    aborted = tf.errors.InternalError(None, None, "Collective ops is aborted by: something")
    for error in (LOST, aborted):
        with (
            pytest.raises(RuntimeError, match="A worker was lost: another process has ended") as e,
            lost_workers.named(WorkersOfTest(**jobs)),
        ):
            raise error
        assert e.value.__cause__ is error


@pytest.mark.parametrize(
    ("strategy", "error"),
    [
        (WorkersOfTest(worker=["a:1"]), LOST),
        (WorkersOfTest(), LOST),
        (tf.distribute.get_strategy(), LOST),
        (
            WorkersOfTest(worker=["a:1", "b:1"]),
            tf.errors.InvalidArgumentError(None, None, "no such thing"),
        ),
    ],
)
def test_other_errors_stay_as_they_are(strategy, error):
    with pytest.raises(type(error)) as e, lost_workers.named(strategy):
        raise error
    assert e.value is error


@pytest.mark.parametrize(
    ("method", "when"), [("fit", "train"), ("evaluate", "test"), ("predict", "predict")]
)
def test_every_method_that_needs_all_workers_says_so(method, when, monkeypatch):
    monkeypatch.setattr(lost_workers, "_has_several_workers", lambda strategy: True)
    model = HardSharing(keras.Input((2,)), [Regression("a"), Regression("b")], shared_units=(2,))
    model.compile("sgd", run_eagerly=True)

    def lose(batch, logs=None):
        raise LOST

    callback = keras.callbacks.Callback()
    setattr(callback, f"on_{when}_batch_begin", lose)
    x = np.ones((4, 2))
    labels = {} if method == "predict" else {"y": {"a": x[:, 0], "b": x[:, 0]}}
    with pytest.raises(RuntimeError, match="A worker was lost"):
        getattr(model, method)(x, verbose=0, callbacks=[callback], **labels)
