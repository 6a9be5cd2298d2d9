"""A queue that is mostly for unknown apps is held back; a few unknown ones among many are not a reason."""

from __future__ import annotations

import structlog.testing

from sockudo_queue.pipeline.unknown_apps import RECENT, UnknownApps, told


def watched() -> tuple[UnknownApps, list[str | None]]:
    changes: list[str | None] = []
    return UnknownApps(structlog.get_logger(), changes.append), changes


def test_mostly_unknown_holds_back_once_and_a_known_majority_ends_it() -> None:
    apps, changes = watched()
    with structlog.testing.capture_logs() as lines:
        for _ in range(RECENT - 1):
            apps.saw("lost", known=False)
        assert not apps.prevail
        apps.saw("lost", known=False)
        assert apps.prevail
        for _ in range(RECENT // 2):
            apps.saw("shop", known=True)
        assert not apps.prevail
    assert changes == [told("lost"), None]
    assert [(line["event"], line["app"]) for line in lines] == [("apps.unknown", "lost")]
    assert "such as 'lost'; see" in lines[0]["text"]


def test_a_known_app_that_tips_the_scale_is_not_named() -> None:
    apps, changes = watched()
    with structlog.testing.capture_logs() as lines:
        for _ in range(RECENT - 1):
            apps.saw("lost", known=False)
        apps.saw("shop", known=True)
    assert changes == [told("lost")]
    assert [line["app"] for line in lines] == ["lost"]


def test_half_known_is_enough() -> None:
    apps, changes = watched()
    for _ in range(2 * RECENT):
        apps.saw("lost", known=False)
        apps.saw("shop", known=True)
    assert not apps.prevail
    assert changes == []


def test_new_apps_begin_anew() -> None:
    apps, changes = watched()
    with structlog.testing.capture_logs():
        for _ in range(RECENT):
            apps.saw("lost", known=False)
    apps.forget()
    assert not apps.prevail
    assert changes == [told("lost"), None]
