"""A killed training that is started again is the one that was not killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import killed_runs
import numpy as np
import pytest
import tensorflow as tf
from killed_settings import SETTINGS, arrays, compiled, network, plain, shuffled

from mtlzoo import data
from mtlzoo.balancing import PCGrad
from mtlzoo.training import Backup, BestEpoch, backup_files

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]


def run(script, *arguments):
    paths = [str(ROOT), str(HERE), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, str(HERE / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TF_CPP_MIN_LOG_LEVEL": "3"},
        timeout=1800,
    )


def results(done):
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert found, done.stderr[-3000:]
    return {each.pop("case"): each for each in found}


@pytest.mark.slow
def test_a_training_that_is_killed_twice_in_an_epoch_is_the_one_that_was_not(tmp_path):
    backup, killed, whole = (tmp_path / name for name in ("backup", "b.npz", "a.npz"))
    for kill in ("1.4", "1.7"):
        done = run("killed_runs.py", "one", "combined", backup, killed, kill)
        assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]
    done = run("killed_runs.py", "one", "combined", backup, killed)
    assert done.returncode == 0, done.stderr[-3000:]
    killed_runs.train("combined", None, str(whole))
    found = killed_runs.compare(str(whole), str(killed))
    assert found == {"difference": 0.0, "same": True, "logs": True}


FOUND: dict[str, dict] = {}
ON_REPLICAS = ["two replicas", "one or two replicas"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SETTINGS if name not in ON_REPLICAS])
def test_every_setting_goes_on_exactly(name, request, tmp_path):
    if not FOUND:  # all in one process, which imports TensorFlow once
        items = [i for i in request.session.items if i.path == request.path]
        chosen = [i.callspec.params["name"] for i in items if hasattr(i, "callspec")]
        chosen = [each for each in SETTINGS if each in chosen and each not in ON_REPLICAS]
        FOUND.update(results(run("killed_runs.py", "several", tmp_path, *chosen)))
    expected = {"kills": 4, "difference": 0.0, "same": True, "logs": True, "again": True}
    assert FOUND[name] == expected


@pytest.mark.slow
def test_on_two_replicas_it_goes_on_exactly_and_on_one_to_rounding(tmp_path):
    found = results(run("killed_runs.py", "replicas", tmp_path, *ON_REPLICAS))
    for name in ON_REPLICAS:
        on_one = found[name].pop("on one")
        assert found[name] == {"kills": 2, "difference": 0.0, "same": True, "logs": True}
    assert on_one < 1e-10


@pytest.mark.slow
def test_accidents_in_writing_leave_the_last_file_as_it_was(tmp_path):
    found = results(run("backup_accidents.py", tmp_path))
    full, half = found["full"], found["half written"]
    assert full["signal"] == 0 and full["left"] == ["backup"] and full["at"] == [0, 3]
    assert f"last one is kept: {tmp_path}/full/backup" in full["log"]
    assert "File too large" in full["log"]
    assert half["signal"] == signal.SIGKILL and half["at"] == [0, 3]
    assert half["left"] == ["backup", "backup.unfinished"]
    for each in (full, half):
        assert each["after"]["same"] and each["after"]["logs"] and each["cleaned"]


# -- in one process ---------------------------------------------------------------------------


def fit(path, epochs=1, setting=plain, **arguments):
    made = setting()
    given = {**made.fit, "epochs": epochs, "verbose": 0, **arguments}
    backup = Backup(path, every=4, mixture=made.mixture)
    return made.model, made.model.fit(**given, callbacks=[*made.callbacks, backup])


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """Of a file of one epoch."""
    path = tmp_path_factory.mktemp("content") / "backup"
    keras.utils.set_random_seed(0)  # as each test begins
    fit(path)
    return path.read_bytes()


def values(model):
    return [keras.ops.convert_to_numpy(v) for v in [*model.variables, *model.optimizer.variables]]


def test_more_epochs_go_on_and_the_same_ones_train_nothing(tmp_path):
    keras.utils.set_random_seed(7)
    first, _ = fit(tmp_path / "new" / "backup", epochs=2)
    keras.utils.set_random_seed(7)
    compiled()  # the names of variables get other numbers
    again, history = fit(tmp_path / "new" / "backup", epochs=2)
    assert history.epoch == [0, 1] and len(history.history["loss"]) == 2
    for a, b in zip(values(first), values(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.initial_losses == first.initial_losses
    keras.utils.set_random_seed(7)
    longer, history = fit(tmp_path / "new" / "backup", epochs=3)
    assert history.epoch == [0, 1, 2]
    assert int(longer.optimizer.iterations) == 30
    keras.utils.set_random_seed(7)
    whole = plain()
    expected = whole.model.fit(**whole.fit, verbose=0)
    assert history.history == expected.history
    for a, b in zip(values(whole.model), values(longer), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_switched_tasks_are_kept(tmp_path):
    made = plain()
    made.model.switch_tasks(click=False)
    made.model.fit(made.fit["x"], verbose=0, callbacks=[Backup(tmp_path / "backup")])
    again, _ = fit(tmp_path / "backup")
    assert again.task_mask == {"click": False, "stay": True}


class Counts(keras.callbacks.Callback):
    count = 0

    def on_epoch_end(self, epoch, logs=None):
        self.count += 1

    def get_state(self):
        return {"count": self.count, "array": np.full(2, self.count), "none": [None, "a", 0.5]}

    def set_state(self, state):
        assert state["none"] == [None, "a", 0.5]
        assert state["array"].tolist() == [state["count"]] * 2
        self.count = state["count"]


@pytest.mark.slow
def test_callbacks_are_given_their_states_back(tmp_path, caplog):
    for epochs in (2, 3):
        counts = Counts()
        stop = keras.callbacks.EarlyStopping(monitor="loss", patience=9, restore_best_weights=True)
        made = plain()
        callbacks = [Backup(tmp_path / "backup"), counts, stop, keras.callbacks.Callback()]
        made.model.fit(made.fit["x"], epochs=epochs, verbose=0, callbacks=callbacks)
        assert counts.count == epochs
        assert stop.best_epoch < epochs and len(stop.best_weights) == len(made.model.weights)
    assert "state of the callback `Callback` is not kept" in caplog.text
    assert "`Counts`" not in caplog.text and "`EarlyStopping`" not in caplog.text


@pytest.mark.slow
def test_the_best_epoch_is_kept(tmp_path):
    found = []
    for epochs in (2, 3):
        made = plain()
        best = BestEpoch(made.model.tasks)
        given = {"validation_data": shuffled(12, 5), "epochs": epochs, "verbose": 0}
        made.model.fit(made.fit["x"], **given, callbacks=[best, Backup(tmp_path / "backup")])
        found.append((best.epoch, best.score))
    assert found[1][1] >= found[0][1] and (found[1][0] == 3 or found[1] == found[0])


def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "backup"
    for damaged in (content[:-100], b"", content[:2000] + b"?" * 50 + content[2050:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"`path` should be a whole file .*backup', which"):
            backup_files.read(path)
    model = compiled()
    with pytest.raises(ValueError, match=r"`path` should be a whole file .*backup', which"):
        model.fit(shuffled(), callbacks=[Backup(path)])
    assert int(model.optimizer.iterations) == 0


@pytest.mark.slow
def test_what_a_killed_write_has_left_is_removed(tmp_path):
    left = backup_files.unfinished(tmp_path / "backup")
    left.write_bytes(b"half")
    fit(tmp_path / "backup")
    assert [each.name for each in tmp_path.iterdir()] == ["backup"]


@pytest.mark.slow
def test_a_write_that_fails_is_logged_and_training_goes_on(tmp_path, monkeypatch, caplog):
    def fails(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup_files, "write", fails)
    model, _ = fit(tmp_path / "backup")
    assert int(model.optimizer.iterations) == 10
    assert "No space left on device" in caplog.text and str(tmp_path / "backup") in caplog.text


def test_half_precision_numbers_are_kept_exactly(tmp_path):
    value = np.asarray(keras.ops.convert_to_numpy(keras.ops.cast([0.1, -3.0], "bfloat16")))
    backup_files.write(tmp_path / "file", {"a": [value, np.float32(0.1), float("nan")]})
    found, scalar, nan = backup_files.read(tmp_path / "file")["a"]
    assert found.dtype == value.dtype and (found == value).all()
    assert scalar == np.float32(0.1) and np.isnan(nan)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every": 0}, "`every` should be an integer of at least 1. Received: every=0"),
        ({"every": 2.0}, "`every` should be an integer of at least 1. Received: every=2.0"),
        ({"every": True}, "`every` should be an integer of at least 1. Received: every=True"),
        ({"path": ""}, "`path` should be that of a file. Received: path=''"),
        ({"path": 3}, "`path` should be that of a file. Received: path=3"),
        ({"path": str(HERE)}, "`path` should be a file, and not a folder"),
        ({"mixture": 1}, "`mixture` should be what `mtlzoo.data.mix` gives, or None"),
    ],
)
def test_unusable_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Backup(**{"path": "file", **arguments})


def test_a_place_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="`path` should be a file in a folder that can be written"):
        fit(tmp_path / "file" / "backup")


def rows():
    return tf.data.Dataset.from_tensor_slices(arrays())


def generator():
    yield from shuffled()


X, Y = arrays()
UNORDERED = {
    "no seed": ({"x": rows().shuffle(9).batch(4)}, "`x` should be shuffled with a seed"),
    "not deterministic": (
        {"x": rows().map(lambda *e: e, num_parallel_calls=2, deterministic=False).batch(4)},
        "`x` should be in the same order.*deterministic=False",
    ),
    "shuffled by Keras": ({"x": X, "y": Y}, "`shuffle` should be False with arrays"),
    "a generator": ({"x": generator()}, "`x` should be a `tf.data.Dataset`, or arrays"),
    "a part of an epoch": (
        {"x": shuffled(), "steps_per_epoch": 3},
        "`steps_per_epoch` should be left out.*steps_per_epoch=3 of 10 batches",
    ),
}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", UNORDERED)
def test_data_that_cannot_be_brought_to_where_they_were(name, tmp_path):
    given, message = UNORDERED[name]
    model = compiled()
    with pytest.raises(ValueError, match=message):
        model.fit(**given, callbacks=[Backup(tmp_path / "backup")])
    assert int(model.optimizer.iterations) == 0


def other_tasks():
    from mtlzoo import HardSharing, Regression

    model = HardSharing(keras.Input((6,)), [Regression("a"), Regression("b")], shared_units=[8])
    model.compile("adam")
    return model, {"x": rows().batch(4).map(lambda x, y: (x, {"a": x[:, 0], "b": x[:, 1]}))}


def wider():
    from killed_settings import tasks

    from mtlzoo import HardSharing

    return HardSharing(keras.Input((6,)), tasks(), shared_units=[9])


OTHERS = {
    "tasks": (other_tasks, r"with the tasks \['a', 'b'\]; .*with \['click', 'stay'\]"),
    "balancer": (
        lambda: (compiled(balancer=PCGrad()), {"x": shuffled()}),
        r"with the balancer \['PCGrad'\]; .*with \['Equal'\]",
    ),
    "optimizer": (
        lambda: (compiled(optimizer=keras.optimizers.SGD(0.1)), {"x": shuffled()}),
        r"with the optimizer \['SGD'\]; .*with \['Adam'\]",
    ),
    "model": (
        lambda: (compiled(model=wider), {"x": shuffled()}),
        r"of the same model, whose model has a variable .*\(6, 9\).*Received.*\(6, 8\)",
    ),
    "seeds": (
        lambda: (compiled(), {"x": shuffled().shuffle(2, seed=5)}),
        "`x` should be shuffled with the seeds that it had before",
    ),
    "length": (
        lambda: (compiled(), {"x": shuffled(20)}),
        "of a training with 5 steps per epoch; .*with 10",
    ),
    "steps": (
        lambda: (compiled(), {"x": shuffled(20).repeat(), "steps_per_epoch": 7}),
        "of a training with 7 steps per epoch; .*with 10",
    ),
}


@pytest.mark.one_in(7)
@pytest.mark.parametrize("name", OTHERS)
def test_a_file_of_another_training_is_refused(name, tmp_path, content):
    path = tmp_path / "backup"
    path.write_bytes(content)
    make, message = OTHERS[name]
    model, given = make()
    start = values(model)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        model.fit(**given, epochs=2, verbose=0, callbacks=[Backup(path)])
    for a, b in zip(start, values(model), strict=True):
        np.testing.assert_array_equal(a, b)
    assert path.read_bytes() == content


@pytest.mark.slow
def test_a_mixture_is_given_again(tmp_path):
    x, y = arrays()
    given = {"only": tf.data.Dataset.from_tensor_slices((x, y)).batch(4)}
    mixture = data.mix(given, steps_per_epoch=5)
    arguments = {"x": mixture.dataset, "steps_per_epoch": 5, "verbose": 0}
    compiled().fit(**arguments, callbacks=[Backup(tmp_path / "backup", mixture=mixture)])
    with pytest.raises(ValueError, match="`mixture` should be given if it was before"):
        compiled().fit(**arguments, epochs=2, callbacks=[Backup(tmp_path / "backup")])


@pytest.mark.slow
def test_epochs_of_different_lengths_are_warned_of(tmp_path, caplog):
    for epochs in (3, 4):
        keras.utils.set_random_seed(0)
        data = shuffled().filter(lambda x, y: tf.reduce_mean(x) > -0.2)
        compiled().fit(data, epochs=epochs, verbose=0, callbacks=[Backup(tmp_path / "backup")])
    assert "The epochs had different numbers of steps, [" in caplog.text


@pytest.mark.slow
def test_it_is_for_compiled_multi_task_models_and_once_in_a_list(tmp_path):
    with pytest.raises(ValueError, match=r"You must call `compile\(\)` before using the model"):
        network().fit(shuffled(), callbacks=[Backup(tmp_path / "backup")])
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="`Backup` should be given to `fit` of a multi-task model"):
        model.fit(X, Y["stay"], verbose=0, callbacks=[Backup(tmp_path / "backup")])
    two = [Backup(tmp_path / "a"), Backup(tmp_path / "b")]
    with pytest.raises(ValueError, match="`callbacks` should be a list with one `Backup`"):
        compiled().fit(shuffled(), callbacks=two)
    with pytest.raises(ValueError, match="`callbacks` should be a list with one `Backup`"):
        compiled().fit(shuffled(), callbacks=keras.callbacks.CallbackList(two[:1]))
