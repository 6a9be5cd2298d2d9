"""The service beside notifier and renewer that a driver needs which holds more than what is claimed.

It carries out in batches what workers have settled, wakes workers for what falls due in the driver's memory, and at a
stop gives back what was received and not begun.
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
    """Tends one driver. `gave_back` is set when nothing is left to give back at a stop."""

    def __init__(self, driver: BufferedDriver, context: WorkerContext) -> None:
        self.driver = driver
        self.gave_back = threading.Event()
        self._context = context

    def serve(self, name: str) -> None:
        """Work until the daemon puts back by itself what is left."""
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
        """Give back what was not begun. Where it fails, it comes back when its time is over."""
        try:
            self.driver.give_back()
        except BrokerError as error:
            self._context.watch.failed(error)
        finally:
            self.gave_back.set()
