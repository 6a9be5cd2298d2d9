"""Sends acks in time, and gives back jobs that no worker has started in time, while no worker asks the queue."""

from __future__ import annotations

from typing import Final

from sockudo_queue.errors import BrokerError
from sockudo_queue.pipeline.batches import Batches
from sockudo_queue.pipeline.broker_status import broker_backoff
from sockudo_queue.pipeline.worker import WorkerContext

MAX_WAIT: Final = 1.0
"""Seconds after which it looks whether it is stopped."""

PAUSE: Final = 0.05
"""Seconds after a failure. It is short, because other sources may answer, and their acks are due."""


class BatchFlusher:
    """Serves the batches of one daemon, in a thread of its own."""

    def __init__(self, context: WorkerContext, batches: Batches) -> None:
        self._context = context
        self._batches = batches

    def serve(self, name: str) -> None:
        """Flush what is due until the daemon stops, then everything; workers flush what they add after that."""
        context, batches = self._context, self._batches
        while not context.stopping.is_set():
            context.beats.beat(name)
            if not batches.filled.wait(MAX_WAIT):
                continue
            if (pause := batches.until_due()) > 0:
                context.stopping.wait(pause)
                continue
            try:
                batches.flush()
            except BrokerError as error:
                context.watch.failed(error)
                context.stopping.wait(PAUSE)
        backoff = broker_backoff()
        while batches.holds and not context.abandoned.is_set():
            try:
                batches.flush(everything=True)
            except BrokerError as error:
                context.watch.failed(error)
                context.beats.beat(name)
                backoff.wait(context.abandoned)
