"""Monitors the queue's environment: clocks, which affect readiness, Sockudo's own workers, and eviction."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from sockudo_queue.drivers.base import Peers, PeerSigns, Skew
from sockudo_queue.errors import BrokerError, BrokerRefused
from sockudo_queue.observability.reminder import Reminder

if TYPE_CHECKING:
    from sockudo_queue.observability.metrics import Metrics

CHECK_INTERVAL: Final = 5.0
RECHECK_INTERVAL: Final = 1.0
"""Seconds between checks while a clock is too far off for the daemon to be ready."""
SIGNS_INTERVAL: Final = 60.0
"""Seconds between two checks for other workers; the list of clients of a large server is long."""
SIGNS_FIRST: Final = 12
"""Number of first checks that also look for other workers, whose claims are visible only for moments."""
REMIND_AFTER: Final = 3_600.0
"""Seconds after which a lasting condition is logged again."""
WARN_MS: Final = 1_000
HOSTS_SHOWN: Final = 5


class PeerWatch:
    """Checks every few seconds, in one thread. `set_ready` takes a reason for not being ready, or None."""

    def __init__(
        self,
        peers: Peers,
        metrics: Metrics,
        log: Any,
        set_ready: Callable[[str | None], None],
        lease_ms: int,
    ) -> None:
        self._peers = peers
        self._metrics = metrics
        self._log = log
        self._set_ready = set_ready
        self._limit_ms = lease_ms / 3
        self._off: dict[str, Reminder] = {}
        self._is_far = False
        self._checks = 0
        self._signs_at = float("-inf")
        self._sharing = Reminder(REMIND_AFTER)
        self._evicting = Reminder(REMIND_AFTER)
        self._evictions: Sequence[str] | None = ()  # None: no permission to read them

    @property
    def pause(self) -> float:
        """Return the seconds until the next check."""
        return RECHECK_INTERVAL if self._is_far else CHECK_INTERVAL

    def try_poll(self) -> None:
        """Check once, unless the broker does not answer."""
        with contextlib.suppress(BrokerError):  # the notifiers also notice the outage, and report it
            self.poll()

    def poll(self) -> None:
        """Check once. Raises `BrokerError`."""
        skews = self._peers.skews()
        for skew in skews:
            self._metrics.clock_skew(skew.whose, skew.ahead_ms / 1000)
            self._log_clock(skew)
        far = [skew for skew in skews if abs(skew.ahead_ms) > self._limit_ms]
        self._is_far = bool(far)
        advice = "which is more than a third of the lease; synchronize the clocks"
        self._set_ready(f"{format_clock(far[0])}, {advice}" if far else None)
        now = time.monotonic()
        self._checks += 1
        if self._checks <= SIGNS_FIRST or now - self._signs_at >= SIGNS_INTERVAL:
            self._signs_at = now
            self._log_signs(self._peers.signs(), now)
            self._check_evictions(now)

    def _log_clock(self, skew: Skew) -> None:
        now = time.monotonic()
        if abs(skew.ahead_ms) <= WARN_MS:
            if self._off.pop(skew.whose, None) is not None:
                self._log.info("clock.synced", clock=skew.whose)
        elif self._off.setdefault(skew.whose, Reminder(REMIND_AFTER)).is_due(now):
            self._log.warning("clock.skewed", clock=skew.whose, ahead_s=skew.ahead_ms / 1000, text=format_clock(skew))

    def _check_evictions(self, now: float) -> None:
        """Log that the broker may evict stored jobs: at the start, after a change, and at an interval."""
        before = self._evictions
        try:
            self._evictions = self._peers.evictions()
        except BrokerRefused as refusal:
            if before is not None:
                self._log.info("eviction.unknown", reason=str(refusal))
            self._evictions = None
            return
        if self._evictions:
            if self._evicting.is_due(now, changed=self._evictions != before):
                self._log.warning("eviction.possible", text="; ".join(self._evictions))
        elif before:
            self._log.info("eviction.off")

    def _log_signs(self, signs: PeerSigns, now: float) -> None:
        self._metrics.competing_consumers(bool(signs))
        if signs and self._sharing.is_due(now):
            self._log.warning(
                "queue.competing_consumers", claims=signs.claims, clients=signs.clients, text=format_signs(signs)
            )


def format_clock(skew: Skew) -> str:
    """Return a line that says how far a clock is off."""
    direction = "ahead of" if skew.ahead_ms > 0 else "behind"
    return f"the clock of {skew.owner} is {abs(skew.ahead_ms) / 1000:.1f} s {direction} that of Redis"


def format_signs(signs: PeerSigns) -> str:
    """Return a line that says that others work on the queue, and what that causes."""
    found = []
    if signs.claims:
        found.append(f"claims of others on Queue V2: {signs.claims}")
    if signs.clients:
        more = ", …" if len(signs.hosts) > HOSTS_SHOWN else ""
        found.append(
            f"clients that wait with BLPOP in this database: {signs.clients}, "
            f"from {', '.join(signs.hosts[:HOSTS_SHOWN])}{more}"
        )
    return (
        f"workers of Sockudo seem to take jobs as well ({', '.join(found)}), possibly all of them. A job that they "
        "take does not become a dead letter when it fails, and while one webhook fails, the healthy webhooks of the "
        "same job get duplicates. For a Sockudo up to 4.7 set QUEUE_REDIS_CONCURRENCY=0 there (on a cluster "
        "REDIS_CLUSTER_QUEUE_CONCURRENCY=0); from 5.0 on see sockudo-queue check --acl and "
        "docs/deployment.md"
    )
