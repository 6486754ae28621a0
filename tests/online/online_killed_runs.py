"""A learner that is killed and started again, in a process of its own.

    python tests/online/online_killed_runs.py FOLDER OUT [KIND NUMBER]

It learns a stream that can be read again, with its state, versions and quarantine in FOLDER, and
writes to OUT what came of it. With KIND it kills itself: after mini-batch NUMBER (`batch`), after
the NUMBERth version is there and before the learner knows it (`publish`), or while the NUMBERth
state is written (`state`).
"""

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
from stream_models import compiled, rows, weights

from mtlzoo.online import (
    HeldBack,
    LateLabels,
    OnlineLearner,
    Publishing,
    Quarantine,
    Reservoir,
    Windows,
)
from mtlzoo.training import backup_files


def stream():
    """Batches of different sizes, with late labels, bad rows and times that go backwards."""
    x, y = rows(400, missing=0.2)
    x[37] = np.nan
    begin = 0
    for number, size in enumerate([16, 40, 7, 25, 64, 1] * 2 + [94]):
        end = begin + size
        times = np.full(size, 10.0 * number - (35 if number == 7 else 0))
        part = {name: labels[begin:end] for name, labels in y.items()}
        late = {"stay": part.pop("stay")} if number % 3 == 0 else {}
        ids = np.arange(begin, end)
        known = {} if number == 4 else {"id": ids}
        yield {"x": x[begin:end], "y": part, "time": times, **known}
        if late:
            late = {name: labels[: size // 2] for name, labels in late.items()}
            yield {"y": late, "id": ids[: size // 2], "time": times[: size // 2]}
        begin = end


def learner(made, state, versions, quarantine=None):
    """One with all parts."""
    return OnlineLearner(
        made,
        Windows(rows=32, passes=2),
        batch_size=16,
        window=64,
        replay=Reservoir(60, ratio=0.3, per_task=True),
        late_labels=LateLabels(50, max_seconds=40),
        held_back=HeldBack(4, rows=60),
        versions=versions,
        publishing=Publishing(every_rows=64, least_labels=5),
        learning_rate=0.02,
        quarantine=quarantine,
        state=state,
        state_every=24,
    )


def kill(*args):
    """As if the machine had gone."""
    os.kill(os.getpid(), signal.SIGKILL)


def main(folder: str, out: str, kind: str = "", number: str = "0") -> None:
    from mtlzoo.serving import Versions

    made, versions = compiled("pcgrad", dropout=0.2), Versions(Path(folder, "versions"), keep=100)
    parts = (Path(folder, "state.npz"), versions, Quarantine(Path(folder, "rows.jsonl")))
    learns, left = learner(made, *parts), int(number)
    publish, replace = versions.publish, os.replace

    def publish_and_die(*args, **kwargs):
        nonlocal left
        found = publish(*args, **kwargs)
        left -= 1
        return found if left else kill()

    def die_in_writing(*args):
        nonlocal left
        left -= 1
        return replace(*args) if left else kill()

    if kind == "publish":
        versions.publish = publish_and_die
    if kind == "state":
        backup_files.os.replace = die_in_writing
    batches = 0

    def after_batch(_):
        nonlocal batches
        batches += 1
        if kind == "batch" and batches == left:
            kill()

    history = learns.run(stream(), skip_read=True, after_batch=after_batch)
    np.savez(out, *weights(made))
    infos = {number: versions.info(number) for number in versions.numbers()}
    for info in infos.values():
        info.pop("time")
    Path(out).with_suffix(".json").write_text(json.dumps([history.to_dict(), infos]))


if __name__ == "__main__":
    main(*sys.argv[1:])
