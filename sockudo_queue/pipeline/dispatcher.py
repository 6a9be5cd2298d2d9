"""One delivery attempt: asks for admission, signs, posts, and decides what follows from the outcome.

Several threads may attempt the webhooks of one job at the same time. An attempt blocks only on the endpoint.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import msgspec

from sockudo_queue.core import delivery_state, signing
from sockudo_queue.core.alert import RaiseAlert, ignore
from sockudo_queue.core.apps import Webhook
from sockudo_queue.core.controls import WebhookKey
from sockudo_queue.core.delivery_state import TRIES_LIMIT, Try
from sockudo_queue.core.outcome import Failure, Outcome, Verdict, from_failure
from sockudo_queue.core.ports import default_port
from sockudo_queue.core.trace_context import TraceContext
from sockudo_queue.delivery.admission.circuit_breaker import BreakerState
from sockudo_queue.delivery.admission.endpoint import (
    Admission,
    BreakerKey,
    Deferral,
    EndpointKey,
    EndpointRegistry,
)
from sockudo_queue.delivery.sender import Sender
from sockudo_queue.drivers.base import Claim, Disposition, Requeue, Retry
from sockudo_queue.observability.metrics import Metrics, WebhookMetrics
from sockudo_queue.pipeline import deferrals
from sockudo_queue.pipeline.attempt_recorder import AttemptRecorder
from sockudo_queue.pipeline.breaker_events import log_probe, report_breaker, report_closed
from sockudo_queue.pipeline.in_flight import JobInFlight, WebhookDelivery, dead_letter
from sockudo_queue.pipeline.pool import Slot


class Attempt(msgspec.Struct, frozen=True):
    """One finished POST: its outcome, whether it used a kept-alive connection, and the bytes of its body.

    `context` is the trace context that was sent to the receiver, or None.
    """

    outcome: Outcome
    reused: bool = False
    bytes: int = 0
    context: TraceContext | None = None


class Dispatcher:
    """Makes the attempts of a claim. Thread-safe."""

    def __init__(
        self,
        endpoints: EndpointRegistry,
        sender: Sender,
        metrics: Metrics,
        log: Any,
        stopping: threading.Event,
        *,
        baggage: bool = False,
        recorder: AttemptRecorder | None = None,
        raise_alert: RaiseAlert = ignore,
    ) -> None:
        self._endpoints = endpoints
        self._sender = sender
        self._metrics = metrics
        self._log = log
        self._stopping = stopping
        self._baggage = baggage
        self._recorder = recorder
        self._raise_alert = raise_alert

    def attempt(
        self, in_flight: JobInFlight, delivery: WebhookDelivery, slot: Slot, give_back: Callable[[Slot], object]
    ) -> Disposition | None:
        """Post one delivery if its endpoint admits it. Returns the part to keep, or None if the delivery is complete.

        The slot is marked as busy during the attempt; it is given back first if the attempt is likely to be slow.
        Blocks at most for the webhook's timeout. An exception becomes a dead letter of this webhook and does not end
        the thread.
        """
        try:
            decision = self._admit(in_flight, delivery)
            if isinstance(decision, Deferral):
                return self.deferred(in_flight, delivery, decision)
            try:
                slot.admission, slot.busy_since = decision, time.monotonic()
                if decision.slow:
                    give_back(slot)
                return self._post(in_flight, delivery, decision)
            except BaseException:
                # The endpoint must not count the attempt as in flight forever.
                self._endpoints.close(decision, time.monotonic())
                raise
            finally:
                slot.busy_since = 0.0
        except Exception as error:  # noqa: BLE001 - it would crash one worker after another, and finally the daemon
            self._log.error("job.failed", record=in_flight.claim.id, exc_info=error)
            owed = msgspec.structs.replace(delivery.state, webhook=delivery.webhook.name)
            return dead_letter(owed, in_flight.claim, "internal-error", delivery.events)

    def _admit(self, in_flight: JobInFlight, delivery: WebhookDelivery) -> Admission | Deferral:
        webhook = delivery.webhook
        assert in_flight.job is not None
        key, target = _target_of(webhook)
        return self._endpoints.admit(
            key,
            BreakerKey(in_flight.job.app_id, webhook.name, target),
            webhook.retry.max_elapsed_time_ms / 1000,
            time.monotonic(),
            reserved=delivery.state.reserved,
            max_in_flight=webhook.max_in_flight,
        )

    def close_breaker(self, webhook: WebhookKey) -> None:
        """Close the breaker of a webhook, because an operator requested it."""
        failing_s = self._endpoints.close_breakers(webhook, time.monotonic())
        if failing_s is not None:
            self._metrics.breaker(*webhook, BreakerState.CLOSED)
            report_closed(self._log, self._raise_alert, *webhook, failing_s)

    def check_overdue(self, admission: Admission) -> None:
        """Check a running attempt that takes longer than usual."""
        self._endpoints.check_overdue(admission, time.monotonic())

    def enforce_deadlines(self) -> None:
        """End attempts that exceed their deadline; to be called many times a second."""
        self._sender.enforce_deadlines()

    def deferred(self, in_flight: JobInFlight, delivery: WebhookDelivery, deferral: Deferral) -> Disposition:
        """Return the part to keep of a delivery that is not admitted now. Only an open breaker starts its budget."""
        now, state = in_flight.claim.now_ms(), delivery.state
        self._metrics.webhook(state.app, delivery.webhook.name).deferred()
        began = state.budget_from
        if began is None and deferral.by_breaker:
            began = now
        delay_ms = deferrals.delay_ms(deferral, state.guesses)
        if deferral.by_breaker and began is not None:
            left = began + delivery.webhook.retry.max_elapsed_time_ms - now
            if left <= 0:
                return dead_letter(state, in_flight.claim, "endpoint-down", delivery.events)
            delay_ms = min(delay_ms, left)
        if in_flight.claim.ordered and deferral.failing_for * 1000 > delivery.webhook.retry.max_elapsed_time_ms:
            # Others wait behind this ordered record. If the endpoint has failed for longer than the budget, an earlier
            # delivery has already used up its budget, so this one does not wait again.
            return dead_letter(state, in_flight.claim, "endpoint-down", delivery.events)
        kept = msgspec.structs.replace(
            state,
            webhook=delivery.webhook.name,
            budget_from=began,
            reserved=deferral.reserved,
            guesses=state.guesses + 1 if deferral.grows else 0,
        )
        # A crash may lose a reservation, but not the start of a budget.
        return Retry(delivery_state.encode(kept), delay_ms, durable=began != state.budget_from)

    def _post(self, in_flight: JobInFlight, delivery: WebhookDelivery, admission: Admission) -> Disposition | None:
        """Sign and post one delivery. Returns the part to keep, or None if the delivery is complete."""
        breaker = admission.breaker
        if admission.is_probe:
            log_probe(self._log, delivery)
        counts = self._metrics.attempt_started(delivery.state.app, delivery.webhook.name)
        started, now_ms = time.monotonic(), in_flight.claim.now_ms()
        span = None if in_flight.span is None else in_flight.span.attempt(delivery.webhook, delivery.state)
        job = in_flight.job
        assert job is not None
        context = span.context if span is not None else job.trace.context
        if span is None and context is not None:
            context = _passed_on(context, delivery.webhook)
        try:
            attempt = self._send(in_flight, delivery, now_ms, context)
        except Exception as error:  # noqa: BLE001 - counts as a failed attempt, which is retried
            self._log.error("delivery.failed", webhook=delivery.webhook.name, job=delivery.state.job, exc_info=error)
            attempt = Attempt(from_failure(Failure.INTERNAL), context=context)
        except BaseException:  # this thread is terminating
            counts.ended(Verdict.RETRYABLE, time.monotonic() - started)
            raise
        ended = time.monotonic()
        now_ms += round((ended - started) * 1000)
        outcome = attempt.outcome
        if span is not None:
            span.end(outcome)
        cut_short = outcome.is_transport_failure and self._stopping.is_set()
        was_closed = breaker.is_closed
        failing_since = None if was_closed else breaker.failing_since
        self._endpoints.finish(admission, None if cut_short else outcome, ended)
        try:
            self._report(in_flight, delivery, attempt, ended - started, now_ms, counts)
            if not (outcome.delivered and was_closed):
                self._metrics.breaker(delivery.state.app, delivery.webhook.name, breaker.state(ended))
                report_breaker(self._log, self._raise_alert, delivery, breaker, outcome, ended, failing_since)
        except Exception as error:  # noqa: BLE001 - a failed report must not repeat a delivery
            self._log.error("delivery.failed", webhook=delivery.webhook.name, job=delivery.state.job, exc_info=error)
        if cut_short:
            # During a stop the network may fail because the host shuts down, so the attempt does not count. `last`
            # keeps the fact that there was one, so that the next delivery is recorded as one after a failure.
            state = delivery.state
            last = state.last or outcome.reason
            return Requeue(
                delivery_state.encode(msgspec.structs.replace(state, webhook=delivery.webhook.name, last=last))
            )
        first_try = delivery.state.first_try or (None if span is None else span.context.traceparent)
        return self._decide(in_flight.claim, delivery, outcome, ended - started, now_ms, first_try)

    def _send(
        self, in_flight: JobInFlight, delivery: WebhookDelivery, now_ms: int, context: TraceContext | None
    ) -> Attempt:
        job, webhook, state = in_flight.job, delivery.webhook, delivery.state
        assert job is not None
        request = signing.SigningRequest(job.app_key, job.signing_key, state.job, state.attempts + 1, now_ms // 1000)
        body, headers = signing.signed(request, webhook, job.time_ms, delivery.events)
        if context is not None:
            headers |= context.headers(baggage=self._baggage)
        outcome, reused = self._sender.post(webhook, body, headers)
        return Attempt(outcome, reused, len(body), context)

    def _report(
        self,
        in_flight: JobInFlight,
        delivery: WebhookDelivery,
        attempt: Attempt,
        took: float,
        now_ms: int,
        counts: WebhookMetrics,
    ) -> None:
        """Count, log and record an attempt."""
        job, state, outcome, context = in_flight.job, delivery.state, attempt.outcome, attempt.context
        assert job is not None
        trace_id = context.trace_id if context is not None else None
        span_id = context.span_id if context is not None and context is not job.trace.context else None
        counts.ended(
            outcome.verdict,
            took,
            status=outcome.status,
            age=max(now_ms - job.time_ms, 0) / 1000 if outcome.delivered else None,
            reused=attempt.reused if outcome.status else None,
            reason=outcome.reason if outcome.failure else None,
            failure=outcome.failure,
        )
        for field in job.trace.rejected:
            self._metrics.trace_field_rejected(field)
        self._log.info(
            "delivery.attempted",
            app=state.app,
            webhook=delivery.webhook.name,
            job=state.job,
            attempt=state.attempts + 1,
            outcome=outcome.verdict.value,
            reason=outcome.reason if outcome.failure else None,
            detail=outcome.detail or None,
            status=outcome.status,
            duration_ms=round(took * 1000, 3),
            events=len(delivery.events),
            bytes=attempt.bytes,
            reused=attempt.reused,
            trace_id=trace_id,
            span_id=span_id,
        )
        recorder = self._recorder
        if recorder is not None and (
            recorder.every or outcome.failure or state.attempts or state.last or state.history or in_flight.claim.lapses
        ):
            recorder.record_attempt(in_flight.claim.source, delivery, outcome, took, now_ms, trace_id, span_id)

    def _decide(
        self,
        claim: Claim,
        delivery: WebhookDelivery,
        outcome: Outcome,
        took: float,
        now_ms: int,
        first_try: str | None,
    ) -> Disposition | None:
        if outcome.delivered:
            return None
        state = delivery.state
        began = state.budget_from if state.budget_from is not None else now_ms - round(took * 1000)
        tried = msgspec.structs.replace(
            state,
            webhook=delivery.webhook.name,
            attempts=state.attempts + 1,
            budget_from=began,
            reserved=False,
            guesses=0,
            last=outcome.reason,
            tries=(*state.tries, Try(now_ms, outcome.reason, round(took * 1000)))[-TRIES_LIMIT:],
            first_try=first_try,
        )
        delay_ms = delivery.webhook.retry.delay_ms(tried.attempts, now_ms - began, outcome, random.random())  # noqa: S311
        if delay_ms is not None:
            return Retry(delivery_state.encode(tried), delay_ms)
        reason = "refused" if outcome.verdict is Verdict.PERMANENT else "exhausted"
        return dead_letter(tried, claim, reason, delivery.events)


def _passed_on(context: TraceContext, webhook: Webhook) -> TraceContext:
    """Return the job's trace context with a new span id for this attempt, which no span of this daemon uses."""
    if webhook.url is None:
        return context  # a Lambda function gets no headers
    # The id only distinguishes attempts; it protects nothing.
    return context.child(random.getrandbits(64) or 1)


def _target_of(webhook: Webhook) -> tuple[EndpointKey, str]:
    """Return the endpoint of a webhook, and a key of its target. A Lambda function is its own endpoint."""
    if webhook.url is not None:
        url = webhook.url.revealed
        return endpoint_of(url), url
    assert webhook.lambda_target is not None
    function = f"{webhook.lambda_target.region}/{webhook.lambda_target.function_name}"
    return EndpointKey("lambda", function, 443), function


@lru_cache(maxsize=16_384)
def endpoint_of(url: str) -> EndpointKey:
    """Return the endpoint of a URL.

    An invalid URL gets an empty endpoint instead of an error: the attempt then fails for its webhook only.
    """
    try:
        parts = urlsplit(url)
        return EndpointKey(parts.scheme, parts.hostname or "", parts.port or default_port(parts.scheme))
    except ValueError:
        return EndpointKey("", "", 0)
