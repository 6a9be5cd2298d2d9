"""How a change of a breaker is reported: a log line, and an alert if the webhook was healthy before."""

from __future__ import annotations

from typing import Any, Final

from sockudo_queue.core.alert import Alert
from sockudo_queue.core.apps import Webhook
from sockudo_queue.core.delivery_state import DeliveryState
from sockudo_queue.core.outcome import from_status
from sockudo_queue.delivery.admission.circuit_breaker import Breaker
from sockudo_queue.pipeline.breaker_events import report_breaker
from sockudo_queue.pipeline.in_flight import WebhookDelivery

DELIVERY: Final = WebhookDelivery(0, Webhook("orders", frozenset()), (), DeliveryState("job", app="shop"))


class Reports:
    """A breaker that opens at the first failure, and everything that is reported of it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.alerts: list[Alert] = []
        self.breaker = Breaker(1, 5.0, 60.0)

    def warning(self, event: str, **_: Any) -> None:
        self.lines.append(event)

    info = warning

    def attempt(self, status: int, ended: float) -> None:
        failing_since = None if self.breaker.is_closed else self.breaker.failing_since
        token = self.breaker.probe = object()
        self.breaker.record(token, from_status(status), 0.1, ended)
        outcome = from_status(status)
        report_breaker(self, self.alerts.append, DELIVERY, self.breaker, outcome, ended, failing_since)

    @property
    def types(self) -> list[str]:
        return [alert.type for alert in self.alerts]


def test_probe_that_fails_is_logged_and_is_no_alert() -> None:
    reports = Reports()
    for moment in (100.0, 200.0, 300.0):
        reports.attempt(503, moment)
    assert reports.lines == ["breaker.opened"] * 3
    assert reports.types == ["webhook.breaker_opened"]


def test_recovery_is_an_alert_with_the_length_of_the_outage() -> None:
    reports = Reports()
    for status, moment in ((503, 100.0), (503, 200.0), (200, 300.0), (200, 400.0)):
        reports.attempt(status, moment)
    assert reports.types == ["webhook.breaker_opened", "webhook.breaker_closed"]
    assert reports.alerts[-1].data["failing_s"] == 200.0


def test_endpoint_that_is_gone_for_good_is_an_alert_at_its_first_answer() -> None:
    reports = Reports()
    reports.attempt(410, 100.0)
    assert reports.types == ["webhook.breaker_opened"]
    assert reports.alerts[0].data | {"failing_s": 0} == {
        "app": "shop",
        "webhook": "orders",
        "reason": "status-410",
        "failing_s": 0,
        "open_s": 60.0,
    }
