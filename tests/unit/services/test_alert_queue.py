"""Alerts that wait: one for each subject, limited in number and in how often each subject is reported."""

from __future__ import annotations

from typing import Final

from sockudo_queue.core import alert
from sockudo_queue.core.alert import Alert
from sockudo_queue.services.alert_queue import CHANGE_BURST, CHANGE_SECONDS, MAX_SUBJECTS, AlertQueue

REMINDER: Final = 600.0


def opened(webhook: str = "orders") -> Alert:
    return alert.breaker_opened("shop", webhook, 0.0, reason="status-503", failing_s=1, open_s=5)


def closed(webhook: str = "orders") -> Alert:
    return alert.breaker_closed("shop", webhook, 0.0, failing_s=1)


def dead(webhook: str = "orders") -> Alert:
    return alert.dead_letter("shop", webhook, 0.0, reason="exhausted", last="status-503")


def taken(queue: AlertQueue, now: float) -> list[tuple[str, int]]:
    found = []
    while (each := queue.take(now)) is not None:
        found.append((each.type, each.count))
    return found


def test_first_dead_letter_is_due_immediately_and_later_ones_after_the_reminder() -> None:
    queue = AlertQueue(REMINDER)
    queue.put(dead(), 0.0)
    assert taken(queue, 0.0) == [(alert.DEAD_LETTERS, 1)]
    for second in range(1, 500):
        queue.put(dead(), float(second))
    assert taken(queue, REMINDER - 1) == []
    assert taken(queue, REMINDER) == [(alert.DEAD_LETTERS, 499)]


def test_dead_letter_after_a_quiet_period_is_due_immediately() -> None:
    queue = AlertQueue(REMINDER)
    for now in (0.0, REMINDER, 5 * REMINDER):
        queue.put(dead(), now)
        assert taken(queue, now) == [(alert.DEAD_LETTERS, 1)]


def test_dead_letters_of_each_webhook_have_their_own_limit() -> None:
    queue = AlertQueue(REMINDER)
    queue.put(dead("a"), 0.0)
    taken(queue, 0.0)
    queue.put(dead("b"), 1.0)
    assert taken(queue, 1.0) == [(alert.DEAD_LETTERS, 1)]


def test_flapping_breaker_reports_a_burst_and_then_its_newest_state() -> None:
    queue, found = AlertQueue(REMINDER), []
    for second in range(100):
        queue.put(opened() if second % 2 == 0 else closed(), float(second))
        found += taken(queue, float(second))
    assert len(found) == CHANGE_BURST + 1
    assert sum(count for _, count in found) == CHANGE_SECONDS + 1
    assert taken(queue, 200.0) == [(alert.BREAKER_CLOSED, 99 - CHANGE_SECONDS)]


def test_change_that_two_threads_saw_is_reported_once() -> None:
    queue = AlertQueue(REMINDER)
    queue.put(opened(), 0.0)
    queue.put(opened(), 0.0)
    assert taken(queue, 0.0) == [(alert.BREAKER_OPENED, 1)]
    queue.put(opened(), 1.0)
    assert taken(queue, 1.0) == []


def test_alerts_are_taken_in_the_order_in_which_they_began_to_wait() -> None:
    queue = AlertQueue(REMINDER)
    queue.put(opened("a"), 0.0)
    queue.put(opened("b"), 1.0)
    queue.put(closed("a"), 2.0)
    assert taken(queue, 3.0) == [(alert.BREAKER_CLOSED, 2), (alert.BREAKER_OPENED, 1)]


def test_more_subjects_than_allowed_are_refused_and_known_ones_are_not() -> None:
    queue = AlertQueue(REMINDER)
    assert all(queue.put(opened(str(number)), 0.0) for number in range(MAX_SUBJECTS))
    assert not queue.put(opened("one-too-many"), 0.0)
    assert queue.put(closed("0"), 0.0)
    assert len(queue) == MAX_SUBJECTS


def test_quiet_subjects_make_room_once_their_limit_is_over() -> None:
    queue = AlertQueue(REMINDER)
    for number in range(MAX_SUBJECTS):
        queue.put(dead(str(number)), 0.0)
    taken(queue, 0.0)
    queue.forget_quiet(REMINDER - 1)
    assert not queue.put(dead("new"), 0.0)
    queue.forget_quiet(REMINDER)
    assert queue.put(dead("new"), REMINDER)


def test_subject_with_a_waiting_alert_is_not_forgotten() -> None:
    queue = AlertQueue(REMINDER)
    queue.put(dead(), 0.0)
    queue.forget_quiet(10 * REMINDER)
    assert len(queue) == 1


def test_early_take_ignores_the_limit_of_the_subject() -> None:
    queue = AlertQueue(REMINDER)
    queue.put(dead(), 0.0)
    taken(queue, 0.0)
    queue.put(dead(), 1.0)
    assert queue.take(1.0) is None
    assert queue.take(1.0, early=True) is not None


def test_alert_about_the_queue_is_neither_refused_nor_delayed_by_many_webhooks() -> None:
    queue = AlertQueue(REMINDER)
    for number in range(MAX_SUBJECTS):
        queue.put(opened(str(number)), float(number))
    assert queue.put(alert.broker_changed("no answer", 0.0), 1_000.0)
    assert queue.put(alert.loss(alert.RECORDS_LOST, 3, 0.0), 1_001.0)
    found = [queue.take(1_002.0), queue.take(1_002.0), queue.take(1_002.0)]
    assert [each and each.type for each in found] == [alert.BROKER_LOST, alert.RECORDS_LOST, alert.BREAKER_OPENED]
