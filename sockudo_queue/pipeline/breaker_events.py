"""Reports changes of webhook breakers in the log, where they show a complete outage, and as alerts."""

from __future__ import annotations

import time
from typing import Any

from sockudo_queue.core.alert import RaiseAlert, breaker_closed, breaker_opened
from sockudo_queue.core.outcome import Outcome
from sockudo_queue.delivery.admission.circuit_breaker import Breaker
from sockudo_queue.pipeline.in_flight import WebhookDelivery


def log_probe(log: Any, delivery: WebhookDelivery) -> None:
    """Log that one attempt probes whether the endpoint has recovered."""
    log.info("breaker.half_open", app=delivery.state.app, webhook=delivery.webhook.name)


def report_closed(log: Any, raise_alert: RaiseAlert, app: str, webhook: str, failing_s: float) -> None:
    """Report that an attempt or an operator closed a breaker, after `failing_s` seconds of failures."""
    log.info("breaker.closed", app=app, webhook=webhook, failing_s=round(failing_s, 1))
    raise_alert(breaker_closed(app, webhook, time.time(), failing_s=failing_s))


def report_breaker(
    log: Any,
    raise_alert: RaiseAlert,
    delivery: WebhookDelivery,
    breaker: Breaker,
    outcome: Outcome,
    ended: float,
    failing_since: float | None,
) -> None:
    """Report that this attempt opened or closed a breaker; report nothing if it did neither.

    `failing_since` is the time since when the webhook fails, or None if the breaker was closed before the attempt. A
    failed probe opens the breaker again; that is logged but is not an alert.
    """
    app, webhook = delivery.state.app, delivery.webhook.name
    if breaker.is_closed:
        if failing_since is not None:
            report_closed(log, raise_alert, app, webhook, ended - failing_since)
    elif breaker.open_until == ended + breaker.period:  # opened by this attempt, not by an earlier one
        log.warning(
            "breaker.opened",
            app=app,
            webhook=webhook,
            reason=outcome.reason,
            failing_s=round(ended - breaker.failing_since, 1),
            open_s=round(breaker.period, 3),
        )
        if failing_since is None:
            failing_s = ended - breaker.failing_since
            raise_alert(
                breaker_opened(
                    app, webhook, time.time(), reason=outcome.reason, failing_s=failing_s, open_s=breaker.period
                )
            )
