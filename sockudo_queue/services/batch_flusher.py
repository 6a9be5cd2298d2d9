"""Sends acks in time, and gives back jobs that no worker has started in time, while no worker asks the queue."""

from __future__ import annotations

from typing import Final

from sockudo_queue.errors import BrokerError
from sockudo_queue.pipeline.batches import Batches
from sockudo_queue.pipeline.broker_status import broker_backoff
from sockudo_queue.pipeline.worker import WorkerContext

LONGEST_WAIT: Final = 1.0
"""Seconds after which it looks whether it is stopped."""


class BatchFlusher:
    """Serves the batches of one daemon, in a thread of its own."""

    def __init__(self, context: WorkerContext, batches: Batches) -> None:
        self._context = context
        self._batches = batches

    def serve(self, name: str) -> None:
        """Flush what is due until the daemon stops, then everything; workers flush what they add after that."""
        context, batches, backoff = self._context, self._batches, broker_backoff()
        while not context.stopping.is_set():
            context.beats.beat(name)
            if not batches.filled.wait(LONGEST_WAIT):
                continue
            if (pause := batches.until_due()) > 0:
                context.stopping.wait(pause)
                continue
            try:
                batches.flush()
            except BrokerError as error:
                context.watch.failed(error)
                backoff.wait(context.stopping)
            else:
                backoff.reset()
        try:
            batches.flush(everything=True)
        except BrokerError as error:
            context.watch.failed(error)
