"""Small sets that pass for those of TensorFlow Datasets: mocked, or built of small files."""

import gzip
import zipfile

import h5py
import numpy as np

from mtlzoo.data.from_tfds import celeb_a, glue

#: Rows of each official split of a mocked set.
ROWS = 30


def as_dataset(self, split, **_):
    """Examples in place of those of CelebA and GLUE, which differ from split to split."""
    import tensorflow as tf

    part, _, percents = split.partition("[")
    begin, end = {"": (0, ROWS), ":90%]": (0, 27), "90%:]": (27, ROWS)}[percents]
    is_glue = self.name == "glue"
    found = pairs(self.builder_config.name, part) if is_glue else faces(part)
    return tf.data.Dataset.from_tensor_slices(
        tf.nest.map_structure(lambda values: values[begin:end], found)
    )


def faces(part):
    rng = np.random.default_rng(len(part))
    size = (ROWS, celeb_a.HEIGHT, celeb_a.WIDTH, 3)
    attributes = celeb_a.ATTRIBUTES.values()
    places = [f"{point}_{axis}" for point in celeb_a.POINTS for axis in "xy"]
    return {
        "image": rng.integers(0, 256, size, np.uint8),
        "attributes": {name: rng.permutation(ROWS) % 2 == 0 for name in attributes},
        "landmarks": {name: 10 * i + np.arange(ROWS) for i, name in enumerate(places)},
    }


def pairs(name, part):
    numbers, source = np.arange(ROWS), glue._SETS[name]
    labels = numbers % source.classes if source.classes else np.float32(numbers / 6)
    return {
        **{text: np.array([f"{name} {part} {text} {i}" for i in numbers]) for text in source.texts},
        "label": labels,
    }


def _write_shapes(folder, rows=40):
    """The file of 3D Shapes; the number of a row is the value of its pixels."""
    with h5py.File(folder / "3dshapes.h5", "w") as file:
        numbers = np.arange(rows, dtype=np.uint8)
        file["images"] = np.broadcast_to(numbers[:, None, None, None], (rows, 64, 64, 3))
        file["labels"] = np.stack([numbers % n for n in (10, 10, 10, 8, 4, 15)], -1).astype("f8")


def _write_ratings(folder, rows=100):
    """The archive of MovieLens 100k: in time's order, three a second, the last five by user 6."""
    movies = [
        f"{i}|Movie {i}|01-Jan-1995||http://x|" + "|".join(str(int(i == j)) for j in range(19))
        for i in range(1, 9)
    ]
    users = [f"{i}|{9 * i}|{'MF'[i % 2]}|student|1234" for i in range(1, 7)]
    lines = [
        f"{i % 5 + 1 if i < rows - 5 else 6}\t{i % 8 + 1}\t{i % 5 + 1}\t{1000 + i // 3}"
        for i in np.random.default_rng(0).permutation(rows)
    ]
    with zipfile.ZipFile(folder / "ml-100k.zip", "w") as archive:
        for name, table in (("item", movies), ("user", users), ("data", lines)):
            archive.writestr(f"ml-100k/u.{name}", "\n".join(table))


def _write_sentences(folder):
    """The archives of CoLA and MNLI, which has parts of other names."""
    with zipfile.ZipFile(folder / "CoLA.zip", "w") as archive:
        for part in ("train", "dev"):
            lines = [f"x\t{i % 2}\t*\tcola {part} {i}" for i in range(30)]
            archive.writestr(f"CoLA/{part}.tsv", "\n".join(lines))
        archive.writestr("CoLA/test.tsv", "index\tsentence\n0\tnothing")
    kinds = ("entailment", "neutral", "contradiction")
    with zipfile.ZipFile(folder / "MNLI.zip", "w") as archive:
        for part in ("train", "dev_matched", "dev_mismatched"):
            lines = [f"mnli {part} {i}\tthe second\t{kinds[i % 3]}" for i in range(20)]
            archive.writestr(
                f"MNLI/{part}.tsv", "\n".join(["sentence1\tsentence2\tgold_label", *lines])
            )
        for part in ("test_matched", "test_mismatched"):
            archive.writestr(f"MNLI/{part}.tsv", "sentence1\tsentence2\nnothing\tnothing")


def _write_toys(folder, rows=20):
    """The six files of Small NORB; the instance is the first pixel, and each view has a value."""
    parts = {"46789x9x18x6x2x96x96-training": (4, 6, 7, 8, 9)}
    parts["01235x9x18x6x2x96x96-testing"] = (0, 1, 2, 3, 5)
    for part, instances in parts.items():
        number = np.arange(rows)
        pixels = np.broadcast_to(np.uint8([50, 150])[:, None, None], (rows, 2, 96, 96)).copy()
        of_row = np.array(instances)[number % 5]
        pixels[:, :, 0, 0] = of_row[:, None]
        info = np.stack([of_row, number % 9, 2 * (number % 18), number % 6], -1)
        arrays = {"dat": pixels, "cat": (number % 5).astype("<i4"), "info": info.astype("<i4")}
        for kind, values in arrays.items():
            magic = 507333717 if kind == "dat" else 507333716
            dims = [*values.shape, 1, 1][: max(3, values.ndim)]
            head = np.array([magic, values.ndim, *dims], "<i4").tobytes()
            path = folder / f"smallnorb-5x{part}-{kind}.mat.gz"
            path.write_bytes(gzip.compress(head + values.tobytes()))


def write_files(folder):
    """The files of 3D Shapes, MovieLens, CoLA, MNLI and Small NORB."""
    for write in (_write_ratings, _write_sentences, _write_shapes, _write_toys):
        write(folder)
