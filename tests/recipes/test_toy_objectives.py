"""The recipe on two objectives: the problem, its front, the walk, and all of it for a few steps."""

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import flagsaver

pytest.importorskip("matplotlib")

from mtlzoo import balancing
from mtlzoo.balancing import by_name
from recipes import toy_objectives as recipe
from recipes.parts import toy_problem, toy_report, toy_walk

STARTS = [start for protocol in toy_problem.PROTOCOLS.values() for start in protocol.starts]


def reference(x: np.ndarray, k: float) -> np.ndarray:
    """Both losses of one point, written out anew in NumPy."""
    a, b = np.float64(x[0]), np.float64(x[1])
    if b > 0.0:
        first = math.log(max(abs(-0.5 * a - 3.5 + np.tanh(b)), 5e-6)) + 6
        second = math.log(max(abs(-0.5 * a + 3.5 - np.tanh(b)), 5e-6)) + 6
        return np.tanh(b / 2) * np.array([k * first, second])
    rise = 0.01 * (b + 8) ** 2 - 20
    both = [k * (0.1 * (a - 7) ** 2 + rise), 0.1 * (a + 7) ** 2 + rise]
    return -np.tanh(b / 2) * np.array(both)


def slopes(x: np.ndarray, k: float, width: float = 1e-6) -> np.ndarray:
    """Its derivatives `(losses, coordinates)`, by central differences."""
    steps = width * np.eye(2)
    return np.stack([(reference(x + h, k) - reference(x - h, k)) / (2 * width) for h in steps], 1)


def gradients(x, k: float) -> np.ndarray:
    """The derivatives `(..., losses, coordinates)` at points `(..., 2)`, by TensorFlow."""
    x = tf.constant(x, "float64")
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        losses = toy_problem.losses_of(x, k)
        both = [losses[..., 0], losses[..., 1]]
    return np.stack([tape.gradient(loss, x).numpy() for loss in both], axis=-2)


@pytest.mark.parametrize("k", [1.0, 0.1])
def test_losses_and_gradients_are_those_of_the_formula(k):
    points = np.concatenate([np.random.default_rng(0).uniform(-10, 10, (200, 2)), STARTS])
    losses = toy_problem.losses_of(tf.constant(points), k).numpy()
    np.testing.assert_allclose(losses, [reference(x, k) for x in points], rtol=1e-12)
    points = points[points[:, 1] != 0.0]
    expected = [slopes(x, k) for x in points]
    np.testing.assert_allclose(gradients(points, k), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("k", [1.0, 0.1])
def test_where_the_halves_meet_both_pull(k):
    """Both maxima are at their bound there, and both pass the derivative on."""
    for x1 in (0.0, 9.0):
        inside = np.array([math.log(0.5 * abs(x1 + 7)) + 6, math.log(0.5 * abs(x1 - 7)) + 6])
        below = 0.1 * np.array([x1 - 7, x1 + 7]) ** 2 + 0.64 - 20
        expected = np.zeros((2, 2))
        expected[:, 1] = 0.5 * (inside - below) * [k, 1.0]
        np.testing.assert_allclose(gradients([x1, 0.0], k), expected, rtol=1e-12)


def test_the_ground_of_a_valley_is_flat():
    ground = np.array([-7 + 2 * np.tanh(5.0), 5.0])
    np.testing.assert_allclose(
        toy_problem.losses_of(tf.constant(ground), 1.0)[0], np.tanh(2.5) * (math.log(5e-6) + 6)
    )
    found = gradients(ground, 1.0)
    assert found[0, 0] == 0.0
    assert found[1, 0] != 0.0


# --- The front ---------------------------------------------------------------------------------


def everywhere() -> np.ndarray:
    """A grid of the plane, and the grounds of both valleys."""
    side = np.linspace(-14, 14, 141)
    heights = np.linspace(0.01, 14, 400)
    grounds = [
        np.stack([sign * (7 - 2 * np.tanh(heights)), heights], axis=-1) for sign in (-1.0, 1.0)
    ]
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    return np.concatenate([grid, *grounds])


@pytest.mark.one_in(2)
@pytest.mark.parametrize("k", [1.0, 0.1])
def test_nothing_is_better_than_the_front(k):
    front = toy_problem.Front(k, size=301)
    losses = toy_problem.losses_of(tf.constant(everywhere()), k).numpy()
    assert losses[-400:, 1].min() < -6  # the valleys are among them
    margin = np.array([1e-5 * k, 1e-5])
    better = (losses[:, None] < front.losses - margin).all(-1)
    assert not better.any()
    along = np.diff(front.losses, axis=0)
    assert (along[:, 0] < 0).all()
    assert (along[:, 1] > 0).all()
    assert (losses >= toy_problem.bounds(k)).all()


@pytest.mark.one_in(2)
@pytest.mark.parametrize("k", [1.0, 0.1])
def test_the_points_of_interest(k):
    front = toy_problem.Front(k)
    means = toy_problem.losses_of(tf.constant(everywhere()), k).numpy().mean(-1)
    least = front.losses[front.least_mean].mean()
    assert means.min() - 1e-3 < least < means.min() + 1e-5
    assert front.points[front.least_mean, 0] == pytest.approx(7 * (k - 1) / (k + 1), abs=0.01)
    assert front.places[front.middle] == 0.5
    np.testing.assert_allclose(
        front.losses[front.middle, 0] / k, front.losses[front.middle, 1], rtol=1e-9
    )


@pytest.mark.slow
def test_distances_do_not_depend_on_the_scale():
    points = tf.constant([[0.0, -8.0], [-9.0, -8.4], [3.0, 5.0]], "float64")
    found = {}
    for k in (1.0, 0.1):
        found[k], places = toy_problem.Front(k).nearest(toy_problem.losses_of(points, k).numpy())
        assert places[0] == 0.5
        assert places[1] == 0.0
    assert found[1.0][0] < 0.01
    assert found[1.0][2] > 20
    np.testing.assert_allclose(found[1.0], found[0.1])
    front = toy_problem.Front(1.0)
    beyond = front.losses[0] + [3.0, 0.0]
    np.testing.assert_allclose(front.nearest(beyond), [3.0, 0.0], atol=1e-9)


# --- The walk ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_one_start_moves_as_with_adam_step_by_step():
    start, k, steps = (9.0, -1.0), 0.1, 40
    protocol = toy_problem.Protocol(k, (start,), steps)
    path = toy_walk.Walk("equal", protocol).path(steps)
    assert path.shape == (steps + 1, 1, 2)
    x = keras.Variable(np.array(start), dtype="float64")
    adam = keras.optimizers.Adam(toy_walk.LEARNING_RATE, epsilon=1e-8)
    for at in path[:, 0]:
        np.testing.assert_allclose(at, x.numpy(), atol=1e-5)
        adam.apply([tf.constant(slopes(x.numpy(), k).sum(0))], [x])
    assert np.abs(path[-1] - path[0]).max() > 0.03


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", ["mgda", "uncertainty"])
def test_starts_do_not_know_of_each_other(name):
    """With one balancer for all starts, and with one for each that has variables to train."""
    protocol = toy_problem.PROTOCOLS["k01"]
    together = stepwise(toy_walk.Walk(name, protocol), 4)
    alone = stepwise(toy_walk.Walk(name, toy_problem.Protocol(0.1, protocol.starts[3:4], 4)), 4)
    np.testing.assert_allclose(together[:, 3], alone[:, 0], atol=1e-6)
    assert np.abs(together[-1] - together[0]).max() > 3e-3


def stepwise(walk: toy_walk.Walk, steps: int) -> np.ndarray:
    """The path without a compiled program."""
    points = [walk.x.numpy()]
    for _ in range(steps):
        walk.step()
        points.append(walk.x.numpy())
    return np.array(points)


class Remembers(balancing.GradientBalancer):
    """Counts, by start, and keeps the losses of the step."""

    needs = frozenset({"gramian", "losses"})

    def create_variables(self):
        self.add_variable("count", (*self.lead, 2), "zeros")
        self.add_variable("seen", (*self.lead, 2), "zeros")

    def _advance(self, gramian, losses, present):
        count = self.state["count"] + 1.0
        return keras.ops.ones_like(losses), {"count": count, "seen": losses}


class LooksBack(balancing.LossBalancer):
    """Keeps the losses after the update, and those of the last epoch."""

    needs = frozenset({"losses", "second_forward"})

    def create_variables(self):
        self.add_variable("before", (2,), "zeros")
        self.add_variable("after", (2,), "zeros")
        self.epochs = []

    def after_update(self, before, after, present=None):
        return {"before": before, "after": after}

    def on_epoch_end(self, logs):
        self.epochs.append([logs["L1_loss"], logs["L2_loss"]])

    def _objective(self, losses, present):
        return keras.ops.sum(losses)


@pytest.mark.slow
def test_methods_remember_by_start(monkeypatch):
    """All see how far the losses are above their bounds."""
    for name, kind in {"remembers": Remembers, "looks_back": LooksBack}.items():
        monkeypatch.setattr(balancing, kind.__name__, kind, raising=False)
        monkeypatch.setitem(by_name._BY_NAME, name, kind.__name__)
    protocol = toy_problem.PROTOCOLS["k01"]
    walk = toy_walk.Walk("remembers", protocol)
    path = stepwise(walk, 3)
    (balancer,) = walk.balancers.values()
    above = toy_problem.losses_of(tf.constant(path), 0.1).numpy() - toy_problem.bounds(0.1)
    np.testing.assert_array_equal(balancer.state["count"].numpy(), np.full((5, 2), 3.0))
    np.testing.assert_allclose(balancer.state["seen"].numpy(), above[2], rtol=1e-5)
    assert int(balancer.step.value) == 3

    walk = toy_walk.Walk("looks_back", protocol)
    np.testing.assert_allclose(walk.path(3), path, atol=2e-6)
    assert list(walk.balancers) == [0, 1, 2, 3, 4]
    for i, balancer in walk.balancers.items():
        np.testing.assert_allclose(balancer.state["before"].numpy(), above[2, i], rtol=1e-5)
        np.testing.assert_allclose(balancer.state["after"].numpy(), above[3, i], rtol=1e-5)
        np.testing.assert_allclose(balancer.epochs, above[:3, i], rtol=1e-5)


@pytest.mark.one_in(7)
@pytest.mark.parametrize("name", balancing.names())
def test_every_method_can_be_asked_or_says_why_not(name):
    """One step, not compiled."""
    if recipe.why_not(balancing.get(name)):
        assert balancing.get(name).needs & {"n_batches", "holdout"}
        return
    walk = toy_walk.Walk(name, toy_problem.PROTOCOLS["k01"])
    losses = walk.step()
    np.testing.assert_allclose(losses, [reference(s, 0.1) for s in STARTS[3:]], rtol=1e-5)
    moved = np.abs(walk.x.numpy() - np.array(STARTS[3:], "float32"))
    assert np.isfinite(moved).all()
    assert moved.max() == pytest.approx(toy_walk.LEARNING_RATE, rel=1e-2)  # Adam's first step


# --- The report --------------------------------------------------------------------------------


def test_verdicts():
    assert toy_report.verdict(0.05, 3.0) == "front"
    assert toy_report.verdict(0.2, 0.0) == "stuck"
    assert toy_report.verdict(0.2, 1.0) == "moving"
    assert toy_report.verdict(math.nan, 1.0) == "lost"


@pytest.mark.slow
def test_the_end_of_a_path():
    protocol = toy_problem.Protocol(1.0, ((0.0, -8.4), (3.0, 3.0), (9.0, 9.0)), 20)
    path = np.repeat(np.array([protocol.starts]), 21, axis=0)
    path[-2:, 2, 0] += [0.5, 1.0]
    found = toy_report.ends(path, protocol, toy_problem.Front(1.0))
    assert [end["end"] for end in found] == ["front", "stuck", "moving"]
    assert found[2]["x"] == [10.0, 9.0]
    np.testing.assert_allclose([found[2]["L1"], found[2]["L2"]], reference([10.0, 9.0], 1.0))
    assert found[2]["mean"] == pytest.approx(reference([10.0, 9.0], 1.0).mean())


@pytest.mark.slow
def test_the_table_and_the_file_tell_the_same(tmp_path, capsys):
    with flagsaver.flagsaver(out=str(tmp_path), steps=6, balancer=["pcgrad", "modo"]):
        recipe.main([])
    printed, report = capsys.readouterr().out, json.loads((tmp_path / "results.json").read_text())
    assert list(report) == ["k1", "k01"]
    lines = [line.split() for line in printed.splitlines()]
    for key, found in report.items():
        assert (tmp_path / f"{key}.png").stat().st_size > 10_000
        assert list(found["ends"]) == ["pcgrad"]
        assert "parts of a batch" in found["left_out"]["modo"]
        for end in found["ends"]["pcgrad"]:
            columns = ("L1", "L2", "mean", "distance", "place")
            assert any(
                line[-6:] == [*(f"{end[c]:.2f}" for c in columns), end["end"]] for line in lines
            )
    assert printed.count("left out: modo, which compares parts of a batch") == 2
