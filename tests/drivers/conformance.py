"""The behaviour that every at-least-once driver shows against its real broker.

A driver's test module gives a fixture `queue` with a `DriverUnderTest` and inherits from `DriverConformance`. Time is
moved by `advance`, so no test waits for a lease or a delay.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, Final, NamedTuple, Protocol

import pytest

from sockudo_queue.drivers.base import Claim, DeadLetter, Disposition, Driver, Requeue, Retry, Settlement
from sockudo_queue.errors import BrokerUnavailable
from tests.helpers.jobs import jobs
from tests.helpers.waiting import eventually

LEASE_SECONDS: Final = 60
RETENTION: Final = 1000
SUSPECT: Final = 2  # lapses from which a job may be what ends its workers
FAR: Final = 3600.0  # seconds after which every lease and every delay of these tests is over

BODIES: Final = {
    "empty": b"",
    "not UTF-8": b'\xff\xfe{"a":\x80}',
    "every byte": bytes(range(256)),
    "begins with 0x01": b'\x01{"app_id":"x"}',
    "0x01 alone": b"\x01",
    "0x01 and LF": b"\x01\n",
    "looks like a state": b'\x01{"job":"j"}\n{"app_id":"x"}',
    "LF": b'{\n"app_id": "x"\n}\n',
    "begins with LF": b"\n\nx",
    "NUL": b"\x00a\x00",
    "1 MB": bytes(random.Random(1).randbytes(1_000_000)),
}


class Kept(NamedTuple):
    """A dead letter as it is stored."""

    id: str
    body: bytes
    state: bytes


class Lossy(Protocol):
    """A driver whose broker's replies can be lost."""

    driver: Driver

    def lose_reply(self) -> None:
        """Lose the reply to the next command; the broker carries it out."""

    def cut_off(self) -> None:
        """Block all traffic from now until `heal`."""

    def heal(self) -> None: ...


class DriverUnderTest(Protocol):
    """One empty queue of a real broker, and what a test does to it behind the driver's back."""

    def driver(self, *, lease: float = LEASE_SECONDS, retention: int = RETENTION) -> Driver:
        """Make another instance on the same queue, as another process would have. `lease` is in seconds."""

    def lossy(self) -> Lossy:
        """Make an instance whose replies can be lost."""

    def push(self, *bodies: bytes) -> None:
        """Append jobs as Sockudo does."""

    def advance(self, seconds: float) -> None:
        """Let time pass for every lease, delay and dead letter."""

    def is_empty(self) -> bool:
        """Return whether nothing is stored."""

    def dead_letters(self) -> list[Kept]:
        """Return the dead letters, oldest first."""


def take(driver: Driver) -> Claim:
    """Claim the next record, or fail."""
    claim = driver.next(None).claim
    assert claim is not None, "there is nothing to claim"
    return claim


def take_all(driver: Driver) -> list[Claim]:
    """Claim for as long as there is something."""
    return list(iter(lambda: driver.next(None).claim, None))


def is_idle(driver: Driver) -> bool:
    return driver.next(None).claim is None


def settle(driver: Driver, claim: Claim, *parts: Disposition, splits: bool = False) -> bool:
    return driver.settle([Settlement(claim, parts, splits)])[0]


def deliver_all(driver: Driver) -> list[Claim]:
    """Claim and ack until nothing is left, in one call each, as a worker does."""
    delivered: list[Claim] = []
    result = driver.next(None)
    while result.claim is not None:
        delivered.append(result.claim)
        result = driver.next(Settlement(result.claim))
        assert result.accepted
    return delivered


def bodies_of(claims: Iterable[Claim]) -> list[bytes]:
    return [claim.body for claim in claims]


# Every way to end a claim, by name; the splits leave two records.
ENDINGS: Final[dict[str, Callable[[Claim], Settlement]]] = {
    "ack": Settlement,
    "later": lambda claim: Settlement(claim, (Retry(b"s", 1000),)),
    "back": lambda claim: Settlement(claim, (Requeue(),)),
    "lapsed": lambda claim: Settlement(claim, (Requeue(b"s", lapsed=True),)),
    "dead": lambda claim: Settlement(claim, (DeadLetter(b"s", "exhausted"),)),
    "split": lambda claim: Settlement(claim, (Retry(b"a", 1000), DeadLetter(b"b", "refused")), splits=True),
}
every_ending = pytest.mark.parametrize("ending", ENDINGS)


def left_by(ending: str) -> tuple[int, int]:
    """Return how many records an ending leaves to be claimed, and how many dead letters."""
    return {"ack": (0, 0), "dead": (0, 1), "split": (1, 1)}.get(ending, (1, 0))


class DriverConformance:
    """The suite. Every test gets a queue of its own."""

    many: ClassVar[int] = 1000
    """Records where it takes many of them; fewer for a broker that needs a call for each."""
    steps: ClassVar[int] = 400
    """Steps of a random walk."""
    instances: ClassVar[int] = 2
    """Users of the queue on such a walk, each of which settles what another has claimed."""
    shares_survive: ClassVar[bool] = True
    """Whether the shares of a job go their own ways when they are put back or lapse, or become the job again."""
    lets_suspects_wait: ClassVar[bool] = False
    """Whether a job that may be what ends its workers can be made to wait for others."""

    # Claims

    def test_jobs_are_claimed_in_the_order_in_which_they_came(self, queue: DriverUnderTest) -> None:
        pushed = jobs(20)
        queue.push(*pushed)

        assert bodies_of(deliver_all(queue.driver())) == pushed

    def test_claimed_job_is_not_claimed_by_another_driver(self, queue: DriverUnderTest) -> None:
        queue.push(*jobs(2))
        first, second = queue.driver(), queue.driver()

        claims = [take(first), take(second)]

        assert bodies_of(claims) == jobs(2)
        assert claims[0].id != claims[1].id
        assert is_idle(first)
        assert is_idle(second)

    def test_fresh_claim_has_body_state_and_receipt(self, queue: DriverUnderTest) -> None:
        queue.push(b"job")
        before = time.time() * 1000

        claim = take(queue.driver())

        assert (claim.body, claim.state, claim.lapses) == (b"job", b"", 0)
        assert claim.receipt.startswith(f"{claim.id}/")
        assert before - 2000 < claim.server_ms < time.time() * 1000 + 2000
        assert b"job".decode() not in repr(claim)

    def test_an_acked_job_leaves_nothing_behind(self, queue: DriverUnderTest) -> None:
        queue.push(*jobs(3))
        driver = queue.driver()

        deliver_all(driver)

        assert is_idle(driver)
        assert queue.is_empty()

    def test_ack_and_the_next_claim_are_one_call(self, queue: DriverUnderTest) -> None:
        queue.push(*jobs(2))
        driver = queue.driver()
        first = take(driver)

        result = driver.next(Settlement(first))

        assert result.accepted
        assert result.claim is not None
        assert result.claim.body == jobs(2)[1]
        assert driver.depth()["active"] == 1
        assert not settle(driver, first)

    def test_identical_bodies_are_separate_jobs(self, queue: DriverUnderTest) -> None:
        body = jobs(1)[0]
        queue.push(*[body] * self.many)
        drivers = [queue.driver(), queue.driver()]

        with ThreadPoolExecutor(4) as threads:
            delivered = [claim for claims in threads.map(deliver_all, drivers * 2) for claim in claims]

        assert Counter(bodies_of(delivered)) == {body: self.many}
        assert len({claim.id for claim in delivered}) == self.many
        assert queue.is_empty()

    def test_many_threads_get_every_job_once(self, queue: DriverUnderTest) -> None:
        driver = queue.driver()
        pushed = jobs(self.many * 4 // 10)
        done = threading.Event()
        seen: list[bytes] = []

        def work() -> None:
            settled: Settlement | None = None
            while not (done.is_set() and settled is None):
                result = driver.next(settled)
                settled = None
                if result.claim is not None:
                    released = not result.claim.state and result.claim.body in pushed[::3]
                    settled = Settlement(result.claim, (Retry(b"again", 0),) if released else ())
                    if not released:
                        seen.append(result.claim.body)
                else:
                    done.wait(0.001)  # a thread that asks an empty queue at once takes the CPU from the one that pushes

        with ThreadPoolExecutor(6) as threads:
            for _ in range(6):
                threads.submit(work)
            for body in pushed:
                queue.push(body)
            try:
                eventually(lambda: len(seen) >= len(pushed), 30)
            finally:
                done.set()

        assert sorted(seen) == sorted(pushed)
        assert queue.is_empty()

    @pytest.mark.parametrize("name", BODIES)
    def test_body_is_unchanged_byte_for_byte(self, queue: DriverUnderTest, name: str) -> None:
        body = BODIES[name]
        queue.push(body)
        driver = queue.driver()

        claim = take(driver)
        seen = [claim]
        for part in (Retry(b"first", 0), Retry(b"", 0), Requeue(), Requeue(b"third")):
            assert settle(driver, claim, part)
            claim = take(driver)
            seen.append(claim)
        queue.advance(LEASE_SECONDS + 1)
        claim = take(driver)
        assert settle(driver, claim, Retry(b"split", 0), DeadLetter(b"dead", "exhausted"), splits=True)
        seen += [claim, take(driver)]

        assert bodies_of(seen) == [body] * 7
        assert [claim.state for claim in seen] == [b"", b"first", b"first", b"first", b"third", b"third", b"split"]
        assert [(kept.body, kept.state) for kept in queue.dead_letters()] == [(body, b"dead")]

    @pytest.mark.parametrize("name", BODIES)
    def test_a_body_without_a_state_can_be_put_back_and_can_lapse(self, queue: DriverUnderTest, name: str) -> None:
        queue.push(BODIES[name])
        driver = queue.driver()
        assert settle(driver, take(driver), Requeue())
        take(driver)
        queue.advance(LEASE_SECONDS + 1)

        claim = take(driver)

        assert (claim.body, claim.state) == (BODIES[name], b"")

    # Release

    def test_a_released_record_comes_back_when_it_is_due(self, queue: DriverUnderTest) -> None:
        queue.push(b"job")
        driver = queue.driver()
        claim = take(driver)

        assert settle(driver, claim, Retry(b"tried once", 5000))

        assert is_idle(driver)
        queue.advance(4)
        assert is_idle(driver)
        queue.advance(1)
        again = take(driver)
        assert (again.body, again.state, again.lapses) == (b"job", b"tried once", 0)
        assert again.id == claim.id
        assert again.receipt != claim.receipt
        assert settle(driver, again)
        assert queue.is_empty()

    def test_a_delay_runs_by_the_brokers_clock(self, queue: DriverUnderTest) -> None:
        queue.push(b"job")
        driver = queue.driver()
        claim = take(driver)
        settle(driver, claim, Retry(b"s", 150))
        released = time.monotonic()

        again = eventually(lambda: take(driver))

        assert 0.14 <= time.monotonic() - released < 1.0
        assert 140 <= again.server_ms - claim.server_ms < 1100

    def test_release_and_the_next_claim_are_one_call(self, queue: DriverUnderTest) -> None:
        queue.push(*jobs(2))
        driver = queue.driver()

        result = driver.next(Settlement(take(driver), (Retry(b"s", 1000),)))

        assert result.accepted
        assert result.claim is not None
        assert result.claim.body == jobs(2)[1]

    def test_an_empty_state_leaves_the_state_as_it_is(self, queue: DriverUnderTest) -> None:
        queue.push(b"job")
        driver = queue.driver()
        settle(driver, take(driver), Retry(b"kept", 0))
        settle(driver, take(driver), Retry(b"", 0))

        assert take(driver).state == b"kept"

    def test_due_records_come_in_the_order_in_which_they_fell_due(self, queue: DriverUnderTest) -> None:
        queue.push(*jobs(3))
        driver = queue.driver()
        for claim, delay_ms in zip(take_all(driver), (3000, 1000, 2000), strict=True):
            settle(driver, claim, Retry(b"s", delay_ms))
        queue.advance(3)

        one, two, three = jobs(3)
        assert bodies_of(deliver_all(driver)) == [two, three, one]

    def test_neither_fresh_jobs_nor_due_records_starve(self, queue: DriverUnderTest) -> None:
        queue.push(*[b"retry"] * 40)
        driver = queue.driver()
        for claim in take_all(driver):
            settle(driver, claim, Retry(b"s", 0))
        queue.push(*[b"fresh"] * 40)

        order = bodies_of(deliver_all(driver))

        assert order[:40].count(b"retry") >= 15
        assert order[:40].count(b"fresh") >= 15

    # Splitting

    def test_a_job_splits_into_shares_of_their_own(self, queue: DriverUnderTest) -> None:
        queue.push(b"job", b"other")
        driver = queue.driver()
        claim = take(driver)

        result = driver.next(
            Settlement(claim, (Retry(b"two", 2000), Retry(b"one", 1000), Retry(b"", 3000)), splits=True)
        )

        assert result.accepted
        assert result.claim is not None
        assert result.claim.body == b"other"
        assert is_idle(driver)
        came = []
        for _ in range(3):
            queue.advance(1)
            came += take_all(driver)
        assert [(share.id, share.state) for share in came] == [
            (f"{claim.id}.1", b"one"),
            (f"{claim.id}.0", b"two"),
            (f"{claim.id}.2", b""),
        ]
        assert bodies_of(came) == [b"job"] * 3
        assert not any(share.lapses for share in came)
        assert driver.settle([Settlement(share) for share in (*came, result.claim)]) == [True] * 4
        assert queue.is_empty()

    def test_a_split_may_keep_one_share_only(self, queue: DriverUnderTest) -> None:
        queue.push(b"job")
        driver = queue.driver()
        claim = take(driver)
        settle(driver, claim, Retry(b"s", 0), splits=True)

        share = take(driver)

        assert share.id == f"{claim.id}.0"
        assert settle(driver, share, Retry(b"t", 0))
        again = take(driver)
        assert again.id == share.id
        assert again.receipt != share.receipt

    def test_a_split_of_all_kinds(self, queue: DriverUnderTest) -> None:
        queue.push(b"job", b"next")
        driver = queue.driver()
        claim = take(driver)

        assert settle(
            driver, claim, DeadLetter(b"dead", "refused"), Requeue(b"back"), Retry(b"later", 1000), splits=True
        )

        assert driver.depth() == {"ready": 1, "active": 0, "delayed": 2, "held": 0, "dead-letter": 1}
        first, *_ = take_all(driver)
        assert (first.id, first.state) == (f"{claim.id}.1", b"back")
        queue.advance(1)
        assert take(driver).id == f"{claim.id}.2"
        assert queue.dead_letters() == [Kept(f"{claim.id}.0", b"job", b"dead")]

    # Putting back

    def test_requeued_jobs_go_first_in_the_order_of_their_claims(self, queue: DriverUnderTest) -> None:
        queue.push(b"due")
        driver = queue.driver()
        settle(driver, take(driver), Retry(b"s", 0))
        queue.push(*jobs(4))
        claims: list[Claim] = []
        while len(claims) < 3:
            claim = take(driver)
            if claim.body == b"due":
                assert settle(driver, claim, Retry(b"s", 0))
            else:
                claims.append(claim)
        for claim in (claims[1], claims[2], claims[0]):
            assert settle(driver, claim, Requeue())

        order = take_all(driver)

        assert bodies_of(order)[:3] == jobs(3)
        assert [claim.id for claim in order[:3]] == [claim.id for claim in claims]
        assert sorted(bodies_of(order)[3:]) == sorted([b"due", jobs(4)[3]])

    def test_requeued_job_keeps_its_count_of_lapses(self, queue: DriverUnderTest) -> None:
        queue.push(b"job")
        driver = queue.driver()
        for lapses in range(3):
            assert take(driver).lapses == lapses
            queue.advance(LEASE_SECONDS + 1)
        claim = take(driver)
        settle(driver, claim, Requeue(b"s"))

        again = take(driver)

        assert (again.lapses, again.state) == (3, b"s")
        settle(driver, again, Requeue(), splits=True)
        assert take(driver).lapses == 3

    def test_job_of_a_crashed_worker_goes_first_and_counts_as_lapsed(self, queue: DriverUnderTest) -> None:
        queue.push(b"job", b"other")
        driver = queue.driver()

        for lapses in range(4):
            claim = take(driver)
            if self.lets_suspects_wait and claim.body == b"other":
                assert lapses >= SUSPECT
                assert settle(driver, claim)
                claim = take(driver)
            assert (claim.body, claim.lapses) == (b"job", lapses)
            assert settle(driver, claim, Requeue(b"s", lapsed=True), splits=lapses == 0)

    def test_a_release_clears_the_lapses(self, queue: DriverUnderTest) -> None:
        queue.push(b"job")
        driver = queue.driver()
        take(driver)
        queue.advance(LEASE_SECONDS + 1)
        claim = take(driver)
        assert claim.lapses == 1
        settle(driver, claim, Retry(b"s", 0))

        assert take(driver).lapses == 0

    # Dead letters

    def test_a_dead_letter_is_kept_and_never_claimed(self, queue: DriverUnderTest) -> None:
        queue.push(b"job")
        driver = queue.driver()
        claim = take(driver)

        assert settle(driver, claim, DeadLetter(b"exhausted", "exhausted"))

        queue.advance(FAR)
        assert is_idle(driver)
        assert driver.depth() == {"ready": 0, "active": 0, "delayed": 0, "held": 0, "dead-letter": 1}
        assert queue.dead_letters() == [Kept(claim.id, b"job", b"exhausted")]

    def test_the_oldest_dead_letters_give_way_and_are_counted(self, queue: DriverUnderTest) -> None:
        queue.push(*jobs(6))
        driver = queue.driver(retention=3)
        trimmed = 0
        result = driver.next(None)
        while result.claim is not None:
            at = result.claim.now_ms()
            eventually(lambda: result.claim is not None and result.claim.now_ms() > at)  # noqa: B023 - called at once
            result = driver.next(Settlement(result.claim, (DeadLetter(b"d", "exhausted"),)))
            trimmed += result.trimmed

        assert trimmed == 3
        assert [kept.body for kept in queue.dead_letters()] == jobs(6)[3:]
        assert driver.depth()["dead-letter"] == 3

    def test_next_result_reports_what_a_settlement_trimmed(self, queue: DriverUnderTest) -> None:
        queue.push(*jobs(2))
        driver = queue.driver(retention=0)
        for claim in take_all(driver):
            assert settle(driver, claim, DeadLetter(b"d", "exhausted"))

        assert driver.next(None).trimmed == 2
        assert driver.next(None).trimmed == 0
        assert queue.is_empty()

    # Leases

    def test_a_lapsed_claim_is_taken_by_another_instance(self, queue: DriverUnderTest) -> None:
        queue.push(b"job")
        first, second = queue.driver(), queue.driver()
        claim = take(first)
        queue.advance(LEASE_SECONDS - 1)
        assert is_idle(second)
        queue.advance(1)

        again = take(second)

        assert (again.id, again.body, again.lapses) == (claim.id, b"job", 1)
        assert again.receipt != claim.receipt
        assert is_idle(first)

    def test_a_lapsed_claim_goes_before_fresh_jobs(self, queue: DriverUnderTest) -> None:
        queue.push(b"old")
        driver = queue.driver()
        take(driver)
        queue.push(b"new")
        queue.advance(LEASE_SECONDS)

        assert take(driver).body == b"old"

    def test_a_lease_runs_by_the_brokers_clock(self, queue: DriverUnderTest) -> None:
        queue.push(b"job")
        first, second = queue.driver(lease=0.2), queue.driver()
        claimed = time.monotonic()
        take(first)

        eventually(lambda: second.next(None).claim)

        assert 0.19 <= time.monotonic() - claimed < 1.2

    @every_ending
    def test_a_stale_settle_is_refused_and_changes_nothing(self, queue: DriverUnderTest, ending: str) -> None:
        queue.push(b"job")
        first, second = queue.driver(), queue.driver()
        stale = take(first)
        queue.advance(LEASE_SECONDS)
        current = take(second)

        assert first.settle([ENDINGS[ending](stale)]) == [False]
        assert not first.next(ENDINGS[ending](stale)).accepted

        assert second.depth() == {"ready": 0, "active": 1, "delayed": 0, "held": 0, "dead-letter": 0}
        assert second.renew([current]) == [True]
        assert settle(second, current)
        assert queue.is_empty()

    @every_ending
    def test_a_stale_settle_is_refused_after_the_end_of_the_later_claim(
        self, queue: DriverUnderTest, ending: str
    ) -> None:
        queue.push(b"job")
        first, second = queue.driver(), queue.driver()
        stale = take(first)
        queue.advance(LEASE_SECONDS)
        settle(second, take(second), Retry(b"kept", 1000))

        assert first.settle([ENDINGS[ending](stale)]) == [False]

        assert second.depth() == {"ready": 0, "active": 0, "delayed": 1, "held": 0, "dead-letter": 0}
        queue.advance(1)
        assert take(second).state == b"kept"

    def test_an_owner_paused_past_its_lease_notices_and_goes_on(self, queue: DriverUnderTest) -> None:
        queue.push(b"job", b"next")
        owner, other = queue.driver(), queue.driver()
        mine = take(owner)
        queue.advance(LEASE_SECONDS)
        theirs = take(other)

        assert owner.renew([mine]) == [False]
        result = owner.next(Settlement(mine))

        assert not result.accepted
        assert result.claim is not None
        assert result.claim.body == b"next"
        assert other.next(Settlement(theirs)).accepted

    def test_expired_claim_can_be_settled_until_it_is_claimed_again(self, queue: DriverUnderTest) -> None:
        queue.push(b"job")
        driver = queue.driver()
        claim = take(driver)
        queue.advance(LEASE_SECONDS + 1)

        assert settle(driver, claim)
        assert queue.is_empty()

    def test_a_renewed_lease_begins_anew(self, queue: DriverUnderTest) -> None:
        queue.push(b"job")
        owner, other = queue.driver(), queue.driver()
        claim = take(owner)
        for _ in range(3):
            queue.advance(LEASE_SECONDS - 1)
            assert owner.renew([claim]) == [True]
            assert is_idle(other)
        queue.advance(LEASE_SECONDS + 1)

        assert take(other).lapses == 1
        assert owner.renew([claim]) == [False]

    def test_renewal_returns_which_claims_are_lost(self, queue: DriverUnderTest) -> None:
        last = self.many + 99
        queue.push(*jobs(last + 1))
        driver = queue.driver()
        claims = take_all(driver)
        settle(driver, claims[1])
        settle(driver, claims[last - 1], Retry(b"s", 1000))

        renewed = driver.renew(claims)

        assert [number for number, still_ours in enumerate(renewed) if not still_ours] == [1, last - 1]
        assert driver.renew([]) == []
        assert driver.depth()["active"] == last - 1

    def test_several_are_settled_at_once_with_a_flag_for_each(self, queue: DriverUnderTest) -> None:
        queue.push(*jobs(4))
        driver = queue.driver()
        claims = take_all(driver)
        settle(driver, claims[2])

        flags = driver.settle([ENDINGS[ending](claim) for ending, claim in zip(ENDINGS, claims, strict=False)])

        assert flags == [True, True, False, True]

    # Lost replies

    def test_a_claim_whose_reply_was_lost_lapses_and_comes_back(self, queue: DriverUnderTest) -> None:
        queue.push(b"job")
        lossy = queue.lossy()
        lossy.lose_reply()
        with pytest.raises(BrokerUnavailable):
            lossy.driver.next(None)

        assert is_idle(lossy.driver)
        queue.advance(LEASE_SECONDS)
        claim = take(lossy.driver)
        assert (claim.body, claim.lapses) == (b"job", 1)

    @every_ending
    def test_repeating_a_settle_whose_reply_was_lost_is_harmless(self, queue: DriverUnderTest, ending: str) -> None:
        queue.push(b"settled", b"claimed meanwhile")
        lossy = queue.lossy()
        settlement = ENDINGS[ending](take(lossy.driver))
        lossy.lose_reply()
        with pytest.raises(BrokerUnavailable):
            lossy.driver.next(settlement)

        assert lossy.driver.settle([settlement]) == [False]
        assert not lossy.driver.next(settlement).accepted

        queue.advance(FAR)
        alive, dead = left_by(ending)
        came = Counter(bodies_of(take_all(lossy.driver)))
        assert came == Counter({b"settled": alive, b"claimed meanwhile": 1}) + Counter()
        assert len(queue.dead_letters()) == dead

    @every_ending
    def test_a_settle_that_never_arrived_is_taken_the_second_time(self, queue: DriverUnderTest, ending: str) -> None:
        queue.push(b"job")
        lossy = queue.lossy()
        settlement = ENDINGS[ending](take(lossy.driver))
        lossy.cut_off()
        with pytest.raises(BrokerUnavailable):
            lossy.driver.next(settlement)
        with pytest.raises(BrokerUnavailable):
            lossy.driver.settle([settlement])
        lossy.heal()

        assert lossy.driver.settle([settlement]) == [True]

        queue.advance(FAR)
        assert (len(take_all(lossy.driver)), len(queue.dead_letters())) == left_by(ending)

    def test_a_lost_reply_to_a_renewal_costs_nothing(self, queue: DriverUnderTest) -> None:
        queue.push(b"job")
        lossy = queue.lossy()
        claim = take(lossy.driver)
        lossy.lose_reply()
        with pytest.raises(BrokerUnavailable):
            lossy.driver.renew([claim])

        assert lossy.driver.renew([claim]) == [True]
        assert settle(lossy.driver, claim)

    # Notifiers: a test calls `wait` as the thread of a notifier does

    def test_notifier_of_the_source_wakes_for_a_pushed_job(self, queue: DriverUnderTest) -> None:
        driver = queue.driver()
        has_work = threading.Event()
        waits = Counter[str]()

        def wait_for_work(source: str) -> int:
            jobs_there = 0
            while not (jobs_there or has_work.is_set()):
                waits[source] += 1
                jobs_there = driver.wait(source, 1.0)
            has_work.set()
            return jobs_there

        with ThreadPoolExecutor(8) as threads:
            waiters = [threads.submit(wait_for_work, source) for source in driver.sources]
            try:
                # The first wait never blocks; in the second the notifier waits for a job.
                eventually(lambda: all(waits[source] > 1 for source in driver.sources))
                pushed = time.monotonic()
                queue.push(b"job")
                assert has_work.wait(5)
                assert time.monotonic() - pushed < 0.5
            finally:
                has_work.set()
            assert sorted(waiter.result() for waiter in waiters)[-2:] in ([0, 1], [1])
        assert take(driver).body == b"job"

    def test_notifier_wakes_for_a_released_record_that_fell_due(self, queue: DriverUnderTest) -> None:
        queue.push(b"job")
        driver = queue.driver()
        settle(driver, take(driver), Retry(b"s", 300))
        started = time.monotonic()

        _ring_somewhere(driver)

        assert 0.2 < time.monotonic() - started < 2.0
        assert take(driver).state == b"s"

    def test_notifier_wakes_for_an_expired_claim(self, queue: DriverUnderTest) -> None:
        queue.push(b"job")
        owner, other = queue.driver(lease=0.3), queue.driver()
        take(owner)
        started = time.monotonic()

        _ring_somewhere(other)

        assert 0.2 < time.monotonic() - started < 2.0
        assert take(other).lapses == 1

    def test_notifier_counts_the_claimable_jobs(self, queue: DriverUnderTest) -> None:
        queue.push(*jobs(5))
        driver = queue.driver()
        first, second = take(driver), take(driver)
        settle(driver, first, Requeue())
        settle(driver, second, Retry(b"s", 3_600_000))

        assert sum(driver.wait(source, 0.01) for source in driver.sources) == 4

    def test_wait_on_an_empty_queue_ends_in_time(self, queue: DriverUnderTest) -> None:
        driver = queue.driver()
        for source in driver.sources * 2:
            started = time.monotonic()
            assert driver.wait(source, 0.1) == 0
            assert time.monotonic() - started < 1.0

    def test_notifier_works_again_after_an_outage(self, queue: DriverUnderTest) -> None:
        lossy = queue.lossy()
        driver = lossy.driver
        for source in driver.sources:
            driver.wait(source, 0.01)
        lossy.cut_off()
        for source in driver.sources:
            with pytest.raises(BrokerUnavailable):
                driver.wait(source, 0.01)
        queue.push(b"job")
        lossy.heal()

        def has_work() -> bool:
            # A waiting caller may see more errors: connections that were idle during the outage fail one by one.
            with contextlib.suppress(BrokerUnavailable):
                return any(driver.wait(source, 0.5) for source in driver.sources)
            return False

        eventually(has_work)
        assert take(driver).body == b"job"

    # The rest of the contract

    def test_depth_counts_by_state(self, queue: DriverUnderTest) -> None:
        driver = queue.driver()
        assert driver.depth() == {"ready": 0, "active": 0, "delayed": 0, "held": 0, "dead-letter": 0}
        queue.push(*jobs(10))
        claims = [take(driver) for _ in range(6)]
        parts: list[Disposition] = [Retry(b"s", 1000), Retry(b"s", 0), DeadLetter(b"d", "x"), Requeue()]
        for claim, part in zip(claims, parts, strict=False):
            settle(driver, claim, part)

        assert driver.depth() == {"ready": 4, "active": 2, "delayed": 3, "held": 0, "dead-letter": 1}

    def test_depth_counts_jobs_of_both_lists(self, queue: DriverUnderTest) -> None:
        driver = queue.driver()
        queue.push(*jobs(3))
        _ring_somewhere(driver)
        queue.push(*jobs(2))

        assert driver.depth()["ready"] == 5

    def test_peek_shows_the_first_job_and_takes_nothing(self, queue: DriverUnderTest) -> None:
        driver = queue.driver()
        assert list(driver.peek()) == []
        queue.push(b"", b"second")
        assert driver.peek() == [b""]
        _ring_somewhere(driver)
        assert driver.peek() == [b""]

        assert bodies_of(deliver_all(driver)) == [b"", b"second"]

    def test_put_job_is_delivered_like_a_pushed_one(self, queue: DriverUnderTest) -> None:
        driver = queue.driver()
        driver.put(b"first")
        driver.put(b"\xff second")

        assert bodies_of(deliver_all(driver)) == [b"first", b"\xff second"]
        assert queue.is_empty()

    def test_closing_touches_no_job(self, queue: DriverUnderTest) -> None:
        queue.push(*jobs(4))
        first, second = queue.driver(), queue.driver()
        claims = [take(first), take(first)]
        settle(first, claims[0], Retry(b"s", 0))
        before = second.depth()

        first.close()
        first.close()

        assert second.depth() == before
        assert settle(second, claims[1])  # a receipt is the record's, not the connection's
        assert len(deliver_all(second)) == 3

    def test_ping_answers(self, queue: DriverUnderTest) -> None:
        lossy = queue.lossy()
        lossy.driver.ping()
        lossy.cut_off()
        with pytest.raises(BrokerUnavailable):
            lossy.driver.ping()
        lossy.heal()
        lossy.driver.ping()

    @pytest.mark.parametrize("seed", range(4))
    def test_random_operations_keep_each_share_of_each_job_exactly_once(
        self, queue: DriverUnderTest, seed: int
    ) -> None:
        _Walk(queue, seed, self.instances, splits=self.shares_survive).go(self.steps)


def _ring_somewhere(driver: Driver) -> None:
    """Wait, as the notifiers do, until any source has work."""
    eventually(lambda: any(driver.wait(source, 0.5) for source in driver.sources))


class _Walk:
    """A random walk through the contract, and the books that it is checked against: what is owed, by body."""

    def __init__(self, queue: DriverUnderTest, seed: int, instances: int, *, splits: bool) -> None:
        self._queue = queue
        self._chance = random.Random(seed)
        self._splits = splits
        self._drivers = [queue.driver() for _ in range(instances)]
        self._owed: Counter[bytes] = Counter()
        self._dead: Counter[bytes] = Counter()
        self._held: list[Claim] = []
        self._stale: list[Claim] = []
        self._pushed = 0

    def go(self, steps: int) -> None:
        moves = (self._push, self._claim, self._claim, self._end, self._end, self._lapse, self._settle_stale)
        for _ in range(steps):
            self._chance.choice(moves)()
        self._queue.advance(FAR)
        rest = Counter(bodies_of(deliver_all(self._driver)))
        assert rest == +self._owed
        assert Counter(kept.body for kept in self._queue.dead_letters()) == self._dead
        assert self._driver.depth() == {
            "ready": 0,
            "active": 0,
            "delayed": 0,
            "held": 0,
            "dead-letter": self._dead.total(),
        }

    @property
    def _driver(self) -> Driver:
        return self._chance.choice(self._drivers)

    def _push(self) -> None:
        body = b"%d" % (self._pushed // 3)  # three of a kind
        self._pushed += 1
        self._queue.push(body)
        self._owed[body] += 1

    def _claim(self) -> None:
        claim = self._driver.next(None).claim
        if claim is not None:
            assert self._owed[claim.body] > 0
            assert all(claim.receipt != other.receipt for other in (*self._held, *self._stale))
            self._held.append(claim)

    def _end(self) -> None:
        if not self._held:
            return
        claim = self._held.pop(self._chance.randrange(len(self._held)))
        parts, splits = self._parts(claim)
        result = self._driver.next(Settlement(claim, parts, splits))
        assert result.accepted
        self._owed[claim.body] += sum(not isinstance(part, DeadLetter) for part in parts) - 1
        self._dead[claim.body] += sum(isinstance(part, DeadLetter) for part in parts)
        self._stale.append(claim)
        if result.claim is not None:
            self._held.append(result.claim)

    def _parts(self, claim: Claim) -> tuple[tuple[Disposition, ...], bool]:
        kinds: tuple[Disposition, ...] = (
            Retry(b"s", self._chance.randrange(5000)),
            Requeue(),
            Requeue(b"b"),
            Requeue(b"b", lapsed=True),
            DeadLetter(b"d", "exhausted"),
        )
        if self._splits and not claim.state and self._chance.random() < 0.3:
            return tuple(self._chance.choices(kinds, k=self._chance.randrange(1, 4))), True
        return tuple(self._chance.choices(kinds, k=self._chance.randrange(2))), False

    def _lapse(self) -> None:
        if self._chance.random() < 0.2:
            self._queue.advance(LEASE_SECONDS)
            self._stale += self._held
            # Everything that was held is now taken over, so that the old receipts are stale for sure.
            self._held = take_all(self._driver)

    def _settle_stale(self) -> None:
        if self._stale:
            claim = self._chance.choice(self._stale)
            ending = self._chance.choice(list(ENDINGS.values()))
            assert self._driver.settle([ending(claim)]) == [False]
