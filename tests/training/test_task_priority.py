"""What policies make of metrics: of tasks without labels, and in which direction."""

import math

import pytest

from mtlzoo import tasks as kinds
from mtlzoo.models.callbacks import usual_mode
from mtlzoo.training import MetricPriority, Priority, Window
from mtlzoo.training.task_scheduling.monitored import metric_in

NAN = math.nan


def epoch(number, **logs):
    return Window(step=10 * (number + 1), epoch=number, metrics=logs)


def started(policy):
    policy.start(["a", "b"])
    return policy


def test_a_metric_of_no_labels_is_none():
    def found(**logs):
        return metric_in(logs, "a", "rmse")

    assert found(val_a_rmse=2.0, val_a_loss=1.0, a_rmse=1.0, a_loss=1.0) == 2.0
    assert found(val_a_rmse=0.0, val_a_loss=NAN, a_rmse=1.0, a_loss=1.0) == 1.0
    assert math.isnan(found(val_a_rmse=0.0, val_a_loss=NAN, a_rmse=0.0, a_loss=NAN))
    assert math.isnan(found(a_rmse=0.0, a_loss=NAN))
    assert found(a_rmse=1.0) == 1.0  # no loss says otherwise
    assert found(a_loss=1.0, b_rmse=1.0) is None


def test_a_task_that_was_not_trained_has_not_reached_its_target():
    policy = started(Priority(targets={"a": ("rmse", 0.05)}))
    policy.observe(epoch(0, a_rmse=0.0, a_loss=NAN, b_loss=1.0))
    assert policy.reached == {"a": False}
    policy.observe(epoch(1, a_rmse=0.01, a_loss=1e-4, b_loss=1.0))
    policy.observe(epoch(2, a_rmse=9.0, a_loss=NAN, b_loss=1.0))
    assert policy.reached == {"a": True}  # as it was
    # Validation data without labels of it do not speak for it either.
    policy.observe(epoch(3, a_rmse=0.5, a_loss=0.25, val_a_rmse=0.0, val_a_loss=NAN))
    assert policy.reached == {"a": False}


def test_metric_priority_passes_over_validation_data_without_labels():
    first, second = (started(MetricPriority({"a": "auc", "b": "auc"})) for _ in range(2))
    for policy in (first, second):
        policy.observe(epoch(0, a_loss=1.0, a_auc=0.6, b_loss=1.0, b_auc=0.8))
    before = first.shares()
    first.observe(epoch(1, a_loss=NAN, val_a_auc=0.0, val_a_loss=NAN, b_loss=NAN, b_auc=0.0))
    assert first.shares() == before
    second.observe(epoch(1, a_loss=NAN, val_a_auc=0.1, val_a_loss=2.0, b_loss=NAN, b_auc=0.0))
    assert second.shares()["a"] > before["a"]


def test_a_direction_that_no_name_tells_is_asked_for():
    with pytest.raises(ValueError, match=r"`modes` should say which direction of the metric 'mse'"):
        started(Priority(targets={"a": ("mse", 0.1)})).observe(epoch(0, val_a_mse=5.0))
    policy = started(Priority(targets={"a": ("mse", 0.1)}, modes={"mse": "min"}))
    policy.observe(epoch(0, val_a_mse=5.0))
    assert policy.reached == {"a": False}


@pytest.mark.parametrize(
    "task",
    [
        kinds.BinaryClassification("a"),
        kinds.Classification("a", 3),
        kinds.DepthEstimation("a"),
        kinds.MultiLabelClassification("a", 3),
        kinds.ObjectDetection("a", 3, 4),
        kinds.Regression("a"),
        kinds.SemanticSegmentation("a", 3),
        kinds.SequenceTagging("a", 3),
        kinds.SpanExtraction("a"),
        kinds.SurfaceNormalEstimation("a"),
    ],
    ids=lambda task: type(task).__name__,
)
def test_names_tell_the_directions_that_tasks_know(task):
    found = {metric.name: usual_mode(metric.name) for metric in task.default_metrics()}
    assert set(found.values()) <= {"min", "max"}
    assert found[task.monitor] == task.mode
