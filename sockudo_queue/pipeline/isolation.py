"""Lets a claim that may kill the process run while nothing else does, so that no other job dies with it.

A lease that expired twice may have expired because of its job. A job that kills does so quickly, so the others wait for
`slow` seconds once it has begun. Before that it waits for those in flight, for two seconds at most. So a suspect whose
endpoint hangs costs the others about two seconds, once for each such suspect.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from sockudo_queue.pipeline.in_flight import ClaimsInFlight

SUSPECT_LAPSES: Final = 2
"""Expired leases from which on a claim is worked on alone: one may be a restart, or a neighbour's fault."""
OTHERS_WITHIN: Final = 2.0
"""Seconds to wait for the other claims in flight; what takes longer hangs, and has waited long enough to be known."""
POLL: Final = 0.005
RELEASE_POLL: Final = 0.05


class Isolation:
    """One suspect at a time. Safe from any thread; `holds` is for workers to read before they claim."""

    def __init__(
        self,
        claims: ClaimsInFlight | None = None,
        is_claiming: Callable[[], bool] = lambda: False,
        stopping: threading.Event | None = None,
        *,
        slow: float = 0.1,
    ) -> None:
        """`is_claiming` tells whether a claim may be on its way that is not among the claims in flight yet."""
        self.holds = False
        """Nothing may be claimed, and what was claimed nevertheless goes back."""
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
        """Wait until this claim is alone, for some seconds at most; False where it has to go back.

        It must be among the claims in flight, so that its lease is renewed. A second suspect does not wait here:
        claimed, its lease would expire together with that of the first.
        """
        return self._hold(receipt) and self._wait_for_others(receipt)

    def end(self, receipt: str) -> None:
        """Let the others go on, where this claim holds them up."""
        with self._lock:
            if self.holds and self._suspect == receipt:
                self._release()

    def look(self, now: float) -> None:
        """Let the others go on where the suspect has ended or has become slow; to be called many times a second."""
        if self.holds and (now >= self._release_at or self._suspect not in self._held()):
            self.end(self._suspect)

    def wait(self) -> None:
        """Wait for a moment, or until the others may go on."""
        self._released.wait(RELEASE_POLL)

    def _hold(self, receipt: str) -> bool:
        with self._lock:
            if self.holds:
                return False
            self._released.clear()
            self._suspect, self.holds = receipt, True
            self._release_at = time.monotonic() + OTHERS_WITHIN + self._slow
            return True

    def _release(self) -> None:
        self.holds = False
        self._released.set()

    def _wait_for_others(self, receipt: str) -> bool:
        give_up_at = time.monotonic() + OTHERS_WITHIN
        while self._is_claiming() or self._held() - {receipt} - self._hanging:
            if time.monotonic() >= give_up_at:
                # They are not waited for again: one hanging endpoint would hold up everything at every suspect.
                self._hanging = self._held() - {receipt}
                break
            if self._stopping.wait(POLL):
                self.end(receipt)
                return False
        self._release_at = time.monotonic() + self._slow
        return True

    def _held(self) -> set[str]:
        return {in_flight.claim.receipt for in_flight in self._claims.all()}
