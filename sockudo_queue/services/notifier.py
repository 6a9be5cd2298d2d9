"""Waits for work in one source and wakes idle workers when there is some."""

from __future__ import annotations

import time
from typing import Final

from sockudo_queue.errors import BrokerError, SourceRefused
from sockudo_queue.pipeline.broker_status import broker_backoff
from sockudo_queue.pipeline.worker import Workplace
from sockudo_queue.services.settler import Tending

LONGEST_WAIT: Final = 1.0
"""Longest wait for work, in seconds; also how long a notifier takes to see that the daemon stops."""
BUSY_PAUSE: Final = 0.02
"""Pause in seconds while every worker is busy. They claim without being woken; the notifier only empties the list."""
LAST_LOOK: Final = 0.5
"""Seconds for which the rest of Sockudo's list may be moved into our keys when the daemon stops."""


class Notifier:
    """Serves one source, in a thread of its own."""

    def __init__(self, place: Workplace, source: str, tending: Tending | None) -> None:
        """`tending` is the settler of a driver that holds more than is claimed."""
        self._place = place
        self._source = source
        self._tending = tending

    def serve(self, name: str) -> None:
        """Wait and wake until the daemon stops, then move what is left in the source into our keys."""
        place = self._place
        backoff = broker_backoff()
        longest = LONGEST_WAIT if self._tending is None else self._tending.driver.notifier_seconds
        while not place.stopping.is_set():
            place.beats.beat(name)
            losses = place.watch.losses
            try:
                jobs = place.driver.wait(self._source, longest)
            except SourceRefused as refusal:
                place.watch.source_refused(losses, refusal)
                place.crew.ring(1)  # only a claim finds out whether it is taken again, or whether all are refused
                backoff.wait(place.stopping)
                continue
            except BrokerError as error:
                place.watch.failed(error)
                backoff.wait(place.stopping)
                continue
            backoff.reset()
            place.watch.source_worked(losses, self._source)
            if jobs:
                place.crew.ring(jobs)
                if not place.crew.someone_is_idle:
                    place.stopping.wait(BUSY_PAUSE)
        if self._tending is not None:
            self._tending.give_back()  # the last receive of this source has ended by now
        take_over(place, self._source)


def take_over(place: Workplace, source: str) -> None:
    """Move all of Sockudo's list into our keys: a Sockudo that stops together with us deletes its list."""
    give_up_at = time.monotonic() + LAST_LOOK
    known, before = 0, -1
    # Each look moves a part; the last one finds no more than the one before.
    while known > before and not place.watch.is_lost and time.monotonic() < give_up_at:
        try:
            known, before = place.driver.wait(source, 0.0), known
        except BrokerError as error:
            place.watch.failed(error)
