"""Ctrl-C between two mini-batches, and not in the middle of one."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


class Interrupts:
    """Puts off `KeyboardInterrupt` while a mini-batch is worked on; a second one comes through.

    Attributes:
        asked: whether one was put off.
    """

    def __init__(self) -> None:
        self.asked = False
        self._working = False

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Handle the signal as described, where Python's own handler would."""
        self.asked, self._working = False, False
        in_main = threading.current_thread() is threading.main_thread()
        if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield
            return
        signal.signal(signal.SIGINT, self._handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """The time of a mini-batch.

        Raises:
            KeyboardInterrupt: at its end, if it was asked for in between.
        """
        self._working = True
        try:
            yield
        finally:
            self._working = False
        if self.asked:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: Any) -> None:
        if not self._working or self.asked:
            raise KeyboardInterrupt
        self.asked = True
