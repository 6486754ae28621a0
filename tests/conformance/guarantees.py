"""What every model promises with every balancer: one function for each promise.

Each takes a `Case` and a temporary folder.
"""

import itertools

import keras
import numpy as np
import tensorflow as tf

from conformance.compiling import check_compiles_for_tpus
from conformance.registry import (
    DRAWS,
    MISSING,
    OWNS_NOTHING,
    PENALIZES,
    RESCALES_ONE_TASK,
    TASKS,
    Case,
    rows,
)
from conformance.saving import (
    check_config,
    check_deep_copy,
    check_export,
    check_recompiled,
    check_resumed,
    check_resumed_with_momentum,
    check_weights_by_name,
)
from conformance.training import (
    BATCH,
    answers,
    assert_close,
    assert_equal,
    assert_moved,
    copies,
    everything,
    owned,
    small,
    train,
)

# -- training ---------------------------------------------------------------------------------


def check_fit(case: Case, tmp_path):
    model = case.compiled(keras.optimizers.Adam(0.01))
    before = copies(model.trainable_variables)
    data, held_out = rows(model), rows(model, 6, seed=1)
    logs = train(model, data, epochs=2, validation_data=held_out).history
    expected = {"loss"}
    for name, task in model.tasks.items():
        expected |= {f"{name}_loss", *(f"{name}_{m.name}" for m in task.metrics())}
        assert f"{name}_{task.monitor}" in expected
    assert set(logs) == expected | {f"val_{key}" for key in expected}
    assert all(len(values) == 2 and np.isfinite(values).all() for values in logs.values())
    assert_moved(model.trainable_variables, before)
    assert all(np.isfinite(v).all() for v in copies(everything(model)))
    # Nothing of training shows in the answers.
    outputs = model.predict(held_out[0], verbose=0)
    assert {name: value.shape for name, value in outputs.items()} == {
        task.name: (6, *task.output_shape) for task in case.tasks()
    }
    assert set(model.evaluate(*held_out, verbose=0, return_dict=True)) == expected


def check_partition(case: Case, tmp_path):
    model = case.compiled()
    parts = [model.shared_variables, model.balancer_variables]
    parts += [model.task_variables(name) for name in model.task_names]
    ids = [id(v) for part in parts for v in part]
    assert len(ids) == len(set(ids))
    assert set(ids) == {id(v) for v in model.trainable_variables}
    without = {name for name in TASKS if not model.task_variables(name)}
    assert without == OWNS_NOTHING.get(case.architecture, set())
    # What the graph says is what the gradients say.
    x, _ = rows(model)
    for name in TASKS:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(x)[name] ** 2)
        connected = {
            id(v)
            for v, g in zip(
                model.trainable_variables,
                tape.gradient(loss, model.trainable_variables),
                strict=True,
            )
            if g is not None
        }
        own = {id(v) for v in model.task_variables(name)}
        assert own <= connected
        for other in set(TASKS) - {name}:
            assert not connected & {id(v) for v in model.task_variables(other)}


def check_modes(case: Case, tmp_path):
    """Eagerly, as a graph and under XLA, training is the same, but for what XLA draws."""
    logs, weights = [], []
    for mode in ({"run_eagerly": True}, {}, {"jit_compile": True}):
        model = case.compiled(metrics={name: [] for name in TASKS}, **mode)
        data = rows(model)
        logs.append(list(train(model, data).history.values()))  # 3 steps
        weights.append(copies(everything(model)))
    assert all(np.isfinite(values).all() for values in (*logs[2], *weights[2]))
    # The derivatives that Auto-lambda learns by are differences of gradients.
    tolerance = 1e-4 if case.balancer == "auto_lambda" else 1e-5
    for other in (1,) if case.architecture in DRAWS else (1, 2):
        assert_close(logs[other], logs[0], tolerance)
        assert_close(weights[other], weights[0], tolerance)


def check_mixed_precision(case: Case, tmp_path):
    single = small(case)
    data = rows(single)
    reference = train(single, data).history
    for policy in ("mixed_bfloat16", "mixed_float16"):
        keras.config.set_dtype_policy(policy)
        model = small(case)
        keras.config.set_dtype_policy("float32")
        assert any(layer.compute_dtype == policy[6:] for layer in model.layers)
        assert hasattr(model.optimizer, "inner_optimizer") == (policy == "mixed_float16")
        if policy == "mixed_float16":
            model.optimizer.dynamic_scale.assign(64.0)  # no overflow, so that losses compare
        before = copies(model.trainable_variables)
        logs = train(model, data).history
        assert all(v.dtype == "float32" for v in model.trainable_variables)
        assert all(np.isfinite(v).all() for v in copies(everything(model)))
        assert_moved(model.trainable_variables, before)
        # The training of single precision, roughly: a loss scale left in would show.
        np.testing.assert_allclose(logs["loss"], reference["loss"], rtol=0.05)


def check_overflow(case: Case, tmp_path):
    """A step that overflows in half precision moves nothing but the loss scale, and training goes
    on."""
    keras.config.set_dtype_policy("mixed_float16")
    model = small(case)
    keras.config.set_dtype_policy("float32")
    x, y = rows(model, BATCH)
    model.optimizer.dynamic_scale.assign(2.0**60)
    before = copies(model.trainable_variables)
    train(model, (x, y))
    assert float(model.optimizer.dynamic_scale) == 2.0**59
    assert_equal(model.trainable_variables, before)
    assert all(np.isfinite(v).all() for v in copies(everything(model)))
    model.optimizer.dynamic_scale.assign(64.0)
    train(model, (x, y))
    # The first method of a warm-up is over by now, and with it its own variables.
    warmed_up = {id(v) for v in model.balancer_variables if len(model.balancer.phases) > 1}
    moved = [id(v) not in warmed_up for v in model.trainable_variables]
    assert_moved(
        itertools.compress(model.trainable_variables, moved), itertools.compress(before, moved)
    )


# -- tasks ------------------------------------------------------------------------------------


def check_missing_labels(case: Case, tmp_path):
    """A missing value, a zero weight and, for all rows, an absent key are the same."""
    gone = {"click": slice(0, 6), "kind": slice(3, 5), "stay": slice(0, 12)}
    results = []
    for form in ("missing value", "zero weight", "absent key"):
        model = small(case)
        x, y = rows(model)
        weights = {name: np.ones(12) for name in TASKS}
        for name, where in gone.items():
            if form == "zero weight":
                weights[name][where] = 0
            elif form == "absent key" and name == "stay":
                del y[name], weights[name]
            else:
                y[name] = y[name].copy()
                y[name][where] = MISSING[name]
        train(model, (x, y, weights))
        results.append(copies(everything(model)))
        assert all(np.isfinite(v).all() for v in results[-1])
    assert_close(results[1], results[0], 1e-6)
    assert_close(results[2], results[0], 1e-6)


def check_absent_task(case: Case, tmp_path):
    """Nothing of an absent task moves, its optimizer variables included; the others train on."""
    model = small(case, keras.optimizers.Adam(0.01))
    train(model, rows(model))  # so that there are momenta that would move it
    for gone in ("kind", "stay"):
        own, slots = owned(model, gone)
        assert len(slots) == 2 * len(own)
        tracked = [*own, *slots, *_statistics(model, gone)]
        before = copies(tracked)
        shared = copies(model.shared_variables)
        others = [v for n in set(TASKS) - {gone} for v in model.task_variables(n)]
        of_others = copies(others)
        of_balancer = copies(model.balancer_variables)
        x, y = rows(model, BATCH, seed=1)
        y[gone] = np.full_like(y[gone], MISSING[gone])
        train(model, (x, y))
        assert_equal(tracked, before)
        assert_moved(model.shared_variables, shared)
        assert_moved(others, of_others)
        row = TASKS.index(gone)
        for variable, old in zip(model.balancer_variables, of_balancer, strict=True):
            assert_equal([variable[row]], [old[row]])
            assert np.abs(np.delete(variable, row, 0) - np.delete(old, row, 0)).max() > 0


def _statistics(model, name):
    layers = [layer for layer in model.layers if layer.name.startswith(f"{name}_")]
    return [v for layer in layers for v in layer.non_trainable_variables if "moving" in v.path]


def check_one_task(case: Case, tmp_path):
    """One task alone is plain Keras, and so is one task present among others."""
    data = None
    for names in (["kind"], list(TASKS)):
        tasks = [task for task in case.tasks() if task.name in names]
        model = small(case, names=names, tasks=tasks)
        data = rows(model, names=["kind"])
        plain = keras.models.clone_model(model.single_task("kind"))
        plain.set_weights(_of_one(model, "kind"))
        plain.compile(
            keras.optimizers.SGD(0.1),
            loss={"kind": model.tasks["kind"].loss},
            run_eagerly=True,
        )
        before = copies([*model.shared_variables, *model.task_variables("kind")])
        logs = train(model, data).history
        expected = train(plain, data).history
        if case.balancer in RESCALES_ONE_TASK or case.architecture in PENALIZES:
            assert np.isfinite(logs["loss"]).all()
            assert_moved([*model.shared_variables, *model.task_variables("kind")], before)
            continue
        np.testing.assert_allclose(logs["loss"], expected["loss"], rtol=1e-5)
        np.testing.assert_allclose(logs["kind_loss"], expected["loss"], rtol=1e-5)
        assert_close(_of_one(model, "kind"), plain.get_weights(), 1e-5)


def _of_one(model, name):
    return model.single_task(name).get_weights()


def check_permuted_tasks(case: Case, tmp_path):
    """The order of tasks means nothing."""
    models = [small(case, tasks=order) for order in _orders(case)]
    data = rows(models[0])
    for model in models:
        train(model, data)
    first = answers(models[0], data[0])
    for model in models[1:]:
        assert_equal(answers(model, data[0]), first)
        assert model.task_weights == models[0].task_weights


def _orders(case):
    orders = (TASKS, (TASKS[1], TASKS[2], TASKS[0]))  # a cycle, so that no task keeps its place
    return [sorted(case.tasks(), key=lambda task: order.index(task.name)) for order in orders]


# What depends on the balancer, and what is a matter of the model alone.
OF_BALANCERS = [
    check_partition,
    check_modes,
    check_mixed_precision,
    check_overflow,
    check_compiles_for_tpus,
    check_missing_labels,
    check_absent_task,
    check_one_task,
    check_resumed,
    check_config,
    check_deep_copy,
    check_recompiled,
]
OF_MODELS = [
    *OF_BALANCERS,
    check_fit,
    check_permuted_tasks,
    check_weights_by_name,
    check_resumed_with_momentum,
    check_export,
]
# Those of a model that hold for an architecture by what it is made of, not by how it is trained.
OF_EVERY_MODEL = [
    check_partition,
    check_config,
]
# Those of a balancer that a method may break by its mathematics or its state; the others its base
# classes give it.
OF_EVERY_BALANCER = [check_modes, check_absent_task, check_resumed]


def check_trained(case: Case, tmp_path):
    """One step moves what it should, to finite numbers."""
    model = small(case)
    before = copies(model.trainable_variables)
    train(model, rows(model, 6))
    assert all(np.isfinite(v).all() for v in copies(everything(model)))
    moved = [
        np.abs(keras.ops.convert_to_numpy(v) - old).max() > 0
        for v, old in zip(model.trainable_variables, before, strict=True)
    ]
    # A method may leave a variable where it is, but not most of them.
    assert np.mean(moved) > 0.5
