"""The share of matching time by the clock of the test: which apps yield, which are deferred, and for how long."""

from __future__ import annotations

import pytest

from sockudo_queue.pipeline.matching_share import (
    BURST,
    LONG,
    LONG_LIMIT,
    MANY_ACCOUNTS,
    MAX_DEBT,
    SHARE,
    SLICE,
    Interrupted,
    JobMatching,
    MatchingDeferred,
    MatchingShares,
)


class World:
    """Shares with a clock; jobs search in steps of a slice."""

    def __init__(self) -> None:
        self.shares = MatchingShares()
        self.now = 1000.0
        self.waits: list[tuple[float, bool]] = []
        self.goes_on = True

    def work_of(self, app: str) -> None:
        if app != self.shares.latest:
            self.shares.switch_app(app)
        self.shares.latest_at = self.now

    def job(self, app: str = "costly") -> JobMatching:
        self.work_of(app)
        self.shares.check(app, self.now)
        return JobMatching(app, self.give_way)

    def give_way(self, seconds: float, off_slot: bool) -> bool:
        self.waits.append((seconds, off_slot))
        self.now += seconds
        return self.goes_on

    def search(self, job: JobMatching, seconds: float, *, others: bool = True, step: float = SLICE) -> None:
        for _ in range(round(seconds / step)):
            if others:
                self.work_of("honest")
            self.now += step
            self.shares.charge(job, step, self.now)


@pytest.fixture
def world() -> World:
    return World()


def test_app_over_its_share_is_matched_at_the_pace_of_its_share(world: World) -> None:
    began = world.now
    world.search(world.job(), 1.0)

    assert world.now - began == pytest.approx(1.0 / SHARE, rel=0.2)


@pytest.mark.parametrize("search", [SLICE, 10 * SLICE])
def test_long_match_gets_its_share_although_it_has_debt(world: World, search: float) -> None:
    job = world.job()
    world.search(job, 60.0, others=False)  # as much debt as there can be

    began = world.now
    world.search(job, 1.0, step=search)

    assert world.now - began == pytest.approx(1.0 / SHARE, rel=0.2)


def test_app_that_is_alone_gives_way_without_waiting(world: World) -> None:
    began = world.now
    world.search(world.job(), 1.0, others=False)

    assert world.now - began == pytest.approx(1.0)
    assert len(world.waits) == round(1.0 / SLICE)


def test_long_job_leaves_its_slot_and_a_short_one_does_not(world: World) -> None:
    job = world.job()
    world.search(job, LONG, others=False)
    assert not any(off_slot for _, off_slot in world.waits)

    world.search(job, 2 * SLICE, others=False)
    assert world.waits[-1][1]


def test_jobs_of_an_app_are_put_off_while_one_of_it_is_matched_off_its_slot(world: World) -> None:
    job = world.job()
    world.search(job, 2 * LONG)
    delays = []
    for _ in range(5):
        with pytest.raises(MatchingDeferred) as deferred:
            world.job()
        delays.append(deferred.value.deferral.delay)
    assert delays == sorted(delays)
    assert len(set(delays)) == 5
    world.job("honest")

    world.shares.end(job)
    world.now += 2 * BURST / SHARE
    world.job()


def test_app_in_debt_is_put_off_only_while_others_have_work(world: World) -> None:
    for _ in range(3):
        world.search(world.job(), 0.9 * LONG, others=False)
    world.work_of("honest")
    with pytest.raises(MatchingDeferred):
        world.job()

    world.now += 1.1
    world.job()


def test_debt_of_a_long_match_is_limited(world: World) -> None:
    job = world.job()
    world.search(job, 60.0, others=False)
    world.shares.end(job)
    world.work_of("honest")
    with pytest.raises(MatchingDeferred) as deferred:
        world.job()
    assert deferred.value.deferral.delay <= MAX_DEBT
    with pytest.raises(MatchingDeferred) as next_deferred:
        world.job()
    assert next_deferred.value.deferral.delay <= 2 * MAX_DEBT

    world.now += MAX_DEBT
    world.work_of("honest")
    world.job()


def test_jobs_that_began_together_do_not_all_become_long(world: World) -> None:
    first, second = world.job(), world.job()
    world.search(first, 2 * LONG)

    with pytest.raises(MatchingDeferred):
        world.search(second, 2 * LONG)
    world.shares.end(second)
    assert world.shares.accounts["costly"].long


def test_few_apps_at_a_time_have_a_long_job(world: World) -> None:
    jobs = [world.job(f"costly-{number}") for number in range(LONG_LIMIT + 1)]
    for job in jobs[:LONG_LIMIT]:
        world.search(job, 2 * LONG)
    with pytest.raises(MatchingDeferred):
        world.search(jobs[-1], 2 * LONG)

    world.shares.end(jobs[0])
    world.now += 10
    world.search(world.job("costly-4"), 2 * LONG)


def test_backlog_asks_less_often_than_once_in_the_longest_reservation(world: World) -> None:
    world.search(world.job(), 20.0)
    grows = 0
    for _ in range(1000):
        with pytest.raises(MatchingDeferred) as deferred:
            world.job()
        grows += deferred.value.deferral.grows
    assert grows > 900


def test_job_is_cut_off_when_the_daemon_stops(world: World) -> None:
    world.goes_on = False
    with pytest.raises(Interrupted):
        world.search(world.job(), SLICE)


def test_settled_accounts_are_forgotten_above_a_number(world: World) -> None:
    for number in range(2 * MANY_ACCOUNTS):
        world.search(world.job(f"app-{number}"), SLICE, others=False)
        world.now += SLICE / SHARE

    assert len(world.shares.accounts) <= MANY_ACCOUNTS + 1
