"""Restricts the threads to one core while the daemon is busy and that core has capacity; otherwise uses all cores.

Python runs one thread at a time. Threads on several cores wake each other for the interpreter lock several times per
job. That costs a third of the CPU time of a job and gains nothing, because the work outside the lock, the network, is
short. On one core a thread finds the lock free when it is scheduled. But threads that are tied to a core cannot leave
it when other processes need it, so its load is checked regularly (`docs/verification/performance.md` has the figures).

Linux only; elsewhere, and with only one core, nothing is done.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from sockudo_queue.runtime.backoff import Backoff

CHECK_INTERVAL: Final = 0.5
"""Seconds between two checks. The kernel counts in hundredths, so much shorter intervals would measure noise."""
BUSY: Final = 0.05
"""Minimum load, as a share of a core, for the restriction to one core. It already saves CPU at 100 jobs a second."""
ROOM: Final = 0.3
"""Share of a core that other processes may use; above it, sharing the core costs more than is gained."""
FIRST_PAUSE: Final = 5.0
MAX_PAUSE: Final = 60.0
"""Seconds without restriction after other processes have needed the core."""

_STAT: Final = Path("/proc/stat")
_TASKS: Final = Path("/proc/self/task")
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Policy:
    """Decides which core to use, from the load since the last check. Pure; times in seconds."""

    def __init__(self) -> None:
        self.core: int | None = None
        self._pauses = Backoff(FIRST_PAUSE, MAX_PAUSE)
        self._paused_until = 0.0

    def decide(self, own: float, busy: Mapping[int, float], now: float) -> int | None:
        """Return the core to use, or None for all of them.

        `own` is the load of this process in cores; `busy` is the total load of each core, from 0 to 1.
        """
        if own < BUSY:
            self.core = None
        elif self.core is not None:
            if self.core not in busy or busy[self.core] - own > ROOM:
                self.core, self._paused_until = None, now + self._pauses.next()
        elif now >= self._paused_until and (sum(busy.values()) - own) / len(busy) < ROOM:
            self.core = min(busy, key=lambda core: busy[core])
            if now >= self._paused_until + MAX_PAUSE:
                self._pauses.reset()
        return self.core


class CpuAffinity:
    """Measures, decides and sets the affinity of this process's threads. For one thread."""

    def __init__(self) -> None:
        self._cores: frozenset[int] = frozenset()
        if hasattr(os, "sched_getaffinity") and _STAT.exists():
            self._cores = frozenset(os.sched_getaffinity(0))
        self._policy = Policy()
        self._placed: int | None = None
        self._own = time.process_time()
        self._at = time.monotonic()
        self._used: Mapping[int, float] = {}

    @property
    def is_possible(self) -> bool:
        """Return whether there is more than one core to choose from."""
        return len(self._cores) > 1

    def update(self) -> None:
        """Set the affinity according to the load since the last check."""
        own, now = time.process_time(), time.monotonic()
        own_share, seconds = (own - self._own) / max(now - self._at, 0.001), now - self._at
        self._own, self._at = own, now
        # Reading is slow on a machine with many cores, so an idle daemon skips it.
        used = _seconds_used(self._cores) if own_share >= BUSY else {}
        busy = {core: (used[core] - self._used[core]) / seconds for core in used if core in self._used}
        self._used = used
        if busy or own_share < BUSY:
            self._place(self._policy.decide(own_share, busy, now))

    def _place(self, core: int | None) -> None:
        if core is None and self._placed is None:
            return
        wanted: Collection[int] = self._cores if core is None else {core}
        # Twice, because a thread that was not moved yet may start another one meanwhile.
        for _ in range(2):
            for task in _TASKS.iterdir():
                try:
                    os.sched_setaffinity(int(task.name), wanted)
                except OSError:  # the thread has ended, or the core is offline: then the kernel chooses again
                    continue
        self._placed = core


def _seconds_used(cores: Collection[int]) -> dict[int, float]:
    """Return the busy seconds of each core since boot, from /proc/stat."""
    used = {}
    for line in _STAT.read_text("ascii").splitlines():
        name, *counts = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cores:
            idle, waiting = int(counts[3]), int(counts[4])
            used[int(name[3:])] = (sum(map(int, counts[:8])) - idle - waiting) / _TICKS
    return used
