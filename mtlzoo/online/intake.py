"""A stream read by a thread, for one that may be faster than the learner."""

import collections
import random
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras

from mtlzoo.data.arguments import check_count
from mtlzoo.layers.arguments import check_seed
from mtlzoo.online.batches import StreamBatch

WHEN_FULL = ("wait", "sample")


class Intake:
    """Reads a stream ahead, in a thread of its own, and says how far ahead it is.

    What the learner has not taken yet waits in a queue of at most `capacity` elements. When it is
    full, either the thread waits, and with it whoever fills the stream (back-pressure); or rows are
    left out, and counted: of the elements that waited when the learner took the last one, and those
    that have come since, each has the same chance to be kept. Their order stays.

    Errors of the stream are raised where the learner takes an element, after all that came before.

    Args:
        stream: An iterable of what a learner reads; a `tf.data.Dataset` is one.
        capacity: The most elements that wait.
        when_full: `"wait"` or `"sample"`. Defaults to `"wait"`.
        seed: Of the sample: an integer, or `None` for a random one. Defaults to 0.

    Attributes:
        read: The number of rows that the thread has read so far, those that were left out
            with them; elements of labels alone count none.
        left_out: The number of rows that were left out so far.
        position: The attribute `position` that the stream had after the element that was taken
            last, if it has one.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
    ```python
    import numpy as np
    from mtlzoo.online import Intake

    batches = ((np.zeros((8, 3)), {"a": np.full(8, i)}) for i in range(100))
    with Intake(batches, capacity=16) as intake:
        for x, y in intake:
            pass
    print(intake.read, intake.left_out)  # 800 0
    ```
    """

    def __init__(
        self, stream: Iterable, capacity: int, when_full: str = "wait", seed: int | None = 0
    ) -> None:
        if not isinstance(stream, Iterable):
            raise ValueError(f"`stream` should be an iterable. Received: stream={stream!r}")
        if when_full not in WHEN_FULL:
            raise ValueError(
                f"`when_full` should be one of {list(WHEN_FULL)}. Received: when_full={when_full!r}"
            )
        self.capacity = check_count("capacity", capacity)
        self.when_full = when_full
        self.read = self.left_out = 0
        self.position: Any = None
        self._random = random.Random(check_seed(seed))
        self._queue: collections.deque = collections.deque()
        self._since = capacity  # elements among which the sample is drawn
        self._error: BaseException | None = None
        self._ended = self._closed = False
        self._changed = threading.Condition()
        # A daemon, so that a stream which gives nothing more does not keep the program alive.
        self._thread = threading.Thread(target=self._run, args=(stream,), daemon=True)
        self._thread.start()

    @property
    def load(self) -> float:
        """How full the queue is, from 0 to 1."""
        return min(1.0, len(self._queue) / self.capacity)

    def close(self) -> None:
        """Stop reading. What was read already can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> Any:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._ended or self._closed)
            if self._queue:
                self._since = self.capacity
                self._changed.notify_all()
                element, self.position = self._queue.popleft()
                return element
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            raise StopIteration

    def __enter__(self) -> "Intake":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def _run(self, stream: Iterable) -> None:
        try:
            for element in stream:
                position = getattr(stream, "position", None)
                with self._changed:
                    self._put(element, position)
                    if self._closed:
                        break
        except BaseException as error:  # also one that would end the thread without a word
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _put(self, element: Any, position: Any) -> None:
        self.read += rows_of(element)
        if self.when_full == "wait":
            self._changed.wait_for(lambda: len(self._queue) < self.capacity or self._closed)
        elif len(self._queue) == self.capacity:
            self._since += 1
            place = self._random.randrange(self._since)
            if place < self.capacity:
                self.left_out += rows_of(self._queue[place][0])
                del self._queue[place]
            else:
                self.left_out += rows_of(element)
                return
        self._queue.append((element, position))
        self._changed.notify_all()


def rows_of(element: Any) -> int:
    """How many rows with inputs an element of a stream has.

    Args:
        element: A batch in one of the forms that a learner reads, or a list of single rows. What
            is none of these counts as one row.
    """
    if isinstance(element, StreamBatch):
        return 0 if element.x is None else element.rows
    if isinstance(element, list):
        return sum(not isinstance(row, Mapping) or not _labels_alone(row) for row in element)
    parts: Any = element
    if isinstance(element, Mapping):
        if _labels_alone(element):
            return 0
        # Labels first: of a list of lists, only those of labels are rows for sure.
        parts = [element.get(key) for key in ("y", "id", "time", "sample_weight", "x")]
    elif isinstance(element, tuple) and len(element) > 1:
        parts = [element[1], element[0]]
    for part in keras.tree.flatten(parts):
        shape: Any = getattr(part, "shape", ())
        if len(shape):
            return int(shape[0])
    return _length(parts)


def _labels_alone(row: Mapping) -> bool:
    return row.get("x") is None and "id" in row and "y" in row


def _length(parts: Any) -> int:
    """The length of the first list of all but a part's dicts, 1 if there is none."""
    if not isinstance(parts, list):
        return 1
    for part in parts:
        while isinstance(part, Mapping) and part:
            part = next(iter(part.values()))
        if isinstance(part, list | tuple):
            return len(part)
    return 1
