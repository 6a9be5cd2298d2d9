"""Waits for jobs in one source and wakes idle workers."""

from __future__ import annotations

import time
from typing import Final

from sockudo_queue.errors import BrokerError, SourceRefused
from sockudo_queue.pipeline.broker_status import broker_backoff
from sockudo_queue.pipeline.worker import WorkerContext
from sockudo_queue.services.settler import SettlerThread

MAX_WAIT: Final = 1.0
"""Maximum wait for jobs, in seconds; also how soon a notifier notices that the daemon stops."""
BUSY_PAUSE: Final = 0.02
"""Pause in seconds while all workers are busy. They claim without a wake-up; the notifier only empties the list."""
TAKE_OVER_SECONDS: Final = 0.5
"""Maximum seconds for moving the rest of Sockudo's list into our keys when the daemon stops."""


class Notifier:
    """Serves one source, in a thread of its own."""

    def __init__(self, context: WorkerContext, source: str, settler: SettlerThread | None) -> None:
        """`settler` is set for a driver that holds more than is claimed."""
        self._context = context
        self._source = source
        self._settler = settler

    def serve(self, name: str) -> None:
        """Wait for jobs and wake workers until the daemon stops, then move the rest of the source into our keys."""
        context = self._context
        backoff = broker_backoff()
        max_wait = MAX_WAIT if self._settler is None else self._settler.driver.notifier_seconds
        while not context.stopping.is_set():
            context.beats.beat(name)
            losses = context.watch.losses
            try:
                jobs = context.driver.wait(self._source, max_wait)
            except SourceRefused as refusal:
                context.watch.source_refused(losses, refusal)
                context.pool.wake(1)  # only a claim shows whether the source works again, or whether all are refused
                backoff.wait(context.stopping)
                continue
            except BrokerError as error:
                context.watch.failed(error)
                backoff.wait(context.stopping)
                continue
            backoff.reset()
            context.watch.source_worked(losses, self._source)
            if jobs:
                context.pool.wake(jobs)
                if not context.pool.has_idle_worker:
                    context.stopping.wait(BUSY_PAUSE)
        if self._settler is not None:
            self._settler.give_back()  # the last receive of this source has ended
        take_over(context, self._source)


def take_over(context: WorkerContext, source: str) -> None:
    """Move all of Sockudo's list into our keys, because a Sockudo that stops at the same time deletes its list."""
    give_up_at = time.monotonic() + TAKE_OVER_SECONDS
    known, before = 0, -1
    # Each call moves a part; stop when a call finds no more than the one before.
    while known > before and not context.watch.is_lost and time.monotonic() < give_up_at:
        try:
            known, before = context.driver.wait(source, 0.0), known
        except BrokerError as error:
            context.watch.failed(error)
