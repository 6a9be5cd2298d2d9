"""The only thread that queries the app database: it answers the workers' look-ups and detects outages."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from sockudo_queue.apps.parsing.webhooks import Defaults
from sockudo_queue.apps.stores.base import AppStore, Row
from sockudo_queue.apps.stores.cache import AppCache, CacheEntry
from sockudo_queue.apps.stores.lookup_queue import LookupQueue
from sockudo_queue.apps.stores.registry import CachedAppRegistry
from sockudo_queue.apps.stores.rows import read_row, stored_bytes
from sockudo_queue.core.apps import AppRegistry
from sockudo_queue.errors import AppStoreUnavailable, AppUnreadable
from sockudo_queue.observability.invalid_webhooks import log_invalid_webhooks
from sockudo_queue.observability.metrics import Metrics
from sockudo_queue.observability.reminder import Reminder
from sockudo_queue.runtime.backoff import Backoff
from sockudo_queue.runtime.interpreter_lock import PythonGate

PROBE: Final = "sockudo-queue-probe"
"""The id that is queried if there is no look-up, so that an outage and its end are noticed. No app has it."""
PROBE_INTERVAL: Final = 5.0
TAKE_WAIT: Final = 0.5
"""Seconds that the thread waits for a look-up; also how soon it notices that it must stop."""
FIRST_PAUSE: Final = 0.25
MAX_PAUSE: Final = 5.0
"""Seconds between two tries to reach an unavailable store."""
JITTER: Final = 0.5
"""The maximum share of a pause that is randomly taken off, so that replicas do not all retry together."""
REMIND_AFTER: Final = 60.0
"""Seconds between repeated log lines during an outage."""


class AppCacheRefresher:
    """Fills the app cache of one daemon. `registry` is for the workers; `serve` runs in its own thread."""

    def __init__(
        self,
        store: AppStore,
        inline: AppRegistry,
        cache: AppCache,
        defaults: Defaults,
        metrics: Metrics,
        log: Any,
        on_change: Callable[[str | None], None],
        gate: PythonGate,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._cache = cache
        self._clock = clock
        self._lookups = LookupQueue(clock)
        self.registry = CachedAppRegistry(inline, cache, self._lookups, gate, clock)
        self._defaults = defaults
        self._metrics = metrics
        self._log = log
        self._on_change = on_change
        self._lost_at: float | None = None
        self._reminder = Reminder(REMIND_AFTER)
        self._probe_at = 0.0
        self._backoff = Backoff(FIRST_PAUSE, MAX_PAUSE, jitter=JITTER)
        self._started = False
        self._expiry_asked = threading.Event()
        self._beat: Callable[[], None] = lambda: None
        metrics.watch_app_store(lambda: len(cache))
        on_change(f"the app database was not queried yet: {store.name}")

    def serve(self, beat: Callable[[], None], stopping: threading.Event) -> None:
        """Answer look-ups until the daemon stops."""
        self._beat = beat
        while not stopping.is_set():
            beat()
            if not self.turn():
                self._backoff.wait(stopping)
        self._lookups.close()
        self._store.close()

    def turn(self) -> bool:
        """Answer waiting look-ups, or probe the store; False if it is unavailable."""
        if self._expiry_asked.is_set():
            self._expiry_asked.clear()
            self._cache.expire()
        is_lost, is_to_be_probed = self._lost_at is not None, self._clock() >= self._probe_at
        # During an outage nothing is taken: look-ups fail immediately instead of waiting for it.
        ids = [] if is_lost else self._lookups.take(self._store.batch, 0.0 if is_to_be_probed else TAKE_WAIT)
        if not (ids or is_lost or is_to_be_probed):
            return True
        try:
            rows = self._store.fetch(ids or [PROBE])
        except AppStoreUnavailable as error:
            self._failed(str(error))
        except Exception as error:  # noqa: BLE001 - an unexpected error of a database library must not end the thread
            self._log.error("apps.store_failed", exc_info=error)
            self._failed(f"{type(error).__name__} in its library")
        else:
            self._worked()
            self._lookups.answered(self._read(ids, rows))
            return True
        return False

    def expire(self) -> None:
        """Have every app read again at its next use. Safe from any thread."""
        self._expiry_asked.set()

    def _read(self, ids: Sequence[str], rows: Sequence[Row]) -> dict[str, CacheEntry]:
        # Match ids exactly: a database may treat ids as equal that differ in case or white space.
        found = {row.id: row for row in rows}
        return {app_id: self._entry(app_id, found.get(app_id)) for app_id in ids}

    def _entry(self, app_id: str, row: Row | None) -> CacheEntry:
        self._beat()  # parsing rows with many webhooks takes time, and there may be a batch of them
        known = self._cache.get(app_id)
        if row is None:
            return self._cache.put_absent(app_id)
        try:
            entry = self._cache.put(read_row(row, self._defaults), stored_bytes(row))
        except AppUnreadable as error:
            entry = self._cache.put_unreadable(app_id, str(error))
        except Exception as error:  # noqa: BLE001 - a bad row must affect only its own app
            self._log.error("apps.row_failed", app=app_id, exc_info=error)
            entry = self._cache.put_unreadable(app_id, f"app {app_id!r}: {type(error).__name__} while it was read")
        self._report(app_id, entry, known)
        return entry

    def _report(self, app_id: str, entry: CacheEntry, known: CacheEntry | None) -> None:
        """Log the problems of an app that it did not have when it was last read."""
        faults_before = () if known is None else known.faults
        for fault in entry.faults:
            if fault not in faults_before:
                self._log.warning("apps.unreadable", app=app_id, text=fault)
        invalid_before = set() if known is None or known.app is None else set(known.app.invalid)
        if entry.app is not None and (new := tuple(each for each in entry.app.invalid if each not in invalid_before)):
            log_invalid_webhooks(self._log, {app_id: new})

    def _worked(self) -> None:
        self._metrics.app_store_asked(answered=True)
        lost_at, self._lost_at = self._lost_at, None
        self._backoff.reset()
        self._probe_at = self._clock() + PROBE_INTERVAL
        if lost_at is not None:
            self._log.info("apps.store_resumed", after_s=round(self._clock() - lost_at, 3))
        elif not self._started:
            self._log.info("apps.store_reached", store=self._store.name)
        if lost_at is not None or not self._started:
            self._started = True
            self._on_change(None)

    def _failed(self, reason: str) -> None:
        self._lookups.close()
        self._metrics.app_store_asked(answered=False)
        now = self._clock()
        first = self._lost_at is None
        if first:
            self._lost_at = now
        if self._reminder.is_due(now, changed=first):
            self._log.error("apps.store_lost", store=self._store.name, reason=reason)
        if first:
            self._on_change(f"the app database does not answer: {reason}")
