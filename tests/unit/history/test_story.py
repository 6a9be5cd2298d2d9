"""The story of a job: its webhooks, their tries in order, and how each ended."""

from __future__ import annotations

import pytest

from sockudo_queue.history.entry import Entry, EntryRow
from sockudo_queue.history.story import stories


def entry(at: int, outcome: str, webhook: str = "orders", app: str = "shop") -> Entry:
    return Entry(app, "pod:1", EntryRow(at, "j", webhook, 1, outcome))


def test_story_lists_webhooks_in_the_order_of_their_first_try() -> None:
    found = stories(
        [
            entry(5, "delivered", "b"),
            entry(2, "retryable", "b"),
            entry(1, "delivered", "a"),
            entry(3, "delivered", "a", "2"),
        ]
    )
    assert [(each.app, each.webhook, [one.row.at for one in each.entries]) for each in found] == [
        ("shop", "a", [1]),
        ("shop", "b", [2, 5]),
        ("2", "a", [3]),
    ]


@pytest.mark.parametrize(
    ("outcomes", "ending"),
    [
        (["delivered"], "delivered"),
        (["retryable", "delivered"], "delivered"),
        (["retryable"], "failed"),
        (["permanent"], "refused"),
        (["retryable", "dead-letter"], "dead-letter"),
        (["dead-letter"], "dead-letter"),
        (["retryable", "dead-letter", "retryable"], "failed"),
        (["dead-letter", "delivered"], "delivered"),
    ],
)
def test_ending_is_that_of_the_last_entry(outcomes: list[str], ending: str) -> None:
    [story] = stories([entry(at, outcome) for at, outcome in enumerate(outcomes)])
    assert story.ending == ending
    assert story.was_delivered == ("delivered" in outcomes)


def test_dead_letter_of_the_moment_of_its_last_try_comes_last() -> None:
    [story] = stories([entry(7, "dead-letter"), entry(7, "permanent")])
    assert story.ending == "dead-letter"
