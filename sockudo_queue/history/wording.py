"""The texts that the page and the commands share about the history; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from sockudo_queue.history.figures import HistoryFigures, Mode
from sockudo_queue.history.search import Criteria, Page

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


def recorded(figures: HistoryFigures, configured_mode: str, moment: Callable[[int], str]) -> list[str]:
    """Return a line for each mode that daemons have used, the latest first. `moment` formats ms since 1970."""
    if not figures.modes:
        return [MODES.get(configured_mode, configured_mode)]
    lines = []
    for period in figures.modes:
        since, until = moment(period.since_ms), moment(period.until_ms)
        dates = f"since {since}" if period.mode in figures.current_modes else f"from {since} to {until}"
        lines.append(f"{MODES.get(period.mode, period.mode)}; {dates}")
    return lines


def kept(figures: HistoryFigures, count: str, dated: Callable[[int], str]) -> str:
    """Return how many entries there are and since when the history is complete. `dated` formats ms since 1970."""
    number = count if figures.oldest_ms is not None else "no entry"
    if figures.complete_from_ms is not None:
        return f"{number}; complete from {dated(figures.complete_from_ms)}, older entries may have been removed"
    if figures.oldest_ms is None:
        return number
    return f"{number}, the oldest of {dated(figures.oldest_ms)}; none was removed to make room"


def missing(figures: HistoryFigures, page: Page) -> list[str]:
    """Return the reasons of all sources that could not be read, or not to the end."""
    return list(dict.fromkeys((*figures.refused, *page.refused)))


def no_entry(figures: HistoryFigures, criteria: Criteria, page: Page) -> str:
    """Return a text for an empty result. It explains why an empty result does not prove that nothing was delivered."""
    wanted = "" if criteria == Criteria() else " matches"
    if missing(figures, page) or page.unreadable:
        reason = "a part of the history could not be read"
    elif figures.records_all and not figures.dropped:
        reason = "it may be older than the time in `kept`, in the last second, or not attempted yet"
    elif figures.records_all:
        reason = "it may be among the dropped entries, older than the time in `kept`, or not attempted yet"
    elif any(period.mode == Mode.OFF for period in figures.modes):
        reason = "a daemon with the mode off records nothing"
    else:
        reason = "with the mode failures a first-attempt delivery is not recorded"
    if figures.purged_ms is not None:
        reason += ", or the entry was purged"
    return f"no entry{wanted}. This does not mean that nothing was delivered: {reason}. {_MORE}"
