"""Reports what the breaker of a webhook does: to the log, so that an outage can be read there alone, and as alerts."""

from __future__ import annotations

import time
from typing import Any

from sockudo_queue.core.alert import RaiseAlert, breaker_closed, breaker_opened
from sockudo_queue.core.outcome import Outcome
from sockudo_queue.delivery.admission.circuit_breaker import Breaker
from sockudo_queue.pipeline.in_flight import WebhookDelivery


def log_probe(log: Any, delivery: WebhookDelivery) -> None:
    """Log that one attempt is about to tell whether the endpoint is back."""
    log.info("breaker.half_open", app=delivery.state.app, webhook=delivery.webhook.name)


def report_closed(log: Any, raise_alert: RaiseAlert, app: str, webhook: str, failing_s: float) -> None:
    """Report that a breaker was closed, by an attempt or by an operator, after so many seconds of failures."""
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
    """Report that this attempt has opened or closed a breaker, or nothing.

    `failing_since` is when the webhook began to fail, None where the breaker was closed before. A probe that fails
    opens the breaker again; that is logged, but it is no alert.
    """
    app, webhook = delivery.state.app, delivery.webhook.name
    if breaker.is_closed:
        if failing_since is not None:
            report_closed(log, raise_alert, app, webhook, ended - failing_since)
    elif breaker.open_until == ended + breaker.period:  # by this attempt, and not by an earlier one
        log.warning(
            "breaker.opened",
            app=app,
            webhook=webhook,
            reason=outcome.reason,
            failing_s=round(ended - breaker.failing_since, 1),
            open_s=breaker.period,
        )
        if failing_since is None:
            failing_s = ended - breaker.failing_since
            raise_alert(
                breaker_opened(
                    app, webhook, time.time(), reason=outcome.reason, failing_s=failing_s, open_s=breaker.period
                )
            )
