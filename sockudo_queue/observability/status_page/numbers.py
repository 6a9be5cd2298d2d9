"""Computes the series of the charts from samples; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from sockudo_queue.observability.metrics import ATTEMPT_SECONDS
from sockudo_queue.observability.status_page.history import Sample

Values = tuple[float | None, ...]
"""One value per sample or interval, in order; None if unknown."""
WAITING: Final = ("ready", "delayed")


class Rates(NamedTuple):
    """Attempts per second between consecutive samples."""

    delivered: Values
    failed: Values


class Latencies(NamedTuple):
    """Duration of attempts in seconds between consecutive samples; None if no attempt ended."""

    median: Values
    p95: Values


def waiting(samples: Sequence[Sample]) -> Values:
    """Return the number of waiting records: ready, or delayed until their next try."""
    return tuple(
        None if sample.depth is None else float(sum(sample.depth.get(state, 0) for state in WAITING))
        for sample in samples
    )


def oldest_ages(samples: Sequence[Sample]) -> Values:
    """Return the age of the oldest ready job in seconds; 0 if no job waited."""
    return tuple(
        None if sample.depth is None else max(sample.at - sample.oldest, 0.0) if sample.oldest else 0.0
        for sample in samples
    )


def rates(samples: Sequence[Sample]) -> Rates:
    """Return the delivered and failed attempts per second."""
    spans = [(before, after, max(after.at - before.at, 1e-3)) for before, after in pairwise(samples)]
    return Rates(
        tuple((after.delivered - before.delivered) / seconds for before, after, seconds in spans),
        tuple((after.failed - before.failed) / seconds for before, after, seconds in spans),
    )


def latencies(samples: Sequence[Sample]) -> Latencies:
    """Return median and 95th percentile of the attempts, estimated from the buckets."""
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
    return ATTEMPT_SECONDS[-1]  # above the last bound the value is unknown


def _differences(samples: Sequence[Sample]) -> Iterator[tuple[int, ...]]:
    for before, after in pairwise(samples):
        # The buckets do not exist before the first attempt.
        earlier = before.durations or (0,) * len(after.durations)
        yield tuple(now - then for now, then in zip(after.durations, earlier, strict=True))
