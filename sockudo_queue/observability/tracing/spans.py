"""The pipeline's interface to tracing: a span for each claim and each attempt, or `NO_TRACING`."""

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
    """The counts of ended spans: exported, dropped by a full queue, or dropped because their export failed."""

    exported: int = 0
    queue_full: int = 0
    export_failed: int = 0


class ClaimView(Protocol):
    """The part of a claim that tracing reads: see `drivers.base.Claim`."""

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
    """The part of a claim's delivery that tracing reads: its stored state."""

    @property
    def state(self) -> DeliveryState: ...


class AttemptSpan(Protocol):
    """The span of one attempt. `context` is propagated to the receiver."""

    @property
    def context(self) -> TraceContext: ...

    def end(self, outcome: Outcome) -> None:
        """End the span. Never raises."""


class ClaimSpan(Protocol):
    """The span of one claim. Safe from any thread."""

    def attempt(self, webhook: Webhook, state: DeliveryState) -> AttemptSpan | None:
        """Start the span of an attempt; None if that failed. Never raises."""

    def end(self, outcome: str, reason: str | None) -> None:
        """End the span with the outcome as counted in metrics, and the reason of a dead letter. Never raises."""


class Tracing(Protocol):
    """Creates spans. Safe from any thread; never waits for the network."""

    collector: tuple[str, int] | None
    """Host and port of the collector."""

    def begin(self, claim: ClaimView, job: Job, deliveries: Sequence[DeliveryView], /) -> ClaimSpan | None:
        """Start the span of a claim that was decoded and matched; None if it is not sampled. Never raises."""

    def counts(self) -> SpanCounts:
        """Return the counts of ended spans so far."""

    def unfinished(self) -> int:
        """Return the number of ended spans that are neither exported nor lost."""

    def close(self) -> None:
        """Export pending spans and accept no more. May block for half a minute if the collector hangs."""


class NoTracing:
    """Creates no spans. Attempts still propagate their job's trace context."""

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
