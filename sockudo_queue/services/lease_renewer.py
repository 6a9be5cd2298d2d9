"""Renews the leases of all claims in flight."""

from __future__ import annotations

from typing import Final

from sockudo_queue.errors import BrokerError
from sockudo_queue.pipeline.worker import WorkerContext

RENEW_AGAIN: Final = 0.5
"""Pause in seconds after a renewal without an answer: leases run on, and the next answer may come in time."""


class LeaseRenewer:
    """Renews at a fixed interval, in a thread of its own, until the daemon puts back what it holds."""

    def __init__(self, context: WorkerContext, interval: float, *, always: bool) -> None:
        """`interval` is in seconds. `always` also renews without a claim, for a driver that holds more than claims."""
        self.interval = interval
        self._context = context
        self._always = always

    def serve(self, name: str) -> None:
        """Renew until what is held is put back; a failed renewal is repeated soon."""
        pause = self.interval
        while not self._context.abandoned.wait(pause):
            self._context.beats.beat(name)
            try:
                self._renew()
            except BrokerError as error:
                self._context.watch.failed(error)
                pause = min(self.interval, RENEW_AGAIN)
            else:
                pause = self.interval

    def _renew(self) -> None:
        """Renew; a claim that is no longer ours is forgotten and will not be settled."""
        held = self._context.claims.all()
        if not held and not self._always:
            return
        flags = self._context.driver.renew([in_flight.claim for in_flight in held])
        for in_flight, renewed in zip(held, flags, strict=True):
            # A claim with a settlement may be gone because of it; the thread that settles it gets the answer.
            if not renewed and in_flight.settlement is None:
                self._context.recorder.record(in_flight.abandon(), accepted=False, repeated=False)
