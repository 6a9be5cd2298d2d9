"""The service thread of a `BufferedDriver`, a driver that holds more records than are claimed.

It carries out in batches what workers have settled, and wakes workers when records in the driver's buffer fall due.
During a stop the notifier, not this thread, calls `give_back`, because the notifier knows when the last receive ended.
"""

from __future__ import annotations

import threading
from typing import Final

from sockudo_queue.drivers.base import BufferedDriver
from sockudo_queue.errors import BrokerError
from sockudo_queue.pipeline.broker_status import broker_backoff
from sockudo_queue.pipeline.worker import WorkerContext

MAX_WAIT: Final = 1.0
"""Seconds after which the thread checks whether it must stop."""


class SettlerThread:
    """Serves one driver. `gave_back` is set during a stop, when nothing is left to give back."""

    def __init__(self, driver: BufferedDriver, context: WorkerContext) -> None:
        self.driver = driver
        self.gave_back = threading.Event()
        self._context = context

    def serve(self, name: str) -> None:
        """Work until the daemon starts to put back the remaining claims (`abandoned`)."""
        context = self._context
        backoff = broker_backoff()
        while not context.abandoned.is_set():
            context.beats.beat(name)
            try:
                ended, claimable = self.driver.flush(MAX_WAIT)
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
        """Give back unclaimed records; the notifier calls it. If it fails, their leases have to expire."""
        try:
            self.driver.give_back()
        except BrokerError as error:
            self._context.watch.failed(error)
        finally:
            self.gave_back.set()
