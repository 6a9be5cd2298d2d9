"""How many jobs are claimed in one call, where they wait, and when acks and jobs leave again."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from sockudo_queue.drivers.base import Batch, Claim, NextResult, Requeue, Retry, Settlement
from sockudo_queue.errors import BrokerUnavailable, SourceRefused
from sockudo_queue.observability.metrics import Metrics
from sockudo_queue.observability.status_page.history import StatusHistory
from sockudo_queue.pipeline import batches as module
from sockudo_queue.pipeline.batches import BATCH_SECONDS, Batches, batch_size
from sockudo_queue.pipeline.in_flight import ClaimsInFlight, JobInFlight
from sockudo_queue.pipeline.settlements import SettlementRecorder
from tests.helpers.waiting import eventually

MAX_SIZE = 8


class Log:
    def __getattr__(self, _level: str) -> Any:
        return lambda _event, **_fields: None


class Queue:
    """Hands out numbered claims, and remembers what was settled and in which calls."""

    def __init__(self, claims: Sequence[Claim]) -> None:
        self.left = deque(claims)
        self.settled: list[Settlement] = []
        self.calls: list[tuple[int, int]] = []
        self.error: Exception | None = None
        self.held_up = threading.Event()
        self.held_up.set()

    def next(self, settled: Settlement | None) -> NextResult:
        batch = self.next_batch([] if settled is None else [settled], 1)
        return NextResult(True, batch.claims[0] if batch.claims else None)

    def next_batch(self, acks: Sequence[Settlement], max_claims: int) -> Batch:
        self.calls.append((len(acks), max_claims))
        self.held_up.wait(5)
        if self.error is not None:
            raise self.error
        self.settled += acks
        claims = [self.left.popleft() for _ in range(min(max_claims, len(self.left)))]
        return Batch([True] * len(acks), claims)

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        return list(self.next_batch(settlements, 0).accepted)


class World:
    """Batches over a queue, and a worker that takes from them."""

    def __init__(self, count: int = 100, lapses: int = 0, size: int = MAX_SIZE) -> None:
        self.all = [Claim(f"s{n % 1}", f"id{n}/1", b"job", b"", lapses, 1_700_000_000_000) for n in range(count)]
        self.queue = Queue(self.all)
        self.claims = ClaimsInFlight()
        self.metrics = Metrics("redis", "webhooks")
        recorder = SettlementRecorder(self.queue, self.claims, self.metrics, StatusHistory(self.metrics), Log())
        self.woken: list[int] = []
        self.batches = Batches(
            self.queue, self.claims, recorder, self.woken.append, max_size=MAX_SIZE, lease_seconds=30.0
        )
        self.batches.size = size

    def take(self, settled: Settlement | None = None) -> Claim | None:
        claim = self.batches.next(settled).claim
        if claim is not None:
            self.claims[claim.receipt] = JobInFlight(claim)
        return claim


@pytest.fixture(autouse=True)
def steady_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the size that a test has set: the clock of these tests runs as fast as it likes."""
    monkeypatch.setattr(module, "MEASURED_SECONDS", 1_000.0)


@pytest.mark.parametrize(
    ("started", "seconds", "size"),
    [(0, 0.01, 1), (1, 10.0, 1), (2, 0.01, 1), (5, 0.01, 4), (10, 0.01, 8), (1_000, 0.01, 16), (60, 0.02, 16)],
)
def test_batch_is_what_is_started_in_a_few_milliseconds(started: int, seconds: float, size: int) -> None:
    assert batch_size(started, seconds, 16) == size


def test_size_follows_the_jobs_that_are_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEASURED_SECONDS", 0.0)
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    world = World(size=1)
    sizes = []
    for pause in (BATCH_SECONDS / 4, BATCH_SECONDS / 4, BATCH_SECONDS * 20):
        now[0] += pause
        world.take()
        sizes.append(world.batches.size)
        world.batches._waiting.clear()

    assert sizes == [4, 8, 1]


def test_one_call_claims_jobs_that_workers_take_in_order() -> None:
    world = World()

    taken = [world.take() for _ in range(4)]

    assert taken == world.all[:4]
    assert world.queue.calls == [(0, MAX_SIZE)]
    assert world.woken == [MAX_SIZE - 1]
    assert len(world.claims) == MAX_SIZE


def test_next_batch_is_fetched_before_the_last_one_is_used_up_and_takes_the_acks_along() -> None:
    world = World()

    for number in range(2 * MAX_SIZE):
        claim = world.take()
        assert claim is world.all[number]
        assert world.batches.take_over(Settlement(claim))

    assert len(world.queue.calls) == 3
    assert len(world.queue.settled) == sum(acks for acks, _ in world.queue.calls)
    assert {max_claims for _, max_claims in world.queue.calls} == {MAX_SIZE}


def test_ack_is_sent_on_its_own_while_jobs_are_claimed_one_by_one() -> None:
    world = World(size=1)
    claim = world.take()
    assert claim is not None

    assert not world.batches.take_over(Settlement(claim))
    world.take(Settlement(claim))

    assert world.queue.calls == [(0, 1), (1, 1)]


@pytest.mark.parametrize("parts", [(Retry(b"s", 10),), (Requeue(),)])
def test_settlement_that_keeps_something_is_never_held_back(parts: tuple[Any, ...]) -> None:
    world = World()
    claim = world.take()
    assert claim is not None
    settlement = Settlement(claim, parts)

    assert not world.batches.take_over(settlement)
    assert world.take(settlement) is world.all[1]

    assert world.queue.settled == [settlement]
    assert world.queue.calls == [(0, MAX_SIZE), (1, 0)]


def test_ack_of_a_claim_that_had_lapsed_is_not_held_back() -> None:
    world = World(lapses=1)
    claim = world.take()
    assert claim is not None

    assert not world.batches.take_over(Settlement(claim))


def test_flush_sends_acks_and_gives_jobs_back_when_they_have_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    claim = world.take()
    assert claim is not None
    assert world.batches.take_over(Settlement(claim))
    world.batches.flush()
    assert world.queue.settled == []

    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 1)
    assert world.batches.until_due() <= 0
    world.batches.flush()

    assert world.queue.settled[-1] == Settlement(claim)
    assert [settled.parts for settled in world.queue.settled[:-1]] == [(Requeue(),)] * (MAX_SIZE - 1)
    assert [settled.claim for settled in world.queue.settled[:-1]] == world.all[1:MAX_SIZE]
    assert world.woken[-1] == MAX_SIZE - 1, "on lists, nothing else says that they can be claimed"
    assert world.batches.size == 1
    assert set(world.claims) == set()
    assert not world.batches.holds


def test_everything_is_flushed_immediately_at_a_stop() -> None:
    world = World()
    claim = world.take()
    assert claim is not None
    assert world.batches.take_over(Settlement(claim))

    world.batches.flush(everything=True)

    assert len(world.queue.settled) == MAX_SIZE
    assert not world.batches.holds


def test_acks_without_a_reply_are_sent_again_and_counted_as_unconfirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    claim = world.take()
    assert claim is not None
    assert world.batches.take_over(Settlement(claim))
    world.queue.error = BrokerUnavailable("away")
    for _ in range(2):
        with pytest.raises(BrokerUnavailable):
            world.batches.flush(everything=True)
    assert world.batches.holds

    world.queue.error = None
    monkeypatch.setattr(world.queue, "next_batch", lambda acks, _max_claims: Batch([False] * len(acks), []))
    world.batches.flush(everything=True)

    ended = world.metrics.registry.get_sample_value(
        "sockudo_queue_settlements_total", {"backend": "redis", "queue": "webhooks", "outcome": "unconfirmed"}
    )
    assert ended == 1
    assert not world.batches.holds


def test_acks_that_their_source_refuses_for_long_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REFUSED_LIMIT", 0.0)
    world = World()
    claim = world.take()
    assert claim is not None
    world.batches.take_over(Settlement(claim))
    world.queue.error = SourceRefused("s0", "no")
    for _ in range(2):
        with pytest.raises(SourceRefused):
            world.batches.flush(everything=True)

    world.batches.flush(everything=True)

    assert not world.batches.holds
    assert claim.receipt not in world.claims


def test_job_that_has_waited_for_long_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.take()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 30)

    assert world.batches._first_waiting() is None


def test_jobs_whose_reply_came_late_are_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process was stopped after the server had claimed them, and their leases may be over."""
    world, now = World(), [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    ask = world.queue.next_batch

    def late(acks: Sequence[Settlement], max_claims: int) -> Batch:
        now[0] += 20.0
        return ask(acks, max_claims)

    monkeypatch.setattr(world.queue, "next_batch", late)
    assert world.take() is None
    monkeypatch.setattr(world.queue, "next_batch", ask)
    world.batches.flush()

    assert [settlement.claim for settlement in world.queue.settled] == world.all[:MAX_SIZE]
    assert all(settlement.parts == (Requeue(),) for settlement in world.queue.settled)
    assert not world.claims


def test_job_whose_lease_was_lost_while_it_waited_is_not_started() -> None:
    world = World()
    world.take()
    world.claims.pop(world.all[1].receipt).abandon()

    assert world.take() is world.all[2]


def test_workers_wait_for_the_batch_that_one_of_them_fetches() -> None:
    world = World()
    world.queue.held_up.clear()
    taken: list[Claim | None] = []
    threads = [threading.Thread(target=lambda: taken.append(world.take())) for _ in range(3)]
    for thread in threads:
        thread.start()
    eventually(lambda: world.queue.calls)

    world.queue.held_up.set()
    for thread in threads:
        thread.join(5)

    assert sorted(claim.id for claim in taken if claim) == ["id0", "id1", "id2"]
    assert len(world.queue.calls) == 1


def test_failed_fetch_does_not_block_other_workers() -> None:
    world = World()
    world.queue.error = BrokerUnavailable("away")
    with pytest.raises(BrokerUnavailable):
        world.take()

    world.queue.error = None

    assert world.take() is world.all[0]


class TwoSources(Queue):
    """A queue of which the source `down` does not answer."""

    def next_batch(self, acks: Sequence[Settlement], max_claims: int) -> Batch:
        if any(ack.claim.source == "down" for ack in acks):
            self.calls.append((len(acks), max_claims))
            raise BrokerUnavailable("down does not answer")
        return super().next_batch(acks, max_claims)


def world_with_a_failing_ack() -> World:
    world = World()
    world.queue = TwoSources(world.all)
    world.batches._driver = world.queue
    assert world.take() is not None
    assert world.batches.take_over(Settlement(Claim("down", "d/1", b"job", b"", 0, 1_700_000_000_000)))
    with pytest.raises(BrokerUnavailable):
        world.batches.flush(everything=True)
    return world


def test_failed_acks_of_one_source_are_not_sent_with_the_calls_of_workers() -> None:
    world = world_with_a_failing_ack()
    world.batches.size = MAX_SIZE
    world.queue.calls.clear()
    taken = [world.take() for _ in range(2 * MAX_SIZE)]
    assert None not in taken
    assert {acks for acks, _ in world.queue.calls} == {0}
    assert world.batches.holds, "the failed ack is repeated by flush"


def test_jobs_are_given_back_together_and_in_their_order() -> None:
    world = World()
    world.take()
    world.queue.calls.clear()

    world.batches.flush(everything=True)

    assert world.queue.calls == [(MAX_SIZE - 1, 0)]
    assert [settled.claim for settled in world.queue.settled] == world.all[1:MAX_SIZE]
    assert not world.batches.holds


def test_jobs_are_given_back_while_acks_of_another_source_fail() -> None:
    world = world_with_a_failing_ack()
    assert [settled.claim for settled in world.queue.settled] == world.all[1:MAX_SIZE]


def test_failed_acks_are_repeated_with_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_with_a_failing_ack()
    assert 0 < world.batches.until_due() <= module.LATE_PAUSE
    world.queue.calls.clear()
    world.batches.flush()
    assert world.queue.calls == []
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 1)
    with pytest.raises(BrokerUnavailable):
        world.batches.flush()
    assert world.queue.calls == [(1, 0)]


def test_jobs_are_in_flight_before_a_worker_can_take_them() -> None:
    """Otherwise the worker's own object could be replaced by that of the waiting job."""
    world = World()
    in_flight: list[bool] = []

    class Line(deque[JobInFlight]):
        def extend(self, jobs: Iterable[JobInFlight]) -> None:
            added = list(jobs)
            in_flight.extend(job.claim.receipt in world.claims for job in added)
            super().extend(added)

    world.batches._waiting = Line()
    world.take()

    assert in_flight == [True] * MAX_SIZE


def test_claim_that_a_worker_takes_is_no_longer_held_here() -> None:
    """If the worker dies before it has registered the claim, nothing renews its lease, and another daemon claims it."""
    world = World()
    claim = world.batches.next(None).claim
    assert claim is not None
    assert claim.receipt not in world.claims
    assert len(world.claims) == MAX_SIZE - 1


def test_renewal_that_began_while_a_job_waited_cannot_end_it() -> None:
    world = World()
    world.take()
    held = world.claims[world.all[1].receipt]
    assert world.take() == world.all[1]
    assert held.settlement is not None, "the renewer ignores it, whatever the server answers"
    assert not held.hand_over(), "nor does another worker get it"


def test_job_that_a_worker_takes_during_a_stop_is_put_back_and_not_acked() -> None:
    """A stop settles a copy of what is in flight. An ack for a job that a worker has just taken would delete it."""
    world = World()
    world.take()
    waiting = next(each for each in world.claims.all() if each.claim == world.all[1])
    assert world.take() == world.all[1]
    assert waiting.abandon().parts == (Requeue(),)


def test_fetch_that_fails_after_its_call_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    def fail(_claims: Sequence[Claim]) -> Claim | None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(world.batches, "_in_line", fail)
        with pytest.raises(MemoryError):
            world.take()
    assert not world.batches._fetching


def test_ack_that_cannot_be_recorded_keeps_no_other_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    acked = [claim for claim in (world.take(), world.take()) if claim is not None]
    for claim in acked:
        assert world.batches.take_over(Settlement(claim))
    recorded: list[str] = []

    def record(ack: Settlement, **_flags: bool) -> None:
        recorded.append(ack.claim.receipt)
        raise MemoryError

    monkeypatch.setattr(world.batches._recorder, "record", record)
    with pytest.raises(MemoryError):
        world.batches.flush(everything=True)
    assert recorded == [claim.receipt for claim in acked]
    assert not {claim.receipt for claim in acked} & set(world.claims)


def test_a_job_is_stale_after_half_a_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.batches._stale_after = min(module.STALE_AFTER, 0.1 / 2)
    assert world.take() is not None
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 0.06)
    world.queue.left.clear()
    assert world.take() is None
    assert len(world.batches._unsent) == MAX_SIZE - 1
