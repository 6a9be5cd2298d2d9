"""A lasting condition is logged at its start, when it changes, and at an interval."""

from __future__ import annotations

import pytest

from sockudo_queue.observability.reminder import Reminder


@pytest.mark.parametrize(
    ("moments", "logged"),
    [
        ([0.0], [0.0]),
        ([1e6], [1e6]),
        ([0.0, 1.0, 59.0, 60.0], [0.0]),
        ([0.0, 60.0, 60.1, 120.0, 120.1, 120.2], [0.0, 60.1, 120.2]),
        ([0.0, 500.0, 501.0], [0.0, 500.0]),
    ],
)
def test_lasting_condition_is_logged_again_after_the_interval(moments: list[float], logged: list[float]) -> None:
    reminder = Reminder(60.0)

    assert [moment for moment in moments if reminder.is_due(moment)] == logged


def test_change_is_logged_immediately_and_restarts_the_interval() -> None:
    reminder = Reminder(60.0)

    assert reminder.is_due(0.0)
    assert reminder.is_due(50.0, changed=True)
    assert not reminder.is_due(61.0)
    assert not reminder.is_due(110.0)
    assert reminder.is_due(110.1)
