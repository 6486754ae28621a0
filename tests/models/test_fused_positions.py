"""CrossModalFusion at the positions of one modality, for tasks of pixels and of steps."""

import keras
import numpy as np
import pytest
from model_cases import compiled

from mtlzoo import (
    BinaryClassification,
    Classification,
    CrossModalFusion,
    DepthEstimation,
    ObjectDetection,
    PCGrad,
    SemanticSegmentation,
    SequenceTagging,
    SpanExtraction,
    SurfaceNormalEstimation,
)

ROWS = 6
RNG = np.random.default_rng(0)


def make_inputs():
    return {
        "caption": keras.Input((5,), dtype="int32", name="caption"),
        "caption_present": keras.Input((), dtype="bool", name="caption_present"),
        "image": keras.Input((6, 6, 2), name="image"),
        "image_present": keras.Input((), dtype="bool", name="image_present"),
    }


def make_encoders(width=4):
    return {
        "caption": keras.layers.Embedding(20, width, mask_zero=True, name="words"),
        "image": keras.layers.Conv2D(width, 3, activation="relu", name="edges"),
    }


def small(tasks=None, positions_of="image", **arguments):
    keras.utils.set_random_seed(1)
    tasks = tasks or [SemanticSegmentation("parts", 3), Classification("kind", num_classes=4)]
    arguments = {"encoders": make_encoders(), "projection_units": 7, "fusion_units": 5} | arguments
    arguments |= {"positions_of": positions_of, "activation": "tanh"}
    return CrossModalFusion(make_inputs(), tasks, **arguments)


def rows():
    rng = np.random.default_rng(0)
    x = {
        "caption": rng.integers(1, 20, (ROWS, 5)).astype("int32"),
        "caption_present": np.array([1, 1, 0, 1, 0, 1], bool),
        "image": rng.normal(size=(ROWS, 6, 6, 2)).astype("float32"),
        "image_present": np.array([1, 0, 1, 1, 1, 0], bool),
    }
    x["caption"][:, 3:] = 0  # padding
    return x, {"parts": rng.integers(0, 3, (ROWS, 4, 4)), "kind": rng.integers(0, 4, ROWS)}


def test_the_forward_pass_is_that_of_its_equation():
    model = small(shared_units=(6,), tower_units=(4,))
    model.get_layer("at_positions").bias.assign(RNG.normal(size=5))
    x, _ = rows()
    w = {v.path: np.array(v, "float64") for v in model.variables}

    def dense(h, name):
        return h @ w[f"{name}/kernel"] + w[f"{name}/bias"]

    patches = np.lib.stride_tricks.sliding_window_view(x["image"], (3, 3), axis=(1, 2))
    maps = np.einsum("bxycij,ijcf->bxyf", patches, w["edges/kernel"]) + w["edges/bias"]
    maps = np.maximum(maps, 0)
    caption = w["words/embeddings"][x["caption"][:, :3]].mean(1)
    present = np.stack([x["caption_present"], x["image_present"]], axis=1).astype("float64")
    vectors = [dense(caption, "caption_projection"), dense(maps.mean((1, 2)), "image_projection")]
    vectors = [v * p[:, None] for v, p in zip(vectors, present.T, strict=True)]
    fused = np.tanh(dense(np.concatenate([*vectors, present], axis=1), "fusion/projection"))
    both = np.concatenate(
        [maps * present[:, 1, None, None, None], np.tile(fused[:, None, None], (1, 4, 4, 1))], -1
    )
    h = np.tanh(dense(np.tanh(dense(both, "at_positions")), "shared_0"))
    found = model.predict(x, verbose=0)
    parts = dense(np.tanh(dense(h, "parts_tower_0")), "parts")
    kind = dense(np.tanh(dense(h, "kind_tower_0")).mean((1, 2)), "kind")
    np.testing.assert_allclose(
        found["parts"], parts.reshape(found["parts"].shape), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(found["kind"], kind, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["gated", "bottleneck"])
def test_tasks_of_pixels_and_of_rows_are_trained_and_saved(fusion, tmp_path):
    model = small(fusion=fusion, modality_dropout=0.2, seed=3, alignment=0.1)
    compiled(model, PCGrad(wrt="features"), metrics={"parts": [], "kind": []})
    (boundary,) = model.boundary
    assert boundary.shape == (None, 4, 4, 5)
    x, y = rows()
    before = [np.array(v) for v in model.trainable_variables]
    model.fit(x, y, batch_size=3, epochs=2, verbose=0)
    for variable, old in zip(model.trainable_variables, before, strict=True):
        assert np.isfinite(variable).all()
        # A bias of keys changes nothing in a softmax.
        assert np.abs(np.array(variable) - old).max() > 0 or "key/bias" in variable.path
    expected = model.predict(x, verbose=0)
    x["image"][~x["image_present"]] = np.nan
    x["caption"][~x["caption_present"]] = -1
    model.save(tmp_path / "m.keras")
    for each in (model, keras.saving.load_model(tmp_path / "m.keras")):
        for task, outputs in each.predict(x, verbose=0).items():
            np.testing.assert_array_equal(outputs, expected[task])


@pytest.mark.slow
def test_without_the_modality_of_the_positions_the_others_answer():
    tasks = [SequenceTagging("tags", num_tags=3), BinaryClassification("spam")]
    model = small(tasks, "caption", tower_units=(4,))
    x, _ = rows()
    found = model.predict(x, verbose=0)
    assert found["tags"].shape == (ROWS, 5, 3)
    for row in np.flatnonzero(~x["caption_present"]):
        np.testing.assert_allclose(
            found["tags"][row], found["tags"][row][:1].repeat(5, 0), rtol=1e-5
        )
        other = {key: value[row : row + 1].copy() for key, value in x.items()}
        other["image"] += 1
        assert np.abs(model.predict(other, verbose=0)["spam"][0] - found["spam"][row]).max() > 1e-4
    # A caption of nothing but padding, too: it leaves no position that a mean could be of.
    empty = x | {"caption": np.zeros((ROWS, 5), "int32"), "caption_present": np.ones(ROWS, bool)}
    answers = model.predict(empty, verbose=0)["spam"]
    assert len(np.unique(np.round(answers[x["image_present"]], 5))) == x["image_present"].sum()


def test_padding_is_no_position():
    model = small([SpanExtraction("answer"), BinaryClassification("spam")], "caption")
    x, _ = rows()
    found = model.predict(x, verbose=0)
    there = x["caption_present"]
    assert (found["answer"][there, 3:] == -1e4).all() and (found["answer"][:, :3] > -1e3).all()
    model.get_layer("words").embeddings.assign(
        np.concatenate([np.full((1, 4), 9.0), np.array(model.get_layer("words").embeddings)[1:]])
    )
    np.testing.assert_array_equal(model.predict(x, verbose=0)["spam"][there], found["spam"][there])


def test_all_kinds_of_tasks_have_their_positions():
    of_pixels = [
        DepthEstimation("depth", size=(6, 6)),
        ObjectDetection("things", num_classes=2, max_boxes=3),
        SemanticSegmentation("parts", 3),
        SurfaceNormalEstimation("normals"),
    ]
    assert small(of_pixels).output["depth"].shape == (None, 6, 6, 1)
    message = r"The features of task `tags` should have shape \(None, S, F\)"
    with pytest.raises(ValueError, match=message):
        small([SequenceTagging("tags", num_tags=3)])


def test_config_and_student():
    model = small(seed=3, modality_dropout=0.5)
    again = CrossModalFusion.from_config(model.get_config())
    assert again.get_config() == model.get_config()
    assert again.get_layer("modality_dropout").seed == 3
    assert again.output["parts"].shape == (None, 4, 4, 3)
    student = model.student(0.4, encoders=make_encoders(2))
    assert student.get_layer("at_positions").kernel.shape == (2 + 2, 2)
    with pytest.raises(ValueError, match="No such layer: at_positions"):
        small([Classification("kind", num_classes=4)], None).get_layer("at_positions")


def test_bad_positions():
    with pytest.raises(ValueError, match=r"`positions_of` should be one of \['caption', 'image'\]"):
        small(positions_of="video")
    vectors = make_encoders() | {"image": keras.layers.Flatten()}
    with pytest.raises(ValueError, match=r"`positions_of` should be a modality whose .*\(None, 72"):
        small(encoders=vectors)
    with pytest.raises(
        ValueError, match=r"`seed` should be an integer or None\. Received: seed='a'"
    ):
        small(seed="a")
    with pytest.raises(
        ValueError, match=r"The features of task `parts` should have shape \(None, H"
    ):
        small(positions_of=None)
