"""One replica equals two, on logical CPU devices in a process of their own (`replicas.py`)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.replica_events import OTHERS
from conformance.replica_settings import EQUAL
from conformance.replicas import QUICK

TESTS = Path(__file__).parents[1]
SLOW = [name for name in [*EQUAL, *OTHERS] if name not in QUICK]
AT_ONCE = 10  # slow cases that one process runs
PARTS = [QUICK, *(SLOW[i : i + AT_ONCE] for i in range(0, len(SLOW), AT_ONCE))]


def _case(name: str, part: int):
    """A case, in the same process as the others of its part."""
    group = pytest.mark.xdist_group(f"replicas {part}")
    return pytest.param(name, marks=[group, pytest.mark.slow] if part else [group])


CASES = [_case(name, i) for i, part in enumerate(PARTS) for name in part]
FOUND: dict[str, dict] = {}


def _run(names: list[str]) -> dict[str, dict]:
    paths = [str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", "conformance.replicas", *names],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TF_CPP_MIN_LOG_LEVEL": "3"},
        timeout=1200,
    )
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [each["case"] for each in found] == names, done.stderr[-3000:]
    return {each.pop("case"): each for each in found}


@pytest.mark.parametrize("case", CASES)
def test_replicas(case, request):
    if case not in FOUND:  # the first of its part that this session has
        chosen = {
            item.callspec.params["case"]
            for item in request.session.items
            if item.path == request.path
        }
        (part,) = (each for each in PARTS if case in each)
        FOUND.update(_run([name for name in part if name in chosen]))
    result = FOUND[case]
    assert "error" not in result, result["error"]
    CHECKS.get(case, _equal)(result)


def _equal(result):
    assert result
    for what, difference in result.items():
        assert difference < 1e-10, what


def _stopped(result, message):
    assert message in result["message"]
    assert result["finite"] and result["heads"] == 0


def _infinite(result):
    _stopped(result, "The loss of task `stay` is not finite (loss inf)")


def _infinite_guarded(result):
    _infinite(result)
    assert result["all"] == 0


def _illegal_guarded(result):
    _stopped(result, "Labels of task `kind` should be legal labels of")
    assert "Received: a label of value 9." in result["message"]
    assert result["all"] == 0


def _untouched(result):
    assert result == {"own": 0}


def _half_precision(result):
    assert result == {"moved": 0, "scale": 0.5}


def _refused(result):
    assert set(result) == set(REFUSED)
    for what, message in REFUSED.items():
        assert message in result[what]


REFUSED = {
    "accumulation": "`gradient_accumulation_steps` should be None on several replicas, where Keras",
    "overwriting": "`ema_overwrite_frequency` should be None on several replicas, where Keras",
    "XLA": "`jit_compile` should be False on several replicas, since TensorFlow cannot compile",
    "statistics": "`synchronized` of the layer `norm` should be True on several replicas (`layer",
}


def _facts(result):
    """Facts 4, 5, 12 and 13: why the step does what it does."""
    assert result.pop("applied") == 2  # an all-reduced gradient is summed once more
    assert result.pop("raw term") == 2  # and so is what is the same on every replica
    assert result.pop("draws differ") and result.pop("values differ")
    assert result.pop("plain") == "no error"
    assert set(result) == {
        *("steps per execution", "accumulation", "XLA", "a first batch that does not divide")
    }
    assert "no error" not in result.values()


CHECKS = {
    "facts": _facts,
    "refused": _refused,
    "absent task is untouched": _untouched,
    "infinite loss": _infinite,
    "infinite loss, guarded": _infinite_guarded,
    "illegal label, guarded": _illegal_guarded,
    "half precision": _half_precision,
}
