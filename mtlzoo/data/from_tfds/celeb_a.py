"""CelebA: forty attributes of a face, each of them a task, and where its landmarks are.

202 599 pictures of 10 177 celebrities, cropped and aligned by the eyes (Liu et al., 2015).

Tasks, all binary:
  five_o_clock_shadow, arched_eyebrows, attractive, bags_under_eyes, bald, bangs, big_lips,
  big_nose, black_hair, blond_hair, blurry, brown_hair, bushy_eyebrows, chubby, double_chin,
  eyeglasses, goatee, gray_hair, heavy_makeup, high_cheekbones, male, mouth_slightly_open,
  mustache, narrow_eyes, no_beard, oval_face, pale_skin, pointy_nose, receding_hairline,
  rosy_cheeks, sideburns, smiling, straight_hair, wavy_hair, wearing_earrings, wearing_hat,
  wearing_lipstick, wearing_necklace, wearing_necktie, young
and with landmarks=True
  landmarks  regression of ten numbers: x and y of the left eye, the right eye, the nose and the
             left and right corner of the mouth, as parts of the width and the height

Input: `image` (64, 64, 3), averaged to this size, bytes that the preprocessor scales to 0..1.

Splits: the official ones, which have no person in common: 162 770, 19 867 and 19 962 rows.

Options of `load`: attributes (some of those above; all), landmarks=False, size=(64, 64),
batch_size=128, seed=0, preprocessed=True, raw_files, data_dir, download=False. TensorFlow Datasets
prepares it of five files (1.5 GB), which it fetches from Google Drive, where the daily quota is
often used up, or takes from the folder `raw_files`: `img_align_celeba.zip`,
`list_eval_partition.txt`, `list_attr_celeba.txt`, `list_landmarks_align_celeba.txt` and
`identity_CelebA.txt`. Rows are read from the disk as they are needed.

The data is for research that is not commercial: http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html.
Attributes are what annotators saw in a picture, such as `attractive`, and not facts of a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtlzoo.data.arguments import check_size
from mtlzoo.data.from_arrays import check_options
from mtlzoo.data.from_tfds import reading
from mtlzoo.data.loading import Loaded
from mtlzoo.data.pictures import scaling
from mtlzoo.data.pipeline import check_batching

if TYPE_CHECKING:
    from mtlzoo.tasks import Task

URL = "https://drive.google.com"
FILES = (
    "img_align_celeba.zip",
    "list_eval_partition.txt",
    "list_attr_celeba.txt",
    "list_landmarks_align_celeba.txt",
    "identity_CelebA.txt",
)
_ATTRIBUTES = (
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose "
    "Black_Hair Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee "
    "Gray_Hair Heavy_Makeup High_Cheekbones Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard "
    "Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks Sideburns Smiling Straight_Hair "
    "Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace Wearing_Necktie Young"
)
#: By task the name of its attribute in CelebA.
ATTRIBUTES = {name.lower().replace("5", "five"): name for name in _ATTRIBUTES.split()}
POINTS = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
#: Of the pictures in CelebA.
HEIGHT, WIDTH = 218, 178
SPLITS = {"train": "train", "valid": "validation", "test": "test"}


def load(
    *,
    attributes: Sequence[str] | None = None,
    landmarks: bool = False,
    size: tuple[int, int] = (64, 64),
    batch_size: int = 128,
    seed: int = 0,
    preprocessed: bool = True,
    raw_files: str | Path | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> Loaded:
    """Load CelebA.

    Args:
        attributes: a list of those that are tasks, by the names of the tasks. Defaults to all
            forty.
        landmarks: whether there is the task `landmarks` as well. Defaults to `False`.
        size: height and width that pictures are averaged to. Defaults to `(64, 64)`.
        batch_size: rows in a batch; the last one of an epoch may be smaller. Defaults to 128.
        seed: of the order of the training rows, which differs from epoch to epoch. Defaults to 0.
        preprocessed: True gives `x` as one `float32` tensor `(batch, *size, 3)` between 0 and 1;
            False as `{"image": uint8}`. Defaults to `True`.
        raw_files: only until the data is prepared: a folder that holds the five files, see `FILES`.
        data_dir: where TensorFlow Datasets keeps what it prepares; its own default if None.
        download: whether the files may be fetched if the data is not prepared. Defaults to `False`.

    Returns:
        The data set with a task for each attribute.

    Raises:
        ValueError: an option has an unusable value, or the data is not there and may not be
            fetched.
        ImportError: the extra `datasets` is not installed.

    Example:
        ```python
        from mtlzoo import data

        faces = data.load("celeb_a", attributes=["smiling", "young"], download=True)
        x, y, sample_weight = next(iter(faces.train))  # x (128, 64, 64, 3), y smiling and young
        ```
    """
    import tensorflow as tf

    check_batching(batch_size, seed)
    check_options(preprocessed)
    height, width = check_size("size", size)
    if not isinstance(landmarks, bool):
        raise ValueError(f"`landmarks` should be a bool. Received: landmarks={landmarks!r}")
    names = _chosen(attributes, landmarks)
    builder = prepare(raw_files, data_dir, download)
    places = [f"{point}_{axis}" for point in POINTS for axis in "xy"]
    features: dict[str, Any] = {"image": True}
    if names:
        features["attributes"] = {ATTRIBUTES[name]: True for name in names}
    if landmarks:
        features["landmarks"] = dict.fromkeys(places, True)

    def row(example: dict[str, Any]) -> tuple:
        image = tf.image.resize(example["image"], (height, width), method="area")
        y = {name: tf.cast(example["attributes"][ATTRIBUTES[name]], "int32") for name in names}
        if landmarks:
            pixels = tf.stack([tf.cast(example["landmarks"][name], "float32") for name in places])
            y["landmarks"] = pixels / tf.constant([WIDTH, HEIGHT] * len(POINTS), "float32")
        return {"image": tf.cast(tf.round(image), "uint8")}, y, dict.fromkeys(y, tf.ones(()))

    rows = {
        part: [
            reading.examples(builder, split, features).map(row, num_parallel_calls=tf.data.AUTOTUNE)
        ]
        for part, split in SPLITS.items()
    }
    preprocessor = scaling((height, width, 3))
    return reading.loaded(
        rows, tasks(names, landmarks), preprocessor, batch_size, seed, preprocessed
    )


def tasks(names: Sequence[str], landmarks: bool) -> list[Task]:
    """Make the tasks.

    Args:
        names: the attributes.
        landmarks: whether there is the task `landmarks` as well.
    """
    from mtlzoo.tasks import BinaryClassification, Regression

    made: list[Task] = [BinaryClassification(name) for name in names]
    return [*made, Regression("landmarks", dim=2 * len(POINTS))] if landmarks else made


def prepare(
    raw_files: str | Path | None = None,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> Any:
    """Have TensorFlow Datasets prepare CelebA, once.

    Args:
        raw_files: a folder that holds the five files, see `FILES`.
        data_dir: where TensorFlow Datasets keeps what it prepares; its own default if None.
        download: whether the files may be fetched. Defaults to `False`.

    Returns:
        The builder.

    Raises:
        ValueError: the data is not prepared and there is nothing to prepare it from.
        ImportError: the extra `datasets` is not installed.
    """
    return reading.prepared("celeb_a", FILES, URL, raw_files, data_dir, download)


def _chosen(attributes: Sequence[str] | None, landmarks: bool) -> list[str]:
    """The attributes that are tasks."""
    if attributes is None:
        return list(ATTRIBUTES)
    is_list = isinstance(attributes, list | tuple) and (landmarks or attributes)
    if not is_list or set(attributes) - set(ATTRIBUTES) or len(set(attributes)) < len(attributes):
        raise ValueError(
            f"`attributes` should be a list of some of {list(ATTRIBUTES)}, each once. "
            f"Received: attributes={attributes!r}"
        )
    return list(attributes)
