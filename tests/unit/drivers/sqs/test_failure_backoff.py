"""When something that failed may be tried again."""

from __future__ import annotations

import time

import pytest

from sockudo_queue.drivers.sqs.failure_backoff import LONG_PAUSE, REFUSED_LONG_PAUSE, FailureBackoff
from sockudo_queue.errors import BrokerError, BrokerRefused, BrokerUnavailable


def fail(failures: FailureBackoff, kind: str, error: BrokerError) -> None:
    with pytest.raises(type(error)), failures.watching(kind):
        raise error


def test_without_faults_nothing_is_held_up() -> None:
    failures = FailureBackoff()
    with failures.watching("receive"):
        failures.check("receive")
    assert failures.pause_of("receive") == 0


def test_the_first_failure_may_be_repeated_at_once_and_further_ones_later() -> None:
    failures = FailureBackoff()
    pauses = []
    for _ in range(8):
        fail(failures, "receive", BrokerUnavailable("away"))
        pauses.append(failures.pause_of("receive"))

    assert pauses[0] == 0
    assert pauses[1] == pytest.approx(0.5, rel=0.15)
    assert pauses[2] == pytest.approx(1.0, rel=0.15)
    assert pauses[-1] == pytest.approx(LONG_PAUSE, rel=0.15)


def test_refusals_pause_for_longer() -> None:
    failures = FailureBackoff()
    pauses = []
    for _ in range(5):
        fail(failures, "receive", BrokerRefused("denied"))
        pauses.append(failures.pause_of("receive"))

    assert pauses[0] == pytest.approx(1.0, rel=0.15)
    assert pauses[-1] == pytest.approx(REFUSED_LONG_PAUSE, rel=0.15)


def test_a_pause_is_told_with_the_reason_and_ends_with_a_success() -> None:
    failures = FailureBackoff()
    fail(failures, "settle", BrokerRefused("deletes are denied"))
    with pytest.raises(BrokerUnavailable, match="deletes are denied"):
        failures.check("settle")
    with pytest.raises(BrokerUnavailable, match="deletes are denied"):
        failures.check("receive")  # what cannot be settled shall not become more
    with failures.watching("settle"):
        pass
    failures.check("receive")


def test_another_kind_of_work_is_held_up_until_the_fault_is_over_not_only_its_pause() -> None:
    failures = FailureBackoff()
    fail(failures, "settle", BrokerUnavailable("away"))
    assert failures.pause_of("settle") == 0
    failures.check("settle")
    with pytest.raises(BrokerUnavailable):
        failures.check("receive")
    assert time.monotonic() > 0
