"""Two worker processes train as one does; stock Keras cannot `fit` there at all."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

TESTS = Path(__file__).parents[1]


def _start(out, *cluster):
    paths = [str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, "-m", "conformance.multi_worker", str(out), *cluster],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def _addresses():
    sockets = [socket.socket() for _ in range(2)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    found = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return found


@pytest.mark.slow
def test_fact_12_two_workers_are_one(tmp_path):
    addresses = _addresses()
    names = ["one", "first", "second"]
    started = [_start(tmp_path / "one")]
    started += [_start(tmp_path / names[1 + i], str(i), *addresses) for i in range(2)]
    try:
        for process in started:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors[-3000:]
    finally:
        for process in started:
            process.kill()
    one, *two = (json.loads((tmp_path / name).read_text()) for name in names)
    for found in two:
        for a, b in zip(found["weights"], one["weights"], strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)
        assert set(found["history"]) == set(one["history"])
        for key, values in one["history"].items():
            np.testing.assert_allclose(found["history"][key], values, rtol=1e-10)


def test_fact_12_the_distribution_of_keras_does_nothing_on_tensorflow(monkeypatch):
    """So that a model is refused under it."""
    from conformance.registry import Case

    monkeypatch.setattr(keras.distribution, "distribution", lambda: "some distribution")
    with pytest.raises(ValueError, match=r"`keras.distribution` should not be set.*some distr"):
        Case().compiled()
