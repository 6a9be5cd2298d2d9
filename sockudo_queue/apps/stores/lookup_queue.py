"""The apps that workers want to know: concurrent look-ups of one app become one query."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Final

from sockudo_queue.apps.stores.cache import CacheEntry

WANTED_LIMIT: Final = 50_000
"""Maximum waiting ids. There are more only while the store hangs, and then a look-up fails without waiting."""


class PendingLookup:
    """One requested id. `answer` is set, or stays None, before `done` is set."""

    __slots__ = ("answer", "done")

    def __init__(self) -> None:
        self.answer: CacheEntry | None = None
        self.done = threading.Event()


class LookupQueue:
    """Look-ups that wait, and those in the current query. `take` and `answered` are for one thread, others for any."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._condition = threading.Condition()
        self._wanted: dict[str, PendingLookup] = {}
        self._taken: dict[str, PendingLookup] = {}
        self._taken_at = 0.0
        self._closed = False

    def want(self, app_id: str) -> PendingLookup | None:
        """Queue a look-up of the app unless there is one; None if nothing can be queued."""
        with self._condition:
            found = self._taken.get(app_id) or self._wanted.get(app_id)
            if found is None and not self._closed and len(self._wanted) < WANTED_LIMIT:
                found = self._wanted[app_id] = PendingLookup()
                self._condition.notify()
            return found

    def ask(self, app_id: str, within: float) -> CacheEntry | None:
        """Queue a look-up, and wait for the answer; None if there was none.

        Waits at most `within` seconds, counted from the start of the current query if there is one: a store that hangs
        delays a worker once, and not for every job.
        """
        lookup = self.want(app_id)
        if lookup is None:
            return None
        with self._condition:
            begun = self._taken_at if self._taken else self._clock()
        lookup.done.wait(max(begun + within - self._clock(), 0.0))
        return lookup.answer

    def take(self, limit: int, wait: float) -> list[str]:
        """Return the oldest waiting ids; wait up to `wait` seconds for one. Then call `answered` or `close`."""
        with self._condition:
            if not self._wanted:
                self._condition.wait(wait)
            taken = list(islice(self._wanted, limit))
            self._taken = {app_id: self._wanted.pop(app_id) for app_id in taken}
            self._taken_at = self._clock()
            return taken

    def answered(self, answers: Mapping[str, CacheEntry]) -> None:
        """Deliver the answers to the look-ups that were taken."""
        with self._condition:
            self._closed = False
            taken, self._taken = self._taken, {}
        for app_id, lookup in taken.items():
            lookup.answer = answers.get(app_id)
            lookup.done.set()

    def close(self) -> None:
        """End all look-ups without an answer, and refuse new ones until `answered` is called."""
        with self._condition:
            self._closed = True
            sent_away = [*self._taken.values(), *self._wanted.values()]
            self._taken, self._wanted = {}, {}
        for lookup in sent_away:
            lookup.done.set()
