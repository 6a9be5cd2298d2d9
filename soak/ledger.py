"""The books of a soak: which jobs were queued, what each receiver took, and how often twice is excused."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Sequence


class SettlementRecorder:
    """Numbers of jobs, and how often each receiver has taken each. Safe from any thread."""

    def __init__(self, receivers: Sequence[str]) -> None:
        self.receivers = tuple(receivers)
        self.excused = 0  # deliveries that faults may have doubled so far
        self._lock = threading.Lock()
        self._queued: set[int] = set()
        self._uncertain: set[int] = set()
        self._taken: dict[str, Counter[int]] = {name: Counter() for name in receivers}

    def queued(self, number: int) -> None:
        """Expect the job with this number everywhere."""
        with self._lock:
            self._queued.add(number)

    def uncertain(self, number: int) -> None:
        """Expect nothing of this number: whether it was queued is not known, since Redis went away over it."""
        with self._lock:
            self._uncertain.add(number)

    def took(self, receiver: str, numbers: Iterable[int]) -> None:
        """Note what a receiver has answered with 200."""
        with self._lock:
            self._taken[receiver].update(numbers)

    def excuse(self, deliveries: int) -> None:
        """Allow this number of deliveries to come twice: they were in flight when something was killed or cut."""
        with self._lock:
            self.excused += deliveries

    @property
    def jobs(self) -> int:
        with self._lock:
            return len(self._queued)

    def missing(self) -> set[tuple[str, int]]:
        """Return what was queued and has not been taken, by receiver."""
        with self._lock:
            return {
                (name, number) for name, taken in self._taken.items() for number in self._queued if number not in taken
            }

    def deliveries(self) -> int:
        with self._lock:
            return sum(taken.total() for taken in self._taken.values())

    def twice(self) -> int:
        """Count the deliveries that repeat an earlier one."""
        with self._lock:
            return sum(taken.total() - len(taken) for taken in self._taken.values())
