"""The items of Fashion-MNIST, wherever they come from."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np

from mtlzoo.data import packages

PACKAGE = packages.Package(
    name="dataset-fashion-mnist",
    version="0.0~git20200523.55506a9-1",
    file="dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
    sha256="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
)
#: SHA-256 of each file of the original, unpacked, which holds whatever wrote the gzip file.
FILES = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
#: Where TensorFlow Datasets fetches fashion_mnist from.
TFDS_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
SIDE = 28
CLASSES = (
    "t-shirt or top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


def read(raw_files: str | Path) -> dict[str, np.ndarray]:
    """Read the official items.

    Args:
        raw_files: the Debian package, or a folder that holds it or the four idx files, packed by
            gzip or not.

    Returns:
        `train_images` and `test_images` `(n, 28, 28)`, `train_labels` and `test_labels` `(n,)`,
        all `uint8`.

    Raises:
        ValueError: they are not there, or are others.
    """
    paths = {name: _file(Path(raw_files), name) for name in FILES}
    if all(paths.values()):
        found = {name: path.read_bytes() for name, path in paths.items() if path}
    else:
        path = packages.find(PACKAGE, raw_files)
        wanted = {f"{name}.gz" for name in FILES}
        found = {
            Path(name).name.removesuffix(".gz"): content
            for name, content in packages.deb_files(path, lambda n: Path(n).name in wanted)
        }
    contents = {}
    for name, sha256 in FILES.items():
        content = found[name]
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        digest = hashlib.sha256(content).hexdigest()
        if digest != sha256:
            raise ValueError(
                f"`{name}` should have the SHA-256 {sha256} once it is unpacked. "
                f"Received: {digest} from {str(raw_files)!r}"
            )
        contents[name] = content
    arrays = {}
    for name, content in contents.items():
        split = "train" if name.startswith("train") else "test"
        if "images" in name:
            pixels = np.frombuffer(content, np.uint8, offset=16)
            arrays[f"{split}_images"] = pixels.reshape(-1, SIDE, SIDE)
        else:
            arrays[f"{split}_labels"] = np.frombuffer(content, np.uint8, offset=8)
    return arrays


def fetch(folder: Path) -> dict[str, np.ndarray]:
    """Fetch the items: the Debian package, else the data set of TensorFlow Datasets.

    Args:
        folder: where fetched files are kept.

    Returns:
        As `read`.

    Raises:
        RuntimeError: neither could be fetched.
    """
    try:
        return read(packages.fetch(PACKAGE, folder))
    except RuntimeError as error:
        no_package = error
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise no_package from None
    if not packages.reachable(TFDS_URL):
        raise no_package
    arrays = {}
    for split in ("train", "test"):
        whole = tfds.load("fashion_mnist", split=split, batch_size=-1, data_dir=folder)
        arrays[f"{split}_images"] = np.asarray(whole["image"], np.uint8)[..., 0]
        arrays[f"{split}_labels"] = np.asarray(whole["label"], np.uint8)
    return arrays


def _file(folder: Path, name: str) -> Path | None:
    paths = (folder / f"{name}.gz", folder / name)
    return next((path for path in paths if path.is_file()), None)
