"""What the training step gives to a balancer and makes of its answer, written out by hand."""

from itertools import pairwise

import keras
import numpy as np
import pytest
import tensorflow as tf
from model_cases import (
    Constant,
    assert_close,
    compiled,
    copies,
    data,
    double,
    hard_sharing,
    tasks,
    train,
)

from mtlzoo import (
    EMA,
    FAMO,
    MGDA,
    AutoLambda,
    BinaryClassification,
    Combined,
    GradNorm,
    MoCo,
    MultiTaskModel,
    PCGrad,
    Regression,
    Uncertainty,
    WarmUp,
    balancing,
)
from mtlzoo.balancing import GradientBalancer, LossBalancer

ALL = slice(None)


def losses_of(model, x, y, rows=ALL):
    """Both losses of some rows, and the gradients of each by all trainable variables."""
    found, gradients = [], []
    for name, task in model.tasks.items():
        with tf.GradientTape() as tape:
            outputs = model(x[rows])[name][:, 0]
            labels = tf.cast(y[name][rows], outputs.dtype)
            if isinstance(task, BinaryClassification):
                values = tf.nn.softplus(outputs) - labels * outputs
            else:
                values = (labels - outputs) ** 2
            loss = tf.reduce_mean(values)
        found.append(loss.numpy())
        gradients.append(
            tape.gradient(
                loss,
                [v.value for v in model.trained_variables],
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )
        )
    return np.array(found), [[g.numpy() for g in row] for row in gradients]


def places(model, variables):
    ids = [id(v) for v in model.trained_variables]
    return [ids.index(id(v)) for v in variables]


def gramian_of(rows, others, where):
    return np.array([[sum((a[i] * b[i]).sum() for i in where) for b in others] for a in rows])


def updated(model, weights, heads, gradients, before, rate=0.1):
    """All trained variables after a step of gradient descent with these weights."""
    after = [value.copy() for value in before]
    shared = places(model, model.shared_variables)
    for task, name in enumerate(model.task_names):
        for i in shared:
            weight = weights[task][i] if isinstance(weights[task], dict) else weights[task]
            after[i] -= rate * weight * gradients[task][i]
        for i in places(model, model.task_variables(name)):
            after[i] -= rate * heads[task] * gradients[task][i]
    return after


# -- a method of losses and one of gradients -------------------------------------------------------


@pytest.mark.parametrize("wrt", ["parameters", "features"])
def test_combined_balances_the_gradients_of_the_weighted_losses(wrt):
    double()
    balancer = Combined(Uncertainty(), Norms(wrt=wrt))
    model = compiled(hard_sharing(), balancer)
    model.balancer.losses.log_variance.assign([0.5, -1.0])
    x, y = data()
    before = copies(model.trained_variables)
    losses, gradients = losses_of(model, x, y)
    factors = np.exp([-0.5, 1.0]) * [1.0, 0.5]
    if wrt == "parameters":
        shared = places(model, model.shared_variables)
        norms = np.diag(gramian_of(gradients, gradients, shared)) * factors**2
    train(model, x, y, batch_size=8)
    seen = np.array(model.balancer.gradients.task_weights)
    if wrt == "parameters":
        np.testing.assert_allclose(seen, norms, rtol=1e-9)
    expected = updated(model, seen * factors, factors, gradients, before)
    (own,) = places(model, [model.balancer.losses.log_variance])
    expected[own] = before[own] - 0.1 * (0.5 - factors * losses)
    assert_close(model.trained_variables, expected, 1e-10)
    np.testing.assert_allclose(list(model.task_weights.values()), seen * factors, rtol=1e-9)


@keras.saving.register_keras_serializable(package="mtlzoo_tests")
class Norms(GradientBalancer):
    """The squared lengths of the gradients that it sees."""

    def _weights(self, gramian, losses, present):
        return keras.ops.diagonal(gramian, axis1=-2, axis2=-1)


def test_combined_saves_the_state_of_both_by_name(tmp_path):
    model = compiled(hard_sharing(), Combined(Uncertainty(), PCGrad(every=2)))
    names = set(model.balancer.state)
    assert {"step", "losses_log_variance", "gradients_task_weights"} <= names
    assert {"gradients_refreshed"} <= names and "gradients_step" not in names
    train(model, *data(), batch_size=4)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert repr(again.balancer) == repr(model.balancer)
    for name, variable in model.balancer.state.items():
        np.testing.assert_array_equal(again.balancer.state[name], variable, err_msg=name)
    assert int(model.balancer.gradients.step) == 2


@pytest.mark.slow
def test_a_part_that_another_model_trains_is_made_anew():
    used = GradNorm()
    one = compiled(hard_sharing(), used)
    train(one, *data())
    before = copies(one.balancer.variables)
    other = compiled(hard_sharing(seed=2), Combined("equal", used))
    assert other.balancer.gradients is not used
    train(other, *data())
    assert_close(one.balancer.variables, before, 0.0)
    train(one, *data())


def test_combined_and_warm_up_refuse_what_they_cannot_combine():
    with pytest.raises(ValueError, match="`losses` should be a `LossBalancer`"):
        Combined(PCGrad(), PCGrad())
    with pytest.raises(ValueError, match="`gradients` should be a `GradientBalancer` or a `Jac"):
        Combined(Uncertainty(), Uncertainty())
    with pytest.raises(ValueError, match="`then` should be a balancer, and not a `WarmUp`"):
        WarmUp(PCGrad(), WarmUp(PCGrad(), Uncertainty()))
    with pytest.raises(ValueError, match="`epochs` should be a positive integer"):
        WarmUp(PCGrad(), Uncertainty(), epochs=0)


# -- groups of variables ---------------------------------------------------------------------------


@pytest.mark.one_in(2)
@pytest.mark.parametrize("every", [1, 2])
def test_each_group_has_weights_of_its_own_gramian(every):
    double()
    model = compiled(hard_sharing(shared_units=(6, 5)), Norms(groups="layers", every=every))
    x, y = data()
    layers = {}
    for i in places(model, model.shared_variables):
        layers.setdefault(model.trained_variables[i].path.rpartition("/")[0], []).append(i)
    assert len(layers) == 2 and model.balancer.group_names == tuple(layers)
    for step in range(2):
        before = copies(model.trained_variables)
        _, gradients = losses_of(model, x, y)
        if step == 0 or every == 1:
            norms = [np.diag(gramian_of(gradients, gradients, m)) for m in layers.values()]
        of_task = [
            {i: w[task] for w, m in zip(norms, layers.values(), strict=True) for i in m}
            for task in range(2)
        ]
        train(model, x, y, batch_size=8)
        np.testing.assert_allclose(model.balancer.task_weights, norms, rtol=1e-9)
        expected = updated(model, of_task, [1.0, 1.0], gradients, before)
        assert_close(model.trained_variables, expected, 1e-10)
    mean = np.mean(norms, axis=0)
    np.testing.assert_allclose(list(model.task_weights.values()), mean, rtol=1e-9)


def test_groups_by_name_and_the_rest():
    model = compiled(hard_sharing(shared_units=(6, 5, 4)), PCGrad(groups={"low": ["shared_0"]}))
    assert model.balancer.group_names == ("low", "rest")
    of = [model.balancer.group_of(v) for v in model.shared_variables]
    assert of == [0, 0, 1, 1, 1, 1]
    train(model, *data())
    assert model.balancer.task_weights.shape == (2, 2)


def test_a_frozen_group_keeps_the_others_going():
    model = hard_sharing(shared_units=(6, 5))
    model.get_layer("shared_0").trainable = False
    before = copies(model.trained_variables)
    compiled(model, PCGrad(groups={"low": ["shared_0"], "high": ["shared_1"]}))
    assert model.balancer.group_names == ("low", "high")
    train(model, *data())
    assert not np.allclose(before[0], model.trained_variables[0])


def test_groups_are_checked():
    for wrong in ("units", {}, {"rest": ["x"]}, {"low": "shared"}, {"low": [1]}, 3):
        with pytest.raises(ValueError, match="`groups` should be None, 'layers', or a dict"):
            PCGrad(groups=wrong)
    with pytest.raises(ValueError, match="`groups` should be None with `wrt='features'`"):
        PCGrad(groups="layers", wrt="features")
    with pytest.raises(ValueError, match=r"`groups\['low'\]` should find shared.*Received: 'none'"):
        compiled(hard_sharing(), PCGrad(groups={"low": ["none"]}))
    with pytest.raises(ValueError, match=r"each variable once. Received: `\S*shared_0/kernel`"):
        compiled(hard_sharing(), PCGrad(groups={"low": ["shared"], "high": ["kernel"]}))


# -- one method after another ----------------------------------------------------------------------


@pytest.mark.slow
def test_warm_up_is_the_first_method_and_then_the_second():
    x, y = data()
    apart = compiled(hard_sharing(), Constant((0.5, 0.5)))
    train(apart, x, y, batch_size=4, epochs=2)
    compiled(apart, Constant((2.0, 1.0), wrt="features"))
    train(apart, x, y, batch_size=4)
    then = Constant((2.0, 1.0), wrt="features")
    model = compiled(hard_sharing(), WarmUp(Constant((0.5, 0.5)), then, epochs=2))
    train(model, x, y, batch_size=4, epochs=3)
    assert_close(model.trained_variables, copies(apart.trained_variables), 1e-6)
    assert model.task_weights == {"a": 2.0, "b": 1.0}


def test_a_resumed_training_goes_on_with_the_method_of_its_epoch(tmp_path):
    x, y = data()
    model = compiled(hard_sharing(), WarmUp(Uncertainty(), Constant((2.0, 1.0)), epochs=1))
    train(model, x, y, batch_size=4)
    assert model.balancer.phase() == 1 and model.task_weights != {"a": 2.0, "b": 1.0}
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for each in (model, again):
        each.train_on_batch(x, y)
        assert each.task_weights == {"a": 2.0, "b": 1.0}
    assert_close(again.trained_variables, copies(model.trained_variables), 1e-7)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("first", ["uncertainty", "equal"])
def test_two_methods_of_losses_one_of_which_is_trained(first):
    methods = [Uncertainty(), balancing.get("equal")]
    model = compiled(
        hard_sharing(), WarmUp(*(methods if first == "uncertainty" else methods[::-1]))
    )
    x, y = data()
    before = np.array(methods[0].log_variance)
    train(model, x, y, batch_size=4)
    moved = np.any(np.array(methods[0].log_variance) != before)
    assert moved == (first == "uncertainty")
    train(model, x, y, batch_size=4)
    assert np.any(np.array(methods[0].log_variance) != before)


@pytest.mark.slow
def test_freezing_a_layer_leaves_the_balancer_as_it_is(tmp_path):
    x, y = data()
    for balancer in (WarmUp(Uncertainty(), MoCo()), PCGrad(groups="layers")):
        model = compiled(hard_sharing(shared_units=(6, 5)), balancer)
        train(model, x, y, batch_size=4, epochs=2)
        before = copies(model.balancer.variables)
        model.get_layer("shared_0").trainable = False
        compiled(model, balancer)
        assert_close(model.balancer.variables, before, 0)
        frozen = copies(model.get_layer("shared_0").variables)
        train(model, x, y, batch_size=4)
        assert_close(model.get_layer("shared_0").variables, frozen, 0)
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        assert_close(again.balancer.variables, copies(model.balancer.variables), 0)


# -- parts of a batch ------------------------------------------------------------------------------


@keras.saving.register_keras_serializable(package="mtlzoo_tests")
class Products(GradientBalancer):
    """Keeps the products that it sees; constant weights."""

    needs = frozenset({"gramian", "n_batches"})

    def __init__(self, n_batches=2, **options):
        super().__init__(**options)
        self.n_batches = n_batches

    def create_variables(self):
        self.add_variable("products", (*self.lead, 2, 2), "zeros")

    def _advance(self, gramian, losses, present):
        weights = keras.ops.cast(np.array([2.0, 0.5]), gramian.dtype)
        weights = keras.ops.broadcast_to(weights, gramian.shape[:-1])
        return weights, {"products": gramian}

    def get_config(self):
        return {"n_batches": self.n_batches, **super().get_config()}


@pytest.mark.one_in(6)
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize(
    ("groups", "weighs_heads"), [(None, False), ("layers", False), (None, True)]
)
def test_parts_of_the_batch_are_compared(count, groups, weighs_heads):
    double()
    model = compiled(hard_sharing(), Products(count, groups=groups))
    model.balancer.weighs_heads = weighs_heads
    x, y = data()
    _, first = losses_of(model, x, y, slice(0, None, count))
    _, second = losses_of(model, x, y, slice(1, None, count))
    _, whole = losses_of(model, x, y)
    _, third = losses_of(model, x, y, slice(2, None, count))
    before = copies(model.trained_variables)
    train(model, x, y, batch_size=8)
    cross = gramian_of(first, second, places(model, model.shared_variables))
    seen = np.array(model.balancer.state["products"])
    np.testing.assert_allclose(seen if groups is None else seen.sum(0), cross, rtol=1e-9)
    used = whole if count == 2 else third
    shared = set(places(model, model.shared_variables))
    gradients = [
        [u if i in shared else w for i, (u, w) in enumerate(zip(*rows, strict=True))]
        for rows in zip(used, whole, strict=True)
    ]
    expected = updated(
        model, [2.0, 0.5], [2.0, 0.5] if weighs_heads else [1.0, 1.0], gradients, before
    )
    assert_close(model.trained_variables, expected, 1e-10)


def test_a_task_without_labels_in_one_part_has_products_of_zero():
    double()
    model = compiled(hard_sharing(), Products(2))
    x, y = data()
    y["b"][1::2] = np.nan
    _, whole = losses_of(model, x, {"a": y["a"], "b": np.zeros(8)})
    _, even = losses_of(model, x, y, slice(0, None, 2))
    before = copies(model.trained_variables)
    train(model, x, y, batch_size=8)
    seen = np.array(model.balancer.state["products"])
    assert np.all(seen[:, 1] == 0) and np.all(seen[:, 0] != 0)
    expected = updated(model, [2.0, 0.5], [1.0, 1.0], [whole[0], even[1]], before)
    assert_close(model.trained_variables, expected, 1e-10)


# -- a second forward pass -------------------------------------------------------------------------


@keras.saving.register_keras_serializable(package="mtlzoo_tests")
class LooksBack(LossBalancer):
    """Keeps the losses before and after the update; the plain sum."""

    needs = frozenset({"losses", "second_forward"})

    def create_variables(self):
        self.add_variable("before", (2,), "zeros")
        self.add_variable("after", (2,), "zeros")

    def _objective(self, losses, present):
        return keras.ops.sum(keras.ops.where(present, losses, 0.0))

    def after_update(self, before, after, present=None):
        return {"before": before, "after": after}


@keras.saving.register_keras_serializable(package="mtlzoo_tests")
class Counting(keras.layers.Layer):
    """Counts the forward passes in training."""

    def build(self, shape):
        self.passes = self.add_weight((), "zeros", "int32", trainable=False, name="passes")

    def call(self, inputs, training=False):
        if training:
            self.passes.assign(self.passes + 1)
        return inputs


def with_dropout_and_norm():
    keras.utils.set_random_seed(1)
    x = keras.Input((4,), name="x")
    hidden = keras.layers.Dense(6, "tanh")(x)
    hidden = keras.layers.BatchNormalization()(hidden)
    hidden = keras.layers.Dropout(0.5, seed=3)(hidden)
    hidden = Counting(name="counting")(hidden)
    return MultiTaskModel(x, {t.name: t.head(hidden) for t in tasks()}, tasks=tasks())


@pytest.mark.one_in(3)
@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_a_second_forward_pass_leaves_no_trace(mode):
    x, y = data()
    found = []
    for balancer in ("equal", LooksBack()):
        model = with_dropout_and_norm()
        compiled(model, balancer, run_eagerly=mode == "eager", jit_compile=mode == "xla")
        train(model, x, y, batch_size=4, epochs=2)
        own = {id(v) for v in model.balancer.variables}
        found.append(copies(v for v in model.variables if id(v) not in own))
        assert int(model.get_layer("counting").passes) == 4
    assert_close(found[1], found[0], 1e-5)


def test_the_losses_after_the_update_are_those_of_the_same_rows_and_masks():
    double()
    model = compiled(hard_sharing(), LooksBack())
    x, y = data()
    before, _ = losses_of(model, x, y)
    train(model, x, y, batch_size=8)
    after, _ = losses_of(model, x, y)
    np.testing.assert_allclose(model.balancer.state["before"], before, rtol=1e-9)
    np.testing.assert_allclose(model.balancer.state["after"], after, rtol=1e-9)
    # With a learning rate of nothing, the same masks give the same losses.
    still = with_dropout_and_norm()
    compiled(still, LooksBack())
    still.optimizer.learning_rate = 0.0
    train(still, x, y, batch_size=8)
    state = still.balancer.state
    np.testing.assert_allclose(state["after"], state["before"], rtol=1e-9)


# -- held-out rows ---------------------------------------------------------------------------------


@keras.saving.register_keras_serializable(package="mtlzoo_tests")
class HoldsOut(LossBalancer):
    """Keeps the agreement with the held-out rows; the plain sum."""

    needs = frozenset({"losses", "holdout"})

    def create_variables(self):
        self.add_variable("agreement", (2,), "zeros")

    def _objective(self, losses, present):
        return keras.ops.sum(keras.ops.where(present, losses, 0.0))

    def held_out_weights(self):
        return keras.ops.convert_to_tensor([1.0, 0.25])

    def after_holdout(self, agreement, present=None):
        return {"agreement": agreement}


def test_half_of_the_rows_are_held_out():
    double()
    model = compiled(hard_sharing(), HoldsOut())
    x, y = data()
    before = copies(model.trained_variables)
    losses, training = losses_of(model, x, y, slice(0, None, 2))
    logs = train(model, x, y, batch_size=8)
    expected = updated(model, [1.0, 1.0], [1.0, 1.0], training, before)
    assert_close(model.trained_variables, expected, 1e-10)
    assert logs["loss"] == pytest.approx([losses.sum()], rel=1e-6)
    _, held_out = losses_of(model, x, y, slice(1, None, 2))
    wanted = [a + 0.25 * b for a, b in zip(*held_out, strict=True)]
    agreement = [sum((g * w).sum() for g, w in zip(row, wanted, strict=True)) for row in training]
    np.testing.assert_allclose(model.balancer.state["agreement"], agreement, rtol=1e-6)


def test_only_needs_that_exist_are_known():
    class Wants(LossBalancer):
        needs = frozenset({"losses", "teacher"})

    with pytest.raises(ValueError, match=r"which needs \['teacher'\]"):
        compiled(hard_sharing([BinaryClassification("a"), Regression("b")]), Wants())


def test_nothing_is_learned_where_no_row_is_held_out():
    model = compiled(hard_sharing(), AutoLambda(learning_rate=0.05))
    x, y = data()
    train(model, x, y, batch_size=8, epochs=3)
    before = copies([model.balancer.state[n] for n in ("lambda", "moves", "first_moment")])
    assert np.all(before[1] == 3)
    # The only row of a batch is held out in one step and trained on in the next one.
    train(model, x[:2], {n: v[:2] for n, v in y.items()}, batch_size=1)
    after = copies([model.balancer.state[n] for n in ("lambda", "moves", "first_moment")])
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(new, old)


def test_a_second_forward_pass_starts_from_the_state_of_the_first():
    x = keras.Input((3, 2), batch_size=4)
    hidden = keras.layers.SimpleRNN(5, stateful=True)(x)
    model = MultiTaskModel(x, {t.name: t.head(hidden) for t in tasks()}, tasks=tasks())
    compiled(model, LooksBack(), keras.optimizers.SGD(0.0))
    rng = np.random.default_rng(0)
    _, y = data(12)
    train(model, rng.normal(size=(12, 3, 2)).astype("float32"), y)
    state = model.balancer.state
    np.testing.assert_allclose(state["after"], state["before"], rtol=1e-6)


@pytest.mark.slow
def test_held_out_rows_do_not_overflow_where_the_weighted_losses_do_not():
    """A loss scale grows until the losses, here times 0.1, can bear no more."""
    keras.config.set_dtype_policy("mixed_float16")
    model = hard_sharing()
    keras.config.set_dtype_policy("float32")
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(1e-3), initial_scale=2.0**24, dynamic_growth_steps=1000
    )
    compiled(model, AutoLambda(learning_rate=0.01), optimizer)
    x, y = data(16)
    y["b"] *= 5.0
    train(model, x, y, batch_size=16, epochs=12)
    assert float(optimizer.dynamic_scale) < 2.0**24  # it has been as high as it may be
    applied = int(optimizer.inner_optimizer.iterations)
    assert applied > 0
    np.testing.assert_array_equal(model.balancer.state["moves"], [applied, applied])


# -- optimizers that wait, or scale losses ---------------------------------------------------------


@pytest.mark.slow
def test_methods_learn_from_an_update_only_where_there_is_one():
    """Of gradients that are accumulated over two batches, the model moves at each second."""
    model = compiled(
        hard_sharing(), FAMO(), keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    )
    seen = [copies([model.balancer.state["logits"]])[0]]
    watch = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(
            copies([model.balancer.state["logits"]])[0]
        )
    )
    train(model, *data(16), callbacks=[watch])
    assert [np.any(a != b) for a, b in pairwise(seen)] == [False, True, False, True]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("balancer", [FAMO, AutoLambda])
def test_what_is_learned_after_the_update_does_not_depend_on_the_scale_of_losses(balancer):
    """The scale doubles with every update, between the two passes of the step."""
    found = []
    for scaled in (False, True):
        optimizer = keras.optimizers.SGD(0.1)
        if scaled:
            optimizer = keras.optimizers.LossScaleOptimizer(
                optimizer, initial_scale=4.0, dynamic_growth_steps=1
            )
        model = compiled(hard_sharing(), balancer(learning_rate=0.05), optimizer)
        start = copies(model.balancer.variables)
        train(model, *data(16))
        moved = zip(copies(model.balancer.variables), start, strict=True)
        assert any(np.any(new != old) for new, old in moved)
        found.append(copies(model.variables))
    assert float(model.optimizer.dynamic_scale) == 4.0 * 2**4
    assert_close(found[1], found[0], 1e-5)


# -- weights that are kept -------------------------------------------------------------------------


@pytest.mark.one_in(2)
@pytest.mark.parametrize("wrt", ["parameters", "features"])
def test_one_task_alone_has_weight_one_between_two_computations(wrt):
    model = compiled(hard_sharing(), Constant(every=5, wrt=wrt))
    x, y = data()
    train(model, x, y, batch_size=8)
    assert model.task_weights == {"a": 2.0, "b": 0.5}
    train(model, x, y | {"b": np.full(8, np.nan)}, batch_size=8)
    assert model.task_weights == {"a": 1.0, "b": 0.0}


def test_averages_keep_their_scale_where_a_task_is_absent():
    method = EMA(MGDA(), decay=0.5)
    method.build(sorted([*tasks(), Regression("c")], key=lambda task: task.name))
    rng = np.random.default_rng(0)
    for present in ([True] * 3, [True, False, True], [True] * 3):
        rows = rng.normal(size=(3, 5))
        found, state = method.advance(rows @ rows.T, present=present)
        for name, value in state.items():
            method.state[name].assign(value)
        assert np.sum(found) == pytest.approx(1.0, rel=1e-6)
