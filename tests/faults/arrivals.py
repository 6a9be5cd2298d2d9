"""A receiver's script that answers with a delay and counts requests by the numbers of the jobs."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable

from tests.helpers.jobs import numbers
from tests.helpers.receiver import Answer, Request
from tests.helpers.waiting import eventually


class Arrivals:
    """Answers 200 after a random time between the two, in seconds. Jobs count when they come, answered or not."""

    def __init__(self, shortest: float = 0.0, longest: float = 0.0, seed: int = 0) -> None:
        self.by_number: Counter[int] = Counter()
        self.attempts: Counter[str] = Counter()  # by X-Sockudo-Attempt
        self.answered_at = 0.0  # time.monotonic() of the last answer so far planned
        self._times = (shortest, longest)
        self._chance = random.Random(seed)

    def __call__(self, request: Request, nth: int) -> Answer:
        delay = self._chance.uniform(*self._times)
        self.by_number.update(numbers(request.body))
        self.attempts[request.headers["x-sockudo-attempt"]] += 1
        self.answered_at = max(self.answered_at, request.received_at + delay)
        return Answer(delay=delay)

    @property
    def distinct(self) -> int:
        return len(self.by_number)

    @property
    def duplicates(self) -> int:
        return self.by_number.total() - len(self.by_number)

    @property
    def in_flight(self) -> bool:
        """Return whether an answer is pending now and for a little longer."""
        return self.answered_at > time.monotonic() + 0.001

    def wait_for_more(self, more: int = 1, timeout: float = 10.0, details: Callable[[], str] = str) -> None:
        """Wait for `more` further requests."""
        enough = self.by_number.total() + more
        eventually(lambda: self.by_number.total() >= enough, timeout, details)

    def wait_for_all(self, count: int, timeout: float, details: Callable[[], str] = str) -> None:
        """Wait until every one of the numbers 1 to `count` has come, and fail with those that have not."""
        eventually(lambda: self.distinct >= count, timeout, lambda: f"missing {self._missing(count)}\n{details()}")
        assert self._missing(count) == []

    def _missing(self, count: int) -> list[int]:
        return [number for number in range(1, count + 1) if number not in self.by_number]
