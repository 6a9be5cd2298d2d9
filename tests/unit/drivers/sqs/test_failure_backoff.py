"""When failed work may be retried."""

from __future__ import annotations

import time

import pytest

from sockudo_queue.drivers.sqs.failure_backoff import LONG_PAUSE, REFUSED_LONG_PAUSE, FailureBackoff
from sockudo_queue.errors import BrokerError, BrokerRefused, BrokerUnavailable


def fail(failures: FailureBackoff, kind: str, error: BrokerError) -> None:
    with pytest.raises(type(error)), failures.watching(kind):
        raise error


def test_work_without_failures_is_not_delayed() -> None:
    failures = FailureBackoff()
    with failures.watching("receive"):
        failures.check("receive")
    assert failures.pause_of("receive") == 0


def test_first_retry_is_immediate_and_later_ones_wait() -> None:
    failures = FailureBackoff()
    pauses = []
    for _ in range(8):
        fail(failures, "receive", BrokerUnavailable("away"))
        pauses.append(failures.pause_of("receive"))

    assert pauses[0] == 0
    assert pauses[1] == pytest.approx(0.5, rel=0.15)
    assert pauses[2] == pytest.approx(1.0, rel=0.15)
    assert pauses[-1] == pytest.approx(LONG_PAUSE, rel=0.15)


def test_refusals_have_longer_pauses() -> None:
    failures = FailureBackoff()
    pauses = []
    for _ in range(5):
        fail(failures, "receive", BrokerRefused("denied"))
        pauses.append(failures.pause_of("receive"))

    assert pauses[0] == pytest.approx(1.0, rel=0.15)
    assert pauses[-1] == pytest.approx(REFUSED_LONG_PAUSE, rel=0.15)


def test_pause_raises_the_reason_and_ends_with_a_success() -> None:
    failures = FailureBackoff()
    fail(failures, "settle", BrokerRefused("deletes are denied"))
    with pytest.raises(BrokerUnavailable, match="deletes are denied"):
        failures.check("settle")
    with pytest.raises(BrokerUnavailable, match="deletes are denied"):
        failures.check("receive")  # while settlements fail, nothing more is received
    with failures.watching("settle"):
        pass
    failures.check("receive")


def test_failure_blocks_other_kinds_of_work_until_it_is_over() -> None:
    failures = FailureBackoff()
    fail(failures, "settle", BrokerUnavailable("away"))
    assert failures.pause_of("settle") == 0
    failures.check("settle")
    with pytest.raises(BrokerUnavailable):
        failures.check("receive")
    assert time.monotonic() > 0
