"""Whether the broker can be reached: one log line when that changes, and the readiness that follows from it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

from sockudo_queue.errors import BrokerError, BrokerRefused, SettlementRefused, SourceRefused, SourceUnavailable
from sockudo_queue.observability.reminder import Reminder
from sockudo_queue.runtime.backoff import Backoff

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 2.0
"""Seconds between two tries while the broker is away; short, so that work resumes soon after the broker does."""
JITTER: Final = 0.5
"""The share of a pause that chance may take off, so that workers do not all try together."""
REMIND_AFTER: Final = 60.0
"""Seconds after which an outage that goes on is logged again."""
REFUSAL_REMIND_AFTER: Final = 600.0
"""The same for a source that is refused while others are served; it may be one that nothing is written to."""
STRAGGLERS: Final = 1.0
"""Seconds after an outage in which failures are left unsaid: they are of calls that were begun in it."""


def broker_backoff() -> Backoff:
    """Return the pauses between two tries to reach the broker."""
    return Backoff(FIRST_PAUSE, LONGEST_PAUSE, jitter=JITTER)


class BrokerWatch:
    """Told of every success and failure by all who talk to the broker; safe from any thread, cheap on success.

    Where the sources of a queue lie on several servers, one that answers says nothing of another: the broker is lost
    until all that were silent have answered.

    An answer ends an outage, or a refusal, only where it was asked for after its beginning: one that was on its way
    before says what was. So whoever asks reads `losses` first, and tells it with the answer. Each has a number of its
    own, since what begins meanwhile at another server makes no answer of this one older.
    """

    def __init__(
        self,
        log: Any,
        on_change: Callable[[str | None], None],
        on_source_change: Callable[[str, str | None], None] = lambda *_: None,
    ) -> None:
        """The callbacks get a reason, or None when it is over: of the broker, and of one source that is refused."""
        self._log = log
        self._on_change = on_change
        self._on_source_change = on_source_change
        self.losses = 0
        # Held while a change is told: else an end and a beginning could change places, and the last word stays.
        self._lock = threading.Lock()
        self._silent: dict[str, int] = {}  # a source, or "" where nothing answers -> which of the losses it is
        self._lost_at = 0.0
        self._reminder = Reminder(REMIND_AFTER)
        self._refuses = False
        self._resumed_at = 0.0
        self._started = False
        self.awaits_answer = True
        """Whether an answer of the broker changes anything; if not, `worked` need not be called."""
        self._refused: dict[str, int] = {}  # a source -> which of the losses it is
        self._refusal_reminders: dict[str, Reminder] = {}

    @property
    def is_lost(self) -> bool:
        """Tell whether the last that was heard of the broker is a failure."""
        return bool(self._silent)

    def worked(self, losses: int, source: str = "") -> None:
        """Note that the broker has answered, for one source where that is told. `losses` is of before it was asked."""
        if self._started and not (self._silent and ("" in self._silent or source in self._silent)):
            return
        self._heard(losses, "", source)

    def source_worked(self, losses: int, source: str) -> None:
        """Note that a source has answered its notifier thread; `losses` as with `worked`."""
        if source in self._refused:
            with self._lock:
                if self._refused[source] <= losses:
                    del self._refused[source]
                    self._log.info("source.resumed", source=source)
                    self._on_source_change(source, None)
        self.worked(losses, source)

    def source_refused(self, losses: int, error: SourceRefused) -> None:
        """Note that a source has answered its notifier thread, by a refusal: it is left out then, and not silent."""
        self.failed(error)
        if error.source in self._silent:
            self._heard(losses, error.source)

    def failed(self, error: BrokerError) -> None:
        """Note that the broker did not do what was asked. What it refuses of one source alone is no outage."""
        if isinstance(error, SettlementRefused):
            return  # the worker that settles tries again, and logs it
        if isinstance(error, SourceRefused):
            self._source_failed(error)
            return
        with self._lock:
            now, first = time.monotonic(), not self._silent
            if first and now - self._resumed_at < STRAGGLERS:
                return
            silent = error.source if isinstance(error, SourceUnavailable) else ""
            if silent not in self._silent:
                self.losses += 1
                self._silent[silent] = self.losses
                self._note_silence()
            if first:
                self._lost_at = now
            # A server that is back and refuses is another thing to mend than one that is away.
            refuses = isinstance(error, BrokerRefused)
            told = first or (refuses and not self._refuses)
            if self._reminder.is_due(now, changed=told):
                self._refuses = refuses
                self._log.error("broker.lost", reason=str(error))
            if told:
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

    def _heard(self, losses: int, *sources: str) -> None:
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
