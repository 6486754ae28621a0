"""What Keras and TensorFlow do without a word, and that it does no harm here.

Each test shows the fact first: where one fails in its first half, Keras has changed, and what was
done about it can go. What needs two replicas is in `replica_events.py` and `replica_settings.py`.
"""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from conformance.registry import TASKS, Case, make_tasks, rows
from conformance.training import BATCH, answers, assert_equal, copies, small, train
from mtlzoo import (
    BinaryClassification,
    HardSharing,
    MultiTaskModel,
    PCGrad,
    Regression,
    export,
)
from mtlzoo.balancing import GradientBalancer

NAN = float("nan")
dense = keras.layers.Dense


class Seen(GradientBalancer):
    """Equal weights; remembers the last Gramian."""

    def _weights(self, gramian, losses, present):
        self.gramian = gramian
        return keras.ops.ones_like(gramian[..., 0])


def linear(tasks, width=2):
    """Every output is its own unit over one shared unit, all weights 0.5."""
    x = keras.Input((width,), name="x")
    half = keras.initializers.Constant(0.5)
    shared = dense(1, kernel_initializer=half, name="shared")(x)
    outputs = {t.name: dense(1, kernel_initializer=half, name=t.name)(shared) for t in tasks}
    return MultiTaskModel(x, outputs, tasks=tasks)


def plain(model):
    """The same graph as stock Keras has it."""
    return keras.Model(model.input, model.output)


def test_fact_1_a_label_that_is_nan_poisons_the_weights_whatever_its_sample_weight():
    x, y = np.ones((2, 2), "float32"), np.array([1.0, NAN], "float32")
    weights = np.array([1.0, 0.0], "float32")
    model = linear([Regression("a"), Regression("b")])
    stock = keras.models.clone_model(model.single_task("a"))
    stock.compile("sgd", {"a": "mse"}, run_eagerly=True)
    stock.fit(x, {"a": y}, sample_weight={"a": weights}, verbose=0)
    assert np.isnan(stock.get_weights()[0]).all()
    # One `where` on the loss is not enough.
    z = tf.Variable(1.0)
    with tf.GradientTape() as tape:
        loss = tf.where(tf.math.is_nan(y[1]), 0.0, (z - y[1]) ** 2 * tf.sqrt(z * y[1]))
    assert np.isnan(tape.gradient(loss, z))
    # Here the label is replaced before the loss and masked after it.
    model.compile("sgd", run_eagerly=True, metrics={"a": [], "b": []})
    logs = model.fit(x, {"a": y, "b": y}, sample_weight={"a": weights}, verbose=0).history
    assert all(np.isfinite(v).all() for v in model.get_weights())
    assert logs["a_loss"] == [pytest.approx((1 - 0.5) ** 2)]


def test_fact_2_keras_divides_by_the_batch_and_metrics_ignore_sample_weights():
    # The third label is missing: one and zero remain.
    y, outputs = np.array([[1.0], [0.0], [NAN]]), np.zeros((3, 1))
    stock = keras.losses.MeanSquaredError()
    assert float(stock(np.nan_to_num(y), outputs, sample_weight=[1, 1, 0])) == pytest.approx(1 / 3)
    model = linear([Regression("a")])
    model.set_weights([np.zeros(v.shape) for v in model.weights])
    mse = keras.metrics.MeanSquaredError
    model.compile(
        "sgd",
        run_eagerly=True,
        metrics={"a": [mse("mse")]},
        weighted_metrics={"a": [mse("weighted")]},
    )
    x, weights = np.ones((3, 2)), {"a": np.array([0.5, 1.0, 1.0])}
    logs = model.evaluate(x, {"a": y[:, 0]}, sample_weight=weights, verbose=0, return_dict=True)
    assert logs["a_loss"] == pytest.approx(0.5 / 2)  # over the labels that are there
    assert logs["a_mse"] == pytest.approx(1 / 2)
    assert logs["a_weighted"] == pytest.approx(0.5 / 1.5)


@pytest.mark.slow
def test_fact_3_adam_moves_what_has_a_gradient_of_zero():
    weight = keras.Variable([1.0])
    adam = keras.optimizers.Adam(0.1)
    adam.build([weight])
    adam.apply([tf.constant([1.0])])
    start = float(weight[0])
    for _ in range(5):
        adam.apply([tf.constant([0.0])])
    assert start == pytest.approx(0.9, abs=1e-5) and float(weight[0]) == pytest.approx(
        0.67, abs=0.01
    )
    model = small(Case(), keras.optimizers.Adam(0.1))
    x, y = rows(model)
    train(model, (x, y))
    before = copies(model.task_variables("stay"))
    train(model, (x, {**y, "stay": np.full(12, NAN)}))
    assert_equal(model.task_variables("stay"), before)


def test_fact_6_gradients_under_loss_scaling_are_too_large_by_the_scale():
    scaling = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD())
    scaling.build([keras.Variable([1.0])])
    assert float(scaling.scale_loss(tf.constant(1.0))) == 2.0**15
    seen = {}
    for policy in ("float32", "mixed_float16"):
        keras.config.set_dtype_policy(policy)
        keras.utils.set_random_seed(1)
        model = linear([Regression("a"), Regression("b")])
        keras.config.set_dtype_policy("float32")
        model.compile("sgd", Seen(), run_eagerly=True, metrics={"a": [], "b": []})
        y = np.array([0.5, 0.6], "float32")
        model.fit(np.ones((2, 2), "float32"), {"a": y, "b": y - 0.2}, verbose=0)
        seen[policy] = np.array(model.balancer.gramian)
    assert seen["mixed_float16"].dtype == "float32"
    np.testing.assert_allclose(seen["mixed_float16"], seen["float32"], rtol=5e-3)


@pytest.mark.slow
def test_a_fixed_loss_scale_keeps_its_meaning():
    """Keras multiplies the loss by it and divides the gradient, embeddings included here."""
    trained = []
    for factor in (None, 64.0):
        model = Case("MultiTaskModel").compiled(
            keras.optimizers.SGD(0.1, loss_scale_factor=factor), run_eagerly=True
        )
        train(model, rows(model))
        trained.append(copies(model.trainable_variables))
    for one, other in zip(*trained, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_fact_7_weights_files_hold_layers_by_position(tmp_path):
    def heads(names):
        keras.utils.set_random_seed(len(names))
        x = keras.Input((2,), name="x")
        shared = dense(2, name="shared")(x)
        return x, {name: dense(1, name=name)(shared) for name in names}

    path = tmp_path / "of_a.weights.h5"
    stock = keras.Model(*heads("a"))
    stock.save_weights(path)
    other = keras.Model(*heads("b"))
    other.load_weights(path)  # without a word: the head of `a` is that of `b` now
    np.testing.assert_array_equal(other.get_layer("b").kernel, stock.get_layer("a").kernel)
    MultiTaskModel(*heads("a"), tasks=[Regression("a")]).save_weights(path)
    with pytest.raises(ValueError, match=r"Received: weights of the tasks \['a'\]"):
        MultiTaskModel(*heads("b"), tasks=[Regression("b")]).load_weights(path)


def test_fact_8_signatures_have_the_names_of_dict_outputs_only(tmp_path):
    x = keras.Input((2,), name="x")
    stock = keras.Model(x, dense(1, name="click")(x))
    stock.export(tmp_path / "stock", verbose=False)
    served = tf.saved_model.load(tmp_path / "stock").signatures["serve"]
    assert list(served.structured_outputs) == ["output_0"]
    unlike = keras.Model(x, {"click": dense(1, name="layer")(x)})
    assert unlike.output_names == ["layer"]
    model = HardSharing(keras.Input((2,), name="x"), [Regression("click")])
    export.save(model, tmp_path / "ours")
    served = tf.saved_model.load(tmp_path / "ours").signatures
    assert set(served) == {"serve", "serving_default", "click"}
    assert list(served["click"].structured_outputs) == ["click"]


def test_fact_9_the_distiller_of_keras_takes_no_dicts():
    """Which is why distillation must not be built on it."""
    model = linear([Regression("a"), Regression("b")])
    distiller = keras.distillation.Distiller(
        teacher=plain(model),
        student=keras.models.clone_model(plain(model)),
        distillation_losses=[keras.distillation.LogitsDistillation()],
        distillation_loss_weights=[1.0],
    )
    losses = {"a": "mse", "b": "mse"}
    with pytest.raises(ValueError, match="metrics must be a list or tuple"):
        distiller.compile("sgd", loss=losses, metrics={"a": ["mae"], "b": ["mae"]})
    distiller.compile("sgd", loss=losses)
    labels = np.ones((4, 1), "float32")
    with pytest.raises((ValueError, TypeError, AttributeError, KeyError)):
        distiller.fit(np.ones((4, 2), "float32"), {"a": labels, "b": labels}, verbose=0)


def test_fact_10_keras_compiles_by_xla_unless_told_otherwise(monkeypatch):
    """Where there is more than a CPU."""
    devices = tf.config.list_physical_devices()
    with monkeypatch.context() as patch:
        gpu = tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")
        patch.setattr(tf.config, "list_physical_devices", lambda kind=None: [*devices, gpu])
        model = Case().compiled(jit_compile="auto", metrics={name: [] for name in TASKS})
        stock = plain(model)
        stock.compile("sgd", loss={name: "mse" for name in TASKS})
    assert stock.jit_compile and model.jit_compile

    def on_the_host(x):
        return tf.numpy_function(np.sort, [x], x.dtype)

    with pytest.raises(tf.errors.OpError):
        tf.function(on_the_host, jit_compile=True)(tf.constant([1.0, -1.0]))
    x, y = rows(model)
    y["kind"][:6] = -1  # masks, not filters
    assert np.isfinite(train(model, (x, y)).history["loss"]).all()


@pytest.mark.slow
def test_fact_11_the_gradients_of_the_tasks_are_never_one_matrix():
    """Which would make a step slow under XLA: see `benchmarks/step_time.py`."""
    model = Case().compiled(metrics={name: [] for name in TASKS})
    size = sum(np.prod(v.shape) for v in model.shared_variables)
    data = tf.nest.map_structure(tf.constant, rows(model, BATCH))
    graph = tf.function(model.train_step).get_concrete_function(data).graph
    shapes = {tuple(t.shape) for o in graph.get_operations() for t in o.outputs if t.shape.rank}
    assert (6, 8) in shapes  # the gradient of the shared kernel
    assert not {shape for shape in shapes if size in shape}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("mode", ["graph", "xla"])
def test_fact_13_random_orders_come_from_the_step_and_are_the_same_in_every_mode(mode):
    def draw():
        return tf.random.stateless_uniform([4], tf.stack([tf.constant(3), 5]))

    if mode == "xla":  # another stream than without
        assert not np.allclose(tf.function(draw, jit_compile=True)(), draw())
    balancer = PCGrad()
    balancer.build(make_tasks())
    gramian = tf.constant([[1.0, -0.9, -0.5], [-0.9, 1.0, 0.2], [-0.5, 0.2, 1.0]])
    compute = tf.function(balancer.weights, jit_compile=mode == "xla")
    found = []
    for step in range(6):
        balancer.step.assign(step)
        found.append(balancer.weights(gramian).numpy())
        np.testing.assert_allclose(compute(gramian), found[-1], rtol=1e-6)
    assert len({tuple(np.round(weights, 5)) for weights in found}) > 1


@pytest.mark.slow
def test_fact_14_backups_of_keras_forget_the_seeds_and_model_files_do_not(tmp_path):
    def model():
        keras.utils.set_random_seed(1)
        inputs = keras.Input((6,), name="features")
        made = HardSharing(inputs, make_tasks(), shared_units=(8,), dropout=0.5)
        made.compile("sgd", run_eagerly=True, metrics={name: [] for name in TASKS})
        return made

    def seeds(of):
        (layer,) = [layer for layer in of.layers if isinstance(layer, keras.layers.Dropout)]
        return np.array(layer.seed_generator.state)

    first = model()
    x, y = rows(Case().build())
    train(first, (x["features"], y))
    checkpoint = tf.train.Checkpoint(model=first, optimizer=first.optimizer)
    path = checkpoint.write(str(tmp_path / "checkpoint"))
    again = model()
    tf.train.Checkpoint(model=again, optimizer=again.optimizer).read(path)
    assert (seeds(again) != seeds(first)).any()
    first.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(seeds(loaded), seeds(first))
    for each in (first, loaded):
        train(each, (x["features"], y))
    assert_equal(loaded.variables, copies(first.variables))


def test_fact_15_a_functional_subclass_must_have_the_constructor_that_keras_looks_for(tmp_path):
    @keras.saving.register_keras_serializable(package="mtlzoo_tests")
    class Other(keras.Model):
        def __init__(self, inputs, outputs, *, option=None):
            super().__init__(inputs, outputs)

    x = keras.Input((2,), name="x")
    other = Other(x, dense(1)(x))
    assert set(other.get_config()) == {"name", "trainable", "dtype"}  # the graph is lost
    arguments = inspect.getfullargspec(MultiTaskModel.__init__).args
    assert arguments == ["self", "inputs", "outputs", "name"]
    model = Case("MultiTaskModel").compiled()
    assert {"layers", "input_layers", "output_layers", "tasks"} <= set(model.get_config())
    # Overriding `compile` switches recompilation off unless this is overridden too.
    assert MultiTaskModel.compile_from_config is not keras.Model.compile_from_config
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").compiled


def test_fact_16_a_misspelt_key_is_named_with_its_task():
    model = linear([BinaryClassification("a"), Regression("b")])
    x, y = np.ones((4, 2), "float32"), {"a": np.ones(4), "b": np.ones(4)}
    stock = plain(model)
    stock.compile("sgd", loss={"a": "mse", "bb": "mse"})
    with pytest.raises(KeyError):
        stock.fit(x, y, verbose=0)
    stock.compile("sgd", loss={"a": "mse", "b": "mse"})
    with pytest.raises(ValueError, match="structure"):
        stock.fit(x, {"a": y["a"]}, verbose=0)
    with pytest.raises(ValueError, match=r"`loss` should have only the tasks.*Received: 'bb'"):
        model.compile("sgd", loss={"a": "mse", "bb": "mse"})
    model.compile("sgd", run_eagerly=True)
    with pytest.raises(ValueError, match=r"Labels should have only the tasks.*Received: 'bb'"):
        model.fit(x, {"a": y["a"], "bb": y["b"]}, verbose=0)
    model.fit(x, {"a": y["a"]}, verbose=0)  # a task without labels rests


def test_weight_decay_does_not_reach_absent_tasks_nor_the_balancer():
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.5)
    model = small(Case(balancer="uncertainty"), optimizer)
    x, y = rows(model, BATCH)
    own = model.task_variables("stay")
    model.balancer.log_variance.assign([1.0, 1.0, 1.0])
    before = copies(own)
    train(model, (x, {**y, "stay": np.full(BATCH, NAN)}))
    assert_equal(own, before)
    variance = np.array(model.balancer.log_variance)
    assert variance[2] == 1.0
    np.testing.assert_allclose(np.abs(variance[:2] - 1.0), 0.01, rtol=1e-3)  # Adam's step alone


def test_moving_averages_of_weights_and_schedules_are_those_of_plain_keras():
    """`use_ema` with overwriting, and a schedule, in the training of one task."""

    def optimizer():
        rate = keras.optimizers.schedules.PiecewiseConstantDecay([1, 3], [0.2, 0.1, 0.01])
        return keras.optimizers.SGD(rate, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2)

    model = small(Case(), optimizer(), names=["kind"], tasks=make_tasks()[1:2])
    stock = keras.models.clone_model(model.single_task("kind"))
    stock.set_weights(model.single_task("kind").get_weights())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    stock.compile(optimizer(), loss={"kind": loss}, run_eagerly=True)
    data = rows(model, names=["kind"])
    for each in (model, stock):
        train(each, data, epochs=2)
    for one, other in zip(
        model.single_task("kind").get_weights(), stock.get_weights(), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_accumulated_gradients_are_those_of_the_batches_together():
    """Two batches of 4 rows, accumulated, are one of 8: here with an embedding."""
    trained = []
    for steps, batch in ((None, 8), (2, 4)):
        optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=steps)
        model = Case("MultiTaskModel", "equal").build()
        for layer in model.layers:  # whose statistics are those of each batch
            if isinstance(layer, keras.layers.BatchNormalization | keras.Sequential):
                layer.trainable = False
        model.compile(optimizer, run_eagerly=True, metrics={name: [] for name in TASKS})
        x, y = rows(model, 8)
        model.fit(x, y, batch_size=batch, shuffle=False, verbose=0)
        trained.append(copies(model.trainable_variables))
    for one, other in zip(*trained, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.one_in(5)
@pytest.mark.parametrize(
    ("optimizer", "arguments", "eager"),
    [
        (keras.optimizers.SGD, {}, True),
        (keras.optimizers.SGD, {"clipvalue": 0.1}, False),
        (keras.optimizers.Adam, {}, True),
        (keras.optimizers.Adam, {}, False),
        (keras.optimizers.Adam, {"clipnorm": 0.1}, False),
    ],
)
def test_embeddings_train_like_dense_tables_with_any_optimizer(optimizer, arguments, eager):
    """Keras's Adam adds the squares of rows that are looked up twice; here they are one row."""
    trained = []
    for as_table in (True, False):
        words = keras.Input((3,), dtype="int32", name="words")
        if as_table:
            look_up = keras.layers.Embedding(9, 4, name="table")
        else:
            look_up = keras.Sequential(
                [
                    keras.layers.Lambda(lambda ids: keras.ops.one_hot(ids, 9)),
                    dense(4, use_bias=False, name="table"),
                ]
            )

        def features(ids, look_up=look_up):
            return keras.layers.GlobalAveragePooling1D()(look_up(ids))

        # `b` looks the words up once more, in another order.
        reads = {"a": features(words), "b": features(words) + features(words[:, ::-1])}
        outputs = {name: dense(1, name=name)(read) for name, read in reads.items()}
        model = MultiTaskModel(words, outputs, tasks=[Regression("a"), Regression("b")])
        rng = np.random.default_rng(0)
        (weight,) = look_up.weights
        weight.assign(rng.normal(size=(9, 4)))
        for name in "ab":
            model.get_layer(name).kernel.assign(rng.normal(size=(4, 1)))
        model.compile(
            optimizer(0.1, **arguments),
            PCGrad(),
            run_eagerly=eager,
            jit_compile=False,
            metrics={"a": [], "b": []},
        )
        x = np.array([[1, 1, 2], [3, 1, 1], [0, 0, 8], [8, 2, 1]])
        y = {name: rng.normal(size=4).astype("float32") for name in "ab"}
        model.fit(x, y, batch_size=2, shuffle=False, epochs=2, verbose=0)
        trained.append(np.array(weight))
    np.testing.assert_allclose(*trained, rtol=1e-4, atol=1e-5)


def test_answers_in_a_multi_optimizer_follow_each_its_own_rate():
    optimizer = keras.optimizers.MultiOptimizer(
        keras.optimizers.OptimizerMap(
            keras.optimizers.SGD(0.0), {"kind/.*": keras.optimizers.Adam(0.01)}
        )
    )
    model = small(Case(), optimizer)
    x, y = rows(model)
    before, of_kind = copies(model.shared_variables), copies(model.task_variables("kind"))
    first = answers(model, x)
    train(model, (x, y))
    assert_equal(model.shared_variables, before)
    assert np.abs(np.array(model.task_variables("kind")[0]) - of_kind[0]).max() > 0
    after = answers(model, x)
    assert_equal([after[0], after[2]], [first[0], first[2]])
    # An absent task's momenta inside it rest too.
    slots = copies(optimizer.variables)[2:]
    moved = copies(model.task_variables("kind"))
    train(model, (x, {**y, "kind": np.full(12, -1)}))
    assert_equal(model.task_variables("kind"), moved)
    shapes = {v.shape for v in model.task_variables("kind")}
    for old, new in zip(slots, copies(optimizer.variables)[2:], strict=True):
        if new.shape in shapes:
            np.testing.assert_array_equal(new, old)
    made = keras.optimizers.MultiOptimizer(lambda variable: keras.optimizers.Adam())
    with pytest.raises(ValueError, match="should name its optimizers before it is built"):
        small(Case(), made)
