"""The texts and the paging of the dead letter pages, without a queue."""

from __future__ import annotations

import pytest

from sockudo_queue.observability.status_page.dead_letters import (
    DeadLetterFilter,
    DeadLetterPosition,
    DeadLetterProgress,
    DeadLetterSummary,
    FoundDeadLetters,
    dead_letter_position_of,
    filter_of,
)
from sockudo_queue.observability.status_page.dead_letters_view import FIELDS, PURGE, REPLAY, list_view, work_display

NOW = 1_800_000_000.0
NOTHING = dict.fromkeys(FIELDS, "")
SUMMARY = DeadLetterSummary("r.0", "j", int(NOW * 1000) - 60_000, "shop", "orders", "exhausted", "status-503", 10, None)


def work(**fields: object) -> DeadLetterProgress:
    given = {"ended_at": NOW, "seen": 5, "done": 5, "gone": 0, "left": {}, "fault": ""} | fields
    return DeadLetterProgress(REPLAY, "all", "ada", NOW - 3, **given)  # type: ignore[arg-type]


def test_a_filter_is_read_from_a_form() -> None:
    assert filter_of(NOTHING).is_everything
    given = NOTHING | {"app": "shop", "older": "2h"}
    assert filter_of(given) == DeadLetterFilter(app="shop", older=7200.0)
    with pytest.raises(ValueError, match=r"^Newer than must be a number with s, m, h, d or w; for example 15m\.$"):
        filter_of(NOTHING | {"newer": "soon"})


@pytest.mark.parametrize("text", ["", "-", "1", "1-", "-1", "x-1", "\u0665-1", "1-1-1", "1" * 50 + "-1"])
def test_text_that_is_no_position_is_ignored(text: str) -> None:
    assert dead_letter_position_of(text) is None


def test_a_position_survives_as_text() -> None:
    assert dead_letter_position_of(str(DeadLetterPosition(1_700_000_000_000, 3))) == (1_700_000_000_000, 3)


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"ended_at": None, "done": 2}, "quiet", "it has been running for 3 s and has checked 5 dead letters. Reload"),
        ({}, "good", "ada chose all 3 s ago; it took 3 s."),
        ({"left": {"unreadable": 2}}, "warn", "Left 2: unreadable."),
        ({"gone": 1}, "warn", "Already gone: 1"),
        ({"fault": "Redis is away"}, "bad", "It stopped: Redis is away. What was done is done"),
    ],
)
def test_action_is_described_in_words(fields: dict[str, object], kind: str, words: str) -> None:
    shown = work_display(work(**fields), NOW)
    assert shown.kind == kind
    assert words in " ".join(shown.lines)
    assert shown.is_running == ("ended_at" in fields)


def test_titles_name_the_action() -> None:
    assert work_display(work(done=1), NOW).title == "Replayed 1 dead letter"
    assert work_display(work(ended_at=None)._replace(action=PURGE), NOW).title == "Purging 5 dead letters"


def test_a_list_that_is_empty_says_why() -> None:
    done, cut = (
        FoundDeadLetters((), None, is_complete=True),
        FoundDeadLetters((), DeadLetterPosition(1, 1), is_complete=False),
    )
    assert list_view(NOTHING, done, 0, None, NOW).empty == "There are no dead letters."
    filtered = list_view(NOTHING | {"app": "x"}, done, 7, None, NOW)
    assert filtered.empty == "No dead letter matches. Without the filter there are 7."
    unfinished = list_view(NOTHING | {"app": "x"}, cut, 7, None, NOW)
    assert "not finished" in unfinished.empty
    assert unfinished.older == "/dead-letters?app=x&before=1-1"


def test_a_list_without_an_order_says_so() -> None:
    view = list_view(NOTHING, FoundDeadLetters([SUMMARY], None, is_complete=False), 99, None, NOW)
    assert view.older == ""
    assert "in no order" in view.note
    assert (view.rows[0].events, view.rows[0].attempts, view.scope) == ("-", "10", "all")
