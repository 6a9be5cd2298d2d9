"""Finds apps if a database contains them: those of the file first, then the cached ones of the database.

For nearly every job this costs two dict look-ups and one reading of the clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sockudo_queue.apps.stores.cache import AppCache, CacheEntry
from sockudo_queue.apps.stores.lookup_queue import LookupQueue
from sockudo_queue.core.apps import App, AppRegistry, InvalidByApp
from sockudo_queue.core.controls import WebhookKey
from sockudo_queue.errors import AppStoreUnavailable, AppUnreadable
from sockudo_queue.runtime.interpreter_lock import PythonGate

ANSWER_WITHIN: Final = 0.5
"""Seconds that a worker waits for an unknown app; a database usually answers within two milliseconds."""
REFRESH_RETRY_INTERVAL: Final = 1.0
"""Seconds after which a refresh without a result is requested again."""
MAX_ID_LENGTH: Final = 255
"""Maximum characters of Sockudo's column. A longer id cannot exist, so it is not queried."""


class CachedAppRegistry:
    """The registry over the cache and the look-up queue. Safe from any thread."""

    def __init__(
        self, inline: AppRegistry, cache: AppCache, lookups: LookupQueue, gate: PythonGate, clock: Callable[[], float]
    ) -> None:
        self._inline = inline
        self._cache = cache
        self._lookups = lookups
        self._gate = gate
        self._clock = clock

    def find(self, app_id: str) -> App | None:
        """Return the app, or None if there is none.

        Waits at most half a second, and only for an app that is not cached or whose entry has expired.
        Raises `AppStoreUnavailable` and `AppUnreadable`.
        """
        app = self._inline.find(app_id)
        if app is not None:
            return app
        now = self._clock()
        entry = self._cache.get(app_id)
        if entry is None or now >= entry.refresh_at:
            if not _can_exist(app_id):
                return None
            entry = self._renewed(app_id, entry, now)
        entry.used_at = now
        if entry.unreadable:
            raise AppUnreadable(entry.faults[0])
        return entry.app

    def invalid_webhooks(self) -> InvalidByApp:
        """Return those of the file and of the cached apps; the file's take precedence."""
        return {**self._cache.invalid_webhooks(), **self._inline.invalid_webhooks()}

    def paused_webhooks(self) -> frozenset[WebhookKey]:
        """Return those of the file. `paused` has no effect in a database, whose apps are known only while in use."""
        return self._inline.paused_webhooks()

    def _renewed(self, app_id: str, entry: CacheEntry | None, now: float) -> CacheEntry:
        if entry is not None and now < entry.expires_at:
            entry.refresh_at = now + REFRESH_RETRY_INTERVAL
            self._lookups.want(app_id)
            return entry
        answer = self._gate.released(self._lookups.ask, app_id, ANSWER_WITHIN)
        if answer is not None:
            return answer
        if entry is not None and entry.app is not None:
            return entry  # a stale answer is better than none
        raise AppStoreUnavailable("the app database does not answer")


def _can_exist(app_id: str) -> bool:
    if not app_id or len(app_id) > MAX_ID_LENGTH or "\0" in app_id:
        return False
    try:
        app_id.encode()
    except UnicodeEncodeError:
        return False
    return True
