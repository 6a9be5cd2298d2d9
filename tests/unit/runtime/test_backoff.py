"""Pauses between retries: growth, jitter, and the event that ends them early."""

from __future__ import annotations

import threading
import time

import pytest

from sockudo_queue.apps.stores import dynamodb, refresher
from sockudo_queue.pipeline.broker_status import broker_backoff
from sockudo_queue.runtime.backoff import Backoff, next_pause


@pytest.mark.parametrize(
    ("before", "factor", "pause"),
    [(0, 2, 0.5), (0.1, 2, 0.5), (0.5, 2, 1), (3.9, 2, 7.8), (4, 2, 8), (5, 2, 8), (100, 2, 8), (0, 3, 0.5), (1, 3, 3)],
)
def test_next_pause_is_a_multiple_within_bounds(before: float, factor: float, pause: float) -> None:
    assert next_pause(before, 0.5, 8, factor) == pause


@pytest.mark.parametrize(
    ("first", "longest", "jitter", "chance", "pauses"),
    [
        (1, 60, 0, 0.9, [1, 2, 4, 8, 16, 32, 60, 60]),
        (1, 60, 0.5, 0, [1, 2, 4]),
        (1, 60, 0.5, 1, [0.5, 1, 2]),
        (1, 60, 0.2, 0.5, [0.9, 1.8, 3.6]),
        (5, 5, 0, 0, [5, 5]),
    ],
)
def test_pauses_double_up_to_the_longest(
    first: float, longest: float, jitter: float, chance: float, pauses: list[float]
) -> None:
    backoff = Backoff(first, longest, jitter=jitter, chance=lambda: chance)

    assert [backoff.next() for _ in pauses] == pytest.approx(pauses)
    backoff.reset()
    assert [backoff.next() for _ in pauses] == pytest.approx(pauses)


def test_wait_ends_when_the_event_is_set() -> None:
    stop = threading.Event()
    assert Backoff(0.001, 0.001).wait(stop) is False
    stop.set()
    began = time.monotonic()
    assert Backoff(60, 60).wait(stop) is True
    assert time.monotonic() - began < 10


def test_broker_pauses_are_jittered_and_short() -> None:
    backoff = broker_backoff()
    for longest in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2, 2):
        assert longest / 2 <= backoff.next() <= longest


def test_app_store_pauses_have_the_documented_lengths() -> None:
    assert (refresher.FIRST_PAUSE, refresher.MAX_PAUSE) == (0.25, 5)
    throttled = Backoff(dynamodb.FIRST_PAUSE, dynamodb.MAX_PAUSE)
    assert [throttled.next() for _ in range(dynamodb.TRIES - 1)] == [0.2, 0.4, 0.8]
