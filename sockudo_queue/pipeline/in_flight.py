"""The claims that this process works on: what each still owes, and how it ends.

A claim is in flight from its receipt until its settlement was accepted.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import msgspec

from sockudo_queue.core import delivery_state
from sockudo_queue.core.apps import Webhook
from sockudo_queue.core.delivery_state import DeliveryState
from sockudo_queue.core.job import Event, Job
from sockudo_queue.drivers.base import Claim, DeadLetter, Disposition, Requeue, Settlement
from sockudo_queue.observability.tracing.spans import ClaimSpan


class WebhookDelivery(msgspec.Struct, frozen=True):
    """One match of a claimed record: the webhook that is owed, what it wants, and where its tries stand."""

    ordinal: int
    webhook: Webhook
    events: tuple[Event, ...]
    state: DeliveryState


class JobInFlight(msgspec.Struct, eq=False):
    """One claim at work. `finish` and `abandon` may be called from any thread; exactly one settlement is built.

    Building it sends nothing: see "How a job is processed" in docs/architecture.md. `decided` is kept of the record
    whatever becomes of the deliveries. Of a job that has nothing to attempt, `job` is without its events. `span` is
    None unless this claim is traced.
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
        """Return a job that has nothing to attempt: its settlement is an ack, or has the given parts."""
        return cls(claim, settlement=Settlement(claim, parts, splits=splits and bool(parts)))

    @classmethod
    def unresolved(cls, claim: Claim) -> JobInFlight:
        """Return the job of a claim that was not looked into yet: all that can become of it is to be abandoned."""
        return cls(claim)

    def finish(self, delivery: WebhookDelivery, part: Disposition | None) -> Settlement | None:
        """Report one delivery: None when nothing is owed any more. Returns the settlement to whoever reports last."""
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
        """The deliveries that nothing was reported of yet."""
        with self._lock:
            return [delivery for delivery in self.deliveries if delivery.ordinal not in self._parts]

    def abandon(self, *, lapsed: bool = False) -> Settlement:
        """End the work now: what is not finished goes back to the queue, without an attempt being counted.

        `lapsed`: its worker has died, and a job that kills worker after worker must end some day.
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
        # In the order of the deliveries, whichever was reported first.
        reported = [self._parts[delivery.ordinal] for delivery in self.deliveries]
        parts = tuple([part for part in reported if part is not None]) + self.decided
        return Settlement(self.claim, parts, splits=self.splits and bool(parts))


class ClaimsInFlight(dict[str, JobInFlight]):
    """The claims that are ours now, by receipt. Safe from any thread, since each operation of a dict is one step.

    One thread alone gets a claim from `pop`, so its end is counted once.
    """

    def all(self) -> list[JobInFlight]:
        """Return what is held at this moment."""
        return list(self.values())


def dead_letter(state: DeliveryState, claim: Claim, reason: str, events: Sequence[Event] = ()) -> DeadLetter:
    """Return the end of a delivery, or of a whole job, that is given up now. `events` are those of the delivery."""
    details = msgspec.structs.replace(state, reason=reason, died=claim.now_ms())
    return DeadLetter(delivery_state.encode(details), reason, details, events)
