"""The suite of all drivers as SQS can keep it. Each test that stands here again says how SQS differs."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import Any, Final

import pytest

from sockudo_queue.drivers.base import DeadLetter, Disposition, Requeue, Retry, Settlement
from sockudo_queue.errors import BrokerUnavailable
from tests.drivers.conformance import (
    BODIES,
    ENDINGS,
    FAR,
    LEASE_SECONDS,
    DriverConformance,
    bodies_of,
    deliver_all,
    every_ending,
    is_idle,
    left_by,
    settle,
    take,
    take_all,
)
from tests.drivers.dead_letters import DeadLetterConformance, find, kill, letters
from tests.drivers.sqs_queue import SqsQueue
from tests.helpers.jobs import jobs
from tests.helpers.waiting import eventually

# SQS accepts text up to 1 MiB, attributes included. Other bytes come only from us, encoded in base64.
TEXTS: Final = BODIES | {"1 MB": bytes(random.Random(1).choices(b"abcdefghijklmnopqrstuvwxyz", k=1_000_000))}

# An SqsQueue. A type that is narrower than the suite's would be no override.
Queue = Any


class SqsConformance(DriverConformance, DeadLetterConformance):
    """Inherit from it, and give the fixture `queue`. A receive takes one message, so that nothing is prefetched."""

    many = 30
    steps = 60
    instances = 1  # a receipt is good in the process that has it: the message's handle is there
    many_letters = 25
    keeps_order = False

    @pytest.fixture
    def real_time(self, queue: SqsQueue) -> None:
        queue.let_time_pass()

    # Whole seconds, and an emulator that looks once a second

    @pytest.mark.usefixtures("real_time")
    def test_a_delay_runs_by_the_brokers_clock(self, queue: Queue) -> None:
        """It begins when SQS accepts the message, shortly before its reply arrives."""
        queue.push(b"job")
        driver = queue.driver()
        claim = take(driver)
        began = time.monotonic()
        settle(driver, claim, Retry(b"s", 150))
        released = time.monotonic()

        again = eventually(lambda: take(driver))

        assert time.monotonic() - began >= 0.14
        assert time.monotonic() - released < 3.0
        assert again.server_ms - claim.server_ms >= 140

    @pytest.mark.usefixtures("real_time")
    def test_notifier_wakes_for_a_released_record_that_fell_due(self, queue: Queue) -> None:
        """`flush` reports records that fall due in our memory; the long poll of the notifier goes on."""
        queue.push(b"job")
        driver = queue.driver()
        settle(driver, take(driver), Retry(b"s", 300))
        started = time.monotonic()
        eventually(lambda: driver.wait(driver.sources[0], 0.5) or driver.flush(0.5).claimable)

        assert 0.2 < time.monotonic() - started < 3.0
        assert take(driver).state == b"s"

    @pytest.mark.usefixtures("real_time")
    def test_a_lease_runs_by_the_brokers_clock(self, queue: Queue) -> None:
        queue.push(b"job")
        first, second = queue.driver(lease=1), queue.driver()
        claimed = time.monotonic()
        take(first)

        eventually(lambda: second.next(None).claim)

        assert 0.9 <= time.monotonic() - claimed < 5.0

    @pytest.mark.usefixtures("real_time")
    def test_notifier_wakes_for_an_expired_claim(self, queue: Queue) -> None:
        queue.push(b"job")
        owner, other = queue.driver(lease=1), queue.driver()
        take(owner)
        eventually(lambda: other.wait(other.sources[0], 1.0))

        assert take(other).id

    # Bodies

    @pytest.mark.parametrize("name", TEXTS)
    def test_body_is_unchanged_byte_for_byte(self, queue: Queue, name: str) -> None:
        body = TEXTS[name]
        queue.push(body)
        driver = queue.driver()
        claim = take(driver)
        seen = [claim]
        for part in (Retry(b"first", 0), Retry(b"", 0), Requeue(b"second", lapsed=True)):
            assert settle(driver, claim, part)
            claim = take(driver)
            seen.append(claim)
        assert settle(driver, claim, Retry(b"split", 0), DeadLetter(b"dead", "exhausted"), splits=True)
        seen.append(take(driver))

        assert bodies_of(seen) == [body] * 5
        assert [claim.state for claim in seen] == [b"", b"first", b"first", b"second", b"split"]
        assert [(kept.body, kept.state) for kept in queue.dead_letters()] == [(body, b"dead")]
        assert settle(driver, seen[-1])
        assert not any(queue.counts(queue.url))

    @pytest.mark.parametrize("name", ["empty", "not UTF-8", "1 MB"])
    def test_a_body_without_a_state_can_be_put_back_and_can_lapse(self, queue: Queue, name: str) -> None:
        queue.push(TEXTS[name])
        driver = queue.driver()
        assert settle(driver, take(driver), Requeue())
        take(driver)
        queue.advance(LEASE_SECONDS + 1)

        claim = take(driver)

        assert (claim.body, claim.state) == (TEXTS[name], b"")

    # SQS has no order of its own, and its counts know nothing of what we put first

    def test_due_records_come_in_the_order_in_which_they_fell_due(self, queue: Queue) -> None:
        queue.push(*jobs(3))
        driver = queue.driver()
        for claim, delay_ms in zip(take_all(driver), (3000, 1000, 2000), strict=True):
            settle(driver, claim, Retry(b"s", delay_ms))
        queue.advance(3.01)

        assert sorted(bodies_of(deliver_all(driver))) == sorted(jobs(3))

    def test_neither_fresh_jobs_nor_due_records_starve(self, queue: Queue) -> None:
        """What waits in SQS is SQS's to order; what waits in our memory takes turns with it."""
        queue.push(*[b"retry"] * 10)
        driver = queue.driver()
        for claim in take_all(driver):
            settle(driver, claim, Retry(b"s", 0, durable=False))
        queue.push(*[b"fresh"] * 10)

        assert Counter(bodies_of(deliver_all(driver))) == {b"retry": 10, b"fresh": 10}

    def test_a_split_of_all_kinds(self, queue: Queue) -> None:
        queue.push(b"job", b"next")
        driver = queue.driver()
        claim = take(driver)

        assert settle(
            driver, claim, DeadLetter(b"dead", "refused"), Retry(b"now", 0), Retry(b"later", 1000), splits=True
        )

        counts = driver.depth()
        assert (counts["dead-letter"], sum(counts.values())) == (1, 4)
        queue.advance(1.01)
        taken = {claim.id: claim.state for claim in take_all(driver)}
        assert taken.items() >= {f"{claim.id}.1": b"now", f"{claim.id}.2": b"later"}.items()
        assert [kept.id for kept in queue.dead_letters()] == [f"{claim.id}.0"]

    def test_depth_counts_by_state(self, queue: Queue) -> None:
        """What is due counts as ready."""
        driver = queue.driver()
        assert driver.depth() == {"ready": 0, "active": 0, "delayed": 0, "held": 0, "dead-letter": 0}
        queue.push(*jobs(10))
        claims = [take(driver) for _ in range(6)]
        parts: list[Disposition] = [Retry(b"s", 5000), Retry(b"s", 0), DeadLetter(b"d", "x"), Requeue()]
        for claim, part in zip(claims, parts, strict=False):
            settle(driver, claim, part)

        assert driver.depth() == {"ready": 6, "active": 2, "delayed": 1, "held": 0, "dead-letter": 1}

    def test_notifier_counts_the_claimable_jobs(self, queue: Queue) -> None:
        """It counts what is in our hands; how many more there are it cannot know."""
        queue.push(*jobs(5))
        driver = queue.over(queue.server.url, max_messages=10)
        first, second = take(driver), take(driver)
        settle(driver, first, Requeue(lapsed=True))
        settle(driver, second, Retry(b"s", 3_600_000))

        assert driver.wait(driver.sources[0], 0.01) == 4

    def test_peek_shows_the_first_job_and_takes_nothing(self, queue: Queue) -> None:
        """SQS shows nothing without handing it out; so what is shown is the oldest in our hands."""
        driver = queue.over(queue.server.url, max_messages=10)
        queue.push(b"first", b"second", b"third")
        assert driver.peek() == []
        assert take(driver).body == b"first"
        assert driver.peek() == [b"second"]
        assert driver.peek() == [b"second"]

    # Dead letters are kept by age alone: SQS drops them when their queue's retention is over

    def test_the_oldest_dead_letters_give_way_and_are_counted(self, queue: Queue) -> None:
        kill(queue.driver(retention=3), queue, 6)
        assert len(queue.dead_letters()) == 6

    def test_next_result_reports_what_a_settlement_trimmed(self, queue: Queue) -> None:
        driver = queue.driver(retention=0)
        kill(driver, queue, 2)
        assert driver.next(None).trimmed == 0

    def test_old_letters_are_dropped_and_counted(self, queue: Queue) -> None:
        driver = queue.driver()
        kill(driver, queue, 1)
        queue.advance(FAR)
        assert driver.dead_letters.drop_older(1000) == 0

    # Leases: a receipt belongs to the process, and is refused after its lease even if the message is not taken over

    def test_closing_touches_no_job(self, queue: Queue) -> None:
        queue.push(*jobs(3))
        first, second = queue.driver(), queue.driver()
        claims = [take(first), take(first)]
        settle(first, claims[0], Retry(b"s", 0))
        before = second.depth()

        first.close()
        first.close()

        assert second.depth() == before
        assert settle(first, claims[1])
        queue.advance(LEASE_SECONDS)
        assert len(deliver_all(second)) == 2

    @every_ending
    def test_a_stale_settle_is_refused_and_changes_nothing(self, queue: Queue, ending: str) -> None:
        """An ack may still delete the message of a standard queue: everything was delivered, so no retry is needed."""
        queue.push(b"job")
        first, second = queue.driver(), queue.driver()
        stale = take(first)
        queue.advance(LEASE_SECONDS)
        current = take(second)

        assert first.settle([ENDINGS[ending](stale)]) == [False]
        assert not first.next(ENDINGS[ending](stale)).accepted

        counts = dict(second.depth())
        assert counts["active"] == 1 or (ending == "ack" and not queue.fifo)  # not every service takes an old handle
        assert counts | {"active": 1} == {"ready": 0, "active": 1, "delayed": 0, "held": 0, "dead-letter": 0}
        assert settle(second, current)
        assert queue.is_empty()

    def test_expired_claim_can_be_settled_until_it_is_claimed_again(self, queue: Queue) -> None:
        """It may have been claimed again, so it is refused; but an ack on a standard queue leaves nothing."""
        queue.push(b"job")
        driver = queue.driver()
        claim = take(driver)
        queue.advance(LEASE_SECONDS + 1)

        assert not settle(driver, claim)
        assert queue.is_empty() is not queue.fifo

    # Lost replies: SQS does not recognise a repeated request

    @every_ending
    def test_repeating_a_settle_whose_reply_was_lost_is_harmless(self, queue: Queue, ending: str) -> None:
        """Nothing is lost; what was sent without an answer may come twice, but for dead letters of a FIFO queue."""
        queue.push(b"settled", b"claimed meanwhile")
        lossy = queue.lossy()
        settlement = ENDINGS[ending](take(lossy.driver))
        lossy.lose_reply()
        try:
            assert lossy.driver.settle([settlement]) == [True]  # nothing had to be asked
            lossy.heal()
        except BrokerUnavailable:
            assert lossy.driver.settle([settlement]) in ([True], [False])

        queue.advance(FAR)
        alive, dead = left_by(ending)
        came = Counter(bodies_of(take_all(lossy.driver)))
        assert came[b"claimed meanwhile"] == 1
        assert alive <= came[b"settled"] <= (alive if queue.fifo else 2 * alive)
        assert dead <= len(queue.dead_letters()) <= (dead if queue.fifo else 2 * dead)

    @every_ending
    def test_a_settle_that_never_arrived_is_taken_the_second_time(self, queue: Queue, ending: str) -> None:
        """Where nothing has to be asked, it is taken the first time."""
        queue.push(b"job")
        lossy = queue.lossy()
        settlement = ENDINGS[ending](take(lossy.driver))
        lossy.cut_off()
        try:
            assert lossy.driver.settle([settlement]) == [True]
            lossy.heal()
        except BrokerUnavailable:
            lossy.heal()
            assert lossy.driver.settle([settlement]) == [True]

        queue.advance(FAR)
        assert (len(take_all(lossy.driver)), len(queue.dead_letters())) == left_by(ending)

    def test_a_replay_whose_reply_was_lost_can_be_asked_for_again(self, queue: Queue) -> None:
        """It may then come twice; on a FIFO queue SQS knows it again."""
        lossy, driver = queue.lossy(), queue.driver()
        [dead] = kill(driver, queue, 1)
        letter = find(lossy.driver, dead.id)
        lossy.lose_reply()
        with pytest.raises(BrokerUnavailable):
            lossy.driver.dead_letters.replay([letter], [b"again"])
        queue.advance(FAR)
        assert driver.dead_letters.replay([letter], [b"again"]) == [True]
        came = Counter(claim.id for claim in deliver_all(driver))
        assert set(came) == {dead.id}
        assert letters(driver) == []
        assert is_idle(driver)

    def test_ack_without_a_reply_is_not_delivered_again(self, queue: Queue) -> None:
        queue.push(b"job")
        lossy = queue.lossy()
        claim = take(lossy.driver)
        lossy.lose_reply()
        with pytest.raises(BrokerUnavailable):
            lossy.driver.settle([Settlement(claim)])
        queue.advance(FAR)
        assert is_idle(queue.driver())
