"""Where workers find apps when a database holds them: the file's first, then what is known of the database's.

The way of nearly every job is two look-ups in dicts and a glance at the clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sockudo_queue.apps.stores.cache import AppCache, CacheEntry
from sockudo_queue.apps.stores.lookup_queue import LookupQueue
from sockudo_queue.core.apps import App, AppRegistry, InvalidByApp
from sockudo_queue.core.controls import WebhookKey
from sockudo_queue.errors import AppStoreUnavailable, AppUnreadable
from sockudo_queue.runtime.python_gate import PythonGate

ANSWER_WITHIN: Final = 0.5
"""Seconds that a worker waits for an app that it has to know; a database mostly answers in one or two thousandths."""
AGAIN_AFTER: Final = 1.0
"""Seconds after which a refresh of which nothing came is asked for again."""
LONGEST_ID: Final = 255
"""Characters of Sockudo's column. What no column can hold, no database is asked for."""


class CachedAppRegistry:
    """The registry over a cache and those who fill it. Safe from any thread."""

    def __init__(
        self, inline: AppRegistry, cache: AppCache, lookups: LookupQueue, gate: PythonGate, clock: Callable[[], float]
    ) -> None:
        self._inline = inline
        self._cache = cache
        self._lookups = lookups
        self._gate = gate
        self._clock = clock

    def find(self, app_id: str) -> App | None:
        """Return the app, or None where there is none.

        Waits at most half a second, and only for an app of which nothing is known or which was not used for long.
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
        """Return those of the file and of the apps that are in memory; the file's apps go first."""
        return {**self._cache.invalid_webhooks(), **self._inline.invalid_webhooks()}

    def paused_webhooks(self) -> frozenset[WebhookKey]:
        """Return those of the file. A database pauses none: what it holds is only known while it is in use."""
        return self._inline.paused_webhooks()

    def _renewed(self, app_id: str, entry: CacheEntry | None, now: float) -> CacheEntry:
        if entry is not None and now < entry.expires_at:
            entry.refresh_at = now + AGAIN_AFTER
            self._lookups.want(app_id)
            return entry
        answer = self._gate.released(self._lookups.ask, app_id, ANSWER_WITHIN)
        if answer is not None:
            return answer
        if entry is not None and entry.app is not None:
            return entry  # better an old answer than none
        raise AppStoreUnavailable("the store of apps does not answer")


def _can_exist(app_id: str) -> bool:
    if not app_id or len(app_id) > LONGEST_ID or "\0" in app_id:
        return False
    try:
        app_id.encode()
    except UnicodeEncodeError:
        return False
    return True
