"""Whether the broker can be reached: one log line when that changes, and the readiness that follows from it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

from sockudo_queue.errors import BrokerError, SourceRefused

REMIND_AFTER: Final = 60.0
"""Seconds after which an outage that goes on is logged again."""
STRAGGLERS: Final = 1.0
"""Seconds after an outage in which failures are left unsaid: they are of calls that were begun in it."""


class BrokerWatch:
    """Told of every success and failure by all who talk to the broker; safe from any thread, cheap on success."""

    def __init__(self, log: Any, on_change: Callable[[str | None], None]) -> None:
        self._log = log
        self._on_change = on_change
        self._lock = threading.Lock()
        self._lost_at: float | None = None
        self._logged_at = 0.0
        self._resumed_at = 0.0
        self._started = False
        self._refused: set[str] = set()

    @property
    def is_lost(self) -> bool:
        """Tell whether the last that was heard of the broker is a failure."""
        return self._lost_at is not None

    def worked(self) -> None:
        """Note that the broker has answered."""
        if self._lost_at is None and self._started:
            return
        with self._lock:
            lost_at, self._lost_at = self._lost_at, None
            if lost_at is not None:
                self._resumed_at = time.monotonic()
            started, self._started = self._started, True
        if lost_at is not None:
            self._log.info("broker.resumed", after_s=round(time.monotonic() - lost_at, 3))
        if lost_at is not None or not started:
            self._on_change(None)

    def source_worked(self, source: str) -> None:
        """Note that a source has answered its bell."""
        if source in self._refused:
            with self._lock:
                self._refused.discard(source)
            self._log.info("source.resumed", source=source)
        self.worked()

    def failed(self, error: BrokerError) -> None:
        """Note that the broker did not do what was asked. What it refuses of one source alone is no outage."""
        if isinstance(error, SourceRefused):
            with self._lock:
                first = error.source not in self._refused
                self._refused.add(error.source)
            if first:
                self._log.warning("source.refused", source=error.source, reason=error.reason)
            return
        now = time.monotonic()
        if self._lost_at is None and now - self._resumed_at < STRAGGLERS:
            return
        with self._lock:
            first = self._lost_at is None
            if first:
                self._lost_at = now
            remind = first or now - self._logged_at > REMIND_AFTER
            if remind:
                self._logged_at = now
        if remind:
            self._log.error("broker.lost", reason=str(error))
        if first:
            self._on_change(str(error))
