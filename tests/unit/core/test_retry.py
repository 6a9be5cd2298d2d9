"""The retry policy by tables: default schedule, overrides, Retry-After, jitter and limits."""

from __future__ import annotations

from itertools import accumulate

import pytest

from sockudo_queue.core.outcome import Failure, Outcome, Verdict, from_failure, from_status
from sockudo_queue.core.retry import RetryPolicy

FAILED = from_status(500)
EVEN = 0.5  # the chance that causes no jitter


def schedule(policy: RetryPolicy, outcome: Outcome = FAILED) -> list[int]:
    """Return the times of the tries, in milliseconds from the first, if each fails immediately."""
    tries = [0]
    while (delay := policy.delay_ms(len(tries), tries[-1], outcome, EVEN)) is not None:
        tries.append(tries[-1] + delay)
        assert len(tries) < 1000
    return tries


def test_default_policy_has_the_documented_schedule() -> None:
    assert [at / 1000 for at in schedule(RetryPolicy())] == [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]


@pytest.mark.parametrize(
    ("policy", "tries"),
    [
        (RetryPolicy(enabled=False), [0]),
        (RetryPolicy(max_attempts=0), [0]),
        (RetryPolicy(max_attempts=1), [0]),
        (RetryPolicy(max_attempts=3), [0, 1000, 3000]),
        (RetryPolicy(max_elapsed_time_ms=0), [0]),
        (RetryPolicy(max_elapsed_time_ms=999), [0]),
        (RetryPolicy(max_elapsed_time_ms=1000), [0, 1000]),
        (RetryPolicy(max_elapsed_time_ms=7000), [0, 1000, 3000, 7000]),
        (RetryPolicy(initial_backoff_ms=10, max_backoff_ms=20, max_attempts=5), [0, 10, 30, 50, 70]),
        (RetryPolicy(initial_backoff_ms=50, max_backoff_ms=20, max_attempts=3), [0, 20, 40]),
        (RetryPolicy(initial_backoff_ms=0, max_attempts=3), [0, 1, 3]),
        (RetryPolicy(initial_backoff_ms=0, max_backoff_ms=0, max_attempts=3), [0, 1, 2]),
    ],
)
def test_policy_settings_change_the_schedule(policy: RetryPolicy, tries: list[int]) -> None:
    assert schedule(policy) == tries


@pytest.mark.parametrize(
    "outcome",
    [
        from_status(200),
        from_status(404),
        from_status(301),
        from_failure(Failure.GUARD),
        Outcome(Verdict.PERMANENT),
    ],
)
def test_outcome_that_is_not_retryable_has_no_delay(outcome: Outcome) -> None:
    assert RetryPolicy().delay_ms(1, 0, outcome, EVEN) is None


@pytest.mark.parametrize(
    ("retry_after", "elapsed_ms", "delay_ms"),
    [
        (None, 0, 1000),
        (0.0, 0, 1000),
        (0.5, 0, 1000),  # never shortened
        (5.0, 0, 5000),
        (299.0, 0, 299_000),
        (86_400.0, 0, 300_000),  # cut to what is left of the budget
        (86_400.0, 290_000, 10_000),
        (5.0, 298_000, 2000),
        (5.0, 299_500, None),
    ],
)
def test_retry_after(retry_after: float | None, elapsed_ms: int, delay_ms: int | None) -> None:
    outcome = from_status(429, retry_after=retry_after)

    assert RetryPolicy().delay_ms(1, elapsed_ms, outcome, EVEN) == delay_ms


@pytest.mark.parametrize(
    ("jitter", "chance", "delay_ms"),
    [(0.2, 0.0, 800), (0.2, 0.5, 1000), (0.2, 0.999_999, 1200), (0.0, 0.9, 1000), (1.0, 0.0, 0), (1.0, 0.75, 1500)],
)
def test_jitter_is_bounded(jitter: float, chance: float, delay_ms: int) -> None:
    assert RetryPolicy(jitter=jitter).delay_ms(1, 0, FAILED, chance) == delay_ms


def test_jitter_does_not_change_a_retry_after() -> None:
    outcome = from_status(503, retry_after=10.0)

    assert {RetryPolicy().delay_ms(1, 0, outcome, chance) for chance in (0.0, 0.5, 0.99)} == {10_000}


def test_budget_stops_retries_whatever_the_jitter() -> None:
    for chance in (0.0, 0.5, 0.999):
        assert RetryPolicy().delay_ms(10, 240_001, FAILED, chance) is None
        assert RetryPolicy().delay_ms(10, 240_000, FAILED, chance) is not None


def test_large_attempt_count_gives_the_maximum_delay() -> None:
    policy = RetryPolicy(max_elapsed_time_ms=10**12)

    assert policy.delay_ms(10**9, 0, FAILED, EVEN) == 60_000
    assert list(accumulate(policy.backoff_ms(n) for n in range(1, 9)))[-1] == 183_000
