"""The file of what could not be learned from."""

import builtins
import errno
import json
import logging
import resource
import threading

import numpy as np
import pytest
import tensorflow as tf

from mtlzoo.online.quarantine import Quarantine
from mtlzoo.online.reading import Fault


def lines(quarantine):
    return [json.loads(line) for line in quarantine.path.read_text().splitlines()]


def test_rows_are_written_with_their_reason_and_counted_without_what_was_received(tmp_path):
    quarantine = Quarantine(tmp_path / "run" / "bad.jsonl")
    quarantine.put([])
    x = {"a": np.array([1, np.nan, np.inf], "float32"), "b": tf.constant([1, 2]), "c": b"\xff\n"}
    x["d"] = np.array([1, 2], "longdouble")
    row = {"x": x, "y": (None, True, np.int64(3), -float("inf")), "when": complex(1)}
    quarantine.put([Fault(row, "`a` should be finite. Received: nan"), Fault("ä", "other")])
    quarantine.put([Fault(3, "`a` should be finite. Received: inf")])
    first, second, third = lines(quarantine)
    assert first.pop("time") > 1.7e9
    assert first == {
        "reason": "`a` should be finite. Received: nan",
        "row": {
            "x": {"a": [1.0, "NaN", "Infinity"], "b": [1, 2], "c": "\\xff\n", "d": ["1.0", "2.0"]},
            "y": [None, True, 3, "-Infinity"],
            "when": "(1+0j)",
        },
    }
    assert second["row"] == "ä" and third["row"] == 3
    assert quarantine.count == 3 and quarantine.unwritten == 0
    assert quarantine.by_reason == {"`a` should be finite": 2, "other": 1}


def test_an_old_file_goes_on_after_a_line_in_which_its_process_was_killed(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"row": 1}\n{"ro')
    quarantine = Quarantine(path)
    quarantine.put([Fault(2, "no")])
    text = path.read_text().splitlines()
    assert text[:2] == ['{"row": 1}', '{"ro'] and json.loads(text[2])["row"] == 2
    assert quarantine.count == 1
    Quarantine(path)
    assert path.read_text().splitlines() == text


@pytest.fixture
def log():
    """What is logged as an error or worse."""
    said, handler = [], logging.Handler(logging.ERROR)
    handler.emit = lambda record: said.append(record.getMessage())
    logger = logging.getLogger("absl")
    logger.addHandler(handler)
    yield said
    logger.removeHandler(handler)


def test_a_full_disk_is_counted_and_logged_once_and_leaves_no_half_line(tmp_path, log):
    quarantine = Quarantine(tmp_path / "bad.jsonl")
    quarantine.put([Fault("first", "no")])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        quarantine.put([Fault("second", "no"), Fault("x" * 1000, "no"), Fault("lost", "no")])
        quarantine.put([Fault("x" * 1000, "no")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [line["row"] for line in lines(quarantine)] == ["first", "second"]
    assert quarantine.count == 5 and quarantine.unwritten == 3
    assert quarantine.by_reason == {"no": 5}
    assert len(log) == 1 and "cannot be written to" in log[0]
    quarantine.put([Fault("again", "no")])
    assert [line["row"] for line in lines(quarantine)] == ["first", "second", "again"]


def test_a_folder_that_is_gone_raises_nothing(tmp_path, monkeypatch):
    quarantine = Quarantine(tmp_path / "bad.jsonl")

    def failing(*args, **kwargs):
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "open", failing)
        quarantine.put([Fault(1, "no")])
    assert quarantine.count == quarantine.unwritten == 1


def test_the_file_is_as_large_as_it_may_be(tmp_path, log):
    quarantine = Quarantine(tmp_path / "bad.jsonl", max_bytes=200)
    quarantine.put([Fault(n, "no") for n in range(100)])
    size = quarantine.path.stat().st_size
    assert 100 < size <= 200 and quarantine.unwritten == 100 - len(lines(quarantine))
    quarantine.put([Fault(1, "no")])
    assert quarantine.path.stat().st_size == size and quarantine.count == 101
    assert len(log) == 1 and "is as large as it may be, 200 bytes" in log[0]


def test_more_reasons_than_are_counted_apart(tmp_path):
    quarantine = Quarantine(tmp_path / "bad.jsonl")
    quarantine.put([Fault(n, f"reason {n}") for n in range(1010)])
    assert quarantine.by_reason["other"] == 10 and len(quarantine.by_reason) == 1001


def test_threads_may_share_one(tmp_path):
    quarantine = Quarantine(tmp_path / "bad.jsonl")
    faults = [Fault("x" * 50, "no")] * 20
    threads = [threading.Thread(target=quarantine.put, args=(faults,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert quarantine.count == 160 == len(lines(quarantine))


def test_bad_arguments_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"`path` should be that of a file. Received: path=None"):
        Quarantine(None)
    with pytest.raises(ValueError, match=r"`path` should be a file that can be written to. Receiv"):
        Quarantine(tmp_path)
    with pytest.raises(ValueError, match=r"`max_bytes` should be an integer of at least 1"):
        Quarantine(tmp_path / "bad.jsonl", max_bytes=0)
