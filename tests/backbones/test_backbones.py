"""What holds for every backbone: parameters, files, stages, cuts, copies, widths, precision."""

import keras
import numpy as np
import pytest
from backbone_cases import CASES, inputs_of, randomize

from mtlzoo import BinaryClassification, HardSharing, Regression, backbones

every = pytest.mark.parametrize("case", CASES)


def make(case, **arguments):
    return randomize(CASES[case][0](**arguments))


def run(model, x):
    return keras.ops.convert_to_numpy(model(x, training=False)).astype("float32")


def close(a, b, tolerance=1e-5):
    tolerance = tolerance * max(1.0, float(np.abs(b).max()))
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


@pytest.mark.one_in(6)
@every
def test_parameters_shape_and_rows(case):
    backbone = make(case)
    assert backbone.count_params() == CASES[case][1]
    x = inputs_of(backbone)
    y = run(backbone, x)
    assert y.shape == (3, *backbone.output.shape[1:])
    assert np.isfinite(y).all() and np.std(y) > 0
    first = keras.tree.map_structure(lambda a: a[:1], x)
    close(run(backbone, first), y[:1])  # a row does not depend on the others


@pytest.mark.one_in(5)
@every
def test_config_and_file(case, tmp_path):
    backbone = make(case, name="trunk")
    again = type(backbone).from_config(backbone.get_config())
    assert again.get_config() == backbone.get_config()
    assert type(backbone)(**backbone.get_config()).stage_names == backbone.stage_names
    assert [layer.name for layer in again.layers] == [layer.name for layer in backbone.layers]
    backbone.save(tmp_path / "b.keras")
    loaded = keras.saving.load_model(tmp_path / "b.keras")
    assert type(loaded) is type(backbone) and loaded.name == "trunk"
    x = inputs_of(backbone)
    close(run(loaded, x), run(backbone, x), 0)


@pytest.mark.one_in(12)
@every
def test_a_cut_at_every_stage_and_copies_of_layers(case):
    """Pieces, made of new layers, with plain arrays from one to the next: no mask comes along."""
    backbone = make(case)
    ends = [backbone.get_layer(name).output for name in backbone.stage_names]
    assert ends[-1] is backbone.output
    x = given = inputs_of(backbone)
    start = backbone.input
    for name, end in zip(backbone.stage_names, ends, strict=True):
        piece = keras.Model(start, end)

        def copied(layer, name=name):
            config = {**layer.get_config(), "name": f"copy_{layer.name}"}
            return layer.__class__.from_config(config)

        copy = keras.models.clone_model(piece, clone_function=copied)
        copy.set_weights(piece.get_weights())
        x = run(copy, x)
        start = end
    close(x, run(backbone, given))
    whole = keras.models.clone_model(backbone)
    whole.set_weights(backbone.get_weights())
    close(run(whole, given), run(backbone, given))


@pytest.mark.one_in(6)
@every
def test_layers_are_flat_and_named(case):
    backbone = make(case)
    layers = backbone.layers
    assert not any(isinstance(layer, keras.Model) for layer in layers)
    assert len(layers) == len(backbone.operations)  # no bare operation
    again = {layer.name for layer in CASES[case][0]().layers}
    assert {layer.name for layer in layers} == again  # no name is numbered by Keras


@pytest.mark.one_in(12)
@every
def test_scaled(case):
    backbone = make(case)
    assert backbone.scaled(1).count_params() == backbone.count_params()
    double, half = backbone.scaled(2), backbone.scaled(0.5)
    assert half.count_params() < backbone.count_params() < double.count_params()
    assert double.stage_names == backbone.stage_names and double.name != backbone.name
    assert {id(v) for v in half.weights}.isdisjoint({id(v) for v in backbone.weights})
    x = inputs_of(backbone)
    assert np.isfinite(run(backbone.scaled(1e-9), x)).all()  # widths of at least 1
    for scale in (0, -1, float("inf"), True, "half"):
        with pytest.raises(ValueError, match=r"`scale` should be a positive number. Received: sca"):
            backbone.scaled(scale)


@pytest.mark.one_in(7)
@every
@pytest.mark.parametrize(
    "dtype",
    [
        "mixed_bfloat16",
        *(pytest.param(dtype, marks=pytest.mark.slow) for dtype in ("mixed_float16", "float64")),
    ],
)
def test_precision(case, dtype):
    single, other = make(case), make(case, dtype=dtype)
    assert {v.dtype for v in other.trainable_variables} == {
        "float64" if "64" in dtype else "float32"
    }
    assert other.output.dtype == keras.dtype_policies.get(dtype).compute_dtype
    assert type(other).from_config(other.get_config()).output.dtype == other.output.dtype
    x = inputs_of(single)
    close(
        run(other, x),
        run(single, x),
        {"mixed_bfloat16": 0.1, "mixed_float16": 0.02}.get(dtype, 1e-4),
    )


@pytest.mark.slow  # XLA compiles for minutes
def test_they_train_under_xla():
    """All kinds in one model; every variable moves."""
    kinds = ["mlp_batch_norm", "res_net_dense", "text_encoder", "audio_encoder", "sensor_encoder"]
    made = [CASES[case][0]() for case in [*kinds, "tabular_encoder"]]
    inputs, data, features = {}, {}, []
    for backbone in made:
        given = inputs_of(backbone)
        named = isinstance(backbone.input, dict)
        inputs |= backbone.input if named else {backbone.input.name: backbone.input}
        data |= given if named else {backbone.input.name: given}
        features.append(keras.layers.Flatten()(backbone(backbone.input)))
    trunk = keras.Model(inputs, keras.layers.Concatenate()(features))
    model = HardSharing(inputs, [BinaryClassification("a"), Regression("b")], backbone=trunk)
    model.compile("sgd", balancer="equal", jit_compile=True)
    before = [v.numpy() for v in trunk.trainable_variables]
    labels = {"a": np.array([0, 1, 1]), "b": np.array([0.5, 1.0, -1.0])}
    model.fit(data, labels, batch_size=3, verbose=0)
    pairs = list(zip(trunk.trainable_variables, before, strict=True))
    assert all(np.isfinite(v.numpy()).all() for v, _ in pairs)
    still = {v.path for v, old in pairs if np.array_equal(v.numpy(), old)}
    # A key's offset shifts all logits of a query alike, which a softmax does not see.
    assert not {path for path in still if "/key/bias" not in path}


@pytest.mark.slow
def test_batch_normalization_is_synchronized():
    for case in CASES:
        for layer in CASES[case][0]()._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                assert layer.synchronized


def test_the_last_stage_is_the_output():
    inputs = keras.Input((2,))
    outputs = keras.layers.Dense(1, name="last")(inputs)
    with pytest.raises(ValueError, match=r"`stage_names` should be .* `last`. Received: s.*'a'"):
        backbones.Backbone(inputs, outputs, ["a"], {})


@pytest.mark.slow
def test_a_model_of_keras_applications_is_a_backbone(tmp_path):
    trunk = keras.applications.MobileNetV2(
        input_shape=(32, 32, 3), alpha=0.35, include_top=False, pooling="avg", weights=None
    )
    for layer in trunk.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True
    tasks = [BinaryClassification("a"), Regression("b")]
    model = HardSharing(keras.Input((32, 32, 3)), tasks, backbone=trunk)
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    assert {k: v.shape for k, v in model.predict(x, verbose=0).items()} == {
        "a": (2, 1),
        "b": (2, 1),
    }
    assert len(model.shared_variables) == len(trunk.trainable_variables)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    norms = [
        layer
        for layer in loaded._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert norms and all(layer.synchronized for layer in norms)


def test_a_keras_hub_encoder_is_a_backbone():
    keras_hub = pytest.importorskip("keras_hub", reason="KerasHub is not installed")
    bert = keras_hub.models.BertBackbone(
        vocabulary_size=20,
        num_layers=1,
        num_heads=2,
        hidden_dim=4,
        intermediate_dim=8,
        max_sequence_length=6,
    )
    trunk = keras.Model(bert.input, bert.output["pooled_output"])
    model = HardSharing(trunk.input, [BinaryClassification("a")], backbone=trunk)
    x = {name: np.ones((2, 6), "int32") for name in trunk.input}
    assert model.predict(x, verbose=0)["a"].shape == (2, 1)
