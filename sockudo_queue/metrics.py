"""The Prometheus series of the daemon; the only module that knows their names and labels.

`Metrics` has a registry of its own, so that two daemons in one process of a test do not share counters. Its methods are
safe from any thread and cheap: labelled children are looked up once and kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SETTLED_OUTCOMES: Final = ("completed", "retry", "dead-letter", "put-back", "lease-lost", "unconfirmed")
DEPTH_STATES: Final = ("ready", "active", "delayed", "dead-letter")


class Metrics:
    """Every series of one daemon."""

    def __init__(self, backend: str, queue: str) -> None:
        self.registry = CollectorRegistry()
        labels = (backend, queue)
        r = self.registry
        self.claimed = Counter("sockudo_queue_claimed", "Claims of records.", ("backend", "queue"), registry=r).labels(
            *labels
        )
        settled = Counter("sockudo_queue_settled", "Claims that ended.", ("backend", "queue", "outcome"), registry=r)
        self._settled = {outcome: settled.labels(*labels, outcome) for outcome in SETTLED_OUTCOMES}
        depth = Gauge("sockudo_queue_depth", "Records by state.", ("backend", "queue", "state"), registry=r)
        self._depth = {state: depth.labels(*labels, state) for state in DEPTH_STATES}
        self._attempts = Counter(
            "sockudo_webhook_attempts", "Attempts at endpoints.", ("app", "endpoint", "outcome"), registry=r
        )
        self._duration = Histogram(
            "sockudo_webhook_attempt_duration_seconds", "Time of one attempt.", ("endpoint",), registry=r
        )
        self._in_flight = Gauge("sockudo_webhook_in_flight", "Attempts in flight.", ("endpoint",), registry=r)
        self._dead = Counter("sockudo_webhook_dead_letters", "Dead letters made.", ("reason",), registry=r)
        self.dead_letters_trimmed = Counter(
            "sockudo_webhook_dead_letters_trimmed", "Dead letters dropped by retention.", registry=r
        )
        self._attempt_children = lru_cache(4096)(self._attempts.labels)
        self._duration_children = lru_cache(4096)(self._duration.labels)
        self._in_flight_children = lru_cache(4096)(self._in_flight.labels)

    def settled(self, outcome: str) -> None:
        """Count one claim that ended with an outcome of `SETTLED_OUTCOMES`."""
        self._settled[outcome].inc()

    def attempt_started(self, endpoint: str) -> None:
        self._in_flight_children(endpoint).inc()

    def attempt_ended(self, app: str, endpoint: str, outcome: str, seconds: float) -> None:
        """Count one attempt; `outcome` is a verdict of `outcome.Verdict`, `endpoint` a webhook's name."""
        self._in_flight_children(endpoint).dec()
        self._attempt_children(app, endpoint, outcome).inc()
        self._duration_children(endpoint).observe(seconds)

    def dead_letter(self, reason: str) -> None:
        self._dead.labels(reason).inc()

    def depth(self, by_state: Mapping[str, int]) -> None:
        for state, count in by_state.items():
            self._depth[state].set(count)
