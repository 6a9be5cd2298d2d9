"""Webhook indexes of the apps in use, cached until the app changes, up to a maximum number of entries."""

from __future__ import annotations

import threading
from typing import Final, NamedTuple

from sockudo_queue.core.apps import App
from sockudo_queue.core.job import Job
from sockudo_queue.core.matching import Finds, Match, Pause
from sockudo_queue.core.webhook_index import WebhookIndex

SMALL: Final = 8
"""Number of webhooks up to which matching each of them is as fast as an index. Callers of `match` check it."""
MAX_ENTRIES: Final = 100_000
"""Maximum of webhooks times event types in all indexes together. An entry takes about 120 bytes."""


class _CachedIndex(NamedTuple):
    app: App
    lookup: WebhookIndex
    size: int


class IndexCache:
    """Matches jobs by index. Thread-safe."""

    def __init__(self, max_entries: int = MAX_ENTRIES) -> None:
        self._max_entries = max_entries
        self._lock = threading.Lock()
        self._entries: dict[str, _CachedIndex] = {}
        self.size = 0

    def match(self, job: Job, app: App, finds: Finds, pause: Pause | None = None) -> list[Match]:
        """Return the matches of a job in the order of the app's webhooks."""
        entry = self._entries.get(app.id)
        if entry is None or entry.app is not app:  # a changed app is a new object
            entry = self._add(_CachedIndex(app, WebhookIndex(app.webhooks), _size(app)))
        return entry.lookup.match(job, finds, pause)

    def _add(self, entry: _CachedIndex) -> _CachedIndex:
        with self._lock:
            self._drop(entry.app.id)
            self._entries[entry.app.id] = entry
            self.size += entry.size
            while self.size > self._max_entries and len(self._entries) > 1:
                self._drop(next(iter(self._entries)))
        return entry

    def _drop(self, app_id: str) -> None:
        dropped = self._entries.pop(app_id, None)
        if dropped is not None:
            self.size -= dropped.size


def _size(app: App) -> int:
    return sum(max(len(webhook.event_types), 1) for webhook in app.webhooks)
