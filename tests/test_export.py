import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import (
    BinaryClassification,
    Classification,
    HardSharing,
    MMoE,
    MultiLabelClassification,
    MultiTaskModel,
    Regression,
    Task,
    export,
)

RNG = np.random.default_rng(0)


def three_tasks():
    return [
        BinaryClassification("click"),
        Classification("kind", num_classes=4),
        Regression("stay"),
    ]


def answers(model, x, names=None):
    """What a server should answer, from `predict` and the tasks."""
    raw = model.predict(x, verbose=0)
    served = {}
    for name in names or model.task_names:
        served |= model.tasks[name].serve(raw[name])
    return {key: np.asarray(value) for key, value in served.items()}


def assert_same(found, expected):
    assert set(found) == set(expected)
    for key, value in expected.items():
        assert found[key].dtype == value.dtype and found[key].shape == value.shape, key
        np.testing.assert_allclose(found[key], value, rtol=0, atol=1e-6, err_msg=key)


def ops_of(signature, kind):
    """How many operations of a kind a loaded signature runs."""
    graph = signature.graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    return sum(node.op == kind for node in nodes)


def bytes_of(path):
    return sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())


# -- models of every sort, with rows for each --------------------------------------------------


def raw_columns(n):
    return {
        "colour": RNG.choice(["red", "green", "blue", "not seen before"], n),
        "price": RNG.normal(5.0, 2.0, n).astype("float32"),
    }


def columns_preprocessor():
    inputs = {
        "colour": keras.Input((), name="colour", dtype="string"),
        "price": keras.Input((), name="price"),
    }
    colour = keras.layers.StringLookup(
        vocabulary=["red", "green", "blue"], mask_token=None, output_mode="one_hot"
    )(inputs["colour"])
    price = keras.ops.expand_dims(inputs["price"], -1)
    price = keras.layers.Normalization(mean=5.0, variance=4.0)(price)
    return keras.Model(inputs, keras.layers.Concatenate()([colour, price]), name="preprocessor")


def raw_column_model():
    """MMoE behind a preprocessor of strings, trained with PCGrad."""
    rows = raw_columns(7)
    preprocessor = columns_preprocessor()
    model = MMoE(
        keras.Input(preprocessor.output.shape[1:], name="features"),
        three_tasks(),
        num_experts=2,
        preprocessor=preprocessor,
    )
    x = preprocessor({k: tf.constant(v) for k, v in rows.items()}).numpy()
    # Eager, because a traced step takes seconds to make.
    model.compile("adam", balancer="pcgrad", run_eagerly=True)
    labels = {"click": RNG.integers(0, 2, 7), "kind": RNG.integers(0, 4, 7), "stay": np.ones(7)}
    model.fit(x, labels, verbose=0)
    return model, x, rows


def half_precision_model():
    """HardSharing on a nested backbone in half precision, with Uncertainty's variables and XLA."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        backbone = keras.Sequential(
            [
                keras.layers.Dense(16, activation="relu"),
                keras.layers.BatchNormalization(),
                keras.layers.Dropout(0.5),
            ],
            name="backbone",
        )
        model = HardSharing(
            keras.Input((5,), name="x"), three_tasks(), backbone=backbone, tower_units=(8,)
        )
    finally:
        keras.config.set_dtype_policy("float32")
    x = RNG.normal(size=(7, 5)).astype("float32")
    model.compile("adam", balancer="uncertainty", jit_compile=True)
    model(x, training=True)  # moves the statistics of the normalization
    return model, x, {"x": x}


def list_input_model():
    """Any graph on a list of inputs, one of them of token ids, one used by one task; uncompiled."""
    tokens = keras.Input((6,), name="tokens", dtype="int32")
    size = keras.Input((2,), name="size")
    text = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(11, 4)(tokens))
    tags, stay = MultiLabelClassification("tags", num_labels=3), Regression("stay")
    both = keras.layers.Concatenate()([text, size])
    model = MultiTaskModel(
        [tokens, size], {"tags": tags.head(text), "stay": stay.head(both)}, tasks=[tags, stay]
    )
    x = [RNG.integers(0, 11, (7, 6)).astype("int32"), RNG.normal(size=(7, 2)).astype("float32")]
    return model, x, {"tokens": x[0], "size": x[1]}


def dict_input_model():
    """A dict of inputs, one of rank 1, whose names are not in order; tasks made by `compile`."""
    inputs = {"b": keras.Input((3,), name="b"), "a": keras.Input((), name="a")}
    trunk = keras.layers.Dense(8, activation="tanh")(
        keras.layers.Concatenate()([inputs["b"], keras.ops.expand_dims(inputs["a"], -1)])
    )
    heads = {name: keras.layers.Dense(1, name=name)(trunk) for name in ("y", "z")}
    model = MultiTaskModel(inputs, heads)
    model.compile("sgd", loss={"y": "mse", "z": keras.losses.BinaryCrossentropy(from_logits=True)})
    x = {
        "a": RNG.normal(size=7).astype("float32"),
        "b": RNG.normal(size=(7, 3)).astype("float32"),
    }
    return model, x, x


MODELS = [raw_column_model, half_precision_model, list_input_model, dict_input_model]

# Runs without this library, as a server does.
SERVER = """
import sys
sys.modules["mtlzoo"] = None  # also where the library is installed
try:
    import mtlzoo
except ImportError:
    pass
else:
    sys.exit("mtlzoo can be imported")
import numpy as np
import tensorflow as tf

for path in sys.argv[1:]:
    served = tf.saved_model.load(path)
    rows = dict(np.load(path + "/../rows.npz"))
    for name, signature in served.signatures.items():
        for n in (7, 1):
            found = signature(**{k: tf.constant(v[:n]) for k, v in rows.items()})
            found = {k: v.numpy() for k, v in found.items()}
            np.savez(f"{path}/../{name}_{n}.npz", **found)
assert not any(name.startswith("mtlzoo.") for name in sys.modules)
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Folder, model, inputs and served rows of each model, answered in another process."""
    cases = {}
    for make in MODELS:
        model, x, rows = make()
        folder = tmp_path_factory.mktemp(make.__name__)
        assert model.export(folder / "served") == folder / "served"
        np.savez(folder / "rows.npz", **rows)
        cases[make] = folder, model, x, rows
    paths = [str(folder / "served") for folder, *_ in cases.values()]
    done = subprocess.run(
        [sys.executable, "-I", "-c", SERVER, *paths],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return cases


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("n", [7, 1])
def test_a_process_without_the_library_answers_as_the_tasks_do(served, make, n):
    folder, model, x, _ = served[make]
    head = keras.tree.map_structure(lambda values: values[:n], x)
    for signature in ("serve", "serving_default", *model.task_names):
        names = [signature] if signature in model.task_names else None
        found = dict(np.load(folder / f"{signature}_{n}.npz"))
        assert_same(found, answers(model, head, names))


@pytest.mark.parametrize("make", MODELS)
def test_the_signatures_are_the_contract(served, make):
    folder, model, _, rows = served[make]
    signatures = tf.saved_model.load(folder / "served").signatures
    assert set(signatures) == {"serve", "serving_default", *model.task_names}
    for signature in signatures.values():
        positional, named = signature.structured_input_signature
        assert positional == () and set(named) == set(rows)
        for name, spec in named.items():
            assert spec.shape.as_list() == [None, *rows[name].shape[1:]]
            expected = "string" if rows[name].dtype.kind == "U" else rows[name].dtype
            assert spec.dtype == tf.as_dtype(expected)
        for spec in signature.structured_outputs.values():
            assert spec.shape[0] is None
    assert set(signatures["serve"].structured_outputs) == {
        key for name in model.task_names for key in signatures[name].structured_outputs
    }


def test_attributes_take_what_predict_takes(served):
    for make in (half_precision_model, list_input_model, dict_input_model):
        folder, model, x, _ = served[make]
        loaded = tf.saved_model.load(folder / "served")
        tensors = keras.tree.map_structure(tf.constant, x)
        name = model.task_names[0]
        expected = answers(model, x)
        assert_same({k: v.numpy() for k, v in loaded.serve(tensors).items()}, expected)
        found = getattr(loaded, name)(tensors)
        assert_same({k: v.numpy() for k, v in found.items()}, answers(model, x, [name]))


def test_a_served_task_is_a_keras_layer(served):
    folder, model, x, _ = served[half_precision_model]
    layer = keras.layers.TFSMLayer(folder / "served", call_endpoint="kind")
    assert_same({k: v.numpy() for k, v in layer(x).items()}, answers(model, x, ["kind"]))
    inputs = keras.Input((5,))
    around = keras.Model(inputs, layer(inputs)["kind"])
    np.testing.assert_allclose(
        around.predict(x, verbose=0), answers(model, x, ["kind"])["kind"], atol=1e-6
    )

    folder, model, x, rows = served[raw_column_model]
    layer = keras.layers.TFSMLayer(folder / "served", call_endpoint="click")
    found = layer({k: tf.constant(v) for k, v in rows.items()})
    assert_same({k: v.numpy() for k, v in found.items()}, answers(model, x, ["click"]))


# -- only what is asked for -------------------------------------------------------------------


@pytest.fixture
def wide():
    """A small trunk under big heads: 1 MB for each task."""
    return HardSharing(
        keras.Input((4,), name="x"), three_tasks(), shared_units=(8,), tower_units=(512, 512)
    )


def test_a_signature_runs_its_own_head_only(wide, tmp_path):
    loaded = tf.saved_model.load(wide.export(tmp_path / "s"))  # a name keeps its variables alive
    signatures = loaded.signatures
    # One matrix product in the trunk, three for each task.
    assert ops_of(signatures["serve"], "MatMul") == 1 + 3 * 3
    for name in wide.task_names:
        assert ops_of(signatures[name], "MatMul") == 1 + 3
        shapes = sorted(v.shape.as_list() for v in signatures[name].variables)
        own = wide.single_task(name).trainable_variables
        assert shapes == sorted(list(v.shape) for v in own)


def test_tasks_that_are_not_served_are_not_saved(wide, tmp_path):
    whole, part = wide.export(tmp_path / "whole"), wide.export(tmp_path / "part", tasks=["stay"])
    loaded = tf.saved_model.load(part)
    assert set(loaded.signatures) == {"serve", "serving_default", "stay"}
    assert len(loaded.variables) == 2 + 6
    assert len(tf.saved_model.load(whole).variables) == 2 + 3 * 6
    of_tasks = 512 * 512 * 4  # bytes of the widest layer of one task
    assert bytes_of(part) < bytes_of(whole) - 2 * of_tasks
    x = RNG.normal(size=(3, 4)).astype("float32")
    found = {k: v.numpy() for k, v in loaded.serve(tf.constant(x)).items()}
    assert_same(found, answers(wide, x, ["stay"]))
    stored = {name for name, _ in tf.train.list_variables(part / "variables" / "variables")}
    assert sum("VARIABLE_VALUE" in name for name in stored) == 2 + 6


def test_the_order_of_the_tasks_means_nothing(tmp_path):
    model = HardSharing(keras.Input((4,), name="x"), three_tasks(), shared_units=(8,))
    path = export.save(model, str(tmp_path / "s"), tasks=("stay", "click"))
    assert path == str(tmp_path / "s")
    loaded = tf.saved_model.load(path)
    found = loaded.serve(tf.ones((2, 4)))
    x = np.ones((2, 4), "float32")
    assert_same({k: v.numpy() for k, v in found.items()}, answers(model, x, ["click", "stay"]))


def test_the_listed_variables_are_those_that_answer(wide, tmp_path):
    loaded = tf.saved_model.load(wide.export(tmp_path / "s", tasks=["stay"]))
    rows = tf.ones((2, 4))
    assert np.any(loaded.stay(rows)["stay"].numpy())
    for variable in loaded.trainable_variables:
        variable.assign(tf.zeros_like(variable))
    assert not np.any(loaded.stay(rows)["stay"].numpy())


@pytest.mark.parametrize("make", [raw_column_model, half_precision_model])
def test_training_state_stays_out(served, make):
    folder, model, _, _ = served[make]
    stored = tf.train.list_variables(folder / "served" / "variables" / "variables")
    values = [shape for name, shape in stored if "VARIABLE_VALUE" in name]
    assert len(values) == len(keras.Model(model.input, model.output).weights)
    # There was something to leave out.
    assert len(model.weights) > len(values) and len(model.optimizer.variables) > len(values)


# -- preprocessors ----------------------------------------------------------------------------


@pytest.mark.slow
def test_the_preprocessor_can_be_left_out_or_replaced(served, tmp_path):
    _, model, x, _ = served[raw_column_model]
    bare = tf.saved_model.load(export.save(model, tmp_path / "bare", preprocessor=None))
    found = bare.signatures["serve"](features=tf.constant(x))
    assert_same({k: v.numpy() for k, v in found.items()}, answers(model, x))

    halves = keras.Sequential([keras.Input((5,), name="halves"), keras.layers.Rescaling(2.0)])
    other = tf.saved_model.load(model.export(tmp_path / "other", preprocessor=halves))
    found = other.signatures["serve"](halves=tf.constant(x / 2))
    assert_same({k: v.numpy() for k, v in found.items()}, answers(model, x))


def test_a_reloaded_model_still_takes_raw_columns(served, tmp_path):
    _, model, x, rows = served[raw_column_model]
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    path = again.export(tmp_path / "served", tasks=["click"])
    loaded = tf.saved_model.load(path)
    found = loaded.signatures["click"](**{k: tf.constant(v) for k, v in rows.items()})
    assert_same({k: v.numpy() for k, v in found.items()}, answers(model, x, ["click"]))


def test_a_lookup_inside_the_model_is_saved(tmp_path):
    inputs = keras.Input((1,), name="colour", dtype="string")
    ids = keras.layers.StringLookup(vocabulary=["red", "blue"], output_mode="one_hot")(inputs)
    tasks = [Regression("a"), Regression("b")]
    model = MultiTaskModel(inputs, {t.name: t.head(ids) for t in tasks}, tasks=tasks)
    rows = tf.constant([["red"], ["blue"], ["green"]])
    expected = {k: np.asarray(v) for k, v in model(rows).items()}
    loaded = tf.saved_model.load(model.export(tmp_path / "s"))
    assert_same({k: v.numpy() for k, v in loaded.serve(rows).items()}, expected)


# -- refusals ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    return HardSharing(keras.Input((4,), name="x"), three_tasks())


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], r"`tasks` should be a non-empty list of names. Received: tasks=\[\]"),
        ("click", "`tasks` should be a non-empty list of names. Received: tasks='click'"),
        (["click", "price"], r"one of|some of .*\['click', 'kind', 'stay'\]. Received: 'price'"),
        (["click", "click"], r"different names. Received: tasks=\['click', 'click'\]"),
        ([Regression("stay")], "some of the model's tasks"),
    ],
)
def test_wrong_tasks_are_refused(small, tmp_path, names, text):
    with pytest.raises(ValueError, match=text):
        export.save(small, tmp_path / "s", tasks=names)
    assert not (tmp_path / "s").exists()


def test_other_models_are_refused(small, tmp_path):
    with pytest.raises(ValueError, match="`model` should be a `MultiTaskModel`"):
        export.save(small.single_task("stay"), tmp_path / "s")
    x = keras.Input((4,))
    untold = MultiTaskModel(x, {"a": keras.layers.Dense(1, name="a")(x)})
    with pytest.raises(ValueError, match=r"`model` should have tasks.*compile"):
        untold.export(tmp_path / "s")


def test_a_taken_path_is_refused(small, tmp_path):
    (tmp_path / "file").write_text("kept")
    for taken in (tmp_path, tmp_path / "file"):
        with pytest.raises(
            ValueError, match=r"`path` should be a new or an empty directory.*path="
        ):
            small.export(taken)
    assert (tmp_path / "file").read_text() == "kept"
    (tmp_path / "empty").mkdir()
    small.export(tmp_path / "empty", tasks=["stay"])
    assert (tmp_path / "empty" / "saved_model.pb").exists()


def test_unusable_preprocessors_are_refused(small, tmp_path):
    with pytest.raises(ValueError, match=r"`preprocessor` should be a Keras model.*='none'"):
        small.export(tmp_path / "s", preprocessor="none")
    with pytest.raises(ValueError, match="`preprocessor` should be a functional model"):
        small.export(tmp_path / "s", preprocessor=keras.Sequential([keras.layers.Rescaling(2.0)]))
    narrow = keras.Sequential([keras.Input((3,)), keras.layers.Rescaling(2.0)])
    with pytest.raises(ValueError, match=r"expected shape=\(None, 4\), found shape=\(None, 3\)"):
        small.export(tmp_path / "s", preprocessor=narrow)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("name", ["capital-gains", "two words", "1st", "_x", "self", "class", "é"])
def test_input_names_that_are_no_keywords_are_refused(tmp_path, name):
    model = HardSharing(keras.Input((4,), name=name), [Regression("stay")])
    with pytest.raises(ValueError, match=f"names that can be keywords.*named '{name}'"):
        model.export(tmp_path / "s")


def test_input_names_that_differ_in_case_only_are_refused(tmp_path):
    inputs = [keras.Input((4,), name="Age"), keras.Input((4,), name="age")]
    with pytest.raises(ValueError, match=r"differ in more than case.*'Age' and 'age'"):
        HardSharing(inputs, [Regression("stay")]).export(tmp_path / "s")


class Greedy(Task):
    """Answers under the key of another task."""

    def serve(self, outputs):
        return {self.name: outputs, "stay": outputs}


def test_tasks_that_answer_under_one_key_are_refused(tmp_path):
    x = keras.Input((4,), name="x")
    tasks = [Greedy("all", loss="mse", output_shape=(1,)), Regression("stay")]
    heads = {t.name: keras.layers.Dense(1, name=t.name)(x) for t in tasks}
    with pytest.raises(ValueError, match=r"`serve` of task `stay`.*Received: \['stay'\]"):
        MultiTaskModel(x, heads, tasks=tasks).export(tmp_path / "s")


def test_a_column_may_have_the_name_of_a_task(small, tmp_path):
    columns = keras.Sequential([keras.Input((4,), name="stay"), keras.layers.Rescaling(1.0)])
    loaded = tf.saved_model.load(small.export(tmp_path / "s", preprocessor=columns))
    x = np.ones((2, 4), "float32")
    found = loaded.signatures["stay"](stay=tf.constant(x))
    assert_same({k: v.numpy() for k, v in found.items()}, answers(small, x, ["stay"]))


def test_it_is_silent_unless_asked(small, tmp_path, capfd):
    small.export(tmp_path / "silent", tasks=["stay"])
    assert capfd.readouterr().out == ""
    small.export(tmp_path / "verbose", tasks=["stay"], verbose=True)
    assert "* Endpoint 'stay'" in capfd.readouterr().out
