"""A learner that was killed goes on, and ends as one that was not."""

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from online_killed_runs import learner, stream
from stream_models import accounted, elements, model, rows, same, weights
from test_online_publishing import InMemory

from mtlzoo.online import Adaptive, DriftDetector, EveryBatch, OnlineLearner, Reservoir
from mtlzoo.training import backup_files

HERE = Path(__file__).parent


@pytest.mark.slow
def test_from_any_state_a_learner_ends_as_one_that_was_not_killed(tmp_path):
    state, versions, kept = tmp_path / "state.npz", InMemory(), []

    def after_batch(each):
        if each.counts["read"] > 40 * (len(kept) + 1):
            copied = shutil.copy(state, tmp_path / f"{len(kept)}.npz")
            kept.append((copied, copy.deepcopy(versions)))

    whole = learner(model("pcgrad", dropout=0.2), state, versions)
    history = whole.run(stream(), after_batch=after_batch).to_dict()
    found, online = weights(whole.model), copy.deepcopy(versions)
    assert accounted(history["counts"])
    least = {
        **{"learned": 200, "held_back": 30, "expired": 1, "unlabelled": 1, "awaiting_labels": 1},
        **{"published": 3, "quarantined": 1, "clock_backwards": 1, "labels_joined": 9},
    }
    assert not {name for name, number in least.items() if history["counts"][name] < number}
    assert len(kept) > 5
    # What was published after the second state was written is not published once more.
    for copied, at_that_time in (kept[1], (kept[-4][0], kept[-2][1])):
        made = model("pcgrad", dropout=0.2)
        resumed = learner(made, copied, at_that_time)
        assert 0 < resumed.position < 17
        again = resumed.run(stream(), skip_read=True).to_dict()
        assert same(weights(made), found)
        assert json.dumps(again) == json.dumps(history)
        assert at_that_time.infos == online.infos
    assert kept[-4][1].used < kept[-2][1].used
    assert float(made.optimizer.learning_rate) == pytest.approx(0.01)


@pytest.mark.slow
def test_a_full_disk_is_counted_and_leaves_the_state_as_it_was(tmp_path, monkeypatch):
    state = tmp_path / "state.npz"
    one = OnlineLearner(model(), batch_size=16, state=state)
    x, y = rows(64)
    one.run(elements(x, y, 16))
    before = state.read_bytes()

    def full(path, content):
        raise OSError("No space left on device")

    monkeypatch.setattr(backup_files, "write", full)
    counts = one.run(elements(x, y, 16)).counts
    assert counts["learned"] == 128 and counts["state_failures"] == 1
    assert state.read_bytes() == before
    monkeypatch.undo()
    with pytest.raises(RuntimeError, match=r"the stream is broken"):
        one.run(broken(x, y))
    other = OnlineLearner(model(), batch_size=16, state=state)
    assert other.counts["learned"] == 144 and other.position == 1
    with pytest.raises(ValueError, match=r"a stream of 0 elements, of which 1 are to be skipped"):
        other.run([], skip_read=True)


@pytest.mark.slow
def test_the_learning_rate_is_that_of_the_learner_that_goes_on(tmp_path):
    x, y = rows(32)
    OnlineLearner(model(), batch_size=16, learning_rate=0.5, state=tmp_path / "a.npz").run(
        elements(x, y, 16)
    )
    for given, wanted in ((None, 0.01), (0.2, 0.2)):
        path, made, seen = shutil.copy(tmp_path / "a.npz", tmp_path / "b.npz"), model(), []
        OnlineLearner(made, batch_size=16, learning_rate=given, state=path).run(
            elements(x, y, 16),
            after_batch=lambda each, to=seen: to.append(float(each.model.optimizer.learning_rate)),
        )
        assert seen == pytest.approx([wanted, wanted])
        assert float(made.optimizer.learning_rate) == pytest.approx(0.01)


def broken(x, y):
    yield from elements(x, y, 16, end=16)
    raise RuntimeError("the stream is broken")


@pytest.mark.slow
def test_a_state_of_another_learner_is_refused(tmp_path):
    state = tmp_path / "state.npz"
    OnlineLearner(model(), batch_size=16, state=state).run(elements(*rows(16), 16))
    with pytest.raises(ValueError, match=r"a learner with batch_size=8; give another path"):
        OnlineLearner(model(), EveryBatch(), batch_size=8, state=state)
    for name, one, other, text in [
        ("replay", Reservoir(9), Reservoir(9, per_task=True), r"'per_task': True"),
        ("update", Adaptive(), Adaptive(weights={"drift": 0}), r"'detector': None"),
        (
            *("update", Adaptive(detector=DriftDetector("adwin", chunk=2))),
            *(Adaptive(detector=DriftDetector("adwin", chunk=3)), r"\['adwin', 3, "),
        ),
    ]:
        path = tmp_path / "other.npz"
        OnlineLearner(model(), batch_size=16, state=path, **{name: one}).run([])
        with pytest.raises(ValueError, match=rf"a learner with {name}=.*{text}"):
            OnlineLearner(model(), batch_size=16, state=path, **{name: other})
        path.unlink()
    with pytest.raises(ValueError, match=r"a training with the balancer \['PCGrad'\]"):
        OnlineLearner(model("pcgrad", dropout=0.2), batch_size=16, state=state)
    backup_files.write(state, {"version": 1})
    with pytest.raises(ValueError, match=r"a file that an `OnlineLearner` has written"):
        OnlineLearner(model(), batch_size=16, state=state)


KILLS = [
    [("batch", 2), ("batch", 9)],
    [("batch", 20)],
    [("publish", 1), ("publish", 2), ("publish", 1)],
    [("state", 1), ("state", 5), ("publish", 3)],
]


@pytest.mark.slow
def test_a_killed_process_goes_on_exactly_and_loses_no_version(tmp_path):
    def run(folder, out, *kind):
        paths = [str(HERE.parents[1]), str(HERE), os.environ.get("PYTHONPATH", "")]
        return subprocess.run(
            [sys.executable, str(HERE / "online_killed_runs.py"), str(folder), str(out), *kind],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TF_CPP_MIN_LOG_LEVEL": "3"},
            timeout=900,
        )

    whole = tmp_path / "whole.npz"
    done = run(tmp_path / "whole", whole)
    assert done.returncode == 0, done.stderr[-3000:]
    history, infos = json.loads(whole.with_suffix(".json").read_text())
    assert history["counts"]["published"] > 2
    for i, kills in enumerate(KILLS):
        folder, out = tmp_path / str(i), tmp_path / f"{i}.npz"
        published: set = set()
        for kind, number in kills:
            done = run(folder, out, kind, str(number))
            assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]
            now = {p.name for p in (folder / "versions").iterdir() if p.name.isdigit()}
            assert published <= now
            published = now
        done = run(folder, out)
        assert done.returncode == 0, done.stderr[-3000:]
        with np.load(whole) as a, np.load(out) as b:
            assert same([a[key] for key in a], [b[key] for key in a])
        again, found = json.loads(out.with_suffix(".json").read_text())
        assert found == infos
        for each in (again, history):
            # That the first version was published, one that is killed then finds out from the disk.
            each["publications"] = [p for p in each["publications"] if p["rows"]]
            each["counts"]["published"] = len(infos) - 1
        assert json.dumps(again) == json.dumps(history)
