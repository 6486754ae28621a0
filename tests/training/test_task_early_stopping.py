"""Early stopping of single tasks: who is stopped when, what stays, what is kept and assembled."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import BinaryClassification, HardSharing, Regression, SoftSharing
from mtlzoo.balancing import MGDA, GradDrop
from mtlzoo.training import Backup, TaskEarlyStopping

# Of tf.data, which is not meant to be eager here.
pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 4)).astype("float32")
Y = {"a": X[:, :1] - X[:, 1:2], "b": X[:, 2:3], "c": RNG.normal(size=(24, 1)).astype("float32")}
TRAIN = X[:16], {name: labels[:16] for name, labels in Y.items()}
VALID = X[16:], {name: labels[16:] for name, labels in Y.items()}
KEYS = [f"val_{name}_rmse" for name in Y]
NEVER = 1e9  # an improvement that never comes: the task is stopped by its patience


@pytest.fixture(autouse=True)
def eagerly():
    """Nothing is traced: a few steps of each model are faster so."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def shared(balancer="equal", compiled=True, tasks=None, **arguments):
    keras.utils.set_random_seed(1)
    tasks = tasks or [Regression(name, metrics=["rmse"]) for name in Y]
    model = HardSharing(keras.Input((4,)), tasks, shared_units=(5,))
    if compiled:
        model.compile(
            keras.optimizers.SGD(0.05, momentum=0.9), balancer, jit_compile=False, **arguments
        )
    return model


def fit(model, *callbacks, epochs=4, **arguments):
    arguments = {"batch_size": 16, "shuffle": False, "validation_data": VALID, **arguments}
    return model.fit(*TRAIN, epochs=epochs, callbacks=list(callbacks), verbose=0, **arguments)


def values(variables):
    return [keras.ops.convert_to_numpy(v).copy() for v in variables]


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


class Seen(keras.callbacks.Callback):
    """What the model was after each epoch, and what was computed in it."""

    def __init__(self):
        super().__init__()
        self.selected, self.owned, self.common, self.outputs = [], [], [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.selected.append(self.model.selected_tasks)

    def on_epoch_end(self, epoch, logs=None):
        slots = self.model._step.slots
        owned = {name: self.model.task_variables(name) for name in self.model.task_names}
        self.owned.append(
            {n: values([*vs, *(s for v in vs for s in slots.of(v))]) for n, vs in owned.items()}
        )
        self.common.append(values(self.model.shared_variables))
        outputs = self.model(VALID[0], training=False)
        self.outputs.append({n: keras.ops.convert_to_numpy(o) for n, o in outputs.items()})


# -- by the logs ----------------------------------------------------------------------------------


def told(callback, logs, model=None):
    """The callback after epochs with these numbers."""
    callback.set_model(shared("equal") if model is None else model)
    callback.on_train_begin()
    for epoch, numbers in enumerate(zip(*logs.values(), strict=True)):
        callback.on_epoch_end(epoch, dict(zip(logs, numbers, strict=True)))
    return callback


def by_hand(curve, patience, delta):
    """The best epoch, and the one after which a task is stopped, where lower is better."""
    best, best_epoch, wait, stopped = np.inf, None, 0, None
    for epoch, value in enumerate(curve):
        improved = best_epoch is None or value < best - delta
        if improved:
            best, best_epoch = value, epoch
        wait = 0 if improved else wait + 1
        if wait >= patience and stopped is None:
            stopped = epoch
    return best_epoch, stopped


def test_tasks_are_stopped_as_by_hand():
    curves = np.random.default_rng(3).integers(0, 8, (3, 12)) / 4 + np.linspace(2, 0, 12)
    logs = {f"val_{name}_rmse": curve for name, curve in zip("abc", curves, strict=True)}
    patience, delta = {"a": 2, "b": 3, "c": 9}, {"a": 0.0, "b": 0.3, "c": 0.0}
    found = told(TaskEarlyStopping(patience, delta), logs)
    for name, curve in zip("abc", curves, strict=True):
        best, stopped = by_hand(curve, patience[name], delta[name])
        assert found.best_epochs[name] == best
        assert found.best[name] == curve[best]
        assert found.stopped_epochs.get(name) == stopped
    assert found.stopped_epochs.keys() == {"a", "b"}
    assert found.model.task_mask == {"a": False, "b": False, "c": True}
    assert found.model.selected_tasks == ["c"]
    assert not found.model.stop_training


def test_training_ends_when_all_are_stopped_and_then_all_are_on_again():
    logs = {"val_a_rmse": [1, 2, 2], "val_b_rmse": [1, 0, 1], "val_c_rmse": [1, 1, 1]}
    found = told(TaskEarlyStopping(1), logs)
    assert found.stopped_epochs == {"a": 1, "b": 2, "c": 1}
    assert found.model.stop_training
    found.on_train_end()
    assert all(found.model.task_mask.values())
    assert found.model.selected_tasks == ["a", "b", "c"]


def test_what_is_monitored_and_which_direction_is_better():
    tasks = [BinaryClassification("a"), Regression("b"), Regression("c", metrics=["r2"])]
    logs = {"val_a_auc": [0.5, 0.6], "b_loss": [1.0, 0.5], "val_c_r2": [0.1, 0.3]}
    callback = TaskEarlyStopping(1, monitor={"b": "b_loss", "c": "val_c_r2"}, mode={"c": "max"})
    found = told(callback, logs, shared(tasks=tasks))
    assert found.best_epochs == {"a": 1, "b": 1, "c": 1}


def test_a_task_that_falls_behind_takes_part_again():
    logs = {
        "val_a_rmse": [1, 2, 1.4, 1.6, 1.7],
        "val_b_rmse": [5, 4, 3, 2, 1],
        "val_c_rmse": [5] * 5,
    }
    callback = TaskEarlyStopping({"a": 1, "b": 1, "c": 9}, resume_if_worse={"a": 0.5})
    callback.set_model(shared())
    callback.on_train_begin()
    selected = []
    for epoch in range(5):
        now = {key: curve[epoch] for key, curve in logs.items()}
        callback.on_epoch_end(epoch, now)
        selected.append((callback.model.selected_tasks, now["a_stopped"]))
    without, every = (["b", "c"], 1.0), (["a", "b", "c"], 0.0)
    # Stopped after the 2nd epoch; 0.4 behind in the 3rd, 0.6 in the 4th; stopped again in the 5th.
    assert selected == [every, without, without, every, without]
    assert callback.best_epochs["a"] == 0


def test_a_scheduler_may_come_before_it():
    model, stopping = shared(), TaskEarlyStopping({"a": 1, "b": 9, "c": 9})
    stopping.set_model(model)
    model.select_tasks(["b"])  # as the scheduler does when the training begins
    stopping.on_train_begin()
    for epoch in range(2):
        stopping.on_epoch_end(epoch, dict.fromkeys(KEYS, 1.0))
    assert stopping.best.keys() == {"a", "b", "c"} and stopping.stopped_epochs == {"a": 1}
    stopping.on_train_end()
    assert model.selected_tasks == ["a", "b", "c"]


def test_a_stopped_task_may_still_be_at_its_best_later():
    logs = {"val_a_rmse": [2, 3, 1], "val_b_rmse": [5, 4, 3], "val_c_rmse": [5, 4, 3]}
    found = told(TaskEarlyStopping(1), logs)
    assert found.stopped_epochs == {"a": 1}
    assert found.best_epochs["a"] == 2


def test_epochs_without_validation_stop_nothing(caplog):
    found = told(TaskEarlyStopping(1), {"a_rmse": [1, 1, 1]})
    assert not found.stopped_epochs and not found.best
    assert "stops no task" in caplog.text


def test_epochs_without_training_a_task_do_not_count():
    nan = float("nan")
    logs = {"val_a_rmse": [1.0, 2, 2, 2], "val_b_rmse": [1.0, 2, 2, 2], "val_c_rmse": [4, 3, 2, 1]}
    found = told(TaskEarlyStopping(2), {**logs, "a_loss": [1.0, nan, 1.0, 1.0]})
    assert found.stopped_epochs == {"a": 3, "b": 2}


def test_a_metric_that_is_not_a_number_is_no_improvement():
    nan = float("nan")
    logs = {
        "val_a_rmse": [nan, 2, nan, nan],
        "val_b_rmse": [1, 1, 1, 0],
        "val_c_rmse": [4, 3, 2, 1],
    }
    found = told(TaskEarlyStopping(2), logs)
    assert found.best == {"a": 2, "b": 0, "c": 1}
    assert found.stopped_epochs == {"a": 3, "b": 2}


# -- in training ----------------------------------------------------------------------------------

LEVELS = {
    "losses": "dwa",
    "gradients": "pcgrad",
    "jacobian": GradDrop,
    "features": lambda: MGDA(wrt="features"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "level",
    list(LEVELS),
)
def test_a_stopped_task_rests_and_the_shared_part_goes_on(level):
    balancer = LEVELS[level]
    model = shared(balancer if isinstance(balancer, str) else balancer())
    stopping = TaskEarlyStopping(1, {"a": NEVER, "b": 0.0, "c": 0.0}, monitor=LOSSES)
    seen = Seen()
    logs = fit(model, stopping, seen).history
    assert logs["a_stopped"] == [0, 1, 1, 1]
    assert seen.selected[0] == seen.selected[1] == ["a", "b", "c"]
    assert all("a" not in names for names in seen.selected[2:])
    assert same(seen.owned[1]["a"], seen.owned[3]["a"])
    assert not same(seen.common[1], seen.common[2])
    assert not same(seen.owned[1]["b"], seen.owned[3]["b"])
    assert np.isnan(logs["a_loss"][2:]).all()  # not trained
    assert np.isfinite(logs["val_a_rmse"]).all()  # but evaluated
    assert len(set(logs["val_a_rmse"])) == 4
    assert model.task_mask == {"a": True, "b": True, "c": True}


LOSSES = {"b": "b_loss", "c": "c_loss"}  # which fall in these few epochs


@pytest.mark.slow
def test_the_assembled_model_has_what_is_measured_to_be_better():
    model, seen = shared(), Seen()
    stopping = TaskEarlyStopping(1, NEVER, restore="assemble", validation=VALID)
    ends = fit(model, stopping, seen, epochs=5).history
    assert len(ends["loss"]) == 2  # all are stopped after the second
    found = stopping.report
    scores = model.evaluate(*VALID, return_dict=True, verbose=0)
    for name, task in found.items():
        assert task.with_last == pytest.approx(ends[f"val_{name}_rmse"][1], rel=1e-6)
        assert task.at_best == pytest.approx(ends[f"val_{name}_rmse"][0], rel=1e-6)
        assert task.metric == min(task.with_best, task.with_last)
        assert task.metric == pytest.approx(scores[f"{name}_rmse"], rel=1e-6)
        epoch = 0 if task.taken == "best" else 1
        assert task.epoch == epoch
        own = values(model.task_variables(name))
        assert same(own, seen.owned[epoch][name][: len(own)])
    assert same(values(model.shared_variables), seen.common[1])
    assert all(task.with_best != task.with_last for task in found.values())


@pytest.mark.slow
def test_a_task_without_validation_labels_is_not_looked_at(caplog):
    model = shared()
    only = VALID[0], {"a": VALID[1]["a"], "b": VALID[1]["b"]}
    stopping = TaskEarlyStopping(1, NEVER)
    logs = fit(model, stopping, epochs=3, validation_data=only).history
    assert logs["val_c_rmse"] == [0.0] * 3 and np.isnan(logs["val_c_loss"]).all()  # so it looks
    assert stopping.best.keys() == stopping.stopped_epochs.keys() == {"a", "b"}
    assert logs["c_stopped"] == [0] * 3
    assert caplog.text.count("An epoch whose logs lack ['val_c_rmse'], or labels for it") == 1


@pytest.mark.slow
def test_the_user_s_selection_is_kept():
    model, seen = shared(), Seen()
    model.select_tasks(["a", "b"])
    stopping = TaskEarlyStopping({"a": 1, "b": 9, "c": 1}, NEVER)
    logs = fit(model, stopping, seen, epochs=3).history
    assert seen.selected == [["a", "b"], ["a", "b"], ["b"]]
    assert "c_stopped" not in logs
    assert model.selected_tasks == ["a", "b"]


@pytest.mark.slow
def test_what_shares_nothing_is_assembled_exactly():
    keras.utils.set_random_seed(1)
    tasks = [Regression(name, metrics=["rmse"]) for name in Y]
    model = SoftSharing(keras.Input((4,)), tasks, units=(5,))
    model.compile(keras.optimizers.SGD(0.2, momentum=0.9), jit_compile=False)
    stopping = TaskEarlyStopping(2, restore="assemble")
    logs = fit(model, stopping, epochs=6).history
    scores = model.evaluate(*VALID, return_dict=True, verbose=0)
    assert {task.taken for task in stopping.report.values()} == {"best"}
    for name in Y:
        assert scores[f"{name}_rmse"] == pytest.approx(min(logs[f"val_{name}_rmse"]), rel=1e-6)
    assert any(np.argmin(logs[f"val_{name}_rmse"]) < len(logs["loss"]) - 1 for name in Y)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("in_folder", [False, True])
def test_the_best_model_of_a_task_is_that_of_its_best_epoch(in_folder, tmp_path):
    model, seen = shared(), Seen()
    stopping = TaskEarlyStopping(
        1, {"a": NEVER, "b": 0.0, "c": 0.0}, monitor=LOSSES, folder=tmp_path if in_folder else None
    )
    fit(model, stopping, seen)
    before = values(model.variables)
    for name, epoch in stopping.best_epochs.items():
        best = stopping.best_model(name)
        assert type(best) is type(model.single_task(name))
        outputs = best.predict(VALID[0], verbose=0)
        assert list(outputs) == [name]
        np.testing.assert_allclose(outputs[name], seen.outputs[epoch][name], rtol=1e-6)
        assert not {id(v) for v in best.variables} & {id(v) for v in model.variables}
    assert same(before, values(model.variables))
    # Those of the last epoch, and of the one before it.
    kept = {f"epoch_{epoch:05d}.npz" for epoch in (1, 3, 4)}
    assert {path.name for path in tmp_path.iterdir()} == (kept if in_folder else set())


@pytest.mark.slow
def test_a_training_goes_on_from_its_backup(tmp_path):
    def stopping(folder=None):
        return TaskEarlyStopping(
            *(1, {"a": NEVER, "b": 0.0, "c": 0.0}),
            **{"monitor": LOSSES, "restore": "assemble", "validation": VALID, "folder": folder},
        )

    whole, model = stopping(), shared("pcgrad")
    logs = fit(model, whole).history
    folder, path = tmp_path / "best", tmp_path / "backup.npz"
    fit(shared("pcgrad"), stopping(folder), Backup(path), epochs=2)
    again, other = stopping(folder), shared("pcgrad")
    history = fit(other, again, Backup(path)).history
    assert history.keys() == logs.keys()
    for key, numbers in logs.items():
        np.testing.assert_array_equal(history[key], numbers)
    assert same(values(model.variables), values(other.variables))
    assert again.report == whole.report
    assert again.stopped_epochs == whole.stopped_epochs == {"a": 1}
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(ValueError, match=r"`folder` should have the best weights of epoch"):
        fit(shared("pcgrad"), stopping(folder), Backup(path), epochs=5)


@pytest.mark.slow
def test_what_is_switched_off_before_stays_off():
    model = shared()
    model.switch_tasks(a=False)
    stopping = TaskEarlyStopping(1, NEVER)
    logs = fit(model, stopping).history
    assert "a_stopped" not in logs and logs["b_stopped"] == [0, 1]
    assert model.task_mask == {"a": False, "b": True, "c": True}


# -- what is refused ------------------------------------------------------------------------------

REFUSED = {
    "patience": ({"patience": 0}, r"`patience` should be an integer of at least 1"),
    "min_delta": ({"min_delta": -1.0}, r"`min_delta` should be a number that is not negative"),
    "resume": (
        {"resume_if_worse": {"a": float("nan")}},
        r"`resume_if_worse` should be a number that is not negative",
    ),
    "monitor": ({"monitor": "val_loss"}, r"`monitor` should be a dict by task"),
    "mode": ({"mode": {"a": "up"}}, r"`mode` should have 'min' or 'max'. Received: mode="),
    "restore": ({"restore": "best"}, r"`restore` should be 'assemble' or None"),
}
OF_MODEL = {
    "unknown": ({"monitor": {"z": "loss"}}, r"`monitor` should be by the tasks \['a', 'b', 'c'\]"),
    "lacking": ({"patience": {"a": 1}}, r"`patience` should have a number for task `b`"),
    "no metric": (
        {"monitor": {"a": "val_a_auc"}},
        r"`monitor` of task `a` should be one of \['loss', 'a_loss', 'a_rmse'",
    ),
    "direction": (
        {"monitor": {"a": "val_b_extra"}},
        r"`mode` should say for task `a` which direction of 'b_extra' is better",
    ),
    "no labels": (
        {"restore": "assemble", "validation": (VALID[0], {"a": VALID[1]["a"]})},
        r"`validation` should have labels of task `b`, .* labels of \['a'\]",
    ),
    "validation": (
        {"restore": "assemble"},
        r"`validation` should be given with restore='assemble'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_arguments_are_refused(case):
    arguments, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        TaskEarlyStopping(**arguments)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("case", OF_MODEL)
def test_what_does_not_fit_the_model_is_refused_before_training(case):
    arguments, message = OF_MODEL[case]
    extra = {"b": [keras.metrics.MeanSquaredError("extra")]}
    with pytest.raises(ValueError, match=message):
        fit(shared(weighted_metrics=extra), TaskEarlyStopping(**arguments))


def test_it_is_for_multi_task_models_with_a_best_epoch():
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    plain.compile(loss="mse")
    with pytest.raises(ValueError, match=r"should be given to `fit` of a multi-task model"):
        plain.fit(X, Y["a"], callbacks=[TaskEarlyStopping()], verbose=0)
    with pytest.raises(ValueError, match=r"`name` should be one of the tasks \[\]"):
        TaskEarlyStopping().best_model("a")
    with pytest.raises(ValueError, match=r"`name` should be one of the tasks .*: name=\['a'\]"):
        TaskEarlyStopping().best_model(["a"])
