"""SQS passes the suite of all drivers, on a standard and on a FIFO queue of a real emulator."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from sockudo_queue.drivers.base import Requeue, Settlement
from tests.drivers.conformance import LEASE_SECONDS, bodies_of, settle, take, take_all
from tests.drivers.sqs_conformance import Queue, SqsConformance
from tests.drivers.sqs_queue import SqsQueue
from tests.helpers.jobs import jobs
from tests.helpers.sqs_server import SqsServer


class TestStandard(SqsConformance):
    @pytest.fixture
    def queue(self, sqs_server: SqsServer, cleanup: ExitStack) -> SqsQueue:
        return SqsQueue(sqs_server, cleanup)


class TestFifo(SqsConformance):
    """Each job has a group of its own here; test_sqs_details.py has the tests of groups.

    A message sent again would lose its place, so a state exists only in the memory of the process that has the message,
    and a message given back is the original job again. Groups have no order among each other.
    """

    shares_survive = False

    @pytest.fixture
    def queue(self, sqs_server: SqsServer, cleanup: ExitStack) -> SqsQueue:
        return SqsQueue(sqs_server, cleanup, fifo=True)

    def test_requeued_jobs_go_first_in_the_order_of_their_claims(self, queue: Queue) -> None:
        queue.push(*jobs(3))
        driver = queue.driver()
        claims = take_all(driver)
        for claim in claims:
            assert settle(driver, claim, Requeue())

        assert sorted(claim.id for claim in take_all(driver)) == sorted(claim.id for claim in claims)

    def test_requeued_job_keeps_its_count_of_lapses(self, queue: Queue) -> None:
        queue.push(b"job")
        driver = queue.driver()
        for lapses in range(3):
            assert take(driver).lapses == lapses
            queue.advance(LEASE_SECONDS + 1)
        settle(driver, take(driver), Requeue(b"s"))

        again = take(driver)

        assert (again.lapses, again.state) == (3, b"")

    def test_a_lapsed_claim_goes_before_fresh_jobs(self, queue: Queue) -> None:
        queue.push(b"old")
        driver = queue.driver()
        take(driver)
        queue.push(b"new")
        queue.advance(LEASE_SECONDS)

        assert sorted(bodies_of(take_all(driver))) == [b"new", b"old"]

    def test_an_owner_paused_past_its_lease_notices_and_goes_on(self, queue: Queue) -> None:
        queue.push(b"job")
        owner, other = queue.driver(), queue.driver()
        mine = take(owner)
        queue.advance(LEASE_SECONDS)
        theirs = take(other)
        queue.push(b"next")

        assert owner.renew([mine]) == [False]
        result = owner.next(Settlement(mine))

        assert not result.accepted
        assert result.claim is not None
        assert result.claim.body == b"next"
        assert other.next(Settlement(theirs)).accepted
