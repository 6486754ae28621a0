"""Students and their teachers: what is learned, from whom, and what is refused."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import (
    MGDA,
    BinaryClassification,
    Classification,
    HardSharing,
    MultiTaskModel,
    Regression,
    SequenceTagging,
)
from mtlzoo.backbones import ConvNet
from mtlzoo.training import AttentionTransfer, Distillation, Hint, add_l2_sp, freeze, precompute

NAMES = ("click", "kind", "stay")


def tasks(names=NAMES, num_classes=3):
    kinds = {
        "click": BinaryClassification("click", metrics=[]),
        "kind": Classification("kind", num_classes, metrics=[]),
        "stay": Regression("stay", metrics=[]),
    }
    return [kinds[name] for name in names]


def network(names=NAMES, units=(6,), seed=1, **arguments):
    keras.utils.set_random_seed(seed)
    arguments = {"activation": "tanh", "name": f"net_{seed}", **arguments}
    return HardSharing(keras.Input((4,), name="x"), tasks(names), shared_units=units, **arguments)


def rows(count=32, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 4)).astype("float32")
    return x, {
        "click": rng.integers(0, 2, count),
        "kind": rng.integers(0, 3, count),
        "stay": rng.normal(size=count).astype("float32"),
    }


def compiled(model, balancer="equal", optimizer=None, **arguments):
    arguments = {"run_eagerly": True, **arguments}
    model.compile(optimizer or keras.optimizers.Adam(0.02), balancer, **arguments)
    return model


def fit(model, x, y, epochs=1, **arguments):
    return model.fit(x, y, epochs=epochs, verbose=0, shuffle=False, **arguments).history


# -- what is learned ----------------------------------------------------------------------------


@pytest.mark.slow
def test_without_any_label_the_student_comes_to_answer_as_the_teacher():
    teacher, student = network(units=(12, 12)), network(units=(12, 12), seed=2)
    x, _ = rows(64)
    graph = {"jit_compile": False, "run_eagerly": False}
    model = compiled(Distillation(student, teacher), optimizer=keras.optimizers.Adam(0.05), **graph)
    missing = {"click": np.full(64, -1)}
    before = model.evaluate(x, missing, verbose=0, return_dict=True)
    of_teacher = [np.array(w) for w in teacher.get_weights()]
    logs = fit(model, x, missing, epochs=150)
    for name in NAMES:
        assert logs[f"{name}_soft_loss"][-1] < 0.1 * before[f"{name}_soft_loss"]
        assert np.isnan(logs[f"{name}_loss"]).all()
        said, wanted = (net.predict(x, verbose=0)[name] for net in (student, teacher))
        if name == "kind":  # of logits of classes only the differences count
            said, wanted = (z - z.mean(-1, keepdims=True) for z in (said, wanted))
        assert np.corrcoef(said.ravel(), wanted.ravel())[0, 1] > 0.95
    for now, then in zip(teacher.get_weights(), of_teacher, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.slow
def test_the_objective_is_the_sum_of_labels_soft_targets_and_hints():
    teacher, student = network(units=(5, 7)), network(seed=2)
    hint = Hint("shared_0", "shared_1")
    model = compiled(Distillation(student, teacher, temperature=3.0, hints=[hint]))
    x, y = rows()
    found = model.evaluate(x, y, verbose=0, return_dict=True)
    p, q = teacher.predict(x, verbose=0), student.predict(x, verbose=0)
    soft = [np.log(keras.ops.softmax(z["kind"] / 3)) for z in (p, q)]
    np.testing.assert_allclose(
        found["kind_soft_loss"], 9 * (np.exp(soft[0]) * (soft[0] - soft[1])).sum(-1).mean(), 1e-4
    )
    np.testing.assert_allclose(
        found["stay_soft_loss"], ((p["stay"] - q["stay"]) ** 2).mean(), rtol=1e-4
    )
    inside = keras.Model(teacher.input, teacher.get_layer("shared_1").output)(x)
    own = keras.Model(student.input, student.get_layer("shared_0").output)(x)
    projection = next(w for w in model.weights if "shared_0_hint_projection/kernel" in w.path)
    np.testing.assert_allclose(
        found["shared_0_hint_loss"], np.mean((own @ np.array(projection) - inside) ** 2), rtol=1e-4
    )
    parts = [value for key, value in found.items() if key.endswith("_loss")]
    assert len(parts) == 7
    np.testing.assert_allclose(found["loss"], sum(parts), rtol=1e-5)


@pytest.mark.slow
def test_the_step_is_that_of_the_summed_losses():
    """Against plain Keras, with the teacher's answers as one more output."""
    teacher = network(("kind",), units=(5,))
    models = [Distillation(network(("kind",), seed=2), teacher, temperature=2.0) for _ in range(2)]
    x, y = rows()
    y = {"kind": y["kind"]}
    fit(compiled(models[0], "pcgrad", keras.optimizers.SGD(0.1)), x, y, batch_size=32)

    student, said = models[1].student, teacher(x)["kind"]
    with tf.GradientTape() as tape:
        z = student(x)["kind"]
        hard = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(y["kind"], z)
        p = keras.ops.softmax(said / 2)
        apart = p * (keras.ops.log(p) - keras.ops.log_softmax(z / 2))
        loss = hard + 4 * keras.ops.mean(keras.ops.sum(apart, -1))
    gradients = tape.gradient(loss, [v.value for v in student.trainable_variables])
    for found, old, g in zip(
        models[0].student.trainable_variables, student.trainable_variables, gradients, strict=True
    ):
        np.testing.assert_allclose(found, old - 0.1 * g, atol=1e-6)


def test_rows_are_those_of_the_tasks_unless_soft_targets_are_balanced():
    teacher = network(units=(12,))
    together = compiled(Distillation(network(seed=2), teacher), MGDA())
    apart = compiled(Distillation(network(seed=2), teacher, balance_soft=True), MGDA())
    assert together.balancer.task_weights.shape == (3,)
    assert apart.balancer.task_weights.shape == (6,)
    assert len(together.task_variables("kind")) == 2 and not apart.task_variables("kind")
    x, y = rows()
    for model in (together, apart):
        fit(model, x, y)
    weights = together.task_weights
    assert weights["kind"] == weights["kind_soft"] != weights["click"]


def test_teachers_of_some_tasks_only():
    teachers = {name: network((name,), units=(5,), seed=i + 5) for i, name in enumerate(NAMES[:2])}
    model = compiled(Distillation(network(seed=2), teachers))
    assert model.task_names == ("click", "click_soft", "kind", "kind_soft", "stay")
    x, _ = rows()
    said = model.teacher_labels(x)
    for name in NAMES[:2]:
        np.testing.assert_allclose(
            said[f"{name}_soft"], teachers[name].predict(x, verbose=0)[name], atol=1e-6
        )
    listed = Distillation(network(seed=2), list(teachers.values()))
    assert listed.task_names == model.task_names
    assert listed.teachers == teachers


def test_a_plain_keras_model_teaches():
    teacher = plain()
    model = compiled(Distillation(network(seed=2), {"kind": teacher}))
    x, y = rows()
    np.testing.assert_allclose(model.teacher_labels(x)["kind_soft"], teacher(x), atol=1e-6)
    assert np.isfinite(fit(model, x, y)["kind_soft_loss"]).all()


def test_a_teacher_that_reads_some_of_the_inputs():
    inputs = {name: keras.Input((4,), name=name) for name in ("x", "z")}
    joined = keras.layers.Concatenate()(list(inputs.values()))
    head = tasks(("stay",))[0]
    student = MultiTaskModel(inputs, {"stay": head.head(joined)}, "student", tasks=[head])
    alone = {"z": keras.Input((4,), name="z")}
    teacher = MultiTaskModel(alone, {"stay": head.head(alone["z"])}, "teacher", tasks=[head])
    x = {"x": np.ones((3, 4)), "z": np.arange(12.0).reshape(3, 4)}
    said = Distillation(student, teacher).teacher_labels(x)["stay_soft"]
    np.testing.assert_allclose(said, teacher({"z": x["z"]})["stay"], rtol=1e-6)


@pytest.mark.slow
def test_annealing_moves_the_weight_from_the_teacher_to_the_labels():
    teacher = network(units=(5,))
    model = Distillation(network(seed=2), teacher, annealing_steps=4)
    compiled(model, optimizer=keras.optimizers.SGD(0.0))
    x, y = rows(4)
    plain = compiled(Distillation(network(seed=2), teacher)).evaluate(
        x, y, verbose=0, return_dict=True
    )
    logs = fit(model, x, y, epochs=5)
    for name in NAMES:
        hard, soft = plain[f"{name}_loss"], plain[f"{name}_soft_loss"]
        np.testing.assert_allclose(logs[f"{name}_loss"], hard * np.array([1, 2, 3, 4, 4]) / 4, 1e-5)
        expected = soft * np.array([3, 2, 1, np.nan, np.nan]) / 4
        np.testing.assert_allclose(logs[f"{name}_soft_loss"], expected, rtol=1e-5)


@pytest.mark.slow
def test_sample_weights_of_a_batch_are_annealed_too():
    model = Distillation(network(seed=2), network(units=(5,)), annealing_steps=2)
    compiled(model, optimizer=keras.optimizers.SGD(0.0))
    x, y = rows(4)
    whole = model.evaluate(x, y, verbose=0, return_dict=True)["stay_loss"]
    weights = {"stay": np.full(4, 3.0)}
    found = fit(model, x, y, sample_weight=weights)["stay_loss"]
    np.testing.assert_allclose(found, [3 * whole / 2], rtol=1e-5)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("form", ["arrays", "batches"])
def test_soft_targets_have_weights_of_their_own(form):
    model = compiled(Distillation(network(seed=2), network(units=(5,))))
    x, y = rows()
    plain = model.evaluate(x, y, verbose=0, return_dict=True)

    def weighed(weights):
        if form == "arrays":
            return model.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)
        data = tf.data.Dataset.from_tensor_slices((x, y, weights)).batch(16)
        return model.evaluate(data, verbose=0, return_dict=True)

    found = weighed({"kind_soft": np.full(32, 3.0), "stay_soft": np.zeros(32)})
    assert found["kind_soft_loss"] == pytest.approx(3 * plain["kind_soft_loss"], rel=1e-5)
    assert np.isnan(found["stay_soft_loss"])
    assert found["kind_loss"] == pytest.approx(plain["kind_loss"], rel=1e-5)
    found = weighed(np.full(32, 2.0))  # one for all is one for what teachers say, too
    for name in ("kind_loss", "kind_soft_loss"):
        assert found[name] == pytest.approx(2 * plain[name], rel=1e-5)


@pytest.mark.slow
def test_teachers_that_learn_too():
    teacher = network(units=(12,))
    model = compiled(Distillation(network(seed=2), teacher, online=True), "pcgrad")
    assert {"click_teacher", "kind_teacher", "stay_teacher"} < set(model.task_names)
    x, y = rows()
    before = teacher.predict(x, verbose=0)
    logs = fit(model, x, y, epochs=30)
    assert logs["kind_teacher_loss"][-1] < 0.8 * logs["kind_teacher_loss"][0]
    assert np.abs(teacher.predict(x, verbose=0)["kind"] - before["kind"]).max() > 0.1
    # The soft targets do not pull at the teacher.
    with tf.GradientTape() as tape:
        outputs = model(x)
        soft = tf.reduce_sum(outputs["kind_soft"] ** 2)
    of_teacher = [v.value for v in teacher.trainable_variables]
    assert all(g is None for g in tape.gradient(soft, of_teacher))


@pytest.mark.slow
def test_padding_is_not_learned_from():
    i = keras.Input((4,), dtype="int32", name="ids")

    def tagger(name, width):
        task = SequenceTagging("tags", 3, metrics=[])
        embedded = keras.layers.Embedding(9, width, mask_zero=True, name="words")(i)
        return MultiTaskModel(i, {"tags": task.head(embedded)}, name, tasks=[task])

    hint = Hint("words", "words")
    model = compiled(Distillation(tagger("student", 3), tagger("teacher", 5), hints=[hint]))
    x = np.array([[1, 2, 0, 0], [3, 4, 5, 6]], "int32")
    said = model.teacher_labels(x)
    for name in ("tags_soft", "words_hint"):
        there = ~np.isnan(said[name]).any(-1)
        np.testing.assert_array_equal(there, x > 0)
    assert np.isfinite(fit(model, x, {"tags": np.full((2, 4), -1)})["tags_soft_loss"]).all()


# -- features -----------------------------------------------------------------------------------


def images(widths, seed=1, name="net", size=20):
    keras.utils.set_random_seed(seed)
    backbone = ConvNet((size, size, 1), filters=widths, dense_units=(4,), name="trunk")
    inputs = keras.Input((size, size, 1), name="image")
    return HardSharing(inputs, tasks(("kind",)), backbone=backbone, name=name)


@pytest.mark.slow
def test_a_hint_from_inside_a_backbone():
    teacher, student = images((5, 6)), images((2, 3), seed=2, name="small")
    hint = Hint("trunk/conv_0", "conv_1", name="edges")
    model = compiled(Distillation(student, teacher, hints=[hint]), jit_compile=False)
    x = np.random.default_rng(0).normal(size=(4, 20, 20, 1)).astype("float32")
    wanted = keras.Model(
        teacher.get_layer("trunk").inputs, teacher.get_layer("trunk").get_layer("conv_1").output
    )(x)
    np.testing.assert_allclose(model.teacher_labels(x)["edges"], wanted, atol=1e-6)
    before = [np.array(v) for v in student.get_layer("trunk").trainable_variables]
    history = fit(model, x, {"kind": np.full(4, -1)}, epochs=3)
    assert history["edges_loss"][-1] < history["edges_loss"][0]
    after = student.get_layer("trunk").trainable_variables
    assert any(np.abs(v - old).max() > 0 for v, old in zip(after, before, strict=True))
    outputs = student.predict(x, verbose=0)["kind"]
    np.testing.assert_allclose(model.predict(x, verbose=0)["kind"], outputs, atol=1e-6)


def test_a_hint_of_normalized_features():
    teacher, student = network(units=(5, 7)), network(seed=2)
    hint = Hint("shared_0", "shared_1", normalized=True)
    assert Hint.from_config(hint.get_config()).get_config() == hint.get_config()
    x, _ = rows()
    said = Distillation(student, teacher, hints=[hint]).teacher_labels(x)["shared_0_hint"].numpy()
    inside = keras.Model(teacher.input, teacher.get_layer("shared_1").output)(x).numpy()
    inside = (inside - inside.mean(-1, keepdims=True)) / inside.std(-1, keepdims=True)
    np.testing.assert_allclose(said, inside, rtol=1e-3, atol=1e-4)


def test_attention_is_transferred_across_widths_and_sizes(tmp_path):
    teacher, student = images((5, 6)), images((2, 3), seed=2, name="small")
    hints = [
        AttentionTransfer("trunk/conv_0", "trunk/conv_0"),
        AttentionTransfer("trunk/conv_0", "trunk/conv_1", name="later"),
    ]
    model = compiled(Distillation(student, teacher, hints=hints))
    x = np.random.default_rng(0).normal(size=(4, 20, 20, 1)).astype("float32")
    said = model.teacher_labels(x)["trunk_conv_0_hint"]
    np.testing.assert_allclose(np.linalg.norm(said, axis=-1), 1, rtol=1e-3)
    history = fit(model, x, {"kind": np.zeros(4, "int32")}, epochs=3)
    assert history["later_loss"][-1] < history["later_loss"][0]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        again.teacher_labels(x)["later"], model.teacher_labels(x)["later"]
    )
    assert fit(again, x, {"kind": np.zeros(4, "int32")}) == fit(
        model, x, {"kind": np.zeros(4, "int32")}
    )


@pytest.mark.slow
def test_a_teacher_of_another_task_helps_by_its_features():
    teacher, student = network(("kind",), units=(9,)), network(("click", "stay"), seed=2)
    hint = Hint("shared_0", "shared_0")
    model = compiled(Distillation(student, teacher, hints=[hint], transfer={"kind": "stay"}))
    assert model.task_names == ("click", "shared_0_hint", "stay")
    assert model.balancer.task_weights.shape == (2,)
    x, y = rows()
    logs = fit(model, x, {"stay": y["stay"]}, epochs=20)
    assert logs["shared_0_hint_loss"][-1] < 0.5 * logs["shared_0_hint_loss"][0]


@pytest.mark.slow
def test_what_is_frozen_and_pulled_is_so_when_loaded(tmp_path):
    hint = Hint("shared_0", "shared_0")
    model = Distillation(network(seed=2), network(units=(9,)), hints=[hint])
    freeze(model, "shared_0_hint_projection")
    add_l2_sp(model, "shared_0", alpha=0.1)
    x, y = rows()
    fit(compiled(model), x, y)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert len(again.trainable_variables) == len(model.trainable_variables)
    assert fit(again, x, y) == fit(model, x, y)


# -- saving, serving, precomputing ----------------------------------------------------------------


@pytest.mark.slow
def test_what_is_served_is_the_student(tmp_path):
    model = compiled(Distillation(network(seed=2), network(units=(12,))))
    x, y = rows()
    fit(model, x, y)
    model.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "served"))
    assert set(served.signatures) == {"serve", "serving_default", *NAMES}
    raw = model.student.predict(x, verbose=0)
    np.testing.assert_allclose(served.serve(x)["stay"], raw["stay"], atol=1e-6)
    assert set(model.predict(x, verbose=0)) == set(NAMES)
    # The student's file holds no teacher.
    model.student.save(tmp_path / "student.keras")
    again = keras.saving.load_model(tmp_path / "student.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0)["kind"], raw["kind"])


def test_what_was_precomputed_is_what_teachers_say(tmp_path):
    x, y = rows()
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    logs = []
    for folder in (None, tmp_path / "said", tmp_path / "said"):
        model = compiled(Distillation(network(seed=2), network(units=(12,))), "pcgrad")
        data = batches if folder is None else precompute(model, batches, folder)
        if folder is not None:  # a teacher that is asked again would say something else
            model.teachers["kind"].set_weights(
                [np.full_like(w, np.nan) for w in model.teachers["kind"].get_weights()]
            )
        logs.append(fit(model, data, None, epochs=2))
    for key, values in logs[0].items():
        np.testing.assert_allclose(logs[1][key], values, rtol=1e-5)
        assert logs[1][key] == logs[2][key]
    other = Distillation(network(seed=2), network(units=(12,), seed=9))
    hinted = [
        Distillation(network(seed=2), network(units=(6, 6)), hints=[Hint("shared_0", of, name="h")])
        for of in ("shared_0", "shared_1")
    ]
    precompute(hinted[0], batches, tmp_path / "hinted")
    with pytest.raises(ValueError, match="`path` should be a folder that is not there yet"):
        precompute(hinted[1], batches, tmp_path / "hinted")
    with pytest.raises(ValueError, match="`path` should be a folder that is not there yet"):
        precompute(other, batches, tmp_path / "said")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["hinted", "said"]


def test_bad_data_to_precompute(tmp_path):
    model = Distillation(network(seed=2), network(units=(12,)))
    x, y = rows()
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    for given, message in {
        "`dataset` should have an end": batches.repeat(),
        "`dataset` should have elements `(x, y)`": batches.map(lambda x, y: x),
        "`dataset` should be a `tf.data.Dataset`": x,
    }.items():
        with pytest.raises(ValueError, match=re.escape(given)):
            precompute(model, message, tmp_path / "said")
    with pytest.raises(ValueError, match="`model` should be a `Distillation`"):
        precompute(model.student, batches, tmp_path / "said")
    with pytest.raises(ValueError, match=r"labels of the tasks .* only\. Received: 'nothing'"):
        precompute(model, batches.map(lambda x, y: (x, {"nothing": y["stay"]})), tmp_path / "said")
    with pytest.raises(ValueError, match="`dataset` should have batches of the student's inputs"):
        precompute(model, batches.unbatch(), tmp_path / "said")
    learning = Distillation(network(seed=2), network(units=(12,)), online=True)
    with pytest.raises(ValueError, match="`model` should have teachers that do not change"):
        precompute(learning, batches, tmp_path / "said")


# -- what is refused ------------------------------------------------------------------------------


def plain():
    inputs = keras.Input((4,), name="x")
    return keras.Model(inputs, keras.layers.Dense(3)(inputs), name="plain")


def of_other_classes():
    keras.utils.set_random_seed(4)
    return HardSharing(keras.Input((4,), name="x"), tasks(("kind",), num_classes=4), name="wide")


def unbuilt():
    return keras.Sequential([keras.layers.Dense(3)], name="unbuilt")


def of_other_inputs():
    return HardSharing(keras.Input((5,), name="x"), tasks(), name="other")


def with_shared_layers():
    teacher = network(("kind",))
    trunk = keras.Model(teacher.input, teacher.get_layer("shared_0").output, name="trunk")
    inputs = keras.Input((4,), name="x")
    head = tasks(("kind",))[0]
    student = MultiTaskModel(inputs, {"kind": head.head(trunk(inputs))}, "net_9", tasks=[head])
    return student, teacher


BAD = {
    "should have no layer in common with the student `net_9`": lambda: Distillation(
        *with_shared_layers()
    ),
    "`balance_soft` should be a bool. Received: balance_soft='no'": lambda: Distillation(
        network(), network(seed=2), balance_soft="no"
    ),
    "The name 'click_soft' of the hint `click_soft` should not be that": lambda: Distillation(
        network(), network(seed=2), hints=[Hint("shared_0", "shared_0", name="click_soft")]
    ),
    "The name 'shared_0' of the teacher `shared_0` should not be that": lambda: Distillation(
        network(), network(seed=2, name="shared_0"), online=True
    ),
    "`student` should be a multi-task model": lambda: Distillation(unbuilt(), network()),
    "The teacher `wide` of task `kind` should have the label space": lambda: Distillation(
        network(), of_other_classes()
    ),
    "The teacher `unbuilt` of task `kind` should be a functional model that is built": (
        lambda: Distillation(network(), {"kind": unbuilt()})
    ),
    "The teacher `other` of task `click` should take inputs": lambda: Distillation(
        network(), of_other_inputs()
    ),
    "`teachers` should be multi-task models, or a dict": lambda: Distillation(
        network(), [unbuilt()]
    ),
    "`teachers` should have one model for the task `kind`": lambda: Distillation(
        network(), [network(("kind",), seed=2), network(("kind",), seed=3)]
    ),
    "`teachers` should be one model at least": lambda: Distillation(network(), []),
    "should answer tasks of the student ['click', 'stay'], or `transfer`": lambda: Distillation(
        network(("click", "stay")), network(seed=2)
    ),
    "`hints` should have one of the teacher of task `kind`": lambda: Distillation(
        network(("stay",)), network(("kind",), seed=2), transfer={"kind": "stay"}
    ),
    "`transfer` should help one of the student's tasks": lambda: Distillation(
        network(("stay",)), network(("kind",), seed=2), transfer={"kind": "click"}
    ),
    "`transfer` should have tasks of teachers as keys": lambda: Distillation(
        network(), network(seed=2), transfer={"kind": "click"}
    ),
    "`temperature` of task `click` should be a positive number": lambda: Distillation(
        network(), network(seed=2), temperature=0
    ),
    "`temperature` should be for tasks with a teacher and with classes": lambda: Distillation(
        network(), network(seed=2), temperature={"stay": 2.0}
    ),
    "`annealing_steps` should be a positive integer": lambda: Distillation(
        network(), network(seed=2), annealing_steps=0
    ),
    "`hints` should be a list of hints": lambda: Distillation(
        network(), network(seed=2), hints=["shared_0"]
    ),
    "`student` should name a layer of the model `net_1`": lambda: Distillation(
        network(), network(seed=2), hints=[Hint("nothing", "shared_0")]
    ),
    "`teacher` should name a layer of the model `net_2`": lambda: Distillation(
        network(), network(seed=2), hints=[Hint("shared_0", "nothing")]
    ),
    "`of` of the hint `shared_0_hint` should be one of the teachers' tasks": lambda: Distillation(
        network(), network(seed=2), hints=[Hint("shared_0", "shared_0", of="nothing")]
    ),
    "The hint `shared_0_hint` should be from images to images": lambda: Distillation(
        network(), network(seed=2), hints=[AttentionTransfer("shared_0", "shared_0")]
    ),
    "The hint `click_hint` should be a layer that the task `stay` depends on": (
        lambda: Distillation(
            network(("click", "stay")),
            network(("kind",), seed=2),
            hints=[Hint("click", "shared_0")],
            transfer={"kind": "stay"},
        )
    ),
    "`teachers` should be multi-task models if they learn too": lambda: Distillation(
        network(), {"kind": plain()}, online=True
    ),
}


@pytest.mark.one_in(4)
@pytest.mark.parametrize("message", BAD)
def test_bad_distillation(message):
    with pytest.raises(ValueError, match=re.escape(message)):
        BAD[message]()
