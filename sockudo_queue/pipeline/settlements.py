"""Settles claims, and counts and logs their results."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

from sockudo_queue.core.alert import RaiseAlert, dead_letter, ignore
from sockudo_queue.drivers.base import Claim, DeadLetter, Hold, Requeue, Retry, Settlement
from sockudo_queue.errors import BrokerError
from sockudo_queue.observability.metrics import Metrics
from sockudo_queue.observability.status_page.history import DeadLetterEvent, StatusHistory
from sockudo_queue.pipeline.attempt_recorder import AttemptRecorder
from sockudo_queue.pipeline.in_flight import ClaimsInFlight


class SettlingQueue(Protocol):
    """The part of a driver that is used here."""

    def settle(self, settlements: Sequence[Settlement], /) -> list[bool]: ...


class SettlementRecorder:
    """Settles claims and counts their results. Thread-safe."""

    def __init__(
        self,
        queue: SettlingQueue,
        claims: ClaimsInFlight,
        metrics: Metrics,
        history: StatusHistory,
        log: Any,
        attempts: AttemptRecorder | None = None,
        raise_alert: RaiseAlert = ignore,
    ) -> None:
        self._queue = queue
        self._claims = claims
        self._metrics = metrics
        self._history = history
        self._log = log
        self._attempts = attempts
        self._raise_alert = raise_alert

    def settle(self, settlement: Settlement, *, repeated: bool) -> None:
        """Settle without claiming. Raises `BrokerError`; the caller may then retry with `repeated`."""
        accepted = self._queue.settle([settlement])[0]
        self.record(settlement, accepted=accepted, repeated=repeated)

    def give_up(self, settlement: Settlement, refusal: BrokerError) -> None:
        """Log a claim whose settlement was refused for too long. Its lease expires; without a lease the job is lost."""
        claim = settlement.claim
        if claim.leased:
            self._log.warning("settlement.refused", record=claim.id, reason=str(refusal))
        else:
            self._log.error("job.lost", record=claim.id, reason=str(refusal))
        self.record(settlement, accepted=False, repeated=True)

    def record(self, settlement: Settlement, *, accepted: bool, repeated: bool) -> None:
        """Count the end of a claim, once. `repeated`: an earlier call got no answer and may have been accepted."""
        claim = settlement.claim
        in_flight = self._claims.pop(claim.receipt, None)
        if in_flight is None:
            return  # another thread has already counted it
        took = time.monotonic() - claim.claimed_at
        if accepted:
            outcome = _outcome_of(settlement) if settlement.parts else "completed"
        else:
            outcome = "unconfirmed" if repeated else "lease-lost"
        self._metrics.settled(outcome, took)
        if in_flight.span is not None:
            reasons = [part.reason for part in settlement.parts if isinstance(part, DeadLetter)]
            in_flight.span.end(outcome, reasons[0] if accepted and reasons else None)
        if outcome == "lease-lost":
            self._log.warning("lease.lost", record=claim.id)
        if not accepted:
            return
        for part in settlement.parts:
            if isinstance(part, DeadLetter):
                self._count_dead(claim, part)

    def _count_dead(self, claim: Claim, part: DeadLetter) -> None:
        state = part.details
        assert state is not None, "made by `in_flight.dead_letter`"
        self._metrics.dead_letter(part.reason)
        self._history.died(
            DeadLetterEvent(
                time.time(), state.app, state.webhook or "", state.job, state.attempts, part.reason, state.last or ""
            )
        )
        self._log.error(
            "job.dead_lettered",
            app=state.app,
            webhook=state.webhook,
            job=state.job,
            attempts=state.attempts,
            reason=part.reason,
            last=state.last,
        )
        self._raise_alert(dead_letter(state.app, state.webhook, time.time(), reason=part.reason, last=state.last))
        if self._attempts is not None:
            self._attempts.record_dead_letter(claim, state, part)


def _outcome_of(settlement: Settlement) -> str:
    """Return the outcome of a settlement with parts: that of its most important part."""
    kinds = {type(part) for part in settlement.parts}
    for kind, outcome in ((DeadLetter, "dead-letter"), (Retry, "retry"), (Hold, "held"), (Requeue, "put-back")):
        if kind in kinds:
            return outcome
    raise AssertionError(kinds)
