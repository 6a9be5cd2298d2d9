"""The cost of a job, counted in calls and not in time: it is the same on every machine and has no noise.

docs/performance.md states what a call costs. Raise a limit here only for a benefit worth the cost.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final, cast

import pytest

from sockudo_queue.core.apps import App, StaticApps, Webhook
from sockudo_queue.core.secret import Secret
from sockudo_queue.delivery.admission.endpoint import EndpointRegistry
from sockudo_queue.delivery.admission.thread_budget import AdmissionLimits
from sockudo_queue.delivery.sender import Sender
from sockudo_queue.delivery.transport import BoundedResponse, CurlTransport
from sockudo_queue.drivers.base import Claim, Driver, NextResult, Settlement
from sockudo_queue.drivers.ring_history import RingHistory
from sockudo_queue.observability import logs
from sockudo_queue.observability.health import Heartbeats
from sockudo_queue.observability.metrics import Metrics
from sockudo_queue.observability.status_page.history import StatusHistory
from sockudo_queue.pipeline.attempt_recorder import AttemptRecorder
from sockudo_queue.pipeline.broker_status import BrokerWatch
from sockudo_queue.pipeline.dispatcher import Dispatcher
from sockudo_queue.pipeline.gated import GatedPool, GatedQueue
from sockudo_queue.pipeline.in_flight import ClaimsInFlight
from sockudo_queue.pipeline.resolve import Resolver
from sockudo_queue.pipeline.settlements import SettlementRecorder
from sockudo_queue.pipeline.unknown_apps import UnknownApps
from sockudo_queue.pipeline.worker import Worker, WorkerContext
from sockudo_queue.runtime.interpreter_lock import PythonGate
from sockudo_queue.services.attempt_history import AttemptHistory
from tests.helpers.jobs import APP_ID, job
from tests.helpers.log_state import logging_put_back

JOBS: Final = 200
CALLS_A_JOB: Final = 196
"""Calls of Python and C functions from claim to settlement, without driver and transport: 193 when this was written."""


LINE: Final = {
    "app": APP_ID,
    "webhook": "hook",
    "job": "id1",
    "attempt": 1,
    "outcome": "delivered",
    "reason": None,
    "detail": None,
    "status": 200,
    "duration_ms": 1.234,
    "events": 1,
    "bytes": 100,
    "reused": True,
    "trace_id": None,
}
"""The fields of the line of an attempt."""


class _Queue:
    """Returns claims like a driver, and stops the worker after the last one."""

    sources = ("list",)

    def __init__(self, count: int, stop: Callable[[], None]) -> None:
        self._left = count
        self._stop = stop
        self.acked = 0

    def settle(self, _settlements: object) -> list[bool]:
        raise AssertionError("every job is settled by the claim of the next one")

    def next(self, settled: Settlement | None) -> NextResult:
        self.acked += settled is not None and not settled.parts
        if not self._left:
            self._stop()
            return NextResult(True, None)
        self._left -= 1
        return NextResult(True, Claim("list", f"id{self._left}/1", job(self._left), b"", 0, 1_751_100_000_000))


class _Adapter:
    def post(self, url: str, *_: Any, **__: Any) -> BoundedResponse:
        return BoundedResponse(200, url, b"")


def _no_entry(source: str, app: str, row: bytes) -> None:
    raise AssertionError("a success leaves no entry in the mode failures")


@pytest.fixture
def quiet_log() -> Iterator[None]:
    with logging_put_back(), Path(os.devnull).open("wb") as nowhere:
        logs.set_up("info", "json", nowhere.fileno())
        yield
        assert logs.flush(5)


def calls_for(jobs: int, attempts: AttemptRecorder | None = None) -> int:
    """Let a worker deliver `jobs` jobs in this thread; return how many calls that took."""
    stopping = threading.Event()
    gate = PythonGate()
    pool = GatedPool(gate, 1, 0, lambda: None)
    pool._threads = pool._waiting_count = 1

    def stop() -> None:
        stopping.set()
        pool.stop()

    queue, metrics, log = _Queue(jobs, stop), Metrics("redis", "webhooks"), logs.get_logger().bind()
    webhook = Webhook("hook", frozenset({"channel_occupied"}), Secret("http://127.0.0.1:9/"))
    unknown_apps = UnknownApps(log, lambda _: None)
    registry = StaticApps([App(APP_ID, (webhook,))])
    resolver = Resolver(registry, unknown_apps, log, max_lapses=5, unknown_app_budget_ms=300_000)
    dispatcher = Dispatcher(
        EndpointRegistry(AdmissionLimits(5, 32, 0.1, 10, 5.0, 60.0)),
        cast(Any, Sender(cast(CurlTransport, _Adapter()))),
        metrics,
        log,
        stopping,
        recorder=attempts or AttemptRecorder(_no_entry, every=False, channels=True),
    )
    driver, claims, watch = cast(Driver, queue), ClaimsInFlight(), BrokerWatch(log, lambda _: None)
    gated = GatedQueue(gate, driver)
    recorder = SettlementRecorder(gated, claims, metrics, StatusHistory(metrics), log)
    context = WorkerContext(
        pool,
        driver,
        gated,
        resolver,
        dispatcher,
        claims,
        recorder,
        watch,
        metrics,
        Heartbeats(),
        stopping,
        threading.Event(),
    )
    count = calls_of(Worker("worker-1", context).run)
    assert queue.acked == jobs
    return count


def calls_of(work: Callable[[], object]) -> int:
    """Return how many calls a piece of work makes in this thread."""
    count = 0

    def called(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def test_a_job_costs_no_more_calls_than_it_did(quiet_log: None) -> None:
    calls_for(10)  # caches are filled by the first ones
    each = (calls_for(2 * JOBS) - calls_for(JOBS)) / JOBS

    assert each <= CALLS_A_JOB


def test_an_entry_of_the_history_costs_no_more_calls_than_a_log_line(
    quiet_log: None,
) -> None:
    log = logs.get_logger().bind()
    history = AttemptHistory(RingHistory(length=10_000, mode="all"), "pod:1", log)
    recorder = AttemptRecorder(history.append, every=True, channels=True)
    calls_for(10, recorder)
    entry = (calls_for(JOBS, recorder) - calls_for(JOBS)) / JOBS
    line = calls_of(lambda: [log.info("delivery.attempted", **LINE) for _ in range(JOBS)]) / JOBS

    assert sum(len(waiting.rows) for waiting in history._sources.values()) == JOBS + 10
    assert entry <= line
