"""Scenes out of TensorFlow Datasets: what becomes of their features, and how sets are mixed."""

import numpy as np
import pytest
from fake_packages import rows_of

from mtlzoo.data import scene_sets

tfds = pytest.importorskip("tensorflow_datasets", reason="the extra `datasets` is missing")

IDS = "cityscapes/semantic_segmentation"
DISPARITY = "cityscapes/stereo_disparity"
NYU = "nyu_depth_v2"
COUNTS = {"cityscapes": 5, "nyu_depth_v2": 3}
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), np.uint8)
LABELS = {
    "segmentation_label": np.array([[7, 8, 0, 33], [255, 34, 9, 26]], np.uint8),
    "disparity_map": np.array([[0, 1, 50, 126], [3, 0, 7, 9]], np.uint8),
    "depth": np.array([[0, 1.5, 2, np.inf], [9.75, -1, 0.5, np.nan]], np.float16),
}


def examples(self, split, **_):
    """A few pictures in place of those of a set; the middle of each cell of labels is `LABELS`."""
    import tensorflow as tf

    (label,) = set(self.info.features) & set(LABELS)
    (image,) = set(self.info.features) & {"image", "image_left"}
    count = COUNTS[self.name]
    labels = np.zeros((6, 12), LABELS[label].dtype)
    labels[1::3, 1::3] = LABELS[label]
    if label != "depth":
        labels = labels[..., None]
    return tf.data.Dataset.from_tensor_slices(
        {image: IMAGES[:count], label: np.stack([labels] * count)}
    )


@pytest.fixture
def mocked():
    with tfds.testing.mock_data(as_dataset_fn=examples):
        yield


@pytest.mark.one_in(2)
@pytest.mark.usefixtures("mocked")
@pytest.mark.parametrize(
    ("name", "task", "expected"),
    [
        (IDS, "segmentation", [[0, 1, 255, 18], [255, 255, 255, 13]]),
        (DISPARITY, "depth", [[np.nan, 0.01, 0.5, 1.26], [0.03, np.nan, 0.07, 0.09]]),
        (NYU, "depth", [[np.nan, 1.5, 2, np.nan], [9.75, np.nan, 0.5, np.nan]]),
    ],
)
def test_labels_are_those_of_the_task(name, task, expected):
    loaded = scene_sets.load(name, size=(2, 4), batch_size=2)
    assert [each.name for each in loaded.tasks] == [task]
    x, y, w = rows_of(loaded.test)
    np.testing.assert_allclose(y[task], np.stack([expected] * len(x)), rtol=1e-6)
    assert np.all(w[task] == 1)
    labels = loaded.tasks[0].read_labels(y[task])
    assert not np.any(labels.invalid) and np.any(labels.present)


@pytest.mark.usefixtures("mocked")
def test_pictures_are_averaged():
    x, _, _ = rows_of(scene_sets.load(NYU, size=(2, 3)).test)
    expected = IMAGES[:3].reshape(3, 2, 2, 3, 2, 3).mean((2, 4)) / 255
    np.testing.assert_allclose(x, expected, atol=1e-6)


def numbers_of(part):
    """Which pictures there are, and of which task each has labels."""
    x, y, _ = rows_of(part)
    means = IMAGES.mean((1, 2, 3)) / 255  # which averaging keeps
    found = [int(np.abs(means - picture.mean()).argmin()) for picture in x]
    has_depth = ~np.isnan(y["depth"]).all((1, 2))
    has_ids = (y["segmentation"] != 255).any((1, 2))
    assert np.all(has_depth != has_ids)
    return list(zip(found, has_depth.tolist(), strict=True))


@pytest.mark.slow
@pytest.mark.usefixtures("mocked")
def test_sets_are_mixed_and_the_other_labels_are_missing():
    loaded = scene_sets.load([NYU, IDS], size=(2, 4), batch_size=3, seed=1)
    assert [task.name for task in loaded.tasks] == ["depth", "segmentation"]
    assert int(loaded.train.cardinality()) == 3  # of 3, 3 and 2
    every = [*((i, True) for i in range(3)), *((i, False) for i in range(5))]
    epochs = [numbers_of(loaded.train) for _ in range(4)]
    assert all(sorted(epoch) == sorted(every) for epoch in epochs)
    assert any(epoch != epochs[0] for epoch in epochs)
    in_turn = [(0, True), (0, False), (1, True), (1, False), (2, True), (2, False)]
    assert numbers_of(loaded.valid) == [*in_turn, (3, False), (4, False)]


def test_unusable_options(tmp_path):
    with pytest.raises(ValueError, match=r"`names` should be some of \['cityscapes/semantic"):
        scene_sets.load("coco")
    with pytest.raises(ValueError, match="`names` should be sets of different tasks"):
        scene_sets.load([NYU, DISPARITY])
    with pytest.raises(ValueError, match=r"`size` should be a height and a width.*size=8"):
        scene_sets.load(NYU, size=8)
    with pytest.raises(ValueError, match="are prepared; `tfds build nyu_depth_v2` does it"):
        scene_sets.load(NYU, data_dir=tmp_path)
