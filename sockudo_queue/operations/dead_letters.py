"""A dead letter for display, and the selection of dead letters."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from sockudo_queue.core import delivery_state
from sockudo_queue.core import job as jobs
from sockudo_queue.core.delivery_state import DeliveryState
from sockudo_queue.core.job import Job
from sockudo_queue.drivers.base import DeadLetterStore, StoredDeadLetter
from sockudo_queue.errors import MalformedJob

UNREADABLE: Final = "unreadable"


@dataclass(frozen=True)
class DeadLetterEntry:
    """One dead letter and its parsed content. It is parsed on demand, because most dead letters are only counted."""

    letter: StoredDeadLetter

    @cached_property
    def state(self) -> DeliveryState | None:
        """The stored state; None if a newer version of the daemon wrote it."""
        if not self.letter.state:
            return DeliveryState(job=self.letter.id)
        try:
            return delivery_state.decode(self.letter.state)
        except delivery_state.NewerRecord:
            return None

    @cached_property
    def job(self) -> Job | str:
        """The job, or why its bytes are not a job."""
        try:
            return jobs.decode(self.letter.body)
        except MalformedJob as fault:
            return str(fault)

    @property
    def job_id(self) -> str:
        """The id in requests to receivers and in logs."""
        state = self.state
        if state is not None and state.webhook is not None:
            return state.job
        of_sockudo = self.job.job_id if isinstance(self.job, Job) else None
        return of_sockudo or (state.job if state else "")

    @property
    def app(self) -> str:
        if self.state is not None and self.state.app:
            return self.state.app
        return self.job.app_id if isinstance(self.job, Job) else ""

    @property
    def webhook(self) -> str:
        """The webhook of the delivery that failed; empty for a whole job."""
        return (self.state.webhook or "") if self.state else ""

    @property
    def reason(self) -> str:
        return (self.state.reason or "") if self.state else "newer-record"

    @property
    def last(self) -> str:
        """The result of the last attempt."""
        return (self.state.last or "") if self.state else ""

    @property
    def summary(self) -> dict[str, Any]:
        """The fields of `list`, as an object."""
        state, job = self.state, self.job
        return {
            "id": self.letter.id,
            "job": self.job_id,
            "app": self.app,
            "webhook": self.webhook or None,
            "reason": self.reason,
            "last": self.last or None,
            "attempts": state.attempts if state else None,
            "replays": len(state.history) if state else None,
            "died_ms": self.letter.died_ms,
            "events": len(job.events) if isinstance(job, Job) else None,
            "bytes": len(self.letter.body),
        }

    @property
    def unlisted_tries(self) -> int:
        """The number of tries without details: the state keeps only the latest tries, and older versions kept none."""
        state = self.state
        if state is None:
            return 0
        return max(state.attempts + sum(death.attempts for death in state.history) - len(state.tries), 0)

    @property
    def digest(self) -> str:
        """SHA-256 of the body, in hexadecimal."""
        return hashlib.sha256(self.letter.body).hexdigest()


@dataclass(frozen=True)
class Selection:
    """The selection of dead letters. All given filters must match; no filter selects all."""

    ids: frozenset[str] = frozenset()
    app: str | None = None
    webhook: str | None = None
    reason: str | None = None
    older: float | None = None  # seconds since it became a dead letter
    newer: float | None = None
    now: float = field(default_factory=time.time)

    @property
    def is_everything(self) -> bool:
        return not self.ids and all(
            value is None for value in (self.app, self.webhook, self.reason, self.older, self.newer)
        )

    def holds(self, entry: DeadLetterEntry) -> bool:
        age = self.now - entry.letter.died_ms / 1000
        return (
            (self.older is None or age >= self.older)
            and (self.newer is None or age <= self.newer)
            and (self.reason is None or entry.reason == self.reason)
            and (self.webhook is None or entry.webhook == self.webhook)
            and (self.app is None or entry.app == self.app)
            and (not self.ids or entry.letter.id in self.ids or entry.job_id in self.ids)
        )

    def walk(self, letters: DeadLetterStore) -> Iterator[DeadLetterEntry]:
        """Yield the selected dead letters, the oldest first. A single id is found without a scan."""
        if len(self.ids) == 1:
            found = letters.find(next(iter(self.ids)))
            if found is not None:
                yield from filter(self.holds, [DeadLetterEntry(found)])
                return
        yield from filter(self.holds, map(DeadLetterEntry, letters.letters()))
