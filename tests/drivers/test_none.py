"""The part of the contract for a driver without a queue: it has no jobs, accepts none, and never blocks long."""

from __future__ import annotations

import threading
import time

import pytest

from sockudo_queue.drivers.base import Claim, DeadLetter, Driver, Settlement
from sockudo_queue.drivers.none import NoneDriver
from sockudo_queue.errors import BrokerRefused


@pytest.fixture
def driver() -> Driver:
    return NoneDriver()


def test_there_is_nothing_to_claim(driver: Driver) -> None:
    assert driver.next(None).claim is None
    assert not any(driver.depth().values())
    assert driver.peek() == ()
    driver.ping()


def test_no_claim_is_ours(driver: Driver) -> None:
    claim = Claim("none", "x/1", b"", b"", 0, 0)
    assert driver.renew([claim]) == [False]
    assert driver.settle([Settlement(claim), Settlement(claim, (DeadLetter(b"", "refused"),))]) == [False, False]
    assert not driver.next(Settlement(claim)).accepted


def test_a_job_is_refused_and_not_dropped(driver: Driver) -> None:
    with pytest.raises(BrokerRefused, match="disabled"):
        driver.put(b"{}")


def test_a_wait_takes_its_time_and_ends_at_once_when_closed(driver: Driver) -> None:
    started = time.monotonic()
    assert driver.wait(driver.sources[0], 0.05) == 0
    assert time.monotonic() - started >= 0.04
    waiting = threading.Thread(target=driver.wait, args=(driver.sources[0], 60.0))
    waiting.start()
    driver.close()
    waiting.join(5)
    assert not waiting.is_alive()
