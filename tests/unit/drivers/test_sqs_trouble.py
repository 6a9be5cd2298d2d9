"""When something that failed may be tried again."""

from __future__ import annotations

import time

import pytest

from sockudo_queue.drivers.sqs.trouble import LONG_PAUSE, REFUSED_LONG_PAUSE, Trouble
from sockudo_queue.errors import BrokerError, BrokerRefused, BrokerUnavailable


def fail(trouble: Trouble, kind: str, error: BrokerError) -> None:
    with pytest.raises(type(error)), trouble.watching(kind):
        raise error


def test_without_faults_nothing_is_held_up() -> None:
    trouble = Trouble()
    with trouble.watching("receive"):
        trouble.check("receive")
    assert trouble.pause_of("receive") == 0


def test_the_first_failure_may_be_repeated_at_once_and_further_ones_later() -> None:
    trouble = Trouble()
    pauses = []
    for _ in range(8):
        fail(trouble, "receive", BrokerUnavailable("away"))
        pauses.append(trouble.pause_of("receive"))

    assert pauses[0] == 0
    assert pauses[1] == pytest.approx(0.5, rel=0.15)
    assert pauses[2] == pytest.approx(1.0, rel=0.15)
    assert pauses[-1] == pytest.approx(LONG_PAUSE, rel=0.15)


def test_refusals_pause_for_longer() -> None:
    trouble = Trouble()
    pauses = []
    for _ in range(5):
        fail(trouble, "receive", BrokerRefused("denied"))
        pauses.append(trouble.pause_of("receive"))

    assert pauses[0] == pytest.approx(1.0, rel=0.15)
    assert pauses[-1] == pytest.approx(REFUSED_LONG_PAUSE, rel=0.15)


def test_a_pause_is_told_with_the_reason_and_ends_with_a_success() -> None:
    trouble = Trouble()
    fail(trouble, "settle", BrokerRefused("deletes are denied"))
    with pytest.raises(BrokerUnavailable, match="deletes are denied"):
        trouble.check("settle")
    with pytest.raises(BrokerUnavailable, match="deletes are denied"):
        trouble.check("receive")  # what cannot be settled shall not become more
    with trouble.watching("settle"):
        pass
    trouble.check("receive")


def test_another_kind_of_work_is_held_up_until_the_fault_is_over_not_only_its_pause() -> None:
    trouble = Trouble()
    fail(trouble, "settle", BrokerUnavailable("away"))
    assert trouble.pause_of("settle") == 0
    trouble.check("settle")
    with pytest.raises(BrokerUnavailable):
        trouble.check("receive")
    assert time.monotonic() > 0
