"""Tracks whether the broker is reachable: logs each change once and sets the readiness."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

from sockudo_queue.errors import BrokerError, BrokerRefused, SettlementRefused, SourceRefused, SourceUnavailable
from sockudo_queue.observability.reminder import Reminder
from sockudo_queue.runtime.backoff import Backoff

FIRST_PAUSE: Final = 0.05
MAX_PAUSE: Final = 2.0
"""Maximum seconds between two tries during an outage; short, so that work resumes soon after the broker does."""
JITTER: Final = 0.5
"""The part of a pause that is random, so that workers do not all retry at the same moment."""
REMIND_AFTER: Final = 60.0
"""Seconds after which a continuing outage is logged again."""
REFUSAL_REMIND_AFTER: Final = 600.0
"""The same for a refused source while other sources work. It is longer, because the source may be unused."""
STRAGGLER_SECONDS: Final = 1.0
"""Seconds after an outage in which failures are ignored: they belong to calls that began during the outage."""


def broker_backoff() -> Backoff:
    """Return a backoff for retries of broker calls."""
    return Backoff(FIRST_PAUSE, MAX_PAUSE, jitter=JITTER)


class BrokerWatch:
    """Receives the success or failure of every broker call. Thread-safe, and cheap on success.

    The sources of a queue may be on several servers, so an answer of one source says nothing about another: the broker
    is lost until every silent source has answered.

    An answer ends an outage or a refusal only if its call began after the outage. Therefore a caller reads `losses`
    before the call and passes it with the answer. Each outage of a source has its own number, so a later outage of
    another server does not make an answer of this one look older.
    """

    def __init__(
        self,
        log: Any,
        on_change: Callable[[str | None], None],
        on_source_change: Callable[[str, str | None], None] = lambda *_: None,
    ) -> None:
        """`on_change` gets the reason of an outage, `on_source_change` a source and the reason of its refusal.

        At the end of the outage or refusal, the reason is None.
        """
        self._log = log
        self._on_change = on_change
        self._on_source_change = on_source_change
        self.losses = 0
        # Held during the callbacks. Otherwise the end and the beginning of outages could be reported in the wrong
        # order, and the wrong state would remain.
        self._lock = threading.Lock()
        self._silent: dict[str, int] = {}  # source, or "" for the whole broker -> number of its outage
        self._lost_at = 0.0
        self._reminder = Reminder(REMIND_AFTER)
        self._refuses = False
        self._resumed_at = 0.0
        self._started = False
        self.awaits_answer = True
        """Whether an answer of the broker can change the status; if not, callers may skip `worked`."""
        self._refused: dict[str, int] = {}  # source -> number of its refusal
        self._refusal_reminders: dict[str, Reminder] = {}

    @property
    def is_lost(self) -> bool:
        """Whether the broker or a source of it does not answer."""
        return bool(self._silent)

    def worked(self, losses: int, source: str = "") -> None:
        """Record an answer of the broker, or of one source. `losses` is the value from before the call."""
        if self._started and not (self._silent and ("" in self._silent or source in self._silent)):
            return
        self._record_answer(losses, "", source)

    def source_worked(self, losses: int, source: str) -> None:
        """Record that a source answered its notifier thread; `losses` as in `worked`."""
        if source in self._refused:
            with self._lock:
                if self._refused[source] <= losses:
                    del self._refused[source]
                    self._log.info("source.resumed", source=source)
                    self._on_source_change(source, None)
        self.worked(losses, source)

    def source_refused(self, losses: int, error: SourceRefused) -> None:
        """Record that a source refused the call of its notifier thread. It is then excluded, but no longer silent."""
        self.failed(error)
        if error.source in self._silent:
            self._record_answer(losses, error.source)

    def failed(self, error: BrokerError) -> None:
        """Record a failed call. A refusal by one source only is not an outage."""
        if isinstance(error, SettlementRefused):
            return  # the worker retries the settlement and logs it
        if isinstance(error, SourceRefused):
            self._source_failed(error)
            return
        with self._lock:
            now, first = time.monotonic(), not self._silent
            if first and now - self._resumed_at < STRAGGLER_SECONDS:
                return
            silent = error.source if isinstance(error, SourceUnavailable) else ""
            if silent not in self._silent:
                self.losses += 1
                self._silent[silent] = self.losses
                self._note_silence()
            if first:
                self._lost_at = now
            # The operator has to fix a refusal differently from an outage, so the change is logged.
            refuses = isinstance(error, BrokerRefused)
            changed = first or (refuses and not self._refuses)
            if self._reminder.is_due(now, changed=changed):
                self._refuses = refuses
                self._log.error("broker.lost", reason=str(error))
            if changed:
                self._on_change(str(error))

    def _source_failed(self, error: SourceRefused) -> None:
        source = error.source
        with self._lock:
            begins = source not in self._refused
            if begins:
                self.losses += 1
                self._refused[source] = self.losses
            reminder = self._refusal_reminders.setdefault(source, Reminder(REFUSAL_REMIND_AFTER))
            if reminder.is_due(time.monotonic(), changed=begins):
                self._log.warning("source.refused", source=source, reason=error.reason)
            if begins:
                self._on_source_change(source, error.reason)

    def _record_answer(self, losses: int, *sources: str) -> None:
        with self._lock:
            was_lost = bool(self._silent)
            for answering in sources:
                if self._silent.get(answering, 0) <= losses:
                    self._silent.pop(answering, None)
            self._note_silence()
            if self._silent:
                return
            if was_lost:
                self._resumed_at = time.monotonic()
            started, self._started = self._started, True
            self._note_silence()
            if was_lost:
                self._log.info("broker.resumed", after_s=round(time.monotonic() - self._lost_at, 3))
            if was_lost or not started:
                self._on_change(None)

    def _note_silence(self) -> None:
        self.awaits_answer = not self._started or "" in self._silent
