"""One replica equals two and four, on logical devices in processes of their own (`replicas.py`)."""

import pytest

from conformance.processes import Cases, in_parts
from conformance.replica_precision import PRECISIONS
from conformance.replicas import CASES as ALL
from conformance.replicas import OF_FOUR, QUICK

SLOW = [name for name in ALL if name not in QUICK]
OF_TWO = [name for name in SLOW if not name.startswith(OF_FOUR)]
CASES = Cases(
    "conformance.replicas",
    [QUICK],
    [*in_parts(OF_TWO, 10), *in_parts([name for name in SLOW if name not in OF_TWO], 10)],
)


@pytest.mark.parametrize("case", CASES.parameters())
def test_replicas(case, request):
    result = CASES.result(case, request)
    CHECKS.get(case.removeprefix(OF_FOUR), _equal)(result)


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


def _precision(limit):
    """Replicas get apart by about what half precision costs, which is little of the way: measured
    were 0.2 to 1 times that, at most 0.4 % of the way in bfloat16 and 0.06 % in float16.
    """

    def check(result):
        assert result["of half precision"] > 0
        assert result["of replicas"] < 2 * result["of half precision"]
        assert result["of replicas"] < limit * result["moved"]

    return check


def _kept(result):
    """The task that is absent from the first two batches is there from the third: the weights are
    found anew in the first step, each third one, and the one in which it comes back.
    """
    assert result["all tasks"] == [step % 3 > 0 for step in range(7)]
    assert result["some absent"] == [False, False, False, False, True, True, False]


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
    **{n: _precision(0.01 if "bfloat16" in n else 0.002) for n in PRECISIONS},
    "facts": _facts,
    "refused": _refused,
    "kept weights": _kept,
    "absent task is untouched": _untouched,
    "infinite loss": _infinite,
    "infinite loss, guarded": _infinite_guarded,
    "illegal label, guarded": _illegal_guarded,
    "half precision": _half_precision,
}
