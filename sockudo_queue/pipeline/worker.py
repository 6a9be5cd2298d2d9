"""The loop of a worker thread: take a slot, claim, resolve, attempt, settle."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right, insort
from typing import Final, Protocol

import msgspec

from sockudo_queue.core import delivery_state
from sockudo_queue.delivery.admission.endpoint import Deferral
from sockudo_queue.drivers.base import Claim, Driver, NextResult, Requeue, Retry, Settlement
from sockudo_queue.errors import BrokerError, SourceRefused
from sockudo_queue.observability.health import Heartbeats
from sockudo_queue.observability.metrics import Metrics
from sockudo_queue.observability.tracing.spans import NO_TRACING, Tracing
from sockudo_queue.pipeline.batches import Batches
from sockudo_queue.pipeline.broker_status import BrokerWatch, broker_backoff
from sockudo_queue.pipeline.dispatcher import Dispatcher
from sockudo_queue.pipeline.in_flight import ClaimsInFlight, JobInFlight, WebhookDelivery
from sockudo_queue.pipeline.isolation import SUSPECT_LAPSES, Isolation
from sockudo_queue.pipeline.large_jobs import LARGE
from sockudo_queue.pipeline.paused import PausedWebhooks, none_paused
from sockudo_queue.pipeline.pool import Slot, WorkerPool
from sockudo_queue.pipeline.resolve import Resolver
from sockudo_queue.pipeline.settlements import SettlementRecorder
from sockudo_queue.runtime.backoff import Backoff

IDLE_POLL_INTERVAL: Final = 5.0
"""Seconds after which an idle worker polls for work. Notifiers wake it much earlier; the poll covers a lost wake-up."""

EXPECTED_WITHIN: Final = 30.0
"""Delays up to this many seconds end punctually while workers are idle. A notifier does not know of a shorter delay
than the one it waits for, and a wait in Redis ends up to 0.1 s late."""
MAX_DUE_TIMES: Final = 1_000
"""Delays that one worker remembers; it bounds memory."""
LIVE_WITHIN: Final = 60.0
"""Seconds without a heartbeat, in addition to the time that a thread may block, after which `/livez` fails."""
REFUSED_LIMIT: Final = 5.0
"""Seconds for which a settlement is retried that only its source refuses. After that its lease expires: a slot that
waits for one format of the queue would be missing for the others."""


class ClaimQueue(Protocol):
    """Settles and claims: a driver, or batches over one."""

    def next(self, settlement: Settlement | None, /) -> NextResult: ...


class WorkerContext(msgspec.Struct, frozen=True):
    """Shared objects of workers and services. `stopping`: no new work begins; `abandoned`: claims go back now.

    Workers claim through `queue`; the `driver` is for services.
    """

    pool: WorkerPool
    driver: Driver
    queue: ClaimQueue
    resolver: Resolver
    dispatcher: Dispatcher
    claims: ClaimsInFlight
    recorder: SettlementRecorder
    watch: BrokerWatch
    metrics: Metrics
    beats: Heartbeats
    stopping: threading.Event
    abandoned: threading.Event
    isolation: Isolation = msgspec.field(default_factory=Isolation)
    tracing: Tracing = NO_TRACING
    paused: PausedWebhooks = msgspec.field(default_factory=none_paused)
    batches: Batches | None = None


class Worker:
    """One worker. Without a slot it attempts deliveries of other workers' jobs; with a slot it claims jobs."""

    def __init__(self, name: str, context: WorkerContext) -> None:
        self.name = name
        self.slot = Slot()
        self.is_waiting = True
        # A claim may be arriving that is not among the claims in flight yet. A stop waits for it and puts it back too.
        self.claiming = False
        # The claim and delivery in progress; they are given back if this thread crashes.
        self.current: tuple[JobInFlight, WebhookDelivery | None] | None = None
        self._allowance = 0.0
        self._due: list[float] = []  # sorted: when the records are due that this worker delayed
        # The settlement of the last job, if the next claim is to send it.
        self.settlement: Settlement | None = None
        self._pool = context.pool
        self._queue = context.queue
        self._is_woken = bool(context.driver.sources)  # otherwise `next` itself waits
        self._resolver = context.resolver
        self._dispatcher = context.dispatcher
        self._claims = context.claims
        self._recorder = context.recorder
        self._watch = context.watch
        self._metrics = context.metrics
        self._beats = context.beats
        self._stopping = context.stopping
        self._abandoned = context.abandoned
        self._isolation = context.isolation
        self._begin_span = None if context.tracing is NO_TRACING else context.tracing.begin
        self._paused = context.paused
        self._batches = context.batches

    def run(self) -> None:
        """Work until the pool ends this worker."""
        self._paused.wait_until_known(self._stopping)
        while True:
            task = self._pool.wait_for_task(self.slot)
            self.is_waiting = False
            if task is None:
                return
            # A worker with a task must send heartbeats; a waiting one need not.
            self._allow(LIVE_WITHIN)
            if isinstance(task, Slot):
                self._work_slot()
            else:
                self._settle(self._attempt(*task))
            self._beats.unregister(self.name)
            self._allowance = 0.0
            self._pool.rejoin()
            self.is_waiting = True

    def forget(self) -> None:
        """Stop expecting heartbeats, because the thread has ended."""
        self._beats.unregister(self.name)

    def step(self) -> None:
        """Settle the last job, then claim a job and process it, or wait for one. Call only while `_may_claim` is true.

        References to a job's bytes are dropped early: a job may be large, and the next one may come much later.
        """
        settlement, self.settlement = self.settlement, None
        if self._isolation.holds:
            self._wait_for_suspect(settlement)
            return
        seen, asked_at = self._pool.wakeups, time.monotonic()
        claim = self._next(settlement)
        if settlement is not None and settlement.parts:
            self._expect(settlement)  # now, because the queue server counts a delay from the arrival of the settlement
        if claim is None:
            if self._is_woken:
                self.claiming = False
                self._pool.wait_for_work(seen, self._until_due(asked_at))
            return
        settlement = None
        self.settlement = self._deliver(claim)
        if self._resolver.large_jobs.bytes and len(claim.body) > LARGE and not self._isolation.holds:
            self._settle_now()  # otherwise it would stay in memory until the next job arrives

    def _expect(self, settlement: Settlement) -> None:
        """Remember when the records are due that a settlement delays."""
        now = time.monotonic()
        for part in settlement.parts:
            if isinstance(part, Retry) and part.delay_ms <= EXPECTED_WITHIN * 1000:
                insort(self._due, now + part.delay_ms / 1000)
        del self._due[MAX_DUE_TIMES:]

    def _until_due(self, asked_at: float) -> float:
        """Return the seconds until an idle worker polls, after a claim at `asked_at` found nothing."""
        self._forget_due(asked_at)
        return min(IDLE_POLL_INTERVAL, max(self._due[0] - time.monotonic(), 0.0)) if self._due else IDLE_POLL_INTERVAL

    def _forget_due(self, until: float) -> None:
        del self._due[: bisect_right(self._due, until)]

    def _work_slot(self) -> None:
        """Claim and deliver while there is a slot; the settlement of one job claims the next."""
        while self._may_claim():
            self.step()
        self._settle_now()
        if self._batches is not None and self._stopping.is_set():
            self._flush(self._batches)

    def _flush(self, batches: Batches) -> None:
        """At a stop, give back the jobs that no worker has begun.

        Retries until done, or until the claims are abandoned.
        """
        backoff = broker_backoff()
        while batches.holds and not self._abandoned.is_set():
            try:
                batches.flush(everything=True)
            except BrokerError as error:
                self._watch.failed(error)
                self._beats.beat(self.name)
                backoff.wait(self._abandoned)

    def _settle_now(self) -> None:
        """Settle the last job without claiming the next."""
        self.claiming = False
        settlement, self.settlement = self.settlement, None
        self._settle(settlement)

    def _allow(self, seconds: float) -> None:
        """Set the maximum number of seconds between heartbeats."""
        if seconds != self._allowance:
            self._beats.register(self.name, seconds)
            self._allowance = seconds

    def _wait_for_suspect(self, settlement: Settlement | None) -> None:
        """Settle without claiming, because another job runs alone."""
        self.claiming = False
        self._settle(settlement)
        if settlement is not None:
            self._isolation.end(settlement.claim.receipt)
        self._isolation.wait()

    def _may_claim(self) -> bool:
        """Return whether to claim: there is a slot and no stop. Then `claiming` is set, because a claim may arrive."""
        if self._stopping.is_set() or not (self.slot.held or self._pool.try_take(self.slot)):
            return False
        self._beats.beat(self.name)
        self.claiming = True
        return not self._stopping.is_set()  # checked again, for a stop that did not see `claiming`

    def _deliver(self, claim: Claim) -> Settlement | None:
        """Process one claim: the first delivery in this thread, the others on spare workers.

        Returns the settlement, or None if other workers still process the claim or its lease was lost.
        """
        self._metrics.claimed(None if claim.state or claim.lapses else claim.source)
        if claim.lapses >= SUSPECT_LAPSES or self._isolation.holds:
            waiting = JobInFlight(claim)
            self._claims[claim.receipt] = waiting
            self.claiming = False
            self.current = (waiting, None)
            if claim.lapses < SUSPECT_LAPSES or not self._isolation.begin(claim.receipt):
                return waiting.abandon()
            if waiting.settlement is not None:  # its lease was lost meanwhile
                self.current = None
                return None
        in_flight = self._resolver.resolve(claim, self._give_way)
        if self.current is not None and self.current[0].settlement is not None:
            self.current = None  # its lease was lost meanwhile, or the claim was put back
            return None
        if self._begin_span is not None and in_flight.job is not None:
            in_flight.span = self._begin_span(claim, in_flight.job, in_flight.deliveries)
        self._claims[claim.receipt] = in_flight
        self.claiming = False
        self.current = (in_flight, None)
        if self._stopping.is_set():
            return in_flight.abandon()
        if in_flight.settlement is not None:
            return in_flight.settlement
        own, *others = in_flight.deliveries
        for delivery in others:
            if not self._pool.offload((in_flight, delivery)):
                # No thread is free: the delivery becomes a record of its own and waits for a slot.
                in_flight.finish(
                    delivery, self._dispatcher.deferred(in_flight, delivery, Deferral(0.0, by_breaker=False))
                )
        return self._attempt(in_flight, own)

    def _give_way(self, claim: Claim, seconds: float, off_slot: bool) -> bool:
        """Yield during slow matching of a claim. Returns False if the claim has to go back.

        Without its slot, matching may take long, so the claim is put in flight and its lease renewed like that of an
        attempt.
        """
        if off_slot and self.claiming:
            waiting = JobInFlight(claim)
            self._claims[claim.receipt] = waiting
            self.current = (waiting, None)
            self.claiming = False
        if off_slot:
            self._pool.give_back(self.slot)
        self._beats.beat(self.name)
        if self._stopping.wait(seconds):
            return False
        return self.current is None or self.current[0].settlement is None

    def _attempt(self, in_flight: JobInFlight, delivery: WebhookDelivery) -> Settlement | None:
        """Attempt one delivery if its endpoint admits it. Returns the settlement if it was the last of the job."""
        self.current = (in_flight, delivery)
        if not self.slot.held and self._stopping.is_set():
            settlement = in_flight.finish(delivery, Requeue(delivery_state.encode(delivery.state)))
        else:
            self._allow(LIVE_WITHIN + delivery.webhook.request_timeout_ms / 1000)
            part = self._dispatcher.attempt(in_flight, delivery, self.slot, self._pool.give_back)
            settlement = in_flight.finish(delivery, part)
        if settlement is None:
            self.current = None  # other workers still process this job; the last one settles it
        return settlement

    def _next(self, settlement: Settlement | None) -> Claim | None:
        """Settle and claim, retrying until the broker answers. Returns None if there is no job or the daemon stops."""
        backoff: Backoff | None = None
        repeated, began, batches = False, time.monotonic(), self._batches
        if settlement is not None and batches is not None and batches.take_over(settlement):
            settlement = self.current = None
        while True:
            losses = self._watch.losses
            try:
                turn = self._queue.next(settlement)
            except BrokerError as error:
                self._watch.failed(error)
                backoff, repeated = backoff or broker_backoff(), True
                self._beats.beat(self.name)
                if settlement is not None and self._is_hopeless(error, began):
                    self._recorder.give_up(settlement, error)
                    settlement = self.current = None
                if backoff.wait(self._stopping):
                    self._settle(settlement, repeated=True)
                    return None
                continue
            if turn.asked and self._watch.awaits_answer:
                self._watch.worked(losses)
            if turn.trimmed:
                self._metrics.trimmed(turn.trimmed)
            if turn.lost:
                self._metrics.records_lost(turn.lost)
            if settlement is not None:
                if turn.accepted is not None:
                    self._recorder.record(settlement, accepted=turn.accepted, repeated=repeated)
                self.current = None  # otherwise the driver has queued it and reports the result later
            return turn.claim

    def _settle(self, settlement: Settlement | None, *, repeated: bool = False) -> None:
        """Settle without claiming. Retries until done, or until the claims are abandoned."""
        backoff, began = broker_backoff(), time.monotonic()
        while settlement is not None and not self._abandoned.is_set():
            try:
                self._recorder.settle(settlement, repeated=repeated)
            except BrokerError as error:
                self._watch.failed(error)
                repeated = True
                self._beats.beat(self.name)
                if self._is_hopeless(error, began):
                    self._recorder.give_up(settlement, error)
                    settlement = self.current = None
                else:
                    backoff.wait(self._abandoned)
            else:
                self.current = None
                return

    @staticmethod
    def _is_hopeless(error: BrokerError, began: float) -> bool:
        """Return whether a settlement has been refused for so long that its lease is left to expire."""
        return isinstance(error, SourceRefused) and time.monotonic() - began > REFUSED_LIMIT
