"""A small serving loop, for tests and demos."""

import gc
import os
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from mtlzoo.layers.arguments import check_number
from mtlzoo.serving import folders
from mtlzoo.serving.loaded import Loaded

# A version that could not be loaded is tried again after so many seconds.
_AGAIN = 60.0


class Answer(dict[str, np.ndarray]):
    """What a model answers, by name.

    Attributes:
        version: the number of the version that answered.
    """

    def __init__(self, values: dict[str, np.ndarray], version: int) -> None:
        super().__init__(values)
        self.version = version


class Swap(NamedTuple):
    """A version that took the place of another.

    Attributes:
        previous: the number of the one before.
        version: the number of the one that answers from here on.
        seconds: how long loading and warming up took, while the one before answered.
        time: when it was, by `time.monotonic()`.
    """

    previous: int
    version: int
    seconds: float
    time: float


class _Frozen:
    """Keeps what the process had before its first open server out of the collection of garbage."""

    def __init__(self) -> None:
        self._lock, self._servers = threading.Lock(), 0

    def add(self) -> None:
        """One more server is open."""
        with self._lock:
            if not self._servers:
                gc.collect()
                gc.freeze()
            self._servers += 1

    def remove(self) -> None:
        """One server fewer is open."""
        with self._lock:
            self._servers -= 1
            if not self._servers:
                gc.unfreeze()


_frozen = _Frozen()


class Server:
    """Answers by the newest version in a folder, in this process.

    It is meant for tests and demos: there is no network in it, no batching of requests and no limit
    to them. What serves in earnest is TensorFlow Serving or its like on the same folder.

    A thread looks at the folder. A newer version, or after a roll-back an older one, is loaded
    beside the one that answers, answers a request or zeros once, and takes its place by one change
    of a reference. Requests that are under way end on the version that they began with, which is
    freed after the last of them; none waits for a swap, and none is dropped. A version that cannot
    be loaded, or cannot answer, is logged and kept in `failures`, and the one before goes on; it is
    tried again after a minute.

    While a version is loaded there are two in memory, and requests take longer, since Python runs
    one thread at a time. To free a version, Python's garbage has to be collected, and everything
    waits for that; so that it does not take long, what the process has when its first server begins
    is left out of the collection until all are closed (`gc.freeze`).

    Args:
        folder: where `Versions` publishes.
        poll_seconds: how often the folder is looked at. Defaults to 1.0.

    Attributes:
        failures: why versions could not be loaded, by number.
        swaps: a list of `Swap`.

    Raises:
        ValueError: if an argument is out of its range, or no version can be loaded.

    Example:
    ```python
    import tempfile

    import keras
    import numpy as np
    from mtlzoo import BinaryClassification, HardSharing, Regression
    from mtlzoo.serving import Server, Versions

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = HardSharing(keras.Input((8,), name="features"), tasks, shared_units=(16,))
    versions = Versions(tempfile.mkdtemp())
    versions.publish(model)
    with Server(versions.folder) as server:
        answer = server.answer(np.zeros((2, 8)))
        answer["click"].shape  # (2, 1)
        answer.version  # 1
        versions.publish(model)
        server.look()  # 2, now instead of within a second
        sorted(server.answer(np.zeros((2, 8)), "stay"))  # ['stay']
    ```
    """

    def __init__(self, folder: str | os.PathLike, poll_seconds: float = 1.0) -> None:
        if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
            raise ValueError(
                f"`folder` should be the path of a folder. Received: folder={folder!r}"
            )
        seconds = check_number("poll_seconds", poll_seconds, "a positive number of seconds", 1e-3)
        self._folder, self._poll_seconds = Path(folder), seconds
        self.failures: dict[int, str] = {}
        self.swaps: list[Swap] = []
        self._tried: dict[int, float] = {}  # when a version could not be loaded
        self._old: list[Loaded] = []
        self._counting = threading.Lock()
        self._looking = threading.Lock()
        self._closed = threading.Event()
        self._current: Loaded | None = None
        _frozen.add()
        try:
            self._current = self._load_newest(None)
            if self._current is None:
                raise ValueError(
                    "`folder` should have a version that can be loaded. "
                    f"Received: folder={str(folder)!r} with {self.failures or 'none'}"
                )
        except BaseException:
            _frozen.remove()
            raise
        self._thread = threading.Thread(target=self._watch, name="mtlzoo-server", daemon=True)
        self._thread.start()

    @property
    def version(self) -> int:
        """The number of the version that answers the next request."""
        return self._now().number

    def describe(self) -> dict[str, Any]:
        """What the current version takes and answers.

        Returns:
            A dict of what JSON can hold: its `version`; its `tasks`; its `inputs` by name, each
            with `dtype` and `shape`, where `None` is a size that is free; and by signature, in
            `signatures`, the same of its answers.

        Raises:
            RuntimeError: if the server is closed.
        """
        return self._now().describe()

    def answer(self, x: Any, signature: str = "serve") -> Answer:
        """Answer a request; from any number of threads.

        Args:
            x: the inputs in the form of the served model, or as a dict by name; anything that
                NumPy can read.
            signature: `"serve"` for all tasks, or the name of one. Defaults to `"serve"`.

        Returns:
            A dict of arrays, with the version that they come from.

        Raises:
            ValueError: if there is no such signature, or `x` does not fit, or the model refuses it.
            RuntimeError: if the server is closed.
        """
        with self._counting:
            loaded = self._now()
            loaded.requests += 1
        try:
            values = loaded.answer(x, signature)
        finally:
            with self._counting:
                loaded.requests -= 1
        return Answer(values, loaded.number)

    def look(self) -> int:
        """Look at the folder now, and swap if there is something to swap.

        Returns:
            The number of the version that answers from here on.

        Raises:
            RuntimeError: if the server is closed.
        """
        with self._looking:
            current = self._now()
            began = time.monotonic()
            loaded = self._load_newest(current.number)
            if loaded is not None:
                now = time.monotonic()
                with self._counting:
                    self._current = loaded
                    self._old.append(current)
                self.swaps.append(Swap(current.number, loaded.number, now - began, now))
                logging.info("Version %d serves, after %d.", loaded.number, current.number)
            del current
            self._free()
            return self.version

    def close(self) -> None:
        """Stop looking, and let go of what is loaded; requests that are under way end."""
        with self._counting:
            if self._closed.is_set():
                return
            self._closed.set()
        if self._thread is not threading.current_thread():
            self._thread.join()
        with self._looking, self._counting:
            self._current = None
            self._old.clear()
        _frozen.remove()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def _now(self) -> Loaded:
        current = self._current
        if current is None:
            raise RuntimeError("The server should be open. Received: a request after `close`")
        return current

    def _load_newest(self, current: int | None) -> Loaded | None:
        """The newest version that can be loaded, unless that is the current one."""
        try:
            found = folders.numbers(self._folder)
        except NotADirectoryError as error:
            raise ValueError(
                f"`folder` should be a folder. Received: folder={str(self._folder)!r}"
            ) from error
        for number in self.failures.keys() - set(found):  # pruned, or withdrawn
            del self.failures[number], self._tried[number]
        for number in reversed(found):
            if number == current:
                return None
            if number in self._tried and time.monotonic() - self._tried[number] < _AGAIN:
                continue
            try:
                loaded = Loaded(number, self._folder / str(number))
                loaded.warm_up({} if self._current is None else dict(self._current.last))
            except Exception as error:  # whatever is in the folder, the one before goes on
                self._tried[number] = time.monotonic()
                self.failures[number] = f"{type(error).__name__}: {error}"
                logging.error("Version %d cannot be served: %s", number, self.failures[number])
            else:
                self.failures.pop(number, None)
                self._tried.pop(number, None)
                return loaded
        return None

    def _free(self) -> None:
        """Free the versions before the current one that have no request any more."""
        with self._counting:
            idle = [loaded for loaded in self._old if not loaded.requests]
            self._old = [loaded for loaded in self._old if loaded.requests]
        if idle:
            idle.clear()
            gc.collect()  # a SavedModel holds itself in circles

    def _watch(self) -> None:
        while not self._closed.wait(self._poll_seconds):
            try:
                self.look()
            except Exception:  # such as a folder that cannot be read for a while
                if not self._closed.is_set():
                    logging.exception("The folder %s could not be looked at.", self._folder)
