"""What has been read of the apps, and until when it counts; pure but for the clock that it is given.

Readers take no lock: an entry is replaced as a whole, and noting a use is one store. Writing is for one thread.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sockudo_queue.core.apps import App, InvalidByApp, InvalidWebhook

SHORTEST_TTL: Final = 1.0
"""Seconds for which anything counts: without a bound below, every job would be a query."""
NEGATIVE_TTL: Final = 5.0
"""Seconds for which "there is no such app" counts; an app may be made at any moment, and its first jobs with it."""
AHEAD: Final = 0.1
AHEAD_AT_MOST: Final = 10.0
"""An app in use is read again in the last tenth of its time, or the last seconds of it, whichever is shorter."""
ABSENT_LIMIT: Final = 1_000
"""Ids remembered as unknown; they come from whoever writes to the queue, so their number says nothing."""
TRIMMED: Final = 0.1
"""The share of the capacity that is freed at once, so that a full cache is not sorted for each new app."""


@dataclass(slots=True, eq=False)
class Entry:
    """What is known about one id. `app` None: there is none, or what there is cannot be read."""

    app: App | None
    refresh_at: float
    expires_at: float
    used_at: float
    faults: tuple[str, ...] = ()
    unreadable: bool = False


class AppCache:
    """Entries by id. `ttl` is in seconds."""

    def __init__(
        self, ttl: float, capacity: int, clock: Callable[[], float], chance: Callable[[], float] = random.random
    ) -> None:
        self._ttl = max(ttl, SHORTEST_TTL)
        self._capacity = capacity
        self._clock = clock
        self._chance = chance
        self._entries: dict[str, Entry] = {}
        self._absent: dict[str, Entry] = {}
        self._invalid: dict[str, tuple[InvalidWebhook, ...]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, app_id: str) -> Entry | None:
        """Return what is known, however old."""
        return self._entries.get(app_id) or self._absent.get(app_id)

    def invalid_webhooks(self) -> InvalidByApp:
        """Return the invalid webhooks of the apps that are kept."""
        return self._invalid.copy()

    def put(self, app: App, faults: tuple[str, ...] = ()) -> Entry:
        """Note an app as it is stored now."""
        now = self._clock()
        # Spread by chance, so that what was read in one moment is not read again in one moment.
        ahead = min(AHEAD * self._ttl, AHEAD_AT_MOST) * (0.5 + self._chance() / 2)
        entry = Entry(app, now + self._ttl - ahead, now + self._ttl, now, faults)
        self._absent.pop(app.id, None)
        self._entries[app.id] = entry
        if app.invalid:
            self._invalid[app.id] = app.invalid
        else:
            self._invalid.pop(app.id, None)
        if len(self._entries) > self._capacity:
            self._trim()
        return entry

    def put_absent(self, app_id: str) -> Entry:
        """Note that there is no such app, or no more."""
        self._entries.pop(app_id, None)
        self._invalid.pop(app_id, None)
        return self._put_absent(app_id, Entry(None, *self._shortly()))

    def put_unreadable(self, app_id: str, fault: str) -> Entry:
        """Note that what is stored cannot be read. An app that could be read before stays as it was."""
        known = self._entries.get(app_id)
        if known is not None and known.app is not None:
            return self.put(known.app, (fault,))
        return self._put_absent(app_id, Entry(None, *self._shortly(), (fault,), unreadable=True))

    def expire(self) -> None:
        """Let nothing count any more; what is known still serves while the store does not answer."""
        for entry in [*self._entries.values(), *self._absent.values()]:
            entry.refresh_at = entry.expires_at = 0.0

    def _shortly(self) -> tuple[float, float, float]:
        now = self._clock()
        until = now + min(NEGATIVE_TTL, self._ttl)
        return until, until, now

    def _put_absent(self, app_id: str, entry: Entry) -> Entry:
        if len(self._absent) >= ABSENT_LIMIT and app_id not in self._absent:
            del self._absent[next(iter(self._absent))]
        self._absent[app_id] = entry
        return entry

    def _trim(self) -> None:
        """Drop those that were not used for longest."""
        kept = self._capacity - round(self._capacity * TRIMMED)
        oldest_first = sorted(self._entries, key=lambda app_id: self._entries[app_id].used_at)
        for app_id in oldest_first[: len(self._entries) - kept]:
            del self._entries[app_id]
            self._invalid.pop(app_id, None)
