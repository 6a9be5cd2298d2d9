"""What is special about SQS, on a real emulator: long delays, large messages, groups, prefetching, batches."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from sockudo_queue.drivers.base import Requeue, Retry, Settlement
from sockudo_queue.drivers.sqs.driver import SqsDriver
from tests.drivers.conformance import LEASE_SECONDS, bodies_of, is_idle, settle, take, take_all
from tests.drivers.sqs_queue import SqsQueue
from tests.helpers.jobs import jobs
from tests.helpers.sqs_server import SqsServer
from tests.helpers.waiting import eventually


@pytest.fixture
def standard(sqs_server: SqsServer, cleanup: ExitStack) -> SqsQueue:
    return SqsQueue(sqs_server, cleanup, max_messages=10)


@pytest.fixture
def fifo(sqs_server: SqsServer, cleanup: ExitStack) -> SqsQueue:
    queue = SqsQueue(sqs_server, cleanup, fifo=True, max_messages=10)
    queue.group = "one"
    return queue


def flush(driver: SqsDriver) -> list[tuple[str, bool]]:
    """Tend until something has ended; return the records and whether their ends were accepted."""
    return eventually(lambda: [(settled.claim.id, accepted) for settled, accepted in driver.flush(0.05).ended])


def test_a_delay_beyond_what_sqs_can_is_kept_by_sending_again(standard: SqsQueue) -> None:
    standard.push(b"job")
    driver = standard.driver()
    claim = take(driver)
    assert settle(driver, claim, Retry(b"s", 2_000_000))
    for seconds in (900, 900):
        standard.advance(seconds + 1)
        assert is_idle(driver)
        eventually(lambda: driver.flush(0.05) and standard.counts(standard.url)[2] == 1)
    standard.advance(199)

    again = take(driver)

    assert (again.id, again.state, again.receipt) == (claim.id, b"s", f"{claim.id}/2")
    assert settle(driver, again)
    assert standard.is_empty()


def test_a_message_too_large_with_its_state_stays_in_hand(standard: SqsQueue) -> None:
    body = b"x" * 1_048_560
    standard.push(body)
    driver = standard.driver()
    claim = take(driver)
    assert settle(driver, claim, Retry(b"one", 1000), Retry(b"two", 2000), splits=True)

    assert standard.counts(standard.url) == (0, 1, 0)
    standard.advance(2.01)
    shares = take_all(driver)
    assert [(share.body == body, share.state) for share in shares] == [(True, b"one"), (True, b"two")]
    assert settle(driver, shares[0])
    assert standard.counts(standard.url) == (0, 1, 0)
    assert settle(driver, shares[1])
    assert standard.is_empty()


def test_short_deferrals_cost_no_call(standard: SqsQueue) -> None:
    standard.push(b"job")
    driver = standard.driver()
    claim = take(driver)
    result = driver.next(Settlement(claim, (Retry(b"s", 1000, durable=False),)))
    assert result.accepted
    assert standard.counts(standard.url) == (0, 1, 0)
    standard.advance(1.01)
    assert take(driver).state == b"s"


def test_flush_reports_settlements_taken_over_by_next(standard: SqsQueue) -> None:
    standard.push(*jobs(25))
    driver = standard.driver()
    assert driver.flush(0.0).ended == ()
    result = driver.next(None)
    ended: list[tuple[str, bool]] = []
    while result.claim is not None:
        result = driver.next(Settlement(result.claim))
        assert result.accepted is None
    while len(ended) < 25:
        ended += flush(driver)

    assert len(dict(ended)) == 25
    assert all(accepted for _, accepted in ended)
    assert standard.is_empty()


def test_result_of_a_taken_over_settlement_can_be_awaited(standard: SqsQueue) -> None:
    """The end of the process needs it; the first caller gets the result."""
    standard.push(b"job")
    driver = standard.driver()
    driver.flush(0.0)
    settlement = Settlement(take(driver))
    assert driver.next(settlement).accepted is None
    assert driver.next(settlement).accepted is None

    assert driver.settle([settlement]) == [True]
    assert driver.flush(0.0).ended == ()
    assert driver.settle([settlement]) == [False]
    assert standard.is_empty()


def test_nothing_is_received_while_more_than_the_workers_is_in_hand(standard: SqsQueue) -> None:
    standard.push(*jobs(40))
    driver = standard.driver()
    source = driver.sources[0]
    assert driver.wait(source, 0.05) == 10
    assert driver.wait(source, 0.05) == 10
    assert standard.counts(standard.url)[1] == 10
    for _ in range(5):
        take(driver)
    assert driver.wait(source, 0.05) == 15
    assert standard.counts(standard.url)[1] == 20


def test_everything_in_hand_is_renewed_with_what_is_claimed(standard: SqsQueue) -> None:
    standard.push(*jobs(10))
    driver, other = standard.driver(), standard.driver()
    claim = take(driver)
    for _ in range(4):
        standard.advance(LEASE_SECONDS * 0.9)
        assert driver.renew([claim]) == [True]
        assert is_idle(other)
    assert len(take_all(driver)) == 9


def test_unstarted_messages_are_given_back(standard: SqsQueue) -> None:
    standard.push(*jobs(8))
    driver, other = standard.driver(), standard.driver()
    claim = take(driver)
    driver.give_back()

    assert standard.counts(standard.url) == (7, 1, 0)
    assert is_idle(driver)
    assert settle(driver, claim, Requeue())
    assert standard.counts(standard.url) == (8, 0, 0)
    assert bodies_of([take(other)]) == jobs(1)


@pytest.mark.parametrize("delivered", [False, True])
def test_group_is_given_back_when_no_claim_of_it_is_in_flight(fifo: SqsQueue, delivered: bool) -> None:
    """Else another daemon could begin with the second while the first is still being delivered."""
    fifo.push(*jobs(5))
    fifo.group = "two"
    fifo.push(*jobs(2, first=11))
    driver, other = fifo.driver(), fifo.driver()
    claim = take(driver)
    driver.give_back()

    assert bodies_of(take_all(other)) == jobs(1, first=11)
    assert is_idle(driver)
    assert settle(driver, claim, *(() if delivered else (Requeue(),)))
    assert take(other).body == jobs(1, first=2 if delivered else 1)[0]


def test_the_next_of_a_group_begins_after_the_one_before_is_deleted(fifo: SqsQueue) -> None:
    fifo.push(*jobs(3))
    fifo.group = "two"
    fifo.push(*jobs(2, first=11))
    driver = fifo.driver()
    first, other = take(driver), take(driver)
    assert {first.body, other.body} == {jobs(1)[0], jobs(1, first=11)[0]}
    assert is_idle(driver)

    assert settle(driver, first, Retry(b"s", 1000))
    assert is_idle(driver)
    assert settle(driver, other)
    assert take(driver).body == jobs(1, first=12)[0]
    fifo.advance(1.01)
    again = take(driver)
    assert (again.body, again.state) == (first.body, b"s")
    assert is_idle(driver)
    assert settle(driver, again)
    assert take(driver).body == jobs(1, first=2)[0]


def test_all_shares_of_a_message_end_before_the_next_of_its_group_begins(fifo: SqsQueue) -> None:
    fifo.push(*jobs(2))
    driver = fifo.driver()
    claim = take(driver)
    assert settle(driver, claim, Retry(b"one", 0), Retry(b"two", 1000), splits=True)
    one = take(driver)
    assert one.state == b"one"
    assert settle(driver, one)
    assert is_idle(driver)
    fifo.advance(1.01)
    two = take(driver)
    assert two.state == b"two"
    assert settle(driver, two)
    assert take(driver).body == jobs(1, first=2)[0]


def test_a_group_whose_first_is_lost_begins_again_with_it(fifo: SqsQueue) -> None:
    fifo.push(*jobs(3))
    driver = fifo.driver()
    claim = take(driver)
    fifo.advance(LEASE_SECONDS + 1)
    assert driver.renew([claim]) == [False]

    again = take(driver)
    assert (again.id, again.lapses) == (claim.id, 1)
    assert not settle(driver, claim)
    assert settle(driver, again)
    assert bodies_of([take(driver)]) == jobs(1, first=2)
