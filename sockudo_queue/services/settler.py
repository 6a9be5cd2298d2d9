"""The service beside notifier and renewer that a driver needs which holds more than what is claimed.

It carries out in batches what workers have settled, rings for what falls due in the driver's memory, and at a stop
gives back what was received and not begun.
"""

from __future__ import annotations

import threading
from typing import Final

from sockudo_queue.drivers.base import Prefetching
from sockudo_queue.errors import BrokerError
from sockudo_queue.pipeline.broker_status import broker_backoff
from sockudo_queue.pipeline.worker import Workplace

LONGEST_WAIT: Final = 1.0
"""Seconds after which it looks whether it is stopped."""


class Tending:
    """Tends one driver. `gave_back` is set when nothing is left to give back at a stop."""

    def __init__(self, driver: Prefetching, place: Workplace) -> None:
        self.driver = driver
        self.gave_back = threading.Event()
        self._place = place

    def serve(self, name: str) -> None:
        """Work until the daemon puts back by itself what is left."""
        place = self._place
        backoff = broker_backoff()
        while not place.abandoned.is_set():
            place.beats.beat(name)
            try:
                ended, claimable = self.driver.tend(LONGEST_WAIT)
            except BrokerError as error:
                place.watch.failed(error)
                backoff.wait(place.abandoned)
                continue
            backoff.reset()
            for settlement, accepted in ended:
                place.ledger.record(settlement, accepted=accepted, repeated=False)
            if claimable:
                place.crew.ring(claimable)

    def give_back(self) -> None:
        """Give back what was not begun. Where it fails, it comes back when its time is over."""
        try:
            self.driver.give_back()
        except BrokerError as error:
            self._place.watch.failed(error)
        finally:
            self.gave_back.set()
