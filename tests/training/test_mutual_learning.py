"""Models that learn from each other in one fit."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from conformance.processes import lines_of
from scipy.special import expit, log_softmax, softmax

from mtlzoo import BinaryClassification, Classification, HardSharing, MultiTaskModel, Regression
from mtlzoo.tasks import (
    MultiLabelClassification,
    SemanticSegmentation,
    SequenceTagging,
    SurfaceNormalEstimation,
)
from mtlzoo.training import MutualLearning
from mtlzoo.training.co_training.peers import together

VIEWS = ("image", "text")
ROWS = 12


@pytest.fixture
def eagerly():
    """Nothing is traced: a few steps of each model are faster so."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def tasks():
    return [
        BinaryClassification("kind", metrics=[]),
        Classification("genre", 3, metrics=[]),
        Regression("stay", metrics=[]),
    ]


def member(view, own=None, seed=0, **arguments):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((4,), name=view)
    settings = {"shared_units": (5,), "name": f"{view}_model", **arguments}
    return HardSharing(inputs, tasks() if own is None else own, **settings)


def two(**arguments):
    return {view: member(view, seed=i, **arguments) for i, view in enumerate(VIEWS)}


def rows(seed=0):
    rng = np.random.default_rng(seed)
    x = {view: rng.normal(size=(ROWS, 4)).astype("float32") for view in VIEWS}
    y = {
        "kind": rng.integers(0, 2, ROWS),
        "genre": np.where(np.arange(ROWS) < 5, rng.integers(0, 3, ROWS), -1),
        "stay": np.where(np.arange(ROWS) < 7, rng.normal(size=ROWS), np.nan).astype("float32"),
    }
    return x, y


def compiled(model, rate=0.1, **arguments):
    model.compile(keras.optimizers.SGD(rate), **{"jit_compile": False, **arguments})
    return model


def values(model):
    return [v.numpy() for v in model.trainable_variables]


# -- the losses -------------------------------------------------------------------------------


@pytest.mark.usefixtures("eagerly")
def test_losses_are_those_of_the_formula():
    x, y = rows()
    model = compiled(MutualLearning(two(), temperature=3.0))
    raw = {k: v.astype("float64") for k, v in model.predict(x, verbose=0).items()}
    logs = model.evaluate(x, y, verbose=0, return_dict=True)
    for own, peer in (VIEWS, VIEWS[::-1]):
        p, q = (log_softmax(raw[f"{v}_genre"] / 3, axis=-1) for v in (peer, own))
        expected = 9 * np.mean(np.sum(np.exp(p) * (p - q), axis=-1))
        np.testing.assert_allclose(logs[f"{own}_genre_soft_loss"], expected, rtol=1e-5)
        p, q = (expit(raw[f"{v}_kind"] / 3) for v in (peer, own))
        divergence = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
        np.testing.assert_allclose(logs[f"{own}_kind_soft_loss"], 9 * divergence.mean(), rtol=1e-5)
        distance = np.mean((raw["image_stay"] - raw["text_stay"]) ** 2)
        np.testing.assert_allclose(logs[f"{own}_stay_soft_loss"], distance, rtol=1e-5)
        there = y["genre"] >= 0
        chosen = log_softmax(raw[f"{own}_genre"], axis=-1)[there, y["genre"][there]]
        np.testing.assert_allclose(logs[f"{own}_genre_loss"], -chosen.mean(), rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_several_peers_are_as_good_as_the_mean_of_their_divergences(temperature):
    raw = np.random.default_rng(0).normal(0, 2, (3, 6, 4))
    task = Classification("genre", 4)
    found = np.asarray(together(task, list(raw), temperature))
    mean = softmax(raw / temperature, axis=-1).mean(0)
    np.testing.assert_allclose(softmax(found / temperature, axis=-1), mean, rtol=1e-5)
    q = log_softmax(np.random.default_rng(1).normal(size=(6, 4)), axis=-1)
    p = softmax(raw / temperature, axis=-1)
    # Differences in q are the same: the rest are the entropies of the peers.
    other = log_softmax(np.random.default_rng(2).normal(size=(6, 4)), axis=-1)
    apart = np.mean(np.sum(p * (np.log(p) - q), -1) - np.sum(p * (np.log(p) - other), -1), axis=0)
    of_mean = np.sum(mean * (np.log(mean) - q), -1) - np.sum(mean * (np.log(mean) - other), -1)
    np.testing.assert_allclose(apart, of_mean, rtol=1e-10)


def test_peers_of_other_kinds():
    rng = np.random.default_rng(0)
    raw = rng.normal(0, 2, (3, 5, 1))
    found = np.asarray(together(BinaryClassification("kind"), list(raw), 2.0))
    np.testing.assert_allclose(expit(found / 2), expit(raw / 2).mean(0), rtol=1e-5)
    tags = rng.normal(0, 2, (3, 5, 4))
    found = np.asarray(together(MultiLabelClassification("tags", 4), list(tags), 2.0))
    np.testing.assert_allclose(expit(found / 2), expit(tags / 2).mean(0), rtol=1e-5)
    given = softmax(tags, axis=-1)
    task = Classification("genre", 4, from_logits=False)
    np.testing.assert_allclose(together(task, list(given), 1.0), given.mean(0), rtol=1e-5)
    np.testing.assert_allclose(together(Regression("stay"), list(raw), 2.0), raw.mean(0), rtol=1e-6)
    pixels = rng.normal(size=(2, 1, 3, 3, 4))
    found = np.asarray(together(SemanticSegmentation("parts", 4), list(pixels), 1.0))
    np.testing.assert_allclose(softmax(found, -1), softmax(pixels, -1).mean(0), rtol=1e-5)
    vectors = np.zeros((2, 1, 1, 1, 3))
    vectors[0, ..., 0], vectors[1, ..., 1] = 5, 1
    found = np.asarray(together(SurfaceNormalEstimation("normals"), list(vectors), 1.0))
    np.testing.assert_allclose(found.ravel(), [0.5**0.5, 0.5**0.5, 0], atol=1e-6)
    one = given[0]
    assert together(task, [one], 3.0) is one


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
def test_peers_get_no_gradient():
    x, y = rows()
    model = MutualLearning(two())
    others = {f"text_{t.name}_soft": 0.0 for t in tasks()}
    compiled(model, loss_weights=others)
    before = {view: values(each) for view, each in model.members.items()}
    missing = {"kind": np.full(ROWS, -1), "stay": np.full(ROWS, np.nan, "float32")}
    model.fit(x, {**y, **missing, "genre": np.full(ROWS, -1)}, verbose=0)
    for old, new in zip(before["text"], values(model.members["text"]), strict=True):
        np.testing.assert_array_equal(old, new)
    assert not np.array_equal(before["image"][0], values(model.members["image"])[0])


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
def test_rows_without_labels_are_learned_from_peers():
    x, y = rows()
    model = compiled(MutualLearning(two()), rate=0.3)
    missing = {"kind": np.full(ROWS, -1), "genre": np.full(ROWS, -1)}
    missing["stay"] = np.full(ROWS, np.nan, "float32")
    first = model.evaluate(x, y, verbose=0, return_dict=True)
    model.fit(x, missing, epochs=15, verbose=0)
    last = model.evaluate(x, y, verbose=0, return_dict=True)
    for name in ("image_genre_soft_loss", "text_kind_soft_loss", "text_stay_soft_loss"):
        assert last[name] < 0.7 * first[name]


@pytest.mark.usefixtures("eagerly")
def test_the_weight_is_that_of_the_soft_losses():
    x, y = rows()
    model = compiled(
        MutualLearning(two(), weight={"kind": 0.25, "genre": 3.0}), loss_weights={"stay": 2.0}
    )
    logs = model.evaluate(x, y, verbose=0, return_dict=True)
    expected = 0.0
    for view in VIEWS:
        expected += logs[f"{view}_kind_loss"] + 0.25 * logs[f"{view}_kind_soft_loss"]
        expected += logs[f"{view}_genre_loss"] + 3.0 * logs[f"{view}_genre_soft_loss"]
        expected += 2 * logs[f"{view}_stay_loss"] + logs[f"{view}_stay_soft_loss"]
    np.testing.assert_allclose(logs["loss"], expected, rtol=1e-5)


# -- tasks, inputs, labels --------------------------------------------------------------------


@pytest.mark.usefixtures("eagerly")
def test_only_tasks_of_several_members_are_matched():
    members = {"image": member("image", tasks()[:2]), "text": member("text", tasks()[1:])}
    model = MutualLearning(members)
    matched = ("image_genre", "image_genre_soft", "image_kind", "text_genre", "text_genre_soft")
    assert model.task_names == (*matched, "text_stay")
    x, y = rows()
    before = values(members["image"])
    history = compiled(model).fit(x, y, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert not np.array_equal(values(members["image"])[0], before[0])


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
def test_three_members_of_the_same_inputs_take_what_each_takes():
    members = {
        name: HardSharing(keras.Input((4,)), tasks(), shared_units=(3,), name=f"net_{name}")
        for name in "cab"
    }
    model = compiled(MutualLearning(members))
    assert list(model.members) == ["a", "b", "c"]
    assert not isinstance(model.input, dict)
    x, y = rows()
    model.fit(x["image"], y, verbose=0)
    for name, each in members.items():
        found = each.predict(x["image"], verbose=0)["genre"]
        np.testing.assert_array_equal(found, model.predict(x["image"], verbose=0)[f"{name}_genre"])


@pytest.mark.one_in(2)
@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("form", ["arrays", "batches"])
def test_soft_tasks_have_weights_of_their_own(form):
    x, y = rows()
    model = compiled(MutualLearning(two()), run_eagerly=True)
    plain = model.evaluate(x, y, verbose=0, return_dict=True)

    def weighed(weights):
        if form == "arrays":
            return model.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)
        data = tf.data.Dataset.from_tensor_slices((x, y, weights)).batch(4)
        return model.evaluate(data, verbose=0, return_dict=True)

    found = weighed({"image_kind_soft": np.zeros(ROWS)})
    assert np.isnan(found["image_kind_soft_loss"])
    assert found["text_kind_soft_loss"] == pytest.approx(plain["text_kind_soft_loss"], rel=1e-5)
    found = weighed(np.full(ROWS, 2.0))
    for name in ("image_kind_loss", "image_kind_soft_loss"):
        assert found[name] == pytest.approx(2 * plain[name], rel=1e-5)


@pytest.mark.slow
def test_padding_is_not_learned_from_peers():
    i = keras.Input((4,), dtype="int32", name="ids")
    members = {}
    for seed, name in enumerate(("a", "b")):
        keras.utils.set_random_seed(seed)
        task = SequenceTagging("tag", 3, metrics=[])
        words = keras.layers.Embedding(9, 5, "normal", mask_zero=True, name=f"words_{name}")(i)
        members[name] = MultiTaskModel(i, {"tag": task.head(words)}, f"of_{name}", tasks=[task])
    model = compiled(MutualLearning(members), run_eagerly=True)
    x = np.array([[1, 2, 0, 0], [3, 0, 0, 0]], "int32")
    found = model.evaluate(x, {"tag": np.full((2, 4), -1)}, verbose=0, return_dict=True)
    a, b = (log_softmax(members[n].predict(x, verbose=0)["tag"][x > 0], -1) for n in ("a", "b"))
    np.testing.assert_allclose(found["a_tag_soft_loss"], (np.exp(b) * (b - a)).sum(-1).mean(), 1e-4)


@pytest.mark.slow
def test_labels_weights_and_validation_in_every_form():
    x, y = rows()

    def kernel(x, *others, **arguments):
        model = compiled(MutualLearning(two()))
        history = model.fit(x, *others, batch_size=4, shuffle=False, verbose=0, **arguments)
        assert ("val_loss" in history.history) == bool(arguments)
        return values(model.members["text"])[0]

    expected = kernel(x, y)
    by_member = {f"{view}_{name}": labels for name, labels in y.items() for view in VIEWS}
    np.testing.assert_array_equal(kernel(x, by_member), expected)
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
    model = compiled(MutualLearning(two()))
    model.fit(batches, validation_data=batches, verbose=0)
    np.testing.assert_allclose(values(model.members["text"])[0], expected, rtol=1e-6)
    np.testing.assert_array_equal(kernel(x, y, validation_data=(x, y)), expected)
    # Labels of one member alone.
    one = {f"image_{name}": labels for name, labels in y.items()}
    assert not np.array_equal(kernel(x, one), expected)
    weights = np.linspace(0, 1, ROWS)
    for_all = tf.data.Dataset.from_tensor_slices((x, y, weights)).batch(4)
    names = [*y, *(f"{view}_{task}_soft" for view in VIEWS for task in y)]
    by_task = tf.data.Dataset.from_tensor_slices((x, y, dict.fromkeys(names, weights))).batch(4)
    found = []
    for data in (for_all, by_task):
        model = compiled(MutualLearning(two()))
        model.fit(data, verbose=0)
        found.append(values(model.members["text"])[0])
    np.testing.assert_array_equal(*found)
    assert not np.allclose(found[0], expected)


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
def test_batches_of_a_generator_are_checked_by_the_members_names():
    x, y = rows()
    model = compiled(MutualLearning(two()))

    def batches(labels):
        yield x, labels

    model.fit(batches(y), validation_data=batches(y), validation_steps=1, verbose=0)
    with pytest.raises(ValueError, match=r"only the tasks .* Received: 'no'"):
        model.fit(batches({"no": y["kind"]}), verbose=0)


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
def test_permuted_members_and_tasks_are_the_same_model(tmp_path):
    x, y = rows()
    model = compiled(MutualLearning(two()))
    model.fit(x, y, verbose=0)
    model.save_weights(tmp_path / "w.weights.h5")
    turned = {view: member(view, tasks()[::-1], seed=5) for view in VIEWS[::-1]}
    other = compiled(MutualLearning(turned))
    other.load_weights(tmp_path / "w.weights.h5")
    assert other.task_names == model.task_names
    a, b = model.predict(x, verbose=0), other.predict(x, verbose=0)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


# -- promises of every model ------------------------------------------------------------------


@pytest.mark.slow
def test_it_is_saved_and_goes_on_and_so_are_its_members(tmp_path):
    x, y = rows()
    arguments = {"temperature": 2.0, "weight": {"kind": 0.5}, "name": "both"}
    model = MutualLearning(two(dropout=0.2), **arguments)
    model.compile(keras.optimizers.Adam(0.05), "pcgrad", jit_compile=False)
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "both.keras")
    loaded = keras.saving.load_model(tmp_path / "both.keras")
    assert type(loaded) is MutualLearning and loaded.get_config() == model.get_config()
    members = model.members
    members["text"].save(tmp_path / "text.keras")
    text = keras.saving.load_model(tmp_path / "text.keras")
    expected = model.predict(x, verbose=0)
    for found in (loaded.members["text"], text, members["text"]):
        outputs = found.predict(x["text"], verbose=0)
        for name in outputs:
            np.testing.assert_array_equal(outputs[name], expected[f"text_{name}"])
    logs = [each.fit(x, y, verbose=0).history for each in (model, loaded)]
    assert logs[0] == logs[1]
    for a, b in zip(values(model), values(loaded), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_is_exported_has_no_soft_tasks(tmp_path):
    x, _ = rows()
    model = MutualLearning(two())
    model.export(tmp_path / "both")
    served = tf.saved_model.load(tmp_path / "both")
    hard = [name for name in model.task_names if not name.endswith("_soft")]
    assert set(served.signatures) == {"serve", "serving_default", *hard}
    answers = served.serve(x)
    raw = model.predict(x, verbose=0)
    for name in hard:
        for key, value in model.tasks[name].serve(raw[name]).items():
            np.testing.assert_allclose(answers[key], value, rtol=1e-5, atol=1e-6)
    model.members["image"].export(tmp_path / "image")
    image = tf.saved_model.load(tmp_path / "image")
    alone = image.serve(x["image"])
    np.testing.assert_allclose(alone["kind"], answers["image_kind"], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_graphs_do_what_eager_code_does(jit_compile):
    x, y = rows()
    found = []
    for arguments in ({"run_eagerly": True}, {"jit_compile": jit_compile}):
        model = compiled(MutualLearning(two()), balancer="uncertainty", **arguments)
        model.fit(x, y, epochs=2, batch_size=6, shuffle=False, verbose=0)
        found.append(values(model))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


@pytest.mark.one_in(2)
@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy):
    x, y = rows()
    model = MutualLearning(two(dtype=policy))
    assert all(tensor.dtype == "float32" for tensor in model.output.values())
    compiled(model)
    before = values(model)
    logs = model.fit(x, y, verbose=0).history
    assert np.isfinite(list(logs.values())).all()
    assert any(not np.array_equal(a, b) for a, b in zip(before, values(model), strict=True))


@pytest.mark.usefixtures("eagerly")
def test_statistics_and_dropout_move_as_in_one_forward_pass():
    x, y = rows()

    def network(view):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((4,), name=view)
        hidden = keras.layers.BatchNormalization(momentum=0.5)(inputs)
        outputs = {task.name: task.head(hidden) for task in tasks()}
        return MultiTaskModel(inputs, outputs, tasks=tasks(), name=f"{view}_net")

    members = {view: network(view) for view in VIEWS}
    model = compiled(MutualLearning(members))
    model.fit(x, y, batch_size=ROWS, verbose=0)
    (mean,) = [v for v in members["image"].variables if v.name == "moving_mean"]
    np.testing.assert_allclose(mean.numpy(), 0.5 * x["image"].mean(0), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_one_replica_is_two():
    found = {each["case"]: each["apart"] for each in lines_of("mutual_replicas", [], ["training"])}
    assert list(found) == ["equal", "pcgrad"]
    assert max(found.values()) < 1e-9


# -- what is refused --------------------------------------------------------------------------


def other_width():
    return {"image": member("image"), "text": member("image", name="other_model")}


def clash():
    inputs = {"image": keras.Input((3,), name="image")}
    wide = HardSharing(inputs, tasks(), shared_units=(), name="wide")
    return {"a": member("image"), "b": wide}


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (lambda: {"image": member("image")}, {}, r"at least 2 multi-task .* Received: 1 models"),
        (lambda: [member("image")], {}, r"`members` should be a dict"),
        (
            lambda: dict.fromkeys(VIEWS, member("image")),
            {},
            r"different models\. Received: one model under several names",
        ),
        (lambda: {"a": member("a"), "b": keras.Sequential()}, {}, r"`members\['b'\]`"),
        (lambda: {"a b": member("a"), "b": member("b")}, {}, r"a b_"),
        (
            lambda: {"a": member("a", tasks()[:1]), "b": member("b", tasks()[1:])},
            {},
            r"should have a task in common.*'a': \['kind'\]",
        ),
        (
            lambda: {
                "a": member("a", [Classification("genre", 3)]),
                "b": member("b", [Classification("genre", 4)]),
            },
            {},
            r"Task `genre` should have the same `output_shape` .* \(3,\) in `a` and \(4,\) in `b`",
        ),
        (
            lambda: {
                "a": member("a", [Regression("stay", missing=-1)]),
                "b": member("b", [Regression("stay")]),
            },
            {},
            r"Task `stay` should have the same `missing`",
        ),
        (clash, {}, r"inputs of one name .* 'image' is .* \(None, 4\) .* `a` and .* `b`"),
        (
            lambda: {"a": member("image", name="image"), "b": member("text")},
            {},
            r"Member `a` .* model `image`, and an input of that name",
        ),
        (
            lambda: {v: member(v, name="net") for v in VIEWS},
            {},
            r"Member `text` .* model `net`, and member `image` of that name",
        ),
        (two, {"temperature": 0}, r"`temperature` of task `image_\w+` .* temperature=0"),
        (two, {"weight": -1}, r"`weight` of task `\w+` should be a positive number"),
        (two, {"weight": {"no": 1}}, r"`weight` should have only the tasks .* 'no'"),
    ],
)
def test_members_and_arguments_that_do_not_fit(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        MutualLearning(make(), **arguments)


@pytest.mark.usefixtures("eagerly")
def test_unknown_labels_and_no_compile():
    x, y = rows()
    model = MutualLearning(two())
    with pytest.raises(ValueError, match=r"call `compile\(\)` before|compile"):
        model.fit(x, y)
    compiled(model)
    with pytest.raises(ValueError, match=r"only the tasks .* Received: 'no'"):
        model.fit(x, {"no": y["kind"]})
    with pytest.raises(ValueError, match=r"`loss_weights` should have only the tasks .* 'no'"):
        compiled(model, loss_weights={"no": 1.0})
