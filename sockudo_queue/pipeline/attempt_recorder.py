"""Creates the entries of the attempt history, in the thread in which the attempt or delivery ended."""

from __future__ import annotations

from collections.abc import Callable

from sockudo_queue.core import job as jobs
from sockudo_queue.core.delivery_state import DeliveryState
from sockudo_queue.core.outcome import Outcome
from sockudo_queue.drivers.base import Claim, DeadLetter
from sockudo_queue.errors import MalformedJob
from sockudo_queue.history.entry import DEAD_LETTER, MAX_TEXT_LENGTH, EntryRow, encode, names_of
from sockudo_queue.pipeline.in_flight import WebhookDelivery
from sockudo_queue.pipeline.large_jobs import LARGE

Append = Callable[[str, str, bytes], None]
"""Accepts a source, an app and a row. It never blocks and may drop the row."""


class AttemptRecorder:
    """Records attempts and dead letters.

    Thread-safe. `every`: record also deliveries that succeed at the first attempt.
    """

    def __init__(self, append: Append, *, every: bool, channels: bool) -> None:
        """`channels` False omits the names of channels."""
        self.every = every
        self._append = append
        self._channels = channels

    def record_attempt(
        self,
        source: str,
        delivery: WebhookDelivery,
        outcome: Outcome,
        took: float,
        now_ms: int,
        trace_id: str | None,
        span_id: str | None,
    ) -> None:
        """Record an attempt; `took` is in seconds. `now_ms` is the broker's clock."""
        state = delivery.state
        names, more = names_of(delivery.events, channels=self._channels)
        row = EntryRow(
            now_ms,
            state.job,
            delivery.webhook.name[:MAX_TEXT_LENGTH],
            state.attempts + 1,
            outcome.verdict,  # an enum; it is encoded as its value, which saves a call
            outcome.reason if outcome.failure else None,
            outcome.status,
            round(took * 1000),
            names,
            more,
            trace_id,
            span_id,
        )
        self._append(source, state.app, encode(row))

    def record_dead_letter(self, claim: Claim, state: DeliveryState, part: DeadLetter) -> None:
        """Record a dead letter: for a webhook with the events that it receives, for a whole job with all events.

        If the webhook was removed or the job was not decoded, the events of that webhook are unknown. Then no event is
        named, because the others may be confidential to another webhook.
        """
        if state.webhook:
            names, more = names_of(part.events, channels=self._channels)
        else:
            names, more = self._names_in(claim.body)
        job, webhook = state.job[:MAX_TEXT_LENGTH], (state.webhook or "")[:MAX_TEXT_LENGTH]
        row = EntryRow(claim.now_ms(), job, webhook, state.attempts, DEAD_LETTER, part.reason, None, 0, names, more)
        self._append(claim.source, state.app, encode(row))

    def _names_in(self, body: bytes) -> tuple[list[str], int]:
        if len(body) > LARGE:
            return [], 0
        try:
            return names_of(jobs.decode(body).events, channels=self._channels)
        except MalformedJob:
            return [], 0
