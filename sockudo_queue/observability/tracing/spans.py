"""What the pipeline knows of tracing: a span for each claim, and one for each attempt; and no tracing at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from sockudo_queue.core.apps import Webhook
from sockudo_queue.core.delivery_state import DeliveryState
from sockudo_queue.core.job import Job
from sockudo_queue.core.outcome import Outcome
from sockudo_queue.core.trace_context import TraceContext


class SpanCounts(msgspec.Struct, frozen=True):
    """What became of the spans that have ended: how many were exported, waited for a full queue, or were refused."""

    exported: int = 0
    queue_full: int = 0
    export_failed: int = 0


class ClaimView(Protocol):
    """What is asked of a claim: see `drivers.base.Claim`."""

    @property
    def source(self) -> str: ...
    @property
    def body(self) -> bytes: ...
    @property
    def lapses(self) -> int: ...
    @property
    def server_ms(self) -> int: ...
    @property
    def claimed_at(self) -> float: ...


class DeliveryView(Protocol):
    """What is asked of a delivery of the claim: the state that is stored of it."""

    @property
    def state(self) -> DeliveryState: ...


class AttemptSpan(Protocol):
    """The span of one attempt. `context` is what its receiver continues."""

    @property
    def context(self) -> TraceContext: ...

    def end(self, outcome: Outcome) -> None:
        """End the span. Never raises."""


class ClaimSpan(Protocol):
    """The span of one claim. Safe from any thread."""

    def attempt(self, webhook: Webhook, state: DeliveryState) -> AttemptSpan | None:
        """Begin the span of an attempt; None where that failed. Never raises."""

    def end(self, outcome: str, reason: str | None) -> None:
        """End the span: `outcome` as the claims are counted, and the reason of a dead letter. Never raises."""


class Tracing(Protocol):
    """Where spans come from. Safe from any thread; never waits for the network."""

    collector: tuple[str, int] | None
    """Host and port of where spans go."""

    def begin(self, claim: ClaimView, job: Job, deliveries: Sequence[DeliveryView], /) -> ClaimSpan | None:
        """Begin the span of a claim that was read and matched; None for one that is not sampled. Never raises."""

    def counts(self) -> SpanCounts:
        """Return what became of the spans so far."""

    def unfinished(self) -> int:
        """Return how many spans have ended and are neither exported nor lost."""

    def close(self) -> None:
        """Export what waits, and make no more spans. May block for half a minute where the collector hangs."""


class NoTracing:
    """No span is made. Attempts pass the context of their job on all the same."""

    collector: tuple[str, int] | None = None

    def begin(self, *_: object) -> None:
        return None

    def counts(self) -> SpanCounts:
        return SpanCounts()

    def unfinished(self) -> int:
        return 0

    def close(self) -> None:
        """Do nothing: there is nothing to export."""


NO_TRACING: Final = NoTracing()
