"""Gates: what they compute against NumPy, what they promise at the extremes, their losses."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo.layers import DSelectKGate, Gate, SoftmaxGate, TopKGate
from mtlzoo.layers.dselect_k import smooth_step
from mtlzoo.layers.gate import importance_loss, mean_entropy
from mtlzoo.layers.gates import make_gate

ROWS, WIDTH = 7, 5
DOUBLE = {"dtype": "float64"}


def rows(seed=0, scale=1.0):
    return np.random.default_rng(seed).normal(size=(ROWS, WIDTH)) * scale


def softmax(logits):
    scores = np.exp(logits - logits.max(-1, keepdims=True))
    return scores / scores.sum(-1, keepdims=True)


def randomized(gate, scale=1.0):
    """The gate, built, with variables that are far from where they start."""
    gate.build((None, WIDTH))
    for i, variable in enumerate(gate.trainable_variables):
        variable.assign(np.random.default_rng(i).normal(size=variable.shape) * scale)
    return gate


def logits_of(gate, logits):
    """What `gate` makes of `logits`: its kernel is the identity."""
    gate.build((None, len(logits[0])))
    gate.kernel.assign(np.eye(len(logits[0])))
    return np.array(gate(np.array(logits, gate.compute_dtype)))


# -- softmax and the best ------------------------------------------------------------------------


def test_softmax_gate_is_a_softmax():
    gate = randomized(SoftmaxGate(4, **DOUBLE))
    np.testing.assert_allclose(gate(rows()), softmax(rows() @ np.array(gate.kernel)), rtol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_top_k_gate_is_a_softmax_over_the_best(k):
    gate = randomized(TopKGate(4, k, noise=0.0, **DOUBLE))
    logits = rows() @ np.array(gate.kernel)
    expected = np.zeros_like(logits)
    for row, found in zip(logits, expected, strict=True):
        best = np.argsort(-row)[:k]
        found[best] = softmax(row[best])
    found = np.array(gate(rows()))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert ((found > 0).sum(1) == k).all()
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-12)


def test_top_k_of_all_experts_is_the_softmax_gate():
    top, soft = TopKGate(4, 4, noise=0.0, **DOUBLE), SoftmaxGate(4, **DOUBLE)
    np.testing.assert_allclose(randomized(top)(rows()), randomized(soft)(rows()), rtol=1e-12)


def test_the_gradient_flows_to_the_logits_of_the_best_only():
    gate = TopKGate(4, 2, noise=0.0)
    gate.build((None, 4))
    gate.kernel.assign(np.eye(4))
    features = tf.constant([[1.0, 3.0, 2.0, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(features)
        first = gate(features)[0, 1]
    p = 1 / (1 + np.exp(-1.0))  # of logits 3 and 2
    expected = [[0, p * (1 - p), -p * (1 - p), 0]]
    np.testing.assert_allclose(tape.gradient(first, features), expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_equal_logits_and_logits_far_apart(dtype):
    equal = logits_of(TopKGate(4, 2, noise=0.0, dtype=dtype), [[3.0] * 4])
    np.testing.assert_array_equal(equal, [[0.5, 0.5, 0, 0]])
    for gate in (TopKGate(4, 2, noise=0.0, dtype=dtype), SoftmaxGate(4, dtype=dtype)):
        far = logits_of(gate, [[-5e3, 5e3, 0, 1], [0, 0, -1e4, 1e4]])
        np.testing.assert_array_equal(far, [[0, 1, 0, 0], [0, 0, 0, 1]])
        assert far.dtype == gate.compute_dtype


def test_gradients_in_half_precision_are_numbers():
    for gate in (TopKGate(4, 2, dtype="mixed_float16"), DSelectKGate(4, dtype="mixed_float16")):
        gate.entropy_weight = gate.importance_weight = 1.0
        features = tf.constant(rows(scale=1e3), "float16")
        with tf.GradientTape() as tape:
            weights = gate(features, training=True)
            loss = tf.add_n([tf.reduce_sum(tf.cast(weights, "float32") ** 2), *gate.losses])
        for gradient in tape.gradient(loss, gate.trainable_variables):
            assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: SoftmaxGate(1),
        lambda: TopKGate(1, 1),
        lambda: DSelectKGate(1),
        lambda: DSelectKGate(1, per_example=False),
    ],
)
def test_one_expert_has_all_the_weight(make):
    gate = make()
    for training in (False, True):
        np.testing.assert_allclose(gate(rows(), training=training), np.ones((ROWS, 1)), rtol=1e-6)
    assert not gate.losses


def test_noise_is_for_training_and_as_large_as_it_is_learned_to_be():
    gate = TopKGate(3, 3, seed=1)
    gate.build((None, 3))
    gate.kernel.assign(np.zeros((3, 3)))
    features = np.ones((20_000, 3), "float32")
    np.testing.assert_allclose(gate(features), np.full((20_000, 3), 1 / 3), rtol=1e-6)
    for slope in (0.0, 1.0):
        gate.noise_kernel.assign(np.full((3, 3), slope / 3))
        logits = np.log(np.array(gate(features, training=True)))
        noise = logits - logits.mean(1, keepdims=True)
        expected = np.log1p(np.exp(slope)) * np.sqrt(2 / 3)  # less the mean of three
        np.testing.assert_allclose(noise.std(), expected, rtol=0.02)
    assert np.abs(gate(features, training=True) - gate(features, training=True)).max() > 0.1
    assert len(TopKGate(3, 3, noise=0.0).variables) == 0


# -- DSelect-k -----------------------------------------------------------------------------------


def steps(t, gamma):
    inside = -2 / gamma**3 * t**3 + 3 / (2 * gamma) * t + 0.5
    return np.where(t <= -gamma / 2, 0, np.where(t >= gamma / 2, 1, inside))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 3.0])
def test_the_smooth_step_and_its_derivative(gamma):
    t = np.linspace(-1.2 * gamma, 1.2 * gamma, 49)
    values = tf.constant(t)
    with tf.GradientTape() as tape:
        tape.watch(values)
        found = smooth_step(values, gamma)
    np.testing.assert_allclose(found, steps(t, gamma), rtol=1e-12, atol=1e-15)
    slope = np.where(np.abs(t) < gamma / 2, 1.5 / gamma - 6 / gamma**3 * t**2, 0)
    np.testing.assert_allclose(tape.gradient(found, values), slope, atol=1e-12)


def selectors_by_hand(gate, features):
    """Selectors `(rows, num_selected, num_experts)` and their weights, expert by expert."""
    bits = (gate.num_experts - 1).bit_length()
    codes = np.array(gate.code_bias) + np.zeros((ROWS, 1))
    shares = np.array(gate.selector_bias) + np.zeros((ROWS, 1))
    if gate.per_example:
        codes += features @ np.array(gate.code_kernel)
        shares += features @ np.array(gate.selector_kernel)
    digits = steps(codes.reshape(ROWS, gate.num_selected, bits), gate.gamma)
    selectors = np.ones((ROWS, gate.num_selected, gate.num_experts))
    for expert in range(gate.num_experts):
        for j in range(bits):
            one = (expert // 2**j) % 2 == 1
            selectors[..., expert] *= digits[..., j] if one else 1 - digits[..., j]
    return selectors, softmax(shares)


@pytest.mark.parametrize("per_example", [True, False])
@pytest.mark.parametrize("num_experts", [2, 4, 5])
def test_dselect_k_is_the_paper_written_out_by_hand(num_experts, per_example):
    gate = DSelectKGate(num_experts, 3, 2.0, per_example=per_example, code_weight=0.5, **DOUBLE)
    randomized(gate, 0.3)
    selectors, shares = selectors_by_hand(gate, rows())
    found = gate(rows(), training=True)
    np.testing.assert_allclose(found, (shares[..., None] * selectors).sum(1), rtol=1e-10)
    if num_experts < 5:
        assert not gate.losses
        np.testing.assert_allclose(np.sum(found, 1), 1, rtol=1e-10)
    else:
        assert 0.1 < np.sum(found, 1).min() < 0.999  # three of eight numbers are no expert's
        penalty = 0.5 * (1 / selectors.sum(-1) - 1).sum(1).mean()
        np.testing.assert_allclose(gate.losses, [penalty], rtol=1e-10)


def test_binary_selectors_choose_at_most_as_many_experts_as_there_are():
    gate = randomized(DSelectKGate(8, 2, entropy_weight=1.0, **DOUBLE), 30.0)
    gate.selector_kernel.assign(gate.selector_kernel / 100)
    found = np.array(gate(rows(), training=True))
    selectors, _ = selectors_by_hand(gate, rows())
    binary = np.isin(selectors, [0, 1]).all((1, 2))
    assert binary.sum() >= 4
    counts = (found[binary] > 0).sum(1)
    assert (counts <= 2).all() and (counts >= 1).all() and 2 in counts
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-12)


def test_all_variables_of_dselect_k_get_a_gradient_at_the_start():
    for per_example in (True, False):
        gate = DSelectKGate(5, per_example=per_example)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(gate(rows(), training=True)[:, 3] ** 2) + tf.add_n(gate.losses)
        gradients = tape.gradient(loss, gate.trainable_variables)
        assert len(gradients) == (4 if per_example else 2)
        assert all(np.abs(g).max() > 0 for g in gradients)


@pytest.mark.slow
def test_entropy_and_penalty_lead_to_binary_selectors_of_experts_that_exist():
    keras.utils.set_random_seed(3)
    gate = DSelectKGate(5, 2, per_example=False, entropy_weight=1.0)
    gate.build((None, WIDTH))
    gate.code_bias.assign(np.random.default_rng(1).uniform(-0.2, 0.2, gate.code_bias.shape))
    optimizer = keras.optimizers.Adam(0.02)
    for _ in range(80):
        with tf.GradientTape() as tape:
            gate(rows(), training=True)
            loss = tf.add_n(gate.losses)
        gradients = tape.gradient(loss, gate.trainable_variables)
        pairs = zip(gradients, gate.trainable_variables, strict=True)
        optimizer.apply_gradients([(g, v) for g, v in pairs if g is not None])
    found = np.array(gate(rows()))
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-3)
    assert ((found > 1e-3).sum(1) <= 2).all()


def test_a_selector_that_has_chosen_no_expert_gives_finite_losses():
    gate = DSelectKGate(3, 1, per_example=False, entropy_weight=1.0)
    gate.build((None, WIDTH))
    gate.code_bias.assign([1.0, 1.0])  # the number 3
    with tf.GradientTape() as tape:
        found = gate(rows(), training=True)
        loss = tf.add_n(gate.losses)
    np.testing.assert_array_equal(found, np.zeros((ROWS, 3)))
    assert np.isfinite(loss) and loss > 1e5
    np.testing.assert_array_equal(tape.gradient(loss, gate.code_bias), [0, 0])


# -- hidden layers -------------------------------------------------------------------------------


@pytest.mark.parametrize("gate_class", [SoftmaxGate, TopKGate, DSelectKGate])
def test_a_gate_reads_its_hidden_layers(gate_class):
    gate = randomized(gate_class(4, hidden_units=(6, 3), **DOUBLE), 0.5)
    hidden = rows()
    for i in range(2):
        kernel, bias = (np.array(v[i]) for v in (gate.hidden_kernels, gate.hidden_biases))
        assert kernel.shape == ((WIDTH, 6), (6, 3))[i]
        hidden = np.maximum(hidden @ kernel + bias, 0)
    plain = gate_class(4, **DOUBLE)
    plain.build((None, 3))
    own = [v for v in gate.trainable_variables if "hidden" not in v.path]
    assert len(own) == len(plain.trainable_variables)
    for variable, value in zip(plain.trainable_variables, own, strict=True):
        variable.assign(value)
    assert 0 < (hidden > 0).mean() < 1
    np.testing.assert_allclose(gate(rows()), plain(hidden), rtol=1e-12)
    maps = np.stack([rows(), rows(1)])
    np.testing.assert_allclose(gate(maps)[0], gate(rows()), rtol=1e-9)


def test_a_gate_of_ones_own_has_hidden_layers():
    class Mean(Gate):
        def build(self, input_shape):
            super().build(input_shape)
            self.read = self.width

        def _weights(self, features, training):
            assert features.shape[-1] == self.read == 2
            return keras.ops.repeat(keras.ops.mean(features, -1, keepdims=True), 3, -1)

    gate = randomized(Mean(3, hidden_units=(2,), **DOUBLE))
    hidden = np.maximum(rows() @ np.array(gate.hidden_kernels[0]) + gate.hidden_biases[0], 0)
    np.testing.assert_allclose(gate(rows())[:, 1], hidden.mean(1), rtol=1e-12)


def test_hidden_layers_are_in_the_config_and_a_student_has_narrower_ones():
    given = TopKGate(k=1, hidden_units=(6, 1))
    assert make_gate(given, 3, "a_gate", "float32").hidden_units == (6, 1)
    assert given.scaled(0.5).hidden_units == (3, 1)
    assert given.scaled(0.5).k == 1
    assert {v.name for v in randomized(SoftmaxGate(3)).variables} == {"kernel"}


# -- losses --------------------------------------------------------------------------------------


def test_losses_against_numpy():
    weights = np.random.default_rng(0).dirichlet(np.ones(4), size=6)
    weights[0] = [1, 0, 0, 0]
    importance = weights.sum(0)
    np.testing.assert_allclose(
        importance_loss(weights), (importance.std() / importance.mean()) ** 2, rtol=1e-6
    )
    logs = np.log(np.where(weights > 0, weights, 1))
    np.testing.assert_allclose(mean_entropy(weights), -(weights * logs).sum() / 6, rtol=1e-6)
    stacked = np.stack([weights, weights[::-1]], axis=1)
    np.testing.assert_allclose(mean_entropy(stacked), 2 * mean_entropy(weights), rtol=1e-6)


def test_losses_at_the_extremes():
    even, all_one = np.full((6, 4), 0.25), np.eye(4)[[2] * 6]
    np.testing.assert_allclose(importance_loss(even), 0, atol=1e-12)
    np.testing.assert_allclose(importance_loss(all_one), 3, rtol=1e-6)  # n - 1
    np.testing.assert_allclose(mean_entropy(even), np.log(4), rtol=1e-6)
    np.testing.assert_allclose(mean_entropy(all_one), 0, atol=1e-12)
    nothing = np.zeros((0, 4))  # a replica without rows
    assert importance_loss(nothing) == 0 and mean_entropy(nothing) == 0


@pytest.mark.parametrize("gate_class", [SoftmaxGate, TopKGate, DSelectKGate])
def test_losses_are_added_in_training_only(gate_class):
    gate = randomized(gate_class(4, importance_weight=0.5, entropy_weight=2.0, **DOUBLE), 0.3)
    gate(rows())
    assert not gate.losses
    found = np.array(gate(rows(), training=True))
    distributions = found
    if gate_class is DSelectKGate:
        distributions, _ = selectors_by_hand(gate, rows())
    expected = [0.5 * importance_loss(found), 2 * mean_entropy(distributions)]
    np.testing.assert_allclose(gate.losses, expected, rtol=1e-9)


def test_losses_of_half_precision_are_single():
    gate = SoftmaxGate(4, importance_weight=1.0, entropy_weight=1.0, dtype="mixed_float16")
    assert gate(rows(), training=True).dtype == "float16"
    assert {loss.dtype for loss in gate.losses} == {tf.float32}


# -- configuration -------------------------------------------------------------------------------

CONFIGURED = [
    SoftmaxGate(importance_weight=0.1, kernel_initializer="he_normal"),
    TopKGate(k=3, noise=0.5, entropy_weight=0.2, seed=4),
    DSelectKGate(num_selected=3, gamma=2.0, per_example=False, code_weight=0.1),
]


@pytest.mark.parametrize("given", CONFIGURED, ids=lambda g: type(g).__name__)
def test_a_gate_of_a_mixture_is_like_the_one_given(given):
    config = keras.saving.serialize_keras_object(given)
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == given.get_config()
    made = make_gate(given, 6, "a_gate", "mixed_float16")
    assert type(made) is type(given) and made is not given
    expected = given.get_config() | {"num_experts": 6, "name": "a_gate"}
    own = {"dtype": None, "seed": None}
    assert {**made.get_config(), **own} == {**expected, **own}
    assert made.compute_dtype == "float16"
    assert made(rows()).shape == (ROWS, 6) == made.compute_output_shape((ROWS, WIDTH))


def test_gates_made_of_one_with_a_seed_have_noises_of_their_own():
    given = TopKGate(k=1, kernel_initializer="zeros", seed=3)
    one, again, other = (make_gate(given, 6, name, None) for name in ("a", "a", "b"))
    outputs = [np.array(gate(rows(), training=True)) for gate in (one, again, other)]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert (outputs[0] != outputs[2]).any()


def test_gates_by_name():
    plain = make_gate("softmax", 4, "a_gate", "float32")
    assert type(plain) is keras.layers.Dense and not plain.use_bias and plain.name == "a_gate"
    assert make_gate("top_k", 4, "a_gate", "float32").k == 2
    assert make_gate("dselect_k", 4, "a_gate", "float32").num_selected == 2
    for num_experts in (1, 2):
        assert make_gate("top_k", num_experts, "a_gate", "float32").k == num_experts


@pytest.mark.parametrize("gate", ["sparse", None, keras.layers.Dense(3), SoftmaxGate])
def test_what_is_no_gate_is_refused(gate):
    message = r"`gate` should be one of \['softmax', 'top_k', 'dselect_k'\] or a `mtlzoo.layers.Gat"
    with pytest.raises(ValueError, match=message):
        make_gate(gate, 3, "a_gate", "float32")


def test_a_gate_for_another_number_of_experts_is_refused():
    message = "`num_experts` of `gate` should be None or 3, that of the layer `a_gate`. Received: n"
    with pytest.raises(ValueError, match=message):
        make_gate(SoftmaxGate(4), 3, "a_gate", "float32")
    assert make_gate(SoftmaxGate(3), 3, "a_gate", "float32").num_experts == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SoftmaxGate(0), "`num_experts` should be a positive integer. Received: num_exp"),
        (lambda: SoftmaxGate(2, importance_weight=-1), "`importance_weight` should be a finite nu"),
        (lambda: SoftmaxGate(2, entropy_weight="1"), "`entropy_weight` should be a finite number"),
        (lambda: TopKGate(3, 0), "`k` should be a positive integer. Received: k=0"),
        (lambda: TopKGate(3, 4), "`k` should be at most the number of experts, 3. Received: k=4"),
        (lambda: TopKGate(3, noise=float("inf")), "`noise` should be a finite number that is not"),
        (lambda: DSelectKGate(3, 0), "`num_selected` should be a positive integer"),
        (lambda: DSelectKGate(3, gamma=0), "`gamma` should be positive. Received: gamma=0"),
        (lambda: DSelectKGate(3, gamma=-1), "`gamma` should be a finite number that is not negati"),
        (lambda: DSelectKGate(3, per_example=1), "`per_example` should be a bool. Received: per_e"),
        (lambda: SoftmaxGate(3, hidden_units=(0,)), "`hidden_units` should be a tuple of positive"),
        (
            lambda: DSelectKGate(3, per_example=False, hidden_units=(2,)),
            r"`hidden_units` should be \(\) where `per_example=False`",
        ),
        (lambda: DSelectKGate(3, code_weight=-2), "`code_weight` should be a finite number that "),
    ],
)
def test_arguments_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_features_are_checked():
    with pytest.raises(ValueError, match="`num_experts` should be given to a gate outside of a mi"):
        SoftmaxGate()(rows())
    with pytest.raises(
        ValueError, match=r"The features of `TopKGate` should have shape \(None, \.\.\."
    ):
        TopKGate(3)(keras.Input((None,)))


def test_a_gate_of_ones_own():
    class Even(Gate):
        def _weights(self, features, training):
            return keras.ops.ones((keras.ops.shape(features)[0], self.num_experts)) / 4

    gate = make_gate(Even(importance_weight=1.0, entropy_weight=1.0), 4, "a_gate", "float32")
    np.testing.assert_array_equal(gate(rows(), training=True), np.full((ROWS, 4), 0.25))
    np.testing.assert_allclose(gate.losses, [0, np.log(4)], rtol=1e-5, atol=1e-7)
