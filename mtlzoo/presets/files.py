"""The files of a preset: written whole, and checked when they are read."""

import hashlib
import io
import json
import os
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from mtlzoo.presets import storage

FORMAT = 1
CONFIG, WEIGHTS, CARD, README = "preset.json", "weights.npz", "card.json", "README.md"
_BESIDE = (WEIGHTS, CARD, README)
_HEADER = 4096  # more than any header of an array in a file of NumPy


def to_json(value: Any) -> str:
    """JSON with a line for each key of the first levels, for people and for version control.

    Args:
        value: plain data.
    """
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A compressed file of arrays.

    Args:
        arrays: arrays by name.
    """
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()


def unpacked(content: bytes, entries: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """The arrays of a file that `packed` made.

    Args:
        content: the file.
        entries: what `storage.pack` said of the arrays.

    Raises:
        ValueError: if the file has other arrays than that, or is none.
    """
    try:
        layout = {key: value for entry in entries for key, value in storage.layout(entry).items()}
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            sizes = {
                info.filename.removesuffix(".npy"): info.file_size for info in archive.filelist
            }
            if sizes.keys() != layout.keys():
                raise _of_weights(f"other arrays, {sorted(sizes.keys() ^ layout.keys())[:3]}")
            for name, (shape, dtype) in layout.items():
                # Before anything is unpacked: a few bytes may stand for very many.
                if sizes[name] > np.dtype(dtype).itemsize * int(np.prod(shape)) + _HEADER:
                    raise _of_weights(f"`{name}` of {sizes[name]} bytes")
        with np.load(io.BytesIO(content), allow_pickle=False) as found:
            written = {name: found[name] for name in layout}
    except (zipfile.BadZipFile, OSError, EOFError, TypeError, KeyError) as error:
        raise _of_weights(f"a file that cannot be read, {error}") from error
    for name, (shape, dtype) in layout.items():
        array = written[name]
        if array.shape != shape or str(array.dtype) != dtype:
            raise _of_weights(f"`{name}` of shape {array.shape} and dtype {array.dtype}")
    return {entry["name"]: storage.unpack(written, entry) for entry in entries}


def _of_weights(received: str) -> ValueError:
    return ValueError(
        f"`{WEIGHTS}` of a preset should hold the arrays that `{CONFIG}` names, in their shapes. "
        f"Received: {received}"
    )


def write(folder: pathlib.Path, config: dict[str, Any], beside: Mapping[str, bytes]) -> None:
    """Write the files of a preset into a new folder; nobody sees a half of them.

    Args:
        folder: where to.
        config: what `preset.json` says, but for the checksums of the other files.
        beside: the other files by name.
    """
    files = {name: hashlib.sha256(content).hexdigest() for name, content in beside.items()}
    hidden = folder.with_name(f".{folder.name}.{os.getpid()}")
    hidden.mkdir(parents=True)
    try:
        for name, content in beside.items():
            (hidden / name).write_bytes(content)
        (hidden / CONFIG).write_text(to_json({**config, "files": files}), encoding="utf-8")
        if folder.exists():
            folder.rmdir()  # it is empty
        hidden.rename(folder)
    except BaseException:
        for path in hidden.iterdir():
            path.unlink()
        hidden.rmdir()
        raise


def read(folder: pathlib.Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Read the files of a preset.

    Args:
        folder: where they are.

    Returns:
        What `preset.json` says, and the other files by name.

    Raises:
        ValueError: for another format, a file that is not there, and one that is not the one whose
            checksum was written down.
    """
    config = _config(folder)
    beside = {}
    for name, wanted in config["files"].items():
        path = folder / name
        if not path.is_file():
            raise ValueError(
                f"A preset should have all its files. Received: {str(folder)!r} without {name!r}"
            )
        content = path.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != wanted:
            raise ValueError(
                f"`{name}` of a preset should be the file that was saved, with the SHA-256 "
                f"{wanted}. Received: {str(path)!r} with {found}"
            )
        beside[name] = content
    return config, beside


def _config(folder: pathlib.Path) -> dict[str, Any]:
    """`preset.json`, if it is one."""
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of UTF-8 and of JSON alike
        raise ValueError(f"{str(path)!r} should be JSON. Received: {error}") from error
    known = config.get("format") if isinstance(config, dict) else None
    if known != FORMAT:
        raise ValueError(
            f"`format` of a preset should be {FORMAT}, which this version of mtlzoo reads. "
            f"Received: format={known!r} in {str(path)!r}"
        )
    for key, kind in (("files", dict), ("model", dict), ("weights", dict | None)):
        if not isinstance(config.get(key), kind):
            raise ValueError(
                f"`{key}` of a preset should be a dict. Received: {config.get(key)!r}"[:300]
            )
    # Names of files that lead elsewhere are refused here too.
    if set(config["files"]) - set(_BESIDE) or CARD not in config["files"]:
        raise ValueError(
            f"`files` of a preset should be some of {list(_BESIDE)}. "
            f"Received: {sorted(config['files'])}"
        )
    if (config["weights"] is not None) != (WEIGHTS in config["files"]):
        raise ValueError(
            f"`weights` of a preset should be told where there is a file {WEIGHTS!r}. "
            f"Received: files={sorted(config['files'])}"
        )
    return config
