"""Watch recordings: which exercise, whose arm and which one, from a watch's motion sensors.

140 recordings of shoulder exercises by an accelerometer and a gyroscope at the wrist (Burns et al.,
2018): seven exercises, ten people and both arms, one recording of each of their combinations.

Tasks:
  exercise  seven balanced classes: PEN, ABD, FEL, IR, ER, TRAP, ROW
  subject   ten balanced classes, the person
  side      binary, the right arm or the left one, as the authors number them

Input: `motion` (256, 6), windows of 5.12 seconds at 50 Hz that begin every 1.28 seconds: the
acceleration and the rate of rotation along x, y and z, standardized by the preprocessor.

Splits by recording: 70, 10 and 20 % of them, each with every exercise on either side, of other
people. No combination of exercise, person and arm is in two splits, but the three labels are.

Options of `load`: batch_size=64, seed=0, data_seed=0, preprocessed=True, raw_files, data_dir,
download=False. `raw_files` is the wheel of seglearn 1.2.5, the file `watch_dataset.npy` in it, or a
folder that holds one of them; `download` fetches the wheel with pip (11 MB). The file is a pickle:
it is read after its checksum was found to be the expected one.

seglearn and this data have the licence BSD-3-Clause.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mtlzoo.data.array_set import ArraySet
from mtlzoo.data.packages import Contents, Package, wheel_file
from mtlzoo.data.standardizing import standardizing

if TYPE_CHECKING:
    from mtlzoo.tasks import Task

__all__ = ["load", "prepare"]

EXERCISES, SUBJECTS = 7, 10
LENGTH, EVERY = 256, 64
FILE = "watch_dataset.npy"
SOURCE = Contents(
    package=Package(
        name="seglearn",
        version="1.2.5",
        file="seglearn-1.2.5-py3-none-any.whl",
        sha256="ec6b952c85c9627050102854b372d85951563d3b990df677d7c55547e87413dd",
    ),
    read=lambda path: {FILE: wheel_file(path, f"seglearn/data/{FILE}")},
    file=FILE,
    sha256="eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537",
)


def read(source: Mapping[str, bytes]) -> dict[str, np.ndarray]:
    """Cut the recordings into windows.

    Args:
        source: the file `watch_dataset.npy`, whose checksum was compared.

    Returns:
        `motion` `(n, 256, 6)`, and by task an array `(n,)`.
    """
    found = np.load(io.BytesIO(source[FILE]), allow_pickle=True).item()
    recordings = zip(found["X"], found["y"], found["subject"], found["side"], strict=True)
    windows, labels = [], []
    for motion, exercise, subject, side in recordings:
        for start in range(0, len(motion) - LENGTH + 1, EVERY):
            windows.append(motion[start : start + LENGTH])
            labels.append((exercise, subject - 1, side))
    columns = np.array(labels, "int32").T
    return {
        "motion": np.array(windows, "float32"),
        **dict(zip(("exercise", "subject", "side"), columns, strict=True)),
    }


def divide(arrays: Mapping[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Divide the windows by recording, so that every split has each exercise on either side.

    Of the ten people of an exercise and a side two are tested and one is validated on, in turns, as
    in a Latin square.

    Args:
        arrays: as of `read`.
        rng: where the order of the people comes from.

    Returns:
        Of each window the name of its split.
    """
    place = rng.permutation(SUBJECTS)[arrays["subject"]]
    turn = (place + arrays["exercise"] + 5 * arrays["side"]) % SUBJECTS
    return np.select([turn < 2, turn < 3], ["test", "valid"], "train")


def tasks() -> list[Task]:
    """Make the tasks."""
    from mtlzoo.tasks import BinaryClassification, Classification

    return [
        Classification("exercise", num_classes=EXERCISES),
        BinaryClassification("side"),
        Classification("subject", num_classes=SUBJECTS),
    ]


_SET = ArraySet(
    name="watch_recordings",
    sources=(SOURCE,),
    read=read,
    divide=divide,
    inputs=("motion",),
    tasks=tasks,
    preprocessor=lambda train: standardizing("motion", train["motion"]),
    homepage="https://github.com/dmbee/seglearn",
    licence="BSD-3-Clause",
    citation="D. M. Burns, N. Leung, M. Hardisty, C. M. Whyne, P. Henry, S. McLachlin: Shoulder "
    "physiotherapy exercise recognition. Physiological Measurement 39, 2018.",
)
load, prepare = _SET.load, _SET.prepare
