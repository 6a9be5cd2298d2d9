"""One pass of a worker's loop: what it settles, what it claims, and what it leaves to be settled."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, cast

import pytest

from sockudo_queue.core.apps import App, StaticApps, Webhook
from sockudo_queue.core.outcome import Outcome, from_status
from sockudo_queue.core.secret import Secret
from sockudo_queue.delivery.admission.endpoint import EndpointRegistry
from sockudo_queue.delivery.admission.thread_budget import AdmissionLimits
from sockudo_queue.delivery.sender import Sender
from sockudo_queue.drivers.base import Claim, NextResult, Requeue, Retry, Settlement
from sockudo_queue.drivers.memory import MemoryDriver
from sockudo_queue.errors import BrokerError, BrokerUnavailable, SettlementRefused
from sockudo_queue.observability.health import Heartbeats
from sockudo_queue.observability.metrics import Metrics
from sockudo_queue.observability.status_page.history import StatusHistory
from sockudo_queue.pipeline import broker_status
from sockudo_queue.pipeline import worker as module
from sockudo_queue.pipeline.broker_status import BrokerWatch
from sockudo_queue.pipeline.dispatcher import Dispatcher
from sockudo_queue.pipeline.in_flight import ClaimsInFlight, JobInFlight
from sockudo_queue.pipeline.pool import WorkerPool
from sockudo_queue.pipeline.resolve import Resolver
from sockudo_queue.pipeline.settlements import SettlementRecorder
from sockudo_queue.pipeline.unknown_apps import UnknownApps
from sockudo_queue.pipeline.worker import LIVE_WITHIN, Worker, WorkerContext
from tests.helpers.jobs import APP_ID, job

TIMEOUT_MS = 3_000


class Log:
    """Keeps the events that were logged."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def __getattr__(self, _level: str) -> Any:
        return lambda event, **_fields: self.events.append(event)


class Queue(MemoryDriver):
    """A queue that fails as often as a test wants."""

    def __init__(self) -> None:
        super().__init__(capacity=100, max_bytes=1_000_000, lease_ms=30_000, dead_retention=10)
        self.failures: list[BrokerError] = []

    def next(self, settled: Settlement | None) -> NextResult:
        if self.failures:
            raise self.failures.pop()
        return super().next(settled)

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        if self.failures:
            raise self.failures.pop()
        return super().settle(settlements)


class Posts:
    """Replaces the sender: answers 200 and records what was posted, and with which allowance."""

    def __init__(self, beats: Heartbeats) -> None:
        self.webhooks: list[str] = []
        self.allowances: list[float] = []
        self._beats = beats

    def post(self, webhook: Webhook, *_: object) -> tuple[Outcome, bool]:
        self.webhooks.append(webhook.name)
        self.allowances.append(self._beats._allowances["worker-1"])
        return from_status(200), True


class World:
    """A worker with one slot, and everything around it."""

    def __init__(self, *names: str) -> None:
        self.queue, self.log, self.beats = Queue(), Log(), Heartbeats()
        self.posts = Posts(self.beats)
        self.pool = WorkerPool(1, 0, lambda: None)
        self.pool._threads = 1  # that of the worker
        self.stopping, self.abandoned = threading.Event(), threading.Event()
        self.claims = ClaimsInFlight()
        metrics = Metrics("memory", "webhooks")
        hooks = tuple(
            Webhook(name, frozenset({"channel_occupied"}), Secret("http://127.0.0.1:9/"), request_timeout_ms=TIMEOUT_MS)
            for name in names or ("a",)
        )
        unknown_apps = UnknownApps(self.log, lambda _reason: None)
        resolver = Resolver(
            StaticApps([App(APP_ID, hooks)]), unknown_apps, self.log, max_lapses=5, unknown_app_budget_ms=1_000
        )
        endpoints = EndpointRegistry(AdmissionLimits(1, 0, 0.1, 10, 5.0, 60.0))
        sender = cast(Sender, self.posts)
        self.context = WorkerContext(
            self.pool,
            self.queue,
            self.queue,
            resolver,
            Dispatcher(endpoints, sender, metrics, self.log, self.stopping),
            self.claims,
            SettlementRecorder(self.queue, self.claims, metrics, StatusHistory(metrics), self.log),
            BrokerWatch(self.log, lambda _reason: None),
            metrics,
            self.beats,
            self.stopping,
            self.abandoned,
        )
        self.worker = Worker("worker-1", self.context)
        assert self.worker._may_claim()

    def step(self) -> Settlement | None:
        """Let the worker make one pass; return how its job ended."""
        self.worker.step()
        return self.worker.settlement

    def counts(self) -> tuple[int, ...]:
        return tuple(self.queue.depth().values())


def test_step_delivers_a_job_and_leaves_its_settlement() -> None:
    world = World()
    world.queue.put(job(1))

    settlement = world.step()

    assert settlement is not None
    assert settlement.parts == ()
    assert world.posts.webhooks == ["a"]
    assert list(world.claims) == [settlement.claim.receipt]


def test_step_settles_the_last_job_with_the_claim_of_the_next() -> None:
    world = World()
    world.queue.put(job(1))
    world.queue.put(job(2))

    world.step()
    second = world.step()

    assert second is not None
    assert list(world.claims) == [second.claim.receipt]
    assert world.counts() == (0, 1, 0, 0, 0)
    assert len(world.posts.webhooks) == 2


def test_step_without_work_waits_until_it_is_woken() -> None:
    world = World()
    threading.Timer(0.05, world.pool.wake, (1,)).start()
    began = time.monotonic()

    assert world.step() is None

    assert 0.04 < time.monotonic() - began < module.IDLE_POLL_INTERVAL
    assert not world.worker.claiming


def test_idle_worker_polls_when_the_first_of_its_delayed_records_is_due() -> None:
    world = World()
    for number, delay_ms in ((1, 100), (2, 3_000)):
        world.queue.put(job(number))
        claim = world.queue.next(None).claim
        assert claim is not None
        world.worker.settlement = Settlement(claim, (Retry(b"{}", delay_ms),))
        world.worker._expect(world.worker.settlement)
        world.queue.settle([world.worker.settlement])
    world.worker.settlement = None
    began = time.monotonic()

    assert world.step() is None

    assert 0.05 < time.monotonic() - began < 2


def test_delay_counts_from_the_end_of_the_call_that_sends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue server counts it from the arrival of the call. A worker that polled earlier would find nothing."""
    world = World()
    world.queue.put(job(1))
    claim = world.queue.next(None).claim
    assert claim is not None
    world.worker.settlement = Settlement(claim, (Retry(b"{}", 300),))
    waits: list[float] = []
    monkeypatch.setattr(world.worker, "_next", lambda _settlement: time.sleep(0.2))
    monkeypatch.setattr(world.pool, "wait_for_work", lambda _seen, seconds: waits.append(seconds))

    world.step()

    assert waits == [pytest.approx(0.3, abs=0.05)]


def test_nearest_delays_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DUE_TIMES", 2)
    world = World()
    claim = Claim("s", "id/1", b"", b"", 0, 0)
    for delay_ms in (20_000, 10_000, 1_000):
        world.worker._expect(Settlement(claim, (Retry(b"{}", delay_ms),)))
    assert world.worker._until_due(time.monotonic()) == pytest.approx(1.0, abs=0.1)
    assert len(world.worker._due) == 2


def test_worker_may_be_silent_for_as_long_as_its_attempt_takes() -> None:
    world = World()
    world.queue.put(job(1))

    world.step()

    assert world.posts.allowances == [LIVE_WITHIN + TIMEOUT_MS / 1000]


def test_job_claimed_while_stopping_goes_back_without_an_attempt() -> None:
    world = World()
    world.queue.put(job(1))
    world.stopping.set()

    settlement = world.step()

    assert settlement is not None
    assert settlement.parts == (Requeue(),)
    assert world.posts.webhooks == []


def test_delivery_without_a_thread_to_spare_is_put_off_and_the_other_is_made() -> None:
    world = World("a", "b")
    world.queue.put(job(1))

    settlement = world.step()

    assert settlement is not None
    [owed] = settlement.parts
    assert isinstance(owed, Retry)
    assert world.posts.webhooks == ["a"]


def test_outage_of_the_queue_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_status, "FIRST_PAUSE", 0.001)
    world = World()
    world.queue.put(job(1))
    assert world.step() is not None
    assert not world.context.watch.awaits_answer
    world.queue.put(job(2))
    world.queue.failures = [BrokerUnavailable("away"), BrokerUnavailable("away")]

    assert world.step() is not None
    assert [event for event in world.log.events if event.startswith("broker.")] == ["broker.lost", "broker.resumed"]


def test_settlement_that_is_refused_for_long_is_given_up_and_the_next_job_is_claimed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "REFUSED_LIMIT", 0.0)
    world = World()
    world.queue.put(job(1))
    world.queue.put(job(2))
    world.step()
    world.queue.failures = [SettlementRefused("memory", "too large")]

    second = world.step()

    assert second is not None
    assert "settlement.refused" in world.log.events
    assert list(world.claims) == [second.claim.receipt]


def test_worker_settles_and_claims_nothing_while_another_job_runs_alone() -> None:
    world = World()
    world.queue.put(job(1))
    world.queue.put(job(2))
    world.step()
    suspect = Claim("memory", "suspect/1", b"", b"", 2, 0)
    world.claims[suspect.receipt] = JobInFlight(suspect)
    threading.Thread(target=world.context.isolation.begin, args=(suspect.receipt,), daemon=True).start()
    while not world.context.isolation.holds:
        time.sleep(0.001)

    assert world.step() is None

    assert world.counts() == (1, 0, 0, 0, 0)
    assert len(world.posts.webhooks) == 1
