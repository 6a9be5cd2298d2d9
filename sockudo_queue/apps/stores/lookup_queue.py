"""Which apps somebody wants to know about: each is asked for once, however many workers want it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Final

from sockudo_queue.apps.stores.cache import CacheEntry

WANTED_LIMIT: Final = 50_000
"""Ids that may wait to be asked for; more come up only while the store hangs, and then nobody waits for them."""


class PendingLookup:
    """One id that is asked for; `answer` is set, or stays None, before `done`."""

    __slots__ = ("answer", "done")

    def __init__(self) -> None:
        self.answer: CacheEntry | None = None
        self.done = threading.Event()


class LookupQueue:
    """What is wanted, and what is being asked for. `take` and what follows it are for one thread, the rest for any."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._condition = threading.Condition()
        self._wanted: dict[str, PendingLookup] = {}
        self._taken: dict[str, PendingLookup] = {}
        self._taken_at = 0.0
        self._closed = False

    def want(self, app_id: str) -> PendingLookup | None:
        """Have an app asked for soon, once; None while nothing can be asked."""
        with self._condition:
            found = self._taken.get(app_id) or self._wanted.get(app_id)
            if found is None and not self._closed and len(self._wanted) < WANTED_LIMIT:
                found = self._wanted[app_id] = PendingLookup()
                self._condition.notify()
            return found

    def ask(self, app_id: str, within: float) -> CacheEntry | None:
        """Have an app asked for, and wait for the answer; None where none came.

        The wait is at most `within` seconds, and ends where the query in hand has taken that long: a store that hangs
        holds a worker up once, and not for every job.
        """
        lookup = self.want(app_id)
        if lookup is None:
            return None
        with self._condition:
            begun = self._taken_at if self._taken else self._clock()
        lookup.done.wait(max(begun + within - self._clock(), 0.0))
        return lookup.answer

    def take(self, most: int, wait: float) -> list[str]:
        """Return what is wanted, the oldest first, and wait for it so many seconds. To be followed by an answer."""
        with self._condition:
            if not self._wanted:
                self._condition.wait(wait)
            taken = list(islice(self._wanted, most))
            self._taken = {app_id: self._wanted.pop(app_id) for app_id in taken}
            self._taken_at = self._clock()
            return taken

    def answered(self, answers: Mapping[str, CacheEntry]) -> None:
        """Hand out the answers to what was taken."""
        with self._condition:
            self._closed = False
            taken, self._taken = self._taken, {}
        for app_id, lookup in taken.items():
            lookup.answer = answers.get(app_id)
            lookup.done.set()

    def close(self) -> None:
        """Send everyone away without an answer, until there are answers again."""
        with self._condition:
            self._closed = True
            sent_away = [*self._taken.values(), *self._wanted.values()]
            self._taken, self._wanted = {}, {}
        for lookup in sent_away:
            lookup.done.set()
