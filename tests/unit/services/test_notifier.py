"""The loop of a notifier, where one form of the queue is refused."""

from __future__ import annotations

import threading
from typing import Any, cast

from sockudo_queue.drivers.memory import SOURCE, MemoryDriver
from sockudo_queue.errors import BrokerError, BrokerUnavailable, SourceRefused
from sockudo_queue.observability.health import Heartbeats
from sockudo_queue.pipeline.broker_status import BrokerWatch
from sockudo_queue.pipeline.pool import WorkerPool
from sockudo_queue.pipeline.worker import WorkerContext
from sockudo_queue.services.notifier import Notifier


class Silent:
    """A log that nobody reads."""

    def __getattr__(self, _level: str) -> Any:
        return lambda *_words, **_fields: None


class Failing(MemoryDriver):
    """A queue whose notifier fails once; then the daemon is stopped."""

    def __init__(self, error: BrokerError, stopping: threading.Event) -> None:
        super().__init__(capacity=1, max_bytes=1_000, lease_ms=1_000, dead_retention=1)
        self._error: BrokerError | None = error
        self._stopping = stopping

    def wait(self, source: str, timeout: float) -> int:
        error, self._error = self._error, None
        if error is not None:
            self._stopping.set()
            raise error
        return super().wait(source, timeout)


def wakeups_after(error: BrokerError) -> int:
    """Let a notifier meet an error, and return how often it has woken a worker."""
    stopping, pool = threading.Event(), WorkerPool(5, 5, lambda: None)
    context = WorkerContext(
        pool=pool,
        driver=Failing(error, stopping),
        resolver=cast(Any, None),
        dispatcher=cast(Any, None),
        claims=cast(Any, None),
        recorder=cast(Any, None),
        watch=BrokerWatch(Silent(), lambda _reason: None),
        metrics=cast(Any, None),
        beats=Heartbeats(),
        gate=cast(Any, None),
        stopping=stopping,
        abandoned=threading.Event(),
    )
    Notifier(context, SOURCE, None).serve("notifier-1")
    return pool.wakeups


def test_a_refusal_wakes_a_worker_which_alone_finds_out_whether_it_goes_on() -> None:
    """An idle worker comes by after seconds only; until then the daemon would call itself ready, or not resume."""
    assert wakeups_after(SourceRefused(SOURCE, "no permission")) == 1


def test_an_outage_wakes_nobody() -> None:
    assert wakeups_after(BrokerUnavailable("away")) == 0
