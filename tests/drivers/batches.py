"""The suite of drivers that settle and claim several jobs in one call; inherit from it beside the main suite.

Jobs of these tests are small unless a test says otherwise.
"""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from sockudo_queue.drivers.base import Batch, BatchingDriver, Claim, DeadLetter, Requeue, Retry, Settlement
from tests.drivers.conformance import FAR, DriverUnderTest, bodies_of, is_idle, settle, take, take_all
from tests.helpers.jobs import event, job, jobs

MAX_CLAIMS: Final = 16


def batching(queue: DriverUnderTest) -> BatchingDriver:
    driver = queue.driver()
    assert isinstance(driver, BatchingDriver)
    assert driver.batches
    return driver


def acks(claims: list[Claim]) -> list[Settlement]:
    return [Settlement(claim) for claim in claims]


def deliver_in_batches(driver: BatchingDriver) -> list[Claim]:
    """Claim and ack until nothing is left, several jobs in one call."""
    delivered: list[Claim] = []
    batch = driver.next_batch([], MAX_CLAIMS)
    while batch.claims:
        delivered += batch.claims
        batch = driver.next_batch(acks(list(batch.claims)), MAX_CLAIMS)
        assert all(batch.accepted)
    return delivered


class BatchConformance:
    """The suite. Every test gets a queue of its own."""

    def test_batches_deliver_every_job_in_order_and_leave_nothing(self, queue: DriverUnderTest) -> None:
        pushed = jobs(100)
        queue.push(*pushed)

        delivered = deliver_in_batches(batching(queue))

        assert bodies_of(delivered) == pushed
        assert len({claim.receipt for claim in delivered}) == 100
        assert queue.is_empty()

    def test_batch_leaves_as_many_jobs_as_it_takes_behind_its_first(self, queue: DriverUnderTest) -> None:
        queue.push(*jobs(9))

        batch = batching(queue).next_batch([], MAX_CLAIMS)

        assert bodies_of(batch.claims) == jobs(9)[:5]
        assert queue.driver().depth()["active"] == 5

    def test_batch_has_no_more_claims_than_asked_for(self, queue: DriverUnderTest) -> None:
        queue.push(*jobs(100))
        driver = batching(queue)

        assert len(driver.next_batch([], 3).claims) == 3
        assert len(driver.next_batch([], 1).claims) == 1

    def test_batch_is_bounded_in_bytes(self, queue: DriverUnderTest) -> None:
        queue.push(*[job(n, events=[event(channel="x" * 20_000)]) for n in range(20)])

        batch = batching(queue).next_batch([], MAX_CLAIMS)

        assert len(batch.claims) == 3

    def test_batch_of_no_claims_only_settles(self, queue: DriverUnderTest) -> None:
        queue.push(*jobs(40))
        driver = batching(queue)
        claims = list(driver.next_batch([], 8).claims)
        assert queue.driver().settle([Settlement(claims[3])]) == [True]

        batch = driver.next_batch(acks(claims), 0)

        assert list(batch.accepted) == [True, True, True, False, True, True, True, True]
        assert list(batch.claims) == []
        assert queue.driver().depth()["active"] == 0

    def test_expired_lease_of_a_job_that_was_not_begun_is_no_lapse(self, queue: DriverUnderTest) -> None:
        queue.push(*jobs(20))
        claimed = batching(queue).next_batch([], 4).claims
        assert len(claimed) == 4
        queue.advance(FAR)

        again = take_all(queue.driver())[:4]

        assert {claim.body: claim.lapses for claim in again} == dict(zip(jobs(4), [1, 0, 0, 0], strict=True))

    def test_expired_claim_is_claimed_alone_and_counts_from_then_on(self, queue: DriverUnderTest) -> None:
        queue.push(*jobs(3))
        driver = batching(queue)
        assert len(driver.next_batch([], 2).claims) == 2
        queue.advance(FAR)
        queue.push(*jobs(20)[3:])

        first, second = driver.next_batch([], MAX_CLAIMS), driver.next_batch([], MAX_CLAIMS)
        assert sorted(claim.lapses for batch in (first, second) for claim in batch.claims) == [0, 1]
        queue.advance(FAR)

        expired = [driver.next_batch([], MAX_CLAIMS).claims for _ in range(2)]
        assert sorted(claim.lapses for claims in expired for claim in claims) == [1, 2]

    def test_batch_of_an_owner_past_its_lease_settles_nothing(self, queue: DriverUnderTest) -> None:
        queue.push(*jobs(16))
        driver = batching(queue)
        held = list(driver.next_batch([], 8).claims)
        queue.advance(FAR)
        others = take_all(queue.driver())[: len(held)]

        assert not any(driver.next_batch(acks(held), 0).accepted)
        assert not any(queue.driver().renew(held))
        assert sorted(bodies_of(others)) == sorted(bodies_of(held))
        assert all(queue.driver().settle(acks(others)))

    def test_jobs_that_are_given_back_go_first_in_their_order(self, queue: DriverUnderTest) -> None:
        pushed = jobs(40)
        queue.push(*pushed)
        driver = batching(queue)
        first, *waiting = driver.next_batch([], 9).claims

        assert all(driver.next_batch([Settlement(claim, (Requeue(),)) for claim in waiting], 0).accepted)

        assert settle(queue.driver(), first)
        again = take_all(queue.driver())
        assert bodies_of(again) == pushed[1:]
        assert {claim.lapses for claim in again} == {0}

    def test_dead_letters_that_were_trimmed_are_counted_by_the_next_claim(self, queue: DriverUnderTest) -> None:
        queue.push(*jobs(4))
        driver = queue.driver(retention=0)
        assert isinstance(driver, BatchingDriver)
        dead, acked, *_ = driver.next_batch([], 4).claims
        assert settle(driver, dead, DeadLetter(b"d", "exhausted"))

        assert driver.next_batch(acks([acked]), 0).trimmed == 0
        assert driver.next_batch([], 1).trimmed == 1

    def test_only_jobs_that_are_still_ours_are_given_back(self, queue: DriverUnderTest) -> None:
        queue.push(*jobs(12))
        driver = batching(queue)
        claims = driver.next_batch([], 4).claims
        assert settle(queue.driver(), claims[2])

        assert driver.next_batch([Settlement(claim, (Requeue(),)) for claim in claims], 0).accepted == [
            True,
            True,
            False,
            True,
        ]

        assert queue.driver().depth()["delayed"] == 3
        assert queue.driver().depth()["active"] == 0

    def test_claims_of_a_batch_are_renewed_put_off_and_split_like_others(self, queue: DriverUnderTest) -> None:
        queue.push(*jobs(8))
        driver = batching(queue)
        _, second, third, fourth = driver.next_batch([], 4).claims

        assert queue.driver().renew([second, third]) == [True, True]
        assert settle(queue.driver(), second, Retry(b"s", 1000))
        assert settle(queue.driver(), third, Retry(b"a", 1000), Retry(b"b", 1000), splits=True)
        assert settle(queue.driver(), fourth, Requeue(b"s", lapsed=True))

        again = take(queue.driver())
        assert (again.body, again.state, again.lapses) == (fourth.body, b"s", 1)
        assert queue.driver().depth()["delayed"] == 3

    def test_batches_end_where_older_records_are_due_so_that_these_keep_their_turns(
        self, queue: DriverUnderTest
    ) -> None:
        queue.push(*jobs(20))
        driver = batching(queue)
        retried = take_all(queue.driver())
        for claim in retried:
            assert settle(queue.driver(), claim, Retry(b"s", 0))
        queue.push(*jobs(60)[20:])

        claims: list[Claim] = []
        while len(claims) < 20:
            claims += driver.next_batch([], MAX_CLAIMS).claims

        assert sum(claim.state == b"s" for claim in claims) in (9, 10, 11)

    def test_many_threads_with_batches_get_every_job_once(self, queue: DriverUnderTest) -> None:
        pushed = jobs(600)
        queue.push(*pushed)
        drivers = [batching(queue), batching(queue)]
        begun = threading.Barrier(4)

        def work(driver: BatchingDriver) -> list[Claim]:
            begun.wait()
            return deliver_in_batches(driver)

        with ThreadPoolExecutor(4) as threads:
            delivered = [claim for claims in threads.map(work, drivers * 2) for claim in claims]

        assert Counter(bodies_of(delivered)) == Counter(pushed)
        assert queue.is_empty()

    def test_lost_reply_to_a_batch_loses_no_job(self, queue: DriverUnderTest) -> None:
        queue.push(*jobs(40))
        driver = batching(queue)
        held = list(driver.next_batch([], 8).claims)
        lost = driver.next_batch(acks(held), 8)  # its reply counts as lost: nothing of it is used
        assert isinstance(lost, Batch)

        again = driver.next_batch(acks(held), 0)

        assert not any(again.accepted)
        queue.advance(FAR)
        left = take_all(queue.driver())
        assert sorted(bodies_of(left)) == sorted(jobs(40)[8:])
        assert [claim.lapses for claim in left].count(1) == 1
        assert is_idle(queue.driver())
