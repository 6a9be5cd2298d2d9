"""A cache of apps with expiry times; pure but for the clock that is passed in.

Readers take no lock: an entry is replaced as a whole, and recording a use is one store. Only one thread may write.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import msgspec

from sockudo_queue.core.apps import App, InvalidByApp, InvalidWebhook
from sockudo_queue.core.ceilings import DEFAULTS

MIN_TTL: Final = 1.0
"""Minimum seconds before an entry expires: without it, a TTL of 0 would cause a query for every job."""
NEGATIVE_TTL: Final = 5.0
"""Seconds for which an app counts as unknown; short, because an app and its first jobs can appear at any time."""
AHEAD: Final = 0.1
MAX_AHEAD: Final = 10.0
"""An app in use is refreshed in the last tenth of its TTL, but at most `MAX_AHEAD` seconds before it expires."""
ABSENT_LIMIT: Final = 1_000
"""Maximum unknown ids that are kept. Anyone who can write to the queue can invent ids, so they must be bounded."""
TRIMMED: Final = 0.1
"""The share of the capacity that one trim frees, so that a full cache is not sorted for each new app."""


class CacheEntry(msgspec.Struct, eq=False):
    """The cached state of one id. `app` is None if there is no app or it cannot be read."""

    app: App | None
    refresh_at: float
    expires_at: float
    used_at: float
    faults: tuple[str, ...] = ()
    unreadable: bool = False
    size: int = 0


class AppCache:
    """Entries by id. `ttl` is in seconds; `capacity` limits the apps, and `max_bytes` the bytes of their rows."""

    def __init__(
        self,
        ttl: float,
        capacity: int,
        clock: Callable[[], float],
        chance: Callable[[], float] = random.random,
        max_bytes: int = DEFAULTS.app_cache_bytes,
    ) -> None:
        self._ttl = max(ttl, MIN_TTL)
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._clock = clock
        self._chance = chance
        self._entries: dict[str, CacheEntry] = {}
        self._absent: dict[str, CacheEntry] = {}
        self._invalid: dict[str, tuple[InvalidWebhook, ...]] = {}
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, app_id: str) -> CacheEntry | None:
        """Return the entry, however old."""
        return self._entries.get(app_id) or self._absent.get(app_id)

    def invalid_webhooks(self) -> InvalidByApp:
        """Return the invalid webhooks of the cached apps."""
        return self._invalid.copy()

    def put(self, app: App, size: int = 0, faults: tuple[str, ...] = ()) -> CacheEntry:
        """Store an app as it was just read, from a row of `size` bytes."""
        now = self._clock()
        # Random, so that apps which were read together are not refreshed together.
        ahead = min(AHEAD * self._ttl, MAX_AHEAD) * (0.5 + self._chance() / 2)
        entry = CacheEntry(app, now + self._ttl - ahead, now + self._ttl, now, faults, size=size)
        self._absent.pop(app.id, None)
        known = self._entries.get(app.id)
        self.bytes += size - (known.size if known is not None else 0)
        self._entries[app.id] = entry
        if app.invalid:
            self._invalid[app.id] = app.invalid
        else:
            self._invalid.pop(app.id, None)
        if len(self._entries) > self._capacity or self.bytes > self._max_bytes:
            self._trim(entry)
        return entry

    def put_absent(self, app_id: str) -> CacheEntry:
        """Record that there is no such app (any more)."""
        self._drop(app_id)
        return self._put_absent(app_id, CacheEntry(None, *self._shortly()))

    def put_unreadable(self, app_id: str, fault: str) -> CacheEntry:
        """Record that the stored app cannot be read. If it could be read before, that version is kept."""
        known = self._entries.get(app_id)
        if known is not None and known.app is not None:
            return self.put(known.app, known.size, (fault,))
        return self._put_absent(app_id, CacheEntry(None, *self._shortly(), (fault,), unreadable=True))

    def expire(self) -> None:
        """Mark all entries as expired; they still serve while the store does not answer."""
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
        """Drop the least recently used entries, but never the newest: an app above the limit would be read per job."""
        capacity, max_bytes = ((1 - TRIMMED) * limit for limit in (self._capacity, self._max_bytes))
        for app_id in sorted(self._entries, key=lambda app_id: self._entries[app_id].used_at):
            if len(self._entries) <= capacity and self.bytes <= max_bytes:
                break
            if self._entries[app_id] is not newest:
                self._drop(app_id)

    def _drop(self, app_id: str) -> None:
        dropped = self._entries.pop(app_id, None)
        if dropped is not None:
            self.bytes -= dropped.size
            self._invalid.pop(app_id, None)
