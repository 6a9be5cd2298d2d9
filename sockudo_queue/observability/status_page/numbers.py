"""Series for charts out of samples; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from sockudo_queue.observability.metrics import ATTEMPT_SECONDS
from sockudo_queue.observability.status_page.history import Sample

Values = tuple[float | None, ...]
"""One value per sample or interval, in their order; None where nothing is known."""
WAITING: Final = ("ready", "delayed")


class Rates(NamedTuple):
    """Per second, between one sample and the next."""

    delivered: Values
    failed: Values


class Latencies(NamedTuple):
    """Seconds of an attempt, between one sample and the next; None where none ended."""

    median: Values
    p95: Values


def waiting(samples: Sequence[Sample]) -> Values:
    """Return how many records waited, ready or for their next try."""
    return tuple(
        None if sample.depth is None else float(sum(sample.depth.get(state, 0) for state in WAITING))
        for sample in samples
    )


def oldest_ages(samples: Sequence[Sample]) -> Values:
    """Return how long the oldest job had waited, in seconds; 0 where none waited."""
    return tuple(
        None if sample.depth is None else max(sample.at - sample.oldest, 0.0) if sample.oldest else 0.0
        for sample in samples
    )


def rates(samples: Sequence[Sample]) -> Rates:
    """Return how many attempts a second were delivered and failed."""
    spans = [(before, after, max(after.at - before.at, 1e-3)) for before, after in pairwise(samples)]
    return Rates(
        tuple((after.delivered - before.delivered) / seconds for before, after, seconds in spans),
        tuple((after.failed - before.failed) / seconds for before, after, seconds in spans),
    )


def latencies(samples: Sequence[Sample]) -> Latencies:
    """Return median and 95th percentile of the attempts, as exact as the buckets are."""
    counts = list(_differences(samples))
    return Latencies(
        tuple(percentile(each, 0.5) for each in counts),
        tuple(percentile(each, 0.95) for each in counts),
    )


def percentile(counts: Sequence[int], share: float) -> float | None:
    """Estimate a percentile from counts by the buckets of `ATTEMPT_SECONDS`, evenly spread inside a bucket."""
    total = sum(counts)
    if not total:
        return None
    rank, below, lower = share * total, 0, 0.0
    for bound, count in zip(ATTEMPT_SECONDS, counts, strict=False):
        if below + count >= rank:
            return lower + (bound - lower) * (rank - below) / count
        below, lower = below + count, bound
    return ATTEMPT_SECONDS[-1]  # beyond the last bound nobody knows


def _differences(samples: Sequence[Sample]) -> Iterator[tuple[int, ...]]:
    for before, after in pairwise(samples):
        # The first attempt of all brings the buckets with it.
        earlier = before.durations or (0,) * len(after.durations)
        yield tuple(now - then for now, then in zip(after.durations, earlier, strict=True))
