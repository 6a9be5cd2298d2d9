"""The loop of a notifier after errors."""

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
    """A log that discards everything."""

    def __getattr__(self, _level: str) -> Any:
        return lambda *_words, **_fields: None


class Failing(MemoryDriver):
    """A queue whose `wait` fails once and then stops the daemon."""

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
    """Run a notifier whose driver raises an error; return how often it woke a worker."""
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
        queue=cast(Any, None),
        stopping=stopping,
        abandoned=threading.Event(),
    )
    Notifier(context, SOURCE, None).serve("notifier-1")
    return pool.wakeups


def test_refusal_of_a_source_wakes_one_worker() -> None:
    """Only a claim shows whether the source works again, and an idle worker would claim only after seconds."""
    assert wakeups_after(SourceRefused(SOURCE, "no permission")) == 1


def test_outage_wakes_no_worker() -> None:
    assert wakeups_after(BrokerUnavailable("away")) == 0
