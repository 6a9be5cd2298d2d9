"""The claims that this process is processing: the remaining deliveries and the settlement of each.

A claim is in flight from its arrival until its settlement was accepted.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

import msgspec

from sockudo_queue.core import delivery_state
from sockudo_queue.core.apps import Webhook
from sockudo_queue.core.delivery_state import DeliveryState
from sockudo_queue.core.job import Event, Job
from sockudo_queue.drivers.base import Claim, DeadLetter, Disposition, Requeue, Settlement
from sockudo_queue.observability.tracing.spans import ClaimSpan

_PUT_BACK: Final = (Requeue(),)


class WebhookDelivery(msgspec.Struct, frozen=True):
    """One match of a claimed record: the webhook, its events, and the state of its attempts."""

    ordinal: int
    webhook: Webhook
    events: tuple[Event, ...]
    state: DeliveryState


class JobInFlight(msgspec.Struct, eq=False):
    """One claim in processing. `finish` and `abandon` are thread-safe; exactly one settlement is built.

    Building the settlement does not send it: see "How a job is processed" in docs/architecture.md. The parts in
    `decided` are kept regardless of the results of the deliveries. If a job has nothing to attempt, `job` has no
    events. Until a claim is resolved, there is only the claim, which can only be abandoned. `span` is None unless this
    claim is traced.
    """

    claim: Claim
    job: Job | None = None
    deliveries: tuple[WebhookDelivery, ...] = ()
    splits: bool = False
    decided: tuple[Disposition, ...] = ()
    settlement: Settlement | None = None
    span: ClaimSpan | None = None
    _parts: dict[int, Disposition | None] = {}
    _lock: threading.Lock = msgspec.field(default_factory=threading.Lock)

    @classmethod
    def settled(cls, claim: Claim, *parts: Disposition, splits: bool = False) -> JobInFlight:
        """Return a job without attempts: its settlement is an ack, or has the given parts."""
        return cls(claim, settlement=Settlement(claim, parts, splits=splits and bool(parts)))

    def finish(self, delivery: WebhookDelivery, part: Disposition | None) -> Settlement | None:
        """Report the result of one delivery: the part to keep, or None if it is complete.

        The call that reports the last delivery returns the settlement; other calls return None.
        """
        with self._lock:
            if self.settlement is not None or delivery.ordinal in self._parts:
                return None
            self._parts[delivery.ordinal] = part
            if len(self._parts) < len(self.deliveries):
                return None
            self.settlement = self._compose()
            return self.settlement

    @property
    def unfinished(self) -> list[WebhookDelivery]:
        """The deliveries without a reported result."""
        with self._lock:
            return [delivery for delivery in self.deliveries if delivery.ordinal not in self._parts]

    def hand_over(self) -> bool:
        """End this object, because a worker is about to resolve the claim anew. Returns False if it was abandoned.

        A renewal that is in progress must not take the later end of the claim for a lost lease. A stop that found this
        object before sends its settlement, and so that one puts the job back: an ack would lose it.
        """
        with self._lock:
            if self.settlement is not None:
                return False
            self.settlement = Settlement(self.claim, _PUT_BACK)
            return True

    def abandon(self, *, lapsed: bool = False) -> Settlement:
        """End the job now: unfinished deliveries go back to the queue without counting an attempt.

        `lapsed`: the worker has crashed. The count of lapses limits jobs that crash one worker after another.
        """
        with self._lock:
            if self.settlement is None:
                untouched = not self._parts
                for delivery in self.deliveries:
                    if delivery.ordinal not in self._parts:
                        self._parts[delivery.ordinal] = Requeue(delivery_state.encode(delivery.state), lapsed=lapsed)
                self.settlement = Settlement(self.claim, (Requeue(lapsed=lapsed),)) if untouched else self._compose()
            return self.settlement

    def _compose(self) -> Settlement:
        # In the order of the deliveries, not of the reports.
        reported = [self._parts[delivery.ordinal] for delivery in self.deliveries]
        parts = tuple([part for part in reported if part is not None]) + self.decided
        return Settlement(self.claim, parts, splits=self.splits and bool(parts))


class ClaimsInFlight(dict[str, JobInFlight]):
    """The claims that this process holds, by receipt. Thread-safe, because single dict operations are atomic.

    Only one thread gets a claim from `pop`, so its end is counted once.
    """

    def all(self) -> list[JobInFlight]:
        """Return a copy of the current claims."""
        return list(self.values())


def dead_letter(state: DeliveryState, claim: Claim, reason: str, events: Sequence[Event] = ()) -> DeadLetter:
    """Return the dead letter of a delivery or of a whole job. `events` are those of the delivery."""
    details = msgspec.structs.replace(state, reason=reason, died=claim.now_ms())
    return DeadLetter(delivery_state.encode(details), reason, details, events)
