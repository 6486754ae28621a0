"""A model that runs by a plan is the same model, on logical devices in a process of their own."""

import pytest

from conformance.plans import CASES as ALL
from conformance.plans import QUICK
from conformance.processes import Cases, in_parts

SLOW = [name for name in ALL if name not in QUICK]
CASES = Cases("conformance.plans", [QUICK], in_parts(SLOW, 20))


@pytest.mark.parametrize("case", CASES.parameters())
def test_plans(case, request):
    CHECKS.get(case, _same)(CASES.result(case, request))


def _same(result):
    assert result
    for what, difference in result.items():
        assert difference < 1e-10, what


def _where_placed(result):
    # Three shared layers and three towers: one and one on the second device, one on the third.
    assert [each for each in result["executed"] if "Tanh" in each[0]] == [
        *(["Tanh", 0, 3], ["Tanh", 1, 2], ["Tanh", 2, 1]),
        *(["TanhGrad", 0, 3], ["TanhGrad", 1, 2], ["TanhGrad", 2, 1]),
    ]
    # A kernel and a bias of each layer: the other shared ones, the tower and head of `kind`; ...
    updated = {d: n for kind, d, n in result["executed"] if kind == "AssignSubVariableOp"}
    assert updated == {0: 8, 1: 6, 2: 4}
    # ... and Adam has a root of each.
    assert {d for kind, d, _ in result["executed"] if kind == "Sqrt"} == {0, 1, 2}
    for path, devices in result["slots"].items():
        device = "CPU:0"
        if "shared_1" in path or "click" in path:
            device = "CPU:1"
        if "stay" in path:
            device = "CPU:2"
        assert devices == [device] * 3, path  # the variable and its two momenta


def _where_in_stages(result):
    # One shared layer of four micro-batches, then two; towers are balanced task by task.
    assert result["gpipe"] == [
        *(["Tanh", 0, 4], ["Tanh", 1, 8], ["Tanh", 2, 12]),
        *(["TanhGrad", 0, 4], ["TanhGrad", 1, 8], ["TanhGrad", 2, 12]),
    ]
    forward = {d: n for kind, d, n in result["1f1b"] if kind == "Tanh"}
    backward = {d: n for kind, d, n in result["1f1b"] if kind == "TanhGrad"}
    assert backward == {0: 4, 1: 8, 2: 12}
    assert forward[0] == 8 and forward[1] == 16  # once more each
    assert forward[2] == 24  # of the towers, each is run again for its own task only


def _computed_again(result):
    assert result["plain"] == 6
    assert result["again"] == 12


def _saved_without(result):
    assert result["plan"] is True
    assert result["devices"] == ["CPU:0"]
    assert result["served"] < 1e-10 and result["gone on"] < 1e-10


def _on_two_replicas(result):
    assert result["one"] < 1e-10 and result["dropout"] == 0
    # Each runs its own, the stages twice.
    assert result["where"] == [
        *(["Tanh", 0, 12], ["Tanh", 1, 12]),
        *(["TanhGrad", 0, 6], ["TanhGrad", 1, 6]),
    ]
    assert "should be trained on one replica. Received: 2 replicas" in result["refused"]


def _summary(result):
    heading, columns, *rows = result["last"]
    assert heading == "Runs by a plan, which is not saved:"
    assert columns.split() == ["device", "layers", "parameters"]
    assert [row.split() for row in rows] == [
        ["shared_1", "CPU:1", "1", "72"],
        ["click*", "CPU:1", "2", "41"],
        ["stay*", "CPU:2", "2", "41"],
    ]


def _facts(result):
    """Why there is this machinery: what TensorFlow and Keras do by themselves."""
    assert result["backward"] == [["Tanh", 1, 1], ["TanhGrad", 0, 1]]
    assert result["slots"] == ["CPU:1"]
    assert {device for _, device, _ in result["update"]} == {0}
    # So that Keras cannot rematerialize a layer that is told of training in a graph.
    assert "supports keywords arguments only when eager execution is enabled" in result["remat"]


CHECKS = {
    "where placed": _where_placed,
    "where in stages": _where_in_stages,
    "computed again": _computed_again,
    "saved without": _saved_without,
    "on two replicas": _on_two_replicas,
    "summary": _summary,
    "facts": _facts,
}
