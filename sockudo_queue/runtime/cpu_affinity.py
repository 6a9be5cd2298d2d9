"""On which core the threads run: all on one while the daemon is busy and that core has room, else wherever they like.

Python lets one thread run at a time. Threads on several cores wake each other for its lock several times a job, which
costs a third of all the CPU that a job takes, and gains nothing: what runs beside the lock, the network, is short. On
one core a thread finds the lock free when its turn comes. But a thread that is tied to a core cannot leave when others
need it, so whether there is room is looked at again and again (`docs/verification/performance.md` has the figures).

Linux only; elsewhere, and where one core is all there is, nothing is done.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from sockudo_queue.runtime.backoff import Backoff

LOOK_EVERY: Final = 0.5
"""Seconds between two looks. The kernel counts in hundredths, so much shorter ones would see noise."""
BUSY: Final = 0.05
"""Share of a core that the daemon must use for its threads to hinder each other; 100 jobs a second then cost less."""
ROOM: Final = 0.3
"""Share of a core that others may use; with more of it, sharing the core with them costs more than is gained."""
FIRST_REST: Final = 5.0
LONGEST_REST: Final = 60.0
"""Seconds for which the threads are left alone after others have needed the core."""

_STAT: Final = Path("/proc/stat")
_TASKS: Final = Path("/proc/self/task")
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Policy:
    """Decides which core to share, by what was used since the last look. Pure; times in seconds."""

    def __init__(self) -> None:
        self.core: int | None = None
        self._rests = Backoff(FIRST_REST, LONGEST_REST)
        self._rest_until = 0.0

    def decide(self, own: float, busy: Mapping[int, float], now: float) -> int | None:
        """Return the core to share, or None for all of them.

        `own` is how many cores this process has used, `busy` which part of each core anybody has used.
        """
        if own < BUSY:
            self.core = None
        elif self.core is not None:
            if self.core not in busy or busy[self.core] - own > ROOM:
                self.core, self._rest_until = None, now + self._rests.next()
        elif now >= self._rest_until and (sum(busy.values()) - own) / len(busy) < ROOM:
            self.core = min(busy, key=lambda core: busy[core])
            if now >= self._rest_until + LONGEST_REST:
                self._rests.reset()
        return self.core


class CpuAffinity:
    """Looks, decides and moves the threads of this process. For one thread."""

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
        """Tell whether there is a choice."""
        return len(self._cores) > 1

    def look(self) -> None:
        """Place the threads by what has happened since the last look."""
        own, now = time.process_time(), time.monotonic()
        own_share, seconds = (own - self._own) / max(now - self._at, 0.001), now - self._at
        self._own, self._at = own, now
        # Reading takes long on a machine of many cores, so an idle daemon leaves it.
        used = _seconds_used(self._cores) if own_share >= BUSY else {}
        busy = {core: (used[core] - self._used[core]) / seconds for core in used if core in self._used}
        self._used = used
        if busy or own_share < BUSY:
            self._place(self._policy.decide(own_share, busy, now))

    def _place(self, core: int | None) -> None:
        if core is None and self._placed is None:
            return
        wanted: Collection[int] = self._cores if core is None else {core}
        # Twice, since a thread may be started meanwhile by one that was not moved yet.
        for _ in range(2):
            for task in _TASKS.iterdir():
                try:
                    os.sched_setaffinity(int(task.name), wanted)
                except OSError:  # it has ended, or the machine has lost that core: where it runs is the kernel's again
                    continue
        self._placed = core


def _seconds_used(cores: Collection[int]) -> dict[int, float]:
    """Return the seconds that each core has worked since the machine was started, from the kernel's own table."""
    used = {}
    for line in _STAT.read_text("ascii").splitlines():
        name, *counts = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cores:
            idle, waiting = int(counts[3]), int(counts[4])
            used[int(name[3:])] = (sum(map(int, counts[:8])) - idle - waiting) / _TICKS
    return used
