"""What must be said of the history wherever it is shown; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sockudo_queue.history.search import Criteria, Page
from sockudo_queue.history.store import HistoryFigures, Mode

MODES: Final[Mapping[str, str]] = {
    Mode.OFF: "off: nothing is recorded",
    Mode.FAILURES: "failures: failed attempts and the deliveries that follow them; a delivery at the first attempt "
    "leaves no entry",
    Mode.ALL: "all: every attempt",
}


_MORE: Final = (
    "Entries can also be lost when a daemon is killed, and an entry names at most 20 events of a job; "
    "docs/attempt-history.md lists every case."
)


def missing(figures: HistoryFigures, page: Page) -> list[str]:
    """Return the reasons of all sources that could not be read, or not to their end."""
    return list(dict.fromkeys((*figures.refused, *page.refused)))


def no_entry(figures: HistoryFigures, criteria: Criteria, page: Page) -> str:
    """Say that nothing was found, and that this is no proof."""
    wanted = "" if criteria == Criteria() else " matches"
    if missing(figures, page) or page.unreadable:
        reason = "a part of the history could not be read"
    elif figures.mode == Mode.ALL and not figures.dropped:
        reason = "it may be older than the oldest entry, in the last second, or not attempted yet"
    elif figures.mode == Mode.ALL:
        reason = "it may be among the dropped entries, older than the oldest entry, or not attempted yet"
    else:
        reason = "a delivery at the first attempt leaves none"
    return f"no entry{wanted}. This does not mean that nothing was delivered: {reason}. {_MORE}"
