"""Looks twice a second whether the busy threads should share a core."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sockudo_queue.runtime.cpu_affinity import LOOK_EVERY, CpuAffinity


class CpuAffinityService:
    """Places the threads of the process, in a thread of its own."""

    def __init__(self, cpu_affinity: CpuAffinity) -> None:
        self._affinity = cpu_affinity

    def serve(self, beat: Callable[[], None], stopping: threading.Event) -> None:
        """Look until the daemon stops."""
        while not stopping.wait(LOOK_EVERY):
            beat()
            self._affinity.look()
