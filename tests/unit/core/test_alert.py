"""Alerts hold bounded text that can always be written as JSON, and know which of them are about the same thing."""

from __future__ import annotations

import msgspec
import pytest

from sockudo_queue.core import alert
from sockudo_queue.core.alert import TEXT_LIMIT, Alert, bounded

AT = 1_700_000_000.0


def opened(webhook: str = "orders", reason: str = "status-503") -> Alert:
    return alert.breaker_opened("shop", webhook, AT, reason=reason, failing_s=1.25, open_s=5.0)


def test_seconds_are_rounded() -> None:
    made = alert.breaker_opened("shop", "orders", AT, reason="status-503", failing_s=1.26, open_s=4 / 3)
    assert (made.data["failing_s"], made.data["open_s"]) == (1.3, 1.333)


@pytest.mark.parametrize("text", ["x" * 10_000, "\ud800" * 10_000, "é" * 201, "", "a\nb\x00", "\U0001f600" * 300])
def test_text_from_outside_is_bounded_and_can_be_encoded(text: str) -> None:
    kept = bounded(text)
    assert len(kept) <= TEXT_LIMIT
    assert msgspec.json.decode(msgspec.json.encode(kept)) == kept
    assert bounded(kept) == kept


def test_every_text_of_an_alert_is_bounded() -> None:
    long = "\ud800" + "x" * 5_000
    alerts = [
        alert.breaker_opened(long, long, AT, reason=long, failing_s=1, open_s=1),
        alert.breaker_closed(long, long, AT, failing_s=1),
        alert.dead_letter(long, long, AT, reason=long, last=long),
        alert.dead_letter(long, None, AT, reason="unknown-app", last=None),
        alert.broker_changed(long, AT),
        alert.source_changed(long, long, AT),
        alert.source_changed(long, None, AT),
    ]
    for each in alerts:
        assert len(msgspec.json.encode(each)) < 6 * 6 * TEXT_LIMIT
        assert each.type in alert.TYPES


def test_opening_and_closing_of_one_breaker_have_one_subject() -> None:
    closed = alert.breaker_closed("shop", "orders", AT, failing_s=2)
    assert opened().subject == closed.subject != opened("invoices").subject


def test_dead_letters_without_webhook_are_distinguished_by_reason_only() -> None:
    first, second = (alert.dead_letter(app, None, AT, reason="unknown-app", last=None) for app in ("a", "b"))
    assert first.subject == second.subject
    assert first.subject != alert.dead_letter("a", None, AT, reason="unreadable", last=None).subject


def test_newer_alert_replaces_an_earlier_one_and_counts_it() -> None:
    closed = alert.breaker_closed("shop", "orders", AT + 9, failing_s=2).after(opened())
    assert (closed.type, closed.at, closed.count) == (alert.BREAKER_CLOSED, AT + 9, 2)
    assert alert.loss(alert.RECORDS_LOST, 3, AT).after(alert.loss(alert.RECORDS_LOST, 4, AT)).count == 7
