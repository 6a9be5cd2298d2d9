"""The service thread of a `BufferedDriver`, a driver that holds more records than are claimed.

It carries out in batches what workers have settled, and wakes workers when records in the driver's buffer fall due. At
a stop the notifier, not this thread, calls `give_back`, because the notifier knows when the last receive has ended.
"""

from __future__ import annotations

import threading
from typing import Final

from sockudo_queue.drivers.base import BufferedDriver
from sockudo_queue.errors import BrokerError
from sockudo_queue.pipeline.broker_status import broker_backoff
from sockudo_queue.pipeline.worker import WorkerContext

LONGEST_WAIT: Final = 1.0
"""Seconds after which it looks whether it is stopped."""


class SettlerThread:
    """Serves one driver. `gave_back` is set when nothing is left to give back at a stop."""

    def __init__(self, driver: BufferedDriver, context: WorkerContext) -> None:
        self.driver = driver
        self.gave_back = threading.Event()
        self._context = context

    def serve(self, name: str) -> None:
        """Work until the daemon begins to put back what is still held (`abandoned`)."""
        context = self._context
        backoff = broker_backoff()
        while not context.abandoned.is_set():
            context.beats.beat(name)
            try:
                ended, claimable = self.driver.flush(LONGEST_WAIT)
            except BrokerError as error:
                context.watch.failed(error)
                backoff.wait(context.abandoned)
                continue
            backoff.reset()
            for settlement, accepted in ended:
                context.recorder.record(settlement, accepted=accepted, repeated=False)
            if claimable:
                context.pool.wake(claimable)

    def give_back(self) -> None:
        """Give back what was received and not begun; called by the notifier. After a failure its lease runs out."""
        try:
            self.driver.give_back()
        except BrokerError as error:
            self._context.watch.failed(error)
        finally:
            self.gave_back.set()
