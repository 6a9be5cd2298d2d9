"""What a history says of itself, from what its sources say: never more than every one of them can keep."""

from __future__ import annotations

import msgspec
import pytest

from sockudo_queue.history.figures import MODE_GAP_SECONDS, NOTE_SECONDS, HistoryFigures, Mode, ModePeriod, merged
from sockudo_queue.history.search import Criteria, Page
from sockudo_queue.history.wording import kept, no_entry, recorded

HOUR = 3_600_000
NOTHING = Page((), None)


def figures(
    *modes: ModePeriod, oldest: int | None = 5, complete_from: int | None = None, dropped: int = 0
) -> HistoryFigures:
    return HistoryFigures(modes, 10, 1_000, oldest, dropped, complete_from)


def period(mode: Mode, since: int, until: int) -> ModePeriod:
    return ModePeriod(mode, since * HOUR, until * HOUR)


def test_complete_begins_with_the_source_that_keeps_least() -> None:
    whole = merged([figures(oldest=1, complete_from=2), figures(oldest=7, complete_from=6), figures(oldest=4)])
    assert (whole.oldest_ms, whole.complete_from_ms, whole.entries) == (1, 6, 30)
    assert merged([figures(oldest=4), figures(oldest=None)]).complete_from_ms is None
    assert merged([]).complete_from_ms is None


def test_modes_of_all_sources_are_named_the_latest_first() -> None:
    one = figures(period(Mode.ALL, 1, 5))
    two = figures(period(Mode.ALL, 3, 6), period(Mode.OFF, 2, 4))
    assert merged([one, two]).modes == (period(Mode.ALL, 1, 6), period(Mode.OFF, 2, 4))


def test_mode_that_ended_before_what_is_kept_is_not_named() -> None:
    full = figures(period(Mode.ALL, 3, 6), period(Mode.OFF, 1, 2), complete_from=3 * HOUR)
    assert merged([full]).modes == (period(Mode.ALL, 3, 6),)
    assert merged([full]).records_all


def test_mode_that_may_have_been_used_after_its_last_note_is_named() -> None:
    removed = 3 * HOUR
    for until, is_named in ((removed - NOTE_SECONDS * 1000, True), (removed - NOTE_SECONDS * 1000 - 1, False)):
        off = ModePeriod(Mode.OFF, 0, round(until))
        whole = merged([figures(period(Mode.ALL, 1, 6), off, complete_from=removed)])
        assert (off in whole.modes) == is_named


def test_mode_is_current_until_no_daemon_notes_it() -> None:
    gap = MODE_GAP_SECONDS * 1000
    late, gone = ModePeriod(Mode.FAILURES, 0, HOUR - gap), ModePeriod(Mode.OFF, 0, HOUR - gap - 1)
    found = figures(period(Mode.ALL, 0, 1), late, gone)
    assert found.current_modes == (Mode.ALL, Mode.FAILURES)
    lines = recorded(found, "all", str)
    assert [line.rpartition("; ")[2] for line in lines] == ["since 0", "since 0", f"from 0 to {HOUR - gap - 1}"]


def test_configured_mode_is_shown_where_none_was_noted() -> None:
    assert recorded(figures(), "off", str) == ["off: nothing is recorded"]


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (figures(), "10 entries, the oldest of 5; none was removed to make room"),
        (figures(oldest=None), "no entry"),
        (figures(complete_from=7), "10 entries; complete from 7, older entries may have been removed"),
        (figures(oldest=None, complete_from=7), "no entry; complete from 7, older entries may have been removed"),
    ],
)
def test_what_is_kept(found: HistoryFigures, line: str) -> None:
    assert kept(found, "10 entries", str) == line


@pytest.mark.parametrize(
    ("found", "page", "reason"),
    [
        (figures(period(Mode.ALL, 0, 1)), NOTHING, "it may be older than the time in `kept`"),
        (figures(period(Mode.ALL, 0, 1), dropped=1), NOTHING, "it may be among the dropped entries"),
        (figures(period(Mode.ALL, 0, 1), period(Mode.FAILURES, 0, 1)), NOTHING, "a first-attempt delivery"),
        (figures(period(Mode.ALL, 0, 1), period(Mode.OFF, 0, 1)), NOTHING, "a daemon with the mode off"),
        (figures(), NOTHING, "a first-attempt delivery"),
        (figures(period(Mode.ALL, 0, 1)), Page((), None, refused=("list: BUSY",)), "could not be read"),
        (figures(period(Mode.ALL, 0, 1)), Page((), None, unreadable=1), "could not be read"),
    ],
)
def test_empty_answer_gives_the_reason_why_it_may_be_incomplete(found: HistoryFigures, page: Page, reason: str) -> None:
    assert reason in no_entry(found, Criteria(), page)


@pytest.mark.parametrize("mode", Mode)
def test_purge_is_a_reason_why_nothing_is_found(mode: Mode) -> None:
    found = figures(period(mode, 0, 1))
    assert "purged" not in no_entry(found, Criteria(), NOTHING)
    found = msgspec.structs.replace(found, purged_ms=1)
    assert ", or the entry was purged. " in no_entry(found, Criteria(), NOTHING)
