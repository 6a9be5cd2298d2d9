"""When unknown apps prevail, and when jobs that wait for their app come back."""

from __future__ import annotations

import structlog.testing

from sockudo_queue.pipeline.unknown_apps import (
    HORIZON,
    LATER_LOOKUPS_PER_SECOND,
    LOOKUPS_PER_SECOND,
    MIN_KNOWN_TO_RECOVER,
    RECENT,
    LookupSchedule,
    UnknownApps,
    format_reason,
)


def watched() -> tuple[UnknownApps, list[str | None]]:
    changes: list[str | None] = []
    return UnknownApps(structlog.get_logger(), changes.append), changes


def test_unknown_apps_prevail_once_and_a_clear_majority_of_known_ones_ends_it() -> None:
    apps, changes = watched()
    with structlog.testing.capture_logs() as lines:
        for _ in range(RECENT - 1):
            apps.record("lost", known=False)
        assert not apps.prevail
        apps.record("lost", known=False)
        assert apps.prevail
        for _ in range(MIN_KNOWN_TO_RECOVER - 1):
            apps.record("shop", known=True)
        assert apps.prevail
        apps.record("shop", known=True)
        assert not apps.prevail
    assert changes == [format_reason("lost"), None]
    assert [(line["event"], line["app"]) for line in lines] == [("apps.unknown", "lost")]
    assert "such as 'lost'; see" in lines[0]["text"]


def test_known_app_that_completes_the_window_is_not_named() -> None:
    apps, changes = watched()
    with structlog.testing.capture_logs() as lines:
        for _ in range(RECENT - 1):
            apps.record("lost", known=False)
        apps.record("shop", known=True)
    assert changes == [format_reason("lost")]
    assert [line["app"] for line in lines] == ["lost"]


def test_half_known_is_enough() -> None:
    apps, changes = watched()
    for _ in range(2 * RECENT):
        apps.record("lost", known=False)
        apps.record("shop", known=True)
    assert not apps.prevail
    assert changes == []


def test_mixed_traffic_does_not_make_readiness_flap() -> None:
    apps, changes = watched()
    with structlog.testing.capture_logs():
        for number in range(1000):
            apps.record("app", known=number % 5 in (0, 2))  # 40 %
        assert changes == [format_reason("app")]
        for number in range(1000):
            apps.record("app", known=number % 5 in (0, 2, 4))  # 60 %
    assert changes == [format_reason("app")]


def test_returning_job_is_not_counted_while_apps_are_known() -> None:
    apps, changes = watched()
    apps.record("shop", known=True)
    for _ in range(2 * RECENT):
        apps.record("lost", known=False, fresh=False)
    assert changes == []


def test_jobs_that_come_back_after_a_restart_count_until_an_app_is_known() -> None:
    apps, changes = watched()
    with structlog.testing.capture_logs():
        for _ in range(RECENT):
            apps.record("lost", known=False, fresh=False)
    assert changes == [format_reason("lost")]
    for _ in range(RECENT):
        apps.record("lost", known=True, fresh=False)
    assert changes == [format_reason("lost"), None]


def test_lookups_per_second_are_limited() -> None:
    schedule, now_ms = LookupSchedule(), 1_800_000_000_000
    delays = [schedule.delay_ms(now_ms, 1000) for _ in range(10 * LOOKUPS_PER_SECOND)]

    assert delays[:LOOKUPS_PER_SECOND] == [1000] * LOOKUPS_PER_SECOND
    seconds = [delay // 1000 for delay in delays]
    assert max(seconds.count(second) for second in set(seconds)) == LOOKUPS_PER_SECOND
    assert max(delays) < 11_000
    assert schedule.delay_ms(now_ms, 60_000) == 60_000
    assert schedule.delay_ms(now_ms + 20_000, 1000) == 1000, "what is past takes no place"
    assert len(schedule._due) <= 2


def test_jobs_that_wait_again_leave_lookups_for_new_ones() -> None:
    schedule, now_ms = LookupSchedule(), 1_800_000_000_000
    for _ in range(10 * LATER_LOOKUPS_PER_SECOND):
        schedule.delay_ms(now_ms - 59_000, 60_000)

    delays = [schedule.delay_ms(now_ms, 1000) for _ in range(LOOKUPS_PER_SECOND)]

    assert delays[: LOOKUPS_PER_SECOND - LATER_LOOKUPS_PER_SECOND] == [1000] * (
        LOOKUPS_PER_SECOND - LATER_LOOKUPS_PER_SECOND
    )
    assert max(delays) < 6_000


def test_lookups_beyond_the_schedule_are_spread() -> None:
    schedule, now_ms = LookupSchedule(), 1_800_000_000_000
    for second in range(now_ms // 1000, now_ms // 1000 + 2 * HORIZON):
        schedule._due[second] = LOOKUPS_PER_SECOND

    delays = {schedule.delay_ms(now_ms, 1000) for _ in range(20)}

    assert len(delays) > 10
    assert max(delays) <= HORIZON * 1000


def test_new_apps_begin_anew() -> None:
    apps, changes = watched()
    with structlog.testing.capture_logs():
        for _ in range(RECENT):
            apps.record("lost", known=False)
    apps.forget()
    assert not apps.prevail
    assert changes == [format_reason("lost"), None]
