"""Samples the queue every few seconds for the gauges and the status page, and drops old dead letters.

Scrapes and page views read these samples and never call the broker.
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

SAMPLE_INTERVAL: Final = 5.0
"""Seconds between two samples, unless the driver requires a longer interval."""
AUDIT_INTERVAL: Final = 60.0
"""Seconds between two searches for unreachable records."""
REMIND_AFTER: Final = 3_600.0
MAX_DROPS_PER_SAMPLE: Final = 20
"""Maximum calls that drop dead letters in one sample; the rest waits for the next, so that a sample stays short."""


class Sampler:
    """Takes samples, in one thread."""

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
        """`max_age_ms` is how long dead letters are kept; 0 keeps them forever."""
        self._driver = driver
        self._metrics = metrics
        self._history = history
        self._log = log
        self._max_age_ms = max_age_ms
        self._raise_alert = raise_alert
        self._logged_trimmed = self._logged_lost = self._reported_evicted = 0
        self._audited_at = time.monotonic() - AUDIT_INTERVAL
        self._adrift = Reminder(REMIND_AFTER)

    def try_sample(self, failed: Callable[[BrokerError], None]) -> None:
        """Sample once. `failed` gets errors that are refusals of the broker.

        A success proves little: a replica, or a server that cannot write to its disk, can still be read.
        """
        try:
            self.sample()
        except BrokerUnavailable:
            pass  # the notifiers notice an outage sooner, and report its start and end
        except BrokerError as error:
            failed(error)

    def sample(self) -> None:
        """Query the queue. Raises `BrokerError`; the page gets a sample anyway."""
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
        for _ in range(MAX_DROPS_PER_SAMPLE):
            dropped = self._driver.dead_letters.drop_older(self._max_age_ms)
            if not dropped:
                return
            self._metrics.trimmed(dropped)

    def _audit(self) -> None:
        """Restore unreachable records, at most once a minute."""
        now = time.monotonic()
        if not isinstance(self._driver, Auditable) or now - self._audited_at < AUDIT_INTERVAL:
            return
        self._audited_at = now
        lost, restored, unreachable = self._driver.audit()
        if lost:
            self._metrics.records_lost(lost)
        if restored:
            self._audited_at -= AUDIT_INTERVAL  # there may be more
            self._metrics.records_restored(restored)
            self._log.warning("records.restored", count=restored)
        self._metrics.records_unreachable(unreachable)
        if unreachable and self._adrift.is_due(now):
            self._log.error("records.unreachable", count=unreachable)

    def _log_lost(self) -> None:
        """Log one line per sample if records were lost."""
        total = self._metrics.lost_so_far
        if total > self._logged_lost:
            self._log.error("records.lost", count=total - self._logged_lost)
            self._raise_alert(alert.loss(alert.RECORDS_LOST, total - self._logged_lost, time.time()))
            self._logged_lost = total

    def _log_trimmed(self) -> None:
        """Log one line per sample if dead letters were dropped because of their number or age."""
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
