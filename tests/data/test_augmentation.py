"""Augmentation: labels move with their image, and rows that should stay do."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from mtlzoo import MultiTaskModel, data
from mtlzoo.tasks import (
    BinaryClassification,
    DepthEstimation,
    ObjectDetection,
    Regression,
    SemanticSegmentation,
    SurfaceNormalEstimation,
)

H, W = 12, 16
ROWS = 8
TASKS = [
    SemanticSegmentation("parts", H * W),
    DepthEstimation("depth", missing=0.0),
    SurfaceNormalEstimation("normals"),
    Regression("count"),
]


def scene():
    """An image that holds each pixel's number, and labels that are the same."""
    number = np.arange(H * W).reshape(H, W)
    image = np.repeat(number[None, ..., None].astype("float32"), ROWS, 0)
    rng = np.random.default_rng(0)
    y = {
        "parts": np.repeat(number[None], ROWS, 0).astype("int32"),
        "depth": np.repeat(number[None] + 1, ROWS, 0).astype("float32"),
        "normals": rng.normal(size=(ROWS, H, W, 3)).astype("float32"),
        "count": rng.normal(size=(ROWS, 1)).astype("float32"),
    }
    w = {"parts": np.repeat(number[None], ROWS, 0).astype("float32") + 1}
    return image, y, w


def batches(element, size=4):
    return tf.data.Dataset.from_tensor_slices(element).batch(size)


def whole(dataset):
    """All rows of a data set."""
    return tf.nest.map_structure(lambda *parts: np.concatenate(parts), *list(dataset))


def augmented(geometric, element=None, tasks=TASKS, **options):
    element = scene() if element is None else element
    return whole(data.augment(batches(element), tasks, geometric=geometric, **options))


def always(degrees):
    """A rotation against the clock by quarters, which loses no pixel of a square image."""
    return layers.RandomRotation((degrees / 360, degrees / 360))


EXACT = {
    "flip": layers.RandomFlip("horizontal_and_vertical"),
    "translation": layers.RandomTranslation(
        (0.25, 0.25), (-0.25, -0.25), fill_mode="constant", fill_value=0.0
    ),
    "reflection": layers.RandomTranslation(0.5, 0.5, fill_mode="reflect", interpolation="nearest"),
    "crop": layers.RandomCrop(8, 10),
    "zoom": layers.RandomZoom((-0.5, -0.2), interpolation="nearest"),
    "perspective": layers.RandomPerspective(1.0, scale=0.3, interpolation="nearest"),
}


@pytest.mark.one_in(4)
@pytest.mark.parametrize("kind", EXACT)
def test_labels_of_pixels_go_where_their_pixels_go(kind):
    tasks = [TASKS[0], TASKS[1], TASKS[3]]
    image, y, w = scene()
    y = {n: v for n, v in y.items() if n != "normals"}
    found = augmented([EXACT[kind]], (image, y, w), tasks, depth=None)
    moved, labels, weights = found[0][..., 0], found[1], found[2]
    there = labels["parts"] != 255
    assert there.mean() > 0.4
    np.testing.assert_allclose(labels["parts"][there], moved[there], atol=1e-3)
    np.testing.assert_allclose(labels["depth"][there], moved[there] + 1, atol=1e-3)
    np.testing.assert_allclose(weights["parts"][there], moved[there] + 1, atol=1e-3)
    assert (labels["depth"][~there] == 0).all() and (weights["parts"][~there] == 0).all()
    np.testing.assert_array_equal(labels["count"], y["count"])
    np.testing.assert_array_equal(weights["count"], 1)
    assert not np.array_equal(moved, image[..., 0])


@pytest.mark.slow
def test_what_was_outside_is_missing_where_it_is_filled_with_a_constant():
    found = augmented([layers.RandomTranslation((0.25, 0.25), 0.0, fill_mode="constant")])
    parts, normals = found[1]["parts"], found[1]["normals"]
    assert (parts[:, :3] == 255).all() and (parts[:, 3:] != 255).all()
    assert np.isnan(normals[:, :3]).all() and not np.isnan(normals[:, 3:]).any()
    one = layers.RandomTranslation((0.25, 0.25), 0.0, fill_mode="constant", fill_value=1.0)
    np.testing.assert_array_equal(augmented([one])[1]["parts"], parts)


def test_several_layers_move_labels_together():
    given = [EXACT["flip"], EXACT["translation"], layers.RandomFlip("vertical")]
    found = augmented(given)
    there = found[1]["parts"] != 255
    np.testing.assert_allclose(found[1]["parts"][there], found[0][..., 0][there], atol=1e-3)


def normals_of(image_normals, layer, size=8, **options):
    """What becomes of a normal that is the same everywhere."""
    image = np.zeros((4, size, size, 1), "float32")
    y = {"normals": np.broadcast_to(image_normals, (4, size, size, 3)).astype("float32")}
    task = SurfaceNormalEstimation("normals")
    return augmented([layer], (image, y), [task], **options)[1]["normals"][:, size // 2, size // 2]


@pytest.mark.slow
def test_normals_turn_with_the_image():
    # Against the clock, what points to the right points up, and up is -y.
    np.testing.assert_allclose(
        normals_of([0.6, 0.0, 0.8], always(90)), [[0, -0.6, 0.8]] * 4, atol=1e-5
    )
    np.testing.assert_allclose(
        normals_of([0.6, 0.0, 0.8], always(90), normals_up=True), [[0, 0.6, 0.8]] * 4, atol=1e-5
    )
    np.testing.assert_allclose(
        normals_of([0.6, 0.0, 0.8], always(30)),
        [[0.6 * np.cos(np.pi / 6), -0.6 * np.sin(np.pi / 6), 0.8]] * 4,
        atol=1e-4,
    )


@pytest.mark.slow
def test_normals_are_mirrored_with_the_image_and_stay_under_a_zoom():
    image, y, _ = scene()
    mirrored = augmented([layers.RandomFlip("horizontal")], (image, y))
    flipped = mirrored[0][:, 0, 0, 0] != 0
    assert 0 < flipped.sum() < ROWS
    expected = y["normals"][:, :, ::-1] * [-1, 1, 1]
    np.testing.assert_allclose(mirrored[1]["normals"][flipped], expected[flipped], atol=1e-5)
    np.testing.assert_array_equal(mirrored[1]["normals"][~flipped], y["normals"][~flipped])
    vector = [0.48, 0.36, 0.8]
    zoomed = normals_of(vector, layers.RandomZoom((-0.5, -0.5)))
    np.testing.assert_allclose(zoomed, [vector] * 4, atol=1e-5)


@pytest.mark.parametrize(("depth", "factor"), [("distance", 0.5), ("inverse", 2.0), (None, 1.0)])
def test_depths_follow_the_scale_of_a_zoom(depth, factor):
    image = np.zeros((4, 8, 8, 1), "float32")
    y = {"depth": np.full((4, 8, 8), 3.0, "float32")}
    y["depth"][:, ::2] = 0  # missing
    task = DepthEstimation("depth", missing=0.0)
    layer = layers.RandomZoom((-0.5, -0.5))  # twice as large
    found = augmented([layer], (image, y), [task], depth=depth)[1]["depth"]
    assert set(np.round(np.unique(found), 4)) == {0.0, 3 * factor}


BOXES = ObjectDetection("boxes", num_classes=2, max_boxes=3)


def boxes_after(layer, rows, size=(8, 8), **options):
    image = np.zeros((4, *size, 1), "float32")
    y = {"boxes": np.broadcast_to(np.array(rows, "float32"), (4, 3, 5)).copy()}
    return augmented([layer], (image, y), [BOXES], **options)


@pytest.mark.slow
def test_boxes_are_mirrored_turned_and_shifted():
    rows = [[0.1, 0.2, 0.4, 0.8, 1], [-1] * 5, [0, 0, 1, 1, 0]]
    turned = boxes_after(always(90), rows)[1]["boxes"]
    # Against the clock, x becomes y from below, and y becomes x.
    expected = [[0.2, 0.6, 0.8, 0.9, 1], [-1] * 5, [0, 0, 1, 1, 0]]
    np.testing.assert_allclose(turned, [expected] * 4, atol=1e-5)
    shift = layers.RandomTranslation((0.25, 0.25), (-0.25, -0.25))
    shifted = boxes_after(shift, rows)[1]["boxes"]
    expected = [[0, 0.45, 0.15, 1, 1], [-1] * 5, [0, 0.25, 0.75, 1, 0]]
    np.testing.assert_allclose(shifted, [expected] * 4, atol=1e-5)
    found = boxes_after(layers.RandomFlip("horizontal"), rows)[1]["boxes"]
    mirrored = np.array([[0.6, 0.2, 0.9, 0.8, 1], [-1] * 5, [0, 0, 1, 1, 0]])
    for each in found:
        assert np.allclose(each, mirrored, atol=1e-5) or np.allclose(each, rows, atol=1e-5)


def test_boxes_follow_a_crop_of_a_wide_image():
    rows = [[0.25, 0.25, 0.5, 0.5, 0], [-1] * 5, [-1] * 5]
    image = np.zeros((6, 8, 16, 1), "float32")
    image[:, 2:4, 4:8] = 1  # the box
    y = {"boxes": np.broadcast_to(np.array(rows, "float32"), (6, 3, 5)).copy()}
    layer = layers.RandomCrop(6, 12)
    found = augmented([layer], (image, y), [BOXES])
    for picture, (box, *_) in zip(found[0][..., 0], found[1]["boxes"], strict=True):
        where = np.argwhere(picture > 0.5)
        (top, left), (bottom, right) = where.min(0), where.max(0) + 1
        expected = [left / 12, top / 6, right / 12, bottom / 6]
        np.testing.assert_allclose(box[:4], expected, atol=1e-5)


@pytest.mark.slow
def test_a_box_that_has_left_the_image_is_no_box_and_unknown_boxes_stay_unknown():
    layer = layers.RandomTranslation((0.0, 0.0), (-0.375, -0.375))
    rows = [[0.0, 0.0, 0.3, 1, 1], [0.175, 0, 0.425, 1, 0], [0.0, 0, 1, 1, 0]]
    found = boxes_after(layer, rows, min_visible=0.3)[1]["boxes"]
    np.testing.assert_allclose(found, [[[-1] * 5, [-1] * 5, [0, 0, 0.625, 1, 0]]] * 4, atol=1e-5)
    found = boxes_after(layer, rows, min_visible=0.1)[1]["boxes"]
    np.testing.assert_allclose(found[:, 1], [[0, 0, 0.05, 1, 0]] * 4, atol=1e-5)
    unknown = boxes_after(layer, np.full((3, 5), np.nan))[1]["boxes"]
    assert np.isnan(unknown).all()


def test_each_input_has_its_own_layers():
    rng = np.random.default_rng(0)
    x = {
        "image": rng.uniform(size=(ROWS, 4, 4, 3)).astype("float32"),
        "numbers": rng.normal(size=(ROWS, 5)).astype("float32"),
        "word": np.array(["a"] * ROWS),
    }
    y = {"count": np.zeros((ROWS, 1), "float32")}
    found, labels, _ = whole(
        data.augment(
            batches((x, y)),
            [Regression("count")],
            layers={
                "image": [layers.RandomBrightness((0.2, 0.2), value_range=(0, 1))],
                "numbers": [layers.GaussianNoise(0.1, seed=0)],
            },
        )
    )
    np.testing.assert_allclose(found["image"], np.minimum(x["image"] + 0.2, 1), atol=1e-6)
    assert 0.05 < np.std(found["numbers"] - x["numbers"]) < 0.2
    assert found["word"].tolist() == [b"a"] * ROWS
    np.testing.assert_array_equal(labels["count"], y["count"])


@pytest.mark.slow
def test_only_rows_of_the_named_task_change():
    image, y, w = scene()
    y = {**y, "rare": np.array([1, -1, 0, -1, 1, 1, -1, 1])}
    w = {**w, "rare": np.array([1, 1, 1, 1, 1, 0, 1, 1], "float32")}
    tasks = [*TASKS, BinaryClassification("rare")]
    has_label = (y["rare"] >= 0) & (w["rare"] > 0)
    layer = layers.RandomTranslation((0.25, 0.25), 0.0)
    found = augmented([layer], (image, y, w), tasks, only=["rare"])
    changed = (found[0] != image).any((1, 2, 3))
    np.testing.assert_array_equal(changed, has_label)
    np.testing.assert_array_equal((found[1]["parts"] != y["parts"]).any((1, 2)), has_label)


@pytest.mark.slow
def test_types_stay_and_the_same_seed_gives_the_same_images():
    image, y, w = scene()
    element = (image.astype("uint8"), {"parts": y["parts"].astype("uint8")}, w)
    given = [layers.RandomRotation(0.5), layers.RandomZoom(0.3)]

    def epochs(seed):
        dataset = data.augment(batches(element), TASKS, geometric=given, seed=seed)
        return [whole(dataset) for _ in range(2)]

    (one, later), (again, _), (other, _) = epochs(1), epochs(1), epochs(2)
    assert one[0].dtype == "uint8" and one[1]["parts"].dtype == "uint8"
    np.testing.assert_array_equal(one[0], again[0])
    assert not np.array_equal(one[0], later[0]) and not np.array_equal(one[0], other[0])


def test_what_cannot_be_augmented_is_refused():
    image, y, _ = scene()
    flip = [layers.RandomFlip()]
    boxes = {"boxes": np.zeros((ROWS, 3, 5), "float32")}
    small = {"parts": y["parts"][:, ::2, ::2]}
    cases = [
        ({"geometric": [layers.RandomBrightness(0.1)]}, "`geometric` should be layers that move"),
        ({"geometric": [layers.RandomElasticTransform()]}, "`geometric` should be layers that"),
        ({"geometric": flip, "image": "picture"}, "`image` should be the name of an input"),
        ({"geometric": flip, "element": (image[..., 0], y)}, r"should be images \(B, H, W, C\)"),
        ({"geometric": flip, "element": (image, small)}, r"Labels of task `parts` should have the"),
        (
            {"geometric": [EXACT["perspective"]], "element": (image, boxes), "tasks": [BOXES]},
            "should not bend images where task `boxes` has boxes",
        ),
        (
            {"geometric": [layers.RandomRotation(0.1, interpolation="nearest")]},
            "`geometric` should interpolate where task `depth`",
        ),
        ({"geometric": flip, "tasks": TASKS[:1]}, "`tasks` should have all tasks of the labels"),
        ({"geometric": flip, "only": ["other"]}, "`only` should be names among the tasks"),
        ({"geometric": flip, "only": "count"}, "`only` should be names among the tasks"),
        ({"geometric": [EXACT["crop"]], "only": ["count"]}, "`only` should not be given with"),
        ({"geometric": flip, "depth": "log"}, "`depth` should be one of"),
        ({"geometric": flip, "min_visible": 2}, "`min_visible` should be a number from 0 to 1"),
        ({"geometric": flip, "seed": -1}, "`seed` should be an integer"),
        ({"geometric": [], "layers": {"image": flip}}, "`layers` should be a list where `x`"),
        (
            {"geometric": [], "layers": flip, "element": ({"a": image, "b": image}, y)},
            "`layers` should be a dict by input",
        ),
        (
            {"geometric": [], "layers": {"x": flip}, "element": ({"image": image}, y)},
            "`layers` should have keys among the inputs",
        ),
        ({"geometric": flip[0]}, "`geometric` should be a list of layers"),
        ({"geometric": [], "layers": flip}, "`layers` should not move images or mix rows.*RandomF"),
        ({"geometric": [], "layers": [layers.MixUp()]}, "`layers` should not move images or mix"),
        ({"geometric": [], "layers": [layers.RandAugment()]}, "the tasks .*'parts'.* have places"),
        ({"geometric": [], "layers": [layers.Resizing(4, 4)]}, "`layers` should leave the shape"),
        (
            {"geometric": [layers.RandomFlip(dtype="mixed_bfloat16")]},
            "`geometric` should be layers that compute in float32",
        ),
        (
            {
                "geometric": [EXACT["translation"]],
                "element": (image, {"parts": y["parts"].astype("int8")}),
            },
            "Labels of task `parts` should have a type that holds 255",
        ),
        ({"geometric": [], "image": "picture"}, "`image` should be the name of an input"),
        ({"tasks": TASKS[0], "geometric": flip}, "`tasks` should be a list of tasks"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            augmented(**arguments)
    with pytest.raises(ValueError, match=r"`dataset` should be a `tf\.data\.Dataset`"):
        data.augment((image, y), TASKS, geometric=flip)


def test_integers_are_rounded_and_not_cut_off():
    image = np.full((4, 8, 8, 1), 100, "uint8")
    y = {"depth": np.full((4, 8, 8), 1000, "uint16")}
    task = DepthEstimation("depth", missing=0)
    found = augmented(
        [layers.RandomZoom((-0.3, -0.3))],
        ({"image": image}, y),
        [task],
        layers=[layers.RandomBrightness((0.003, 0.003), value_range=(0, 255))],
    )
    assert found[1]["depth"].dtype == "uint16" and set(np.unique(found[1]["depth"])) == {700}
    assert found[0]["image"].dtype == "uint8" and set(np.unique(found[0]["image"])) == {101}


@pytest.mark.slow
def test_a_model_is_trained_on_augmented_scenes():
    features = keras.Input((H, W, 1))
    image, y, _ = scene()
    y = {"parts": y["parts"] % 3, "depth": y["depth"]}
    tasks = [SemanticSegmentation("parts", 3), DepthEstimation("depth", missing=0.0)]
    hidden = layers.Conv2D(4, 3, padding="same")(features)
    model = MultiTaskModel(features, {t.name: t.head(hidden) for t in tasks}, tasks=tasks)
    model.compile("adam")
    train = data.augment(
        batches((image, y)), tasks, geometric=[layers.RandomRotation(0.2, fill_mode="constant")]
    )
    logs = model.fit(train, epochs=2, verbose=0).history
    assert np.isfinite(logs["loss"]).all()
