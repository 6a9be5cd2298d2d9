"""Looks at the queue every few seconds: for the gauges and the status page, and to drop old dead letters.

A scrape or a reader of the page then finds everything here and asks nobody.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from sockudo_queue.core import alert, job
from sockudo_queue.drivers.base import Auditable, Driver, InProcess
from sockudo_queue.errors import BrokerError, BrokerUnavailable
from sockudo_queue.observability.metrics import Metrics
from sockudo_queue.observability.reminder import Reminder
from sockudo_queue.observability.status_page.history import StatusHistory

SAMPLE_EVERY: Final = 5.0
"""Seconds between two looks, where the driver does not ask for more."""
AUDIT_EVERY: Final = 60.0
"""Seconds between two searches for records that are out of reach."""
REMIND_AFTER: Final = 3_600.0
DROPS_A_LOOK: Final = 20
"""Calls that let dead letters go at one look; the rest waits for the next, so that a look never takes long."""


class Sampler:
    """One look after the other, by one thread."""

    def __init__(
        self,
        driver: Driver,
        metrics: Metrics,
        history: StatusHistory,
        log: Any,
        *,
        max_age_ms: int,
        raise_alert: alert.RaiseAlert = alert.ignore,
    ) -> None:
        """`max_age_ms` is how long dead letters are kept; 0 is for ever."""
        self._driver = driver
        self._metrics = metrics
        self._history = history
        self._log = log
        self._max_age_ms = max_age_ms
        self._raise_alert = raise_alert
        self._logged_trimmed = self._logged_lost = self._reported_evicted = 0
        self._audited_at = time.monotonic() - AUDIT_EVERY
        self._adrift = Reminder(REMIND_AFTER)

    def try_to_look(self, failed: Callable[[BrokerError], None]) -> None:
        """Look once. `failed` gets what the queue's server refuses.

        A look that succeeds proves little: a replica, and a server that cannot write to its disk, can be read.
        """
        try:
            self.look()
        except BrokerUnavailable:
            pass  # the notifiers meet an outage sooner, and report it and its end
        except BrokerError as error:
            failed(error)

    def look(self) -> None:
        """Ask the queue. Raises `BrokerError`; the page gets its sample all the same."""
        depth, oldest = None, None
        try:
            depth = self._driver.depth()
            oldest_ms = job.oldest_ms(self._driver.peek())
            oldest = None if oldest_ms is None else oldest_ms / 1000
            self._metrics.depth(depth)
            self._metrics.oldest_job(oldest)
            self._drop_old_letters()
            self._audit()
        finally:
            self._history.sample(depth, oldest)
            self._log_trimmed()
            self._log_lost()
            self._report_evicted()

    def _drop_old_letters(self) -> None:
        if not self._max_age_ms:
            return
        for _ in range(DROPS_A_LOOK):
            dropped = self._driver.dead_letters.drop_older(self._max_age_ms)
            if not dropped:
                return
            self._metrics.trimmed(dropped)

    def _audit(self) -> None:
        """Bring back records that are out of reach, at most once a minute."""
        now = time.monotonic()
        if not isinstance(self._driver, Auditable) or now - self._audited_at < AUDIT_EVERY:
            return
        self._audited_at = now
        lost, restored, unreachable = self._driver.audit()
        if lost:
            self._metrics.records_lost(lost)
        if restored:
            self._audited_at -= AUDIT_EVERY  # there may be more
            self._metrics.records_restored(restored)
            self._log.warning("records.restored", count=restored)
        self._metrics.records_unreachable(unreachable)
        if unreachable and self._adrift.is_due(now):
            self._log.error("records.unreachable", count=unreachable)

    def _log_lost(self) -> None:
        """Log in one line per look that records were lost."""
        total = self._metrics.lost_so_far
        if total > self._logged_lost:
            self._log.error("records.lost", count=total - self._logged_lost)
            self._raise_alert(alert.loss(alert.RECORDS_LOST, total - self._logged_lost, time.time()))
            self._logged_lost = total

    def _log_trimmed(self) -> None:
        """Say in one line a look that dead letters were dropped, for their number or their age."""
        total = self._metrics.trimmed_so_far
        if total > self._logged_trimmed:
            self._log.warning("dead_letters.trimmed", count=total - self._logged_trimmed)
            self._raise_alert(alert.loss(alert.DEAD_LETTERS_TRIMMED, total - self._logged_trimmed, time.time()))
            self._logged_trimmed = total

    def _report_evicted(self) -> None:
        """Raise an alert that a full memory driver has dropped jobs; a series counts them."""
        if isinstance(self._driver, InProcess) and (total := self._driver.evicted) > self._reported_evicted:
            self._raise_alert(alert.loss(alert.JOBS_EVICTED, total - self._reported_evicted, time.time()))
            self._reported_evicted = total
