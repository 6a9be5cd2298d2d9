"""Frees what is no longer used, such as idle connections to endpoints. No worker does it, since it may block."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

EVERY: Final = 10.0
"""Seconds between two rounds."""


class Maintenance:
    """Does its work in rounds, in a thread of its own."""

    def __init__(self, work: Sequence[Callable[[float], object]]) -> None:
        """Each of `work` gets the time (monotonic, seconds), and may block for seconds."""
        self._work = work

    def serve(self, beat: Callable[[], None], stopping: threading.Event) -> None:
        """Work until the daemon stops."""
        while True:
            for work in self._work:
                beat()
                work(time.monotonic())
            if stopping.wait(EVERY):
                return
