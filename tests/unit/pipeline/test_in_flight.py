"""A claim in flight: what becomes of it when it is abandoned."""

from __future__ import annotations

from sockudo_queue.drivers.base import Claim, Requeue, Settlement
from sockudo_queue.pipeline.in_flight import JobInFlight

CLAIM = Claim("source", "id/1", b"{}", b"", 2, 0)


def test_unresolved_claim_that_is_abandoned_goes_back_whole() -> None:
    in_flight = JobInFlight(CLAIM)
    assert in_flight.settlement is None
    assert in_flight.abandon() == Settlement(CLAIM, (Requeue(),))


def test_unresolved_claim_whose_worker_died_counts_as_lapsed() -> None:
    assert JobInFlight(CLAIM).abandon(lapsed=True) == Settlement(CLAIM, (Requeue(lapsed=True),))


def test_claim_that_asks_for_nothing_is_acked() -> None:
    assert JobInFlight.settled(CLAIM).settlement == Settlement(CLAIM)
