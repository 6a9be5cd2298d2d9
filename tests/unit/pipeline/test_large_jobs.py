"""Large jobs wait for those that are in memory already; small ones never do."""

from __future__ import annotations

from itertools import count

from sockudo_queue.drivers.base import Claim
from sockudo_queue.pipeline.large_jobs import FIRST_WAIT, KEPT, LARGE, LargeJobs

IDS = count()


def claim(size: int) -> Claim:
    return Claim("list", f"{next(IDS)}/1", bytes(size), b"", 0, 0)


def test_jobs_beyond_the_room_wait_in_line_until_one_has_ended() -> None:
    large_jobs = LargeJobs(1_000_000, clock=lambda: 100.0)
    first, second = claim(600_000), claim(400_000)
    assert large_jobs.wait_ms(first) == large_jobs.wait_ms(second) == 0
    assert [large_jobs.wait_ms(claim(300_000)) for _ in range(4)] == [1000, 250, 500, 750]
    assert large_jobs.bytes == 1_000_000
    del first
    assert large_jobs.bytes == 400_000
    third = claim(300_000)
    assert large_jobs.wait_ms(third) == 0


def test_one_job_larger_than_all_the_room_is_worked_on_alone() -> None:
    large_jobs = LargeJobs(1_000_000)
    giant = claim(5_000_000)
    assert large_jobs.wait_ms(giant) == 0
    assert large_jobs.wait_ms(claim(300_000)) > 0


def test_small_job_never_waits_and_is_not_counted() -> None:
    large_jobs = LargeJobs(1_000_000)
    giant, small = claim(5_000_000), claim(LARGE)
    assert large_jobs.wait_ms(giant) == large_jobs.wait_ms(small) == 0
    assert large_jobs.bytes == 5_000_000


def test_no_wait_is_longer_than_half_a_minute() -> None:
    large_jobs = LargeJobs(1_000_000, clock=lambda: 100.0)
    giant = claim(5_000_000)
    large_jobs.wait_ms(giant)
    assert max(large_jobs.wait_ms(claim(300_000)) for _ in range(1_000)) == 30_000


def test_room_is_kept_for_the_first_job_that_waits() -> None:
    now = 100.0
    large_jobs = LargeJobs(1_000_000, clock=lambda: now)
    running, big = claim(600_000), claim(900_000)
    assert large_jobs.wait_ms(running) == 0
    assert large_jobs.wait_ms(big) > 0
    assert large_jobs.wait_ms(claim(300_000)) > 0, "it would keep the big one out"
    del running
    assert large_jobs.wait_ms(claim(300_000)) > 0
    assert large_jobs.wait_ms(big) == 0


def test_room_is_not_kept_for_a_job_that_does_not_come() -> None:
    now = 100.0
    large_jobs = LargeJobs(1_000_000, clock=lambda: now)
    running = claim(600_000)
    assert large_jobs.wait_ms(running) == 0
    assert large_jobs.wait_ms(claim(900_000)) > 0
    now += FIRST_WAIT + KEPT + 0.1
    assert large_jobs.wait_ms(claim(300_000)) == 0
