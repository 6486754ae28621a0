"""What a training keeps of the tasks' gradients, against gradients taken by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from model_cases import compiled, copies, data, double, hard_sharing, state, tasks, train

from mtlzoo import MGDA, Combined, DynamicSharing, GradDrop, PCGrad, SoftSharing, Uncertainty
from mtlzoo.balancing import SDMGrad

GROUPS = ("shared", "shared_0", "shared_1")


def build():
    return hard_sharing(shared_units=(6, 5))


def by_hand(model, x, y):
    """For each group, the gradient of each task as a row."""
    shared = model.shared_variables
    names = [v.path.rpartition("/")[0] for v in shared]
    with tf.GradientTape(persistent=True) as tape:
        out = model(x)
        losses = [
            tf.reduce_mean(
                tf.nn.sigmoid_cross_entropy_with_logits(
                    tf.cast(y["a"][:, None], out["a"].dtype), out["a"]
                )
            ),
            tf.reduce_mean((y["b"][:, None] - out["b"]) ** 2),
        ]
    found = {group: [] for group in GROUPS}
    for loss in losses:
        gradients = [g.numpy().ravel() for g in tape.gradient(loss, [v.value for v in shared])]
        found["shared"].append(np.concatenate(gradients))
        for group in GROUPS[1:]:
            own = [g for g, name in zip(gradients, names, strict=True) if name == group]
            found[group].append(np.concatenate(own))
    return [np.stack(found[group]) for group in GROUPS]


def expected(steps):
    """The sums over steps of what is kept of the rows (K, T, P)."""
    sums = {"squares": 0, "products": 0, "negative": 0, "likeness": 0}
    for groups in steps:
        squares = np.array([(rows**2).sum(1) for rows in groups])
        norms = np.sqrt(squares)
        pairs = norms[:, :, None] * norms[:, None, :]
        cosines = np.array([rows @ rows.T for rows in groups]) / pairs
        sums["squares"] = sums["squares"] + squares
        sums["products"] = sums["products"] + cosines
        sums["negative"] = sums["negative"] + (cosines < 0)
        both = squares[:, :, None] + squares[:, None, :]
        sums["likeness"] = sums["likeness"] + 2 * pairs / both
    return sums


@pytest.mark.one_in(6)
@pytest.mark.parametrize(
    "balancer",
    ["equal", PCGrad(), PCGrad(groups="layers"), Uncertainty(), GradDrop(), SDMGrad()],
    ids=lambda b: b if isinstance(b, str) else type(b).__name__,
)
def test_sums_are_those_of_gradients_taken_by_hand(balancer):
    double()
    x, y = data(12)
    model = compiled(build(), balancer, track_gramian="groups", track_every=1)
    steps = []

    class Before(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            rows = slice(4 * batch, 4 * batch + 4)
            steps.append(by_hand(model, x[rows], {name: of[rows] for name, of in y.items()}))

    train(model, x, y, callbacks=[Before()])
    record = model.gramian_record
    assert (record.names, record.groups) == (("a", "b"), GROUPS)
    sums = record.sums()
    for name, values in expected(steps).items():
        np.testing.assert_allclose(getattr(sums, name), values, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(sums.steps, 3)
    np.testing.assert_array_equal(sums.pairs, 3)
    np.testing.assert_allclose(sums.cosines, sums.products / 3)
    np.testing.assert_allclose(sums.norms, np.sqrt(sums.squares / 3))


def test_features_level_has_the_products_at_the_boundary():
    double()
    x, y = data(4)
    model = compiled(build(), MGDA(wrt="features"), track_gramian="shared")
    trunk = keras.Model(model.input, model.boundary)
    heads = keras.Model(model.boundary, model.output)
    features = tf.convert_to_tensor(trunk(x)[0] if isinstance(trunk(x), list) else trunk(x))
    with tf.GradientTape() as tape:
        tape.watch(features)
        loss = tf.reduce_mean((y["b"][:, None] - heads(features)["b"]) ** 2)
    norm = np.linalg.norm(tape.gradient(loss, features).numpy())
    train(model, x, y)
    np.testing.assert_allclose(model.gramian_record.sums().norms[0, 1], norm)


@pytest.mark.one_in(4)
@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("balancer", ["equal", "pcgrad"])
def test_tracking_changes_nothing_else(balancer, eager):
    x, y = data(16)
    plain = compiled(build(), balancer, run_eagerly=eager)
    train(plain, x, y)
    tracked = compiled(build(), balancer, run_eagerly=eager, track_gramian="groups")
    train(tracked, x, y)
    for one, other in zip(copies(state(plain)), copies(state(tracked)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_which_steps_are_looked_at():
    x, y = data(20)
    for balancer, every, steps in (("equal", 2, 3), ("equal", 10, 1), (PCGrad(every=3), 1, 2)):
        model = compiled(
            build(), balancer, run_eagerly=False, track_gramian="shared", track_every=every
        )
        train(model, x, y)
        np.testing.assert_array_equal(model.gramian_record.sums().steps, steps)


@pytest.mark.slow
def test_each_epoch_begins_anew():
    x, y = data(8)
    model = compiled(build(), "pcgrad", track_gramian="shared")
    train(model, x, y, epochs=3)
    np.testing.assert_array_equal(model.gramian_record.sums().steps, 2)


@pytest.mark.slow
def test_absent_tasks_and_zero_gradients():
    x, y = data(8)
    y["b"][:4] = np.nan  # absent from the first batch
    model = compiled(build(), "pcgrad", track_gramian="shared")
    train(model, x, y)
    sums = model.gramian_record.sums()
    assert sums.steps.tolist() == [[2, 1]] and sums.pairs[0, 0, 1] == 1
    head = next(v for v in model.task_variables("b") if v.path.startswith("b/kernel"))
    head.assign(np.zeros(head.shape))
    model = compiled(model, "pcgrad", keras.optimizers.SGD(0.0), track_gramian="shared")
    train(model, x, y)
    sums = model.gramian_record.sums()
    assert sums.zeros.tolist() == [[0, 1]] and np.isnan(sums.cosines[0, 0, 1])


def test_the_loss_scale_is_not_in_it():
    x, y = data(8)
    sums = []
    for scale in (None, 1024.0):
        optimizer = keras.optimizers.SGD(0.1)
        if scale:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=scale)
        model = compiled(build(), "pcgrad", optimizer, track_gramian="groups")
        train(model, x, y)
        sums.append(model.gramian_record.sums().norms)
    np.testing.assert_allclose(*sums, rtol=1e-5)


def test_products_of_half_precision_gradients_are_single_precision():
    x, y = data(8)
    norms = []
    for balancer in (GradDrop(wrt="features"), MGDA(wrt="features")):
        model = build()
        for layer in model._flatten_layers(include_self=False):
            layer.dtype_policy = keras.DTypePolicy("mixed_float16")
        # Their squares are zero in half precision.
        weights = dict.fromkeys(y, 1e-3)
        compiled(model, balancer, loss_weights=weights, track_gramian="shared")
        train(model, x, y)
        norms.append(model.gramian_record.sums().norms)
    np.testing.assert_allclose(*norms, rtol=0.05)


def test_passes_of_their_own_are_of_what_a_combined_balancer_weighs():
    x, y = data(4)
    norms = []
    for wrt in ("parameters", "features"):
        both = Combined("initial_loss_scale", MGDA(wrt=wrt))
        model = compiled(build(), both, track_gramian="groups", track_every=1)
        train(model, x, y)
        norms.append(model.gramian_record.sums().norms)
    np.testing.assert_allclose(*norms, rtol=1e-5)


def test_gradients_of_combined_balancers_are_those_that_are_balanced():
    x, y = data(4)
    plain = compiled(build(), "pcgrad", track_gramian="shared", loss_weights={"a": 3.0})
    both = compiled(
        build(), Combined("equal", "pcgrad"), track_gramian="shared", loss_weights={"a": 3.0}
    )
    for model in (plain, both):
        train(model, x, y)
    np.testing.assert_allclose(
        plain.gramian_record.sums().norms, both.gramian_record.sums().norms, rtol=1e-6
    )


def test_tasks_that_are_not_selected_are_not_there():
    x, y = data(8)
    model = compiled(build(), "pcgrad", track_gramian="groups")
    model.select_tasks(["a"])
    train(model, x, y)
    sums = model.gramian_record.sums()
    np.testing.assert_array_equal(sums.steps[0], [2, 0])
    np.testing.assert_array_equal(sums.pairs[:, 0, 1], 0)


def test_dynamic_sharing_looks_at_the_same_gradients():
    keras.utils.set_random_seed(0)
    x, y = data(8)
    model = DynamicSharing(keras.Input((4,)), tasks(), units=(5,), sharing="conflict")
    compiled(model, "pcgrad", track_gramian="groups")
    before = model.sharing_strengths()
    train(model, x, y)
    assert model.sharing_strengths() != before
    sums = model.gramian_record.sums()
    assert (sums.pairs[0] == 2).all() and len(sums.pairs) == 2
    np.testing.assert_allclose(sums.cosines[0], sums.cosines[1])


@pytest.mark.slow
def test_a_loaded_model_tracks_too(tmp_path):
    model = compiled(build(), "pcgrad", track_gramian="groups")
    x, y = data(8)
    train(model, x, y)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    train(loaded, x, y)
    assert (loaded.gramian_record.sums().steps == 2).all()


def test_bad_input():
    with pytest.raises(ValueError, match=r"`track_gramian` should be one of .*'layers'"):
        compiled(build(), track_gramian="layers")
    with pytest.raises(ValueError, match=r"`track_every` should be a positive integer"):
        compiled(build(), track_gramian="shared", track_every=0)
    with pytest.raises(ValueError, match=r"no two tasks share .* the tasks \['a'\]"):
        compiled(hard_sharing([tasks()[0]]), metrics={"a": []}, track_gramian="shared")
    soft = SoftSharing(keras.Input((4,)), tasks(), units=(5,))
    with pytest.raises(ValueError, match=r"no two tasks share .*representation_similarity"):
        compiled(soft, track_gramian="groups")
    model = compiled(build())
    with pytest.raises(ValueError, match=r"compiled with `track_gramian='shared'` or 'groups'"):
        model.gramian_record  # noqa: B018
