"""Makes the spans of claims and attempts with the OpenTelemetry SDK."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    set_span_in_context,
)

from sockudo_queue import __version__
from sockudo_queue.core import trace_context
from sockudo_queue.core.apps import Webhook
from sockudo_queue.core.delivery_state import DeliveryState
from sockudo_queue.core.job import Job
from sockudo_queue.core.outcome import Outcome
from sockudo_queue.core.ports import host_port
from sockudo_queue.core.trace_context import TraceContext
from sockudo_queue.observability.reminder import Reminder
from sockudo_queue.observability.tracing import attributes
from sockudo_queue.observability.tracing.export import BoundedProcessor, CountingExporter, ExportCounter, silence_sdk
from sockudo_queue.observability.tracing.plan import ExportPlan
from sockudo_queue.observability.tracing.sampling import Sampling
from sockudo_queue.observability.tracing.spans import ClaimView, DeliveryView, SpanCounts

SERVICE: Final = "sockudo-queue"
SCHEMA: Final = "https://opentelemetry.io/schemas/1.37.0"
_UNNAMED: Final = "unknown_service"


class _TraceIds(RandomIdGenerator):
    """Generates ids for recorded traces."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling

    def generate_trace_id(self) -> int:
        return self._sampling.trace_id()

    def is_trace_id_random(self) -> bool:
        return self._sampling.ratio >= 1


class SdkTracing:
    """See `spans.Tracing`. Raises the SDK's exceptions for invalid settings."""

    def __init__(self, plan: ExportPlan, system: str, log: Any) -> None:
        self.collector: tuple[str, int] | None = (plan.host, plan.port)
        self._sampling = plan.sampling
        self._system = system
        self._faults = _FaultLog(log)
        self._counter = ExportCounter(plan.queue_size)
        exporter = CountingExporter(self._counter, log, host_port(plan.host, plan.port))
        # Always on, because sampling is decided before a span starts.
        provider = TracerProvider(ALWAYS_ON, _resource(), id_generator=_TraceIds(plan.sampling), shutdown_on_exit=False)
        self._processor = BoundedProcessor(exporter, self._counter, plan.queue_size, plan.batch_size)
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer(SERVICE, __version__, SCHEMA)
        silence_sdk()

    def begin(self, claim: ClaimView, job: Job, deliveries: Sequence[DeliveryView], /) -> SdkClaimSpan | None:
        context = job.trace.context
        state = deliveries[0].state if deliveries else None
        if context is None and state is not None and state.first_try is not None:
            context = trace_context.parse(state.first_try)  # continue a trace that started here
        if not self._sampling.wants(context):
            return None
        try:
            given = attributes.of_claim(self._system, claim, job, state)
            begun = time.time_ns() - round((time.monotonic() - claim.claimed_at) * 1e9)
            span = self._tracer.start_span(
                f"process {claim.source}", _parent(context), SpanKind.CONSUMER, given, start_time=begun
            )
            if deliveries:
                span.add_event(attributes.MATCHED, {attributes.WEBHOOKS: len(deliveries)})
            return SdkClaimSpan(span, self._tracer, job.trace.context or context, self._faults)
        except Exception as error:  # noqa: BLE001 - a failure of tracing must not affect deliveries
            self._faults.note(error)
            return None

    def counts(self) -> SpanCounts:
        return self._counter.counts()

    def unfinished(self) -> int:
        return self._counter.unfinished()

    def close(self) -> None:
        self._processor.shutdown()  # type: ignore[no-untyped-call]


class _FaultLog:
    """Logs errors of the SDK at most once a minute, because they can occur with every job."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._reminder = Reminder(60.0)

    def note(self, error: Exception) -> None:
        if self._reminder.is_due(time.monotonic()):
            self._log.error("tracing.failed", exc_info=error)


class SdkClaimSpan:
    """See `spans.ClaimSpan`."""

    def __init__(self, span: Span, tracer: Tracer, context: TraceContext | None, faults: _FaultLog) -> None:
        self._span = span
        self._tracer = tracer
        self._faults = faults
        self._below = set_span_in_context(span, Context())
        self._state = (context.tracestate, context.baggage) if context is not None else ("", "")

    def attempt(self, webhook: Webhook, state: DeliveryState) -> SdkAttemptSpan | None:
        try:
            first = trace_context.parse(state.first_try) if state.first_try is not None else None
            span = self._tracer.start_span(
                attributes.span_name(webhook),
                self._below,
                SpanKind.CLIENT,
                attributes.of_attempt(webhook, state),
                [Link(_span_context(first))] if first is not None else None,
            )
            return SdkAttemptSpan(span, self._state, self._faults)
        except Exception as error:  # noqa: BLE001 - as above
            self._faults.note(error)
            return None

    def end(self, outcome: str, reason: str | None) -> None:
        try:
            self._span.set_attribute(attributes.OUTCOME, outcome)
            if reason is not None:
                self._span.set_attributes({attributes.REASON: reason, attributes.ERROR: reason})
                self._span.set_status(StatusCode.ERROR, reason)
            self._span.end()
        except Exception as error:  # noqa: BLE001 - as above
            self._faults.note(error)


class SdkAttemptSpan:
    """See `spans.AttemptSpan`."""

    def __init__(self, span: Span, state: tuple[str, str], faults: _FaultLog) -> None:
        self._span = span
        self._faults = faults
        ids = span.get_span_context()
        self.context = TraceContext(f"{ids.trace_id:032x}", f"{ids.span_id:016x}", int(ids.trace_flags), *state)

    def end(self, outcome: Outcome) -> None:
        try:
            self._span.set_attributes(attributes.of_outcome(outcome))
            if not outcome.delivered:
                self._span.set_status(StatusCode.ERROR, None if outcome.status else outcome.reason)
            self._span.end()
        except Exception as error:  # noqa: BLE001 - as above
            self._faults.note(error)


def _parent(context: TraceContext | None) -> Context:
    """Return the context in which to start a span; never the one that the SDK finds in the thread."""
    empty = Context()
    return empty if context is None else set_span_in_context(NonRecordingSpan(_span_context(context)), empty)


def _span_context(context: TraceContext) -> SpanContext:
    state = TraceState.from_header([context.tracestate]) if context.tracestate else None
    flags = TraceFlags(context.flags)
    return SpanContext(int(context.trace_id, 16), int(context.span_id, 16), True, flags, state)


def _resource() -> Resource:
    """Return the resource from the variables, with this service's name and version as defaults."""
    found = Resource.create()
    missing = {} if SERVICE_VERSION in found.attributes else {SERVICE_VERSION: __version__}
    if str(found.attributes.get(SERVICE_NAME, _UNNAMED)).startswith(_UNNAMED):
        missing[SERVICE_NAME] = SERVICE
    return found.merge(Resource(missing))
