"""Runs a claim that may crash the process alone, so that no other job is lost with it.

A lease that expired twice may have expired because its job crashed the process. Such a job crashes it quickly, so other
claims wait only for the first `slow` seconds of the suspect. Before that, the suspect waits for the claims in flight,
for at most two seconds. So a suspect with a hanging endpoint delays the others by about two seconds, once per suspect.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from sockudo_queue.pipeline.in_flight import ClaimsInFlight

SUSPECT_LAPSES: Final = 2
"""Number of expired leases from which on a claim runs alone. One expired lease may come from a restart or from another
job."""
OTHERS_TIMEOUT: Final = 2.0
"""Maximum seconds to wait for the other claims in flight. A claim that takes longer is waiting for its endpoint and did
not crash the process."""
POLL: Final = 0.005
RELEASE_POLL: Final = 0.05


class Isolation:
    """Isolates one suspect at a time. Thread-safe; workers read `holds` before they claim."""

    def __init__(
        self,
        claims: ClaimsInFlight | None = None,
        is_claiming: Callable[[], bool] = lambda: False,
        stopping: threading.Event | None = None,
        *,
        slow: float = 0.1,
    ) -> None:
        """`is_claiming` returns whether a worker may be receiving a claim that is not in flight yet."""
        self.holds = False
        """While true, workers must not claim, and a claim that arrives nevertheless goes back."""
        self._claims = claims if claims is not None else ClaimsInFlight()
        self._is_claiming = is_claiming
        self._stopping = stopping if stopping is not None else threading.Event()
        self._slow = slow
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._suspect = ""
        self._release_at = 0.0
        self._hanging: set[str] = set()

    def begin(self, receipt: str) -> bool:
        """Wait until this claim is alone, for about two seconds at most. Returns False if it has to go back.

        The claim must be among the claims in flight, so that its lease is renewed. A second suspect does not wait here:
        if both were claimed, a crash would let both leases expire.
        """
        return self._hold(receipt) and self._wait_for_others(receipt)

    def end(self, receipt: str) -> None:
        """Release the other claims if this claim holds them up."""
        with self._lock:
            if self.holds and self._suspect == receipt:
                self._release()

    def update(self, now: float) -> None:
        """Release the other claims if the suspect has ended or has become slow; to be called many times a second."""
        if self.holds and (now >= self._release_at or self._suspect not in self._held()):
            self.end(self._suspect)

    def wait(self) -> None:
        """Wait for a short time, or until the other claims are released."""
        self._released.wait(RELEASE_POLL)

    def _hold(self, receipt: str) -> bool:
        with self._lock:
            if self.holds:
                return False
            self._released.clear()
            self._suspect, self.holds = receipt, True
            self._release_at = time.monotonic() + OTHERS_TIMEOUT + self._slow
            return True

    def _release(self) -> None:
        self.holds = False
        self._released.set()

    def _wait_for_others(self, receipt: str) -> bool:
        give_up_at = time.monotonic() + OTHERS_TIMEOUT
        while self._is_claiming() or self._held() - {receipt} - self._hanging:
            if time.monotonic() >= give_up_at:
                # They are not waited for again, because one hanging endpoint would delay all claims at every suspect.
                self._hanging = self._held() - {receipt}
                break
            if self._stopping.wait(POLL):
                self.end(receipt)
                return False
        self._release_at = time.monotonic() + self._slow
        return True

    def _held(self) -> set[str]:
        return {in_flight.claim.receipt for in_flight in self._claims.all()}
