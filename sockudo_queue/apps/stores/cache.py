"""What has been read of the apps, and until when it counts; pure but for the clock that it is given.

Readers take no lock: an entry is replaced as a whole, and noting a use is one store. Writing is for one thread.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sockudo_queue.core.apps import App, InvalidByApp, InvalidWebhook
from sockudo_queue.core.ceilings import DEFAULTS

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
"""The share of the room that is freed at once, so that a full cache is not sorted for each new app."""


@dataclass(slots=True, eq=False)
class CacheEntry:
    """What is known about one id. `app` None: there is none, or what there is cannot be read."""

    app: App | None
    refresh_at: float
    expires_at: float
    used_at: float
    faults: tuple[str, ...] = ()
    unreadable: bool = False
    size: int = 0


class AppCache:
    """Entries by id. `ttl` is in seconds; `capacity` and `most_bytes` are of apps and of their rows together."""

    def __init__(
        self,
        ttl: float,
        capacity: int,
        clock: Callable[[], float],
        chance: Callable[[], float] = random.random,
        most_bytes: int = DEFAULTS.app_cache_bytes,
    ) -> None:
        self._ttl = max(ttl, SHORTEST_TTL)
        self._capacity = capacity
        self._most_bytes = most_bytes
        self._clock = clock
        self._chance = chance
        self._entries: dict[str, CacheEntry] = {}
        self._absent: dict[str, CacheEntry] = {}
        self._invalid: dict[str, tuple[InvalidWebhook, ...]] = {}
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, app_id: str) -> CacheEntry | None:
        """Return what is known, however old."""
        return self._entries.get(app_id) or self._absent.get(app_id)

    def invalid_webhooks(self) -> InvalidByApp:
        """Return the invalid webhooks of the apps that are kept."""
        return self._invalid.copy()

    def put(self, app: App, size: int = 0, faults: tuple[str, ...] = ()) -> CacheEntry:
        """Note an app as it is stored now, in a row of `size` bytes."""
        now = self._clock()
        # Spread by chance, so that what was read in one moment is not read again in one moment.
        ahead = min(AHEAD * self._ttl, AHEAD_AT_MOST) * (0.5 + self._chance() / 2)
        entry = CacheEntry(app, now + self._ttl - ahead, now + self._ttl, now, faults, size=size)
        self._absent.pop(app.id, None)
        known = self._entries.get(app.id)
        self.bytes += size - (known.size if known is not None else 0)
        self._entries[app.id] = entry
        if app.invalid:
            self._invalid[app.id] = app.invalid
        else:
            self._invalid.pop(app.id, None)
        if len(self._entries) > self._capacity or self.bytes > self._most_bytes:
            self._trim(entry)
        return entry

    def put_absent(self, app_id: str) -> CacheEntry:
        """Note that there is no such app, or no more."""
        self._drop(app_id)
        return self._put_absent(app_id, CacheEntry(None, *self._shortly()))

    def put_unreadable(self, app_id: str, fault: str) -> CacheEntry:
        """Note that what is stored cannot be read. An app that could be read before stays as it was."""
        known = self._entries.get(app_id)
        if known is not None and known.app is not None:
            return self.put(known.app, known.size, (fault,))
        return self._put_absent(app_id, CacheEntry(None, *self._shortly(), (fault,), unreadable=True))

    def expire(self) -> None:
        """Let nothing count any more; what is known still serves while the store does not answer."""
        for entry in [*self._entries.values(), *self._absent.values()]:
            entry.refresh_at = entry.expires_at = 0.0

    def _shortly(self) -> tuple[float, float, float]:
        now = self._clock()
        until = now + min(NEGATIVE_TTL, self._ttl)
        return until, until, now

    def _put_absent(self, app_id: str, entry: CacheEntry) -> CacheEntry:
        if len(self._absent) >= ABSENT_LIMIT and app_id not in self._absent:
            del self._absent[next(iter(self._absent))]
        self._absent[app_id] = entry
        return entry

    def _trim(self, newest: CacheEntry) -> None:
        """Drop those not used for longest, but never the newest: if it were too large, each job would be a query."""
        capacity, most_bytes = ((1 - TRIMMED) * limit for limit in (self._capacity, self._most_bytes))
        for app_id in sorted(self._entries, key=lambda app_id: self._entries[app_id].used_at):
            if len(self._entries) <= capacity and self.bytes <= most_bytes:
                break
            if self._entries[app_id] is not newest:
                self._drop(app_id)

    def _drop(self, app_id: str) -> None:
        dropped = self._entries.pop(app_id, None)
        if dropped is not None:
            self.bytes -= dropped.size
            self._invalid.pop(app_id, None)
