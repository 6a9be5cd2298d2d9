"""Renews the leases of all claims in flight."""

from __future__ import annotations

from typing import Final

from sockudo_queue.errors import BrokerError
from sockudo_queue.pipeline.worker import WorkerContext

RENEWAL_RETRY_INTERVAL: Final = 0.5
"""Seconds until a renewal without an answer is retried: leases run on, and the retry may still be in time."""


class LeaseRenewer:
    """Renews at a fixed interval, and retries a failed renewal soon. `pause` is the seconds until the next renewal."""

    def __init__(self, context: WorkerContext, interval: float, *, always: bool) -> None:
        """`interval` is in seconds. `always` renews even without claims, for a driver that holds more than claims."""
        self.interval = self.pause = interval
        self._context = context
        self._always = always

    def renew(self) -> None:
        """Renew once, if there is anything to renew."""
        try:
            self._renew()
        except BrokerError as error:
            self._context.watch.failed(error)
            self.pause = min(self.interval, RENEWAL_RETRY_INTERVAL)
        else:
            self.pause = self.interval

    def _renew(self) -> None:
        """Renew; drop claims that are no longer ours, so that they are not settled."""
        held = self._context.claims.all()
        if not held and not self._always:
            return
        flags = self._context.driver.renew([in_flight.claim for in_flight in held])
        for in_flight, renewed in zip(held, flags, strict=True):
            # A claim with a settlement may be gone because it was settled; the settling thread reports the result.
            if not renewed and in_flight.settlement is None:
                self._context.recorder.record(in_flight.abandon(), accepted=False, repeated=False)
