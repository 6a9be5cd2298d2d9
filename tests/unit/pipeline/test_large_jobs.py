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
    assert large_jobs.wait_ms(first, "a") == large_jobs.wait_ms(second, "b") == 0
    assert [large_jobs.wait_ms(claim(300_000), "waits") for _ in range(4)] == [1000, 250, 500, 750]
    assert large_jobs.bytes == 1_000_000
    del first
    assert large_jobs.bytes == 400_000
    third = claim(300_000)
    assert large_jobs.wait_ms(third, "waits") == 0


def test_one_job_larger_than_all_the_room_is_worked_on_alone() -> None:
    large_jobs = LargeJobs(1_000_000)
    giant = claim(5_000_000)
    assert large_jobs.wait_ms(giant, "a") == 0
    assert large_jobs.wait_ms(claim(300_000), "b") > 0


def test_small_job_never_waits_and_is_not_counted() -> None:
    large_jobs = LargeJobs(1_000_000)
    giant, small = claim(5_000_000), claim(LARGE)
    assert large_jobs.wait_ms(giant, "a") == large_jobs.wait_ms(small, "a") == 0
    assert large_jobs.bytes == 5_000_000


def test_no_wait_is_longer_than_half_a_minute() -> None:
    large_jobs = LargeJobs(1_000_000, clock=lambda: 100.0)
    giant = claim(5_000_000)
    large_jobs.wait_ms(giant, "a")
    assert max(large_jobs.wait_ms(claim(300_000), "b") for _ in range(1_000)) == 30_000


def test_room_is_kept_for_the_first_job_that_waits() -> None:
    now = 100.0
    large_jobs = LargeJobs(1_000_000, clock=lambda: now)
    running, big = claim(600_000), claim(900_000)
    assert large_jobs.wait_ms(running, "a") == 0
    assert large_jobs.wait_ms(big, "big") > 0
    assert large_jobs.wait_ms(claim(300_000), "b") > 0, "it would keep the big one out"
    del running
    assert large_jobs.wait_ms(claim(300_000), "b") > 0
    assert large_jobs.wait_ms(big, "big") == 0


def test_room_is_not_kept_for_a_job_that_does_not_come() -> None:
    now = 100.0
    large_jobs = LargeJobs(1_000_000, clock=lambda: now)
    running = claim(600_000)
    assert large_jobs.wait_ms(running, "a") == 0
    assert large_jobs.wait_ms(claim(900_000), "big") > 0
    now += FIRST_WAIT + KEPT + 0.1
    assert large_jobs.wait_ms(claim(300_000), "b") == 0


def test_app_above_its_fair_share_leaves_a_quarter_of_the_room_to_others() -> None:
    large_jobs = LargeJobs(4_000_000)
    greedy = [claim(500_000) for _ in range(20)]
    begun = [each for each in greedy if not large_jobs.wait_ms(each, "greedy")]
    assert len(begun) == 6

    others = [claim(300_000) for _ in range(3)]
    assert [large_jobs.wait_ms(each, f"app{number}") for number, each in enumerate(others)] == [0, 0, 0]


def test_apps_below_their_fair_shares_may_fill_the_room() -> None:
    large_jobs = LargeJobs(4_000_000)
    jobs = [(app, claim(500_000)) for app in "abcdefgh"]
    assert [large_jobs.wait_ms(each, app) for app, each in jobs] == [0] * 8
    assert large_jobs.wait_ms(claim(500_000), "i") > 0


def test_job_that_waits_for_its_own_app_keeps_no_room_and_no_place_from_others() -> None:
    large_jobs = LargeJobs(4_000_000, clock=lambda: 100.0)
    greedy = [claim(1_000_000) for _ in range(100)]
    waits = [large_jobs.wait_ms(each, "greedy") for each in greedy]
    assert waits[:5] == [0, 0, 0, 250, 500]
    other = claim(1_000_000)
    assert large_jobs.wait_ms(other, "other") == 0
    assert large_jobs.wait_ms(claim(500_000), "third") == 1000
    assert large_jobs.wait_ms(claim(500_000), "fourth") == 250, "the line of another app is not its own"


def test_app_whose_jobs_have_ended_has_no_share_any_more() -> None:
    large_jobs = LargeJobs(4_000_000)
    greedy = [claim(1_000_000) for _ in range(3)]
    assert [large_jobs.wait_ms(each, "greedy") for each in greedy] == [0, 0, 0]
    late = claim(1_000_000)
    assert large_jobs.wait_ms(late, "greedy") > 0
    greedy.pop()
    assert large_jobs.wait_ms(late, "greedy") == 0
    del late
    greedy.clear()
    assert (large_jobs.bytes, large_jobs._held) == (0, {})
