"""A bucket gives a burst, and then one token in a given time."""

from __future__ import annotations

from sockudo_queue.runtime.token_bucket import TokenBucket

START = 123_456.789


def taken(bucket: TokenBucket, now: float, tries: int = 100) -> int:
    count = 0
    for _ in range(tries):
        if bucket.has_token(now):
            bucket.take(now)
            count += 1
    return count


def test_full_bucket_gives_its_burst_and_no_more() -> None:
    assert taken(TokenBucket(1.0, 10), START) == 10


def test_empty_bucket_gives_one_token_each_period() -> None:
    bucket = TokenBucket(2.0, 3)
    taken(bucket, START)
    assert [taken(bucket, START + seconds) for seconds in (1.9, 2.0, 3.9, 8.0)] == [0, 1, 0, 3]


def test_bucket_is_full_again_after_its_burst_of_periods() -> None:
    bucket = TokenBucket(1.0, 4)
    assert bucket.is_full(START)
    taken(bucket, START)
    assert (bucket.is_full(START + 3.9), bucket.is_full(START + 4.0)) == (False, True)
    assert taken(bucket, START + 1_000) == 4
