"""The texts of the page of attempts; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from sockudo_queue.history.entry import DEAD_LETTER, Entry
from sockudo_queue.history.figures import HistoryFigures
from sockudo_queue.history.search import Criteria, Page
from sockudo_queue.history.wording import kept, missing, no_entry, recorded
from sockudo_queue.observability.status_page.wording import ago, count, moment

PATH: Final = "/attempts"
FIELDS: Final = {
    "app": "App",
    "webhook": "Webhook",
    "job": "Job",
    "channel": "Channel",
    "event": "Event",
    "outcome": "Outcome",
    "reason": "Reason",
    "status": "Status",
}


class SearchField(NamedTuple):
    """One field of the search form."""

    name: str
    label: str
    value: str


class EntryDisplay(NamedTuple):
    """One history entry, formatted for display."""

    moment: str
    ago: str
    app: str
    webhook: str
    job: str
    job_link: str
    attempt: str
    outcome: str
    reason: str
    status: str
    took: str
    events: Sequence[str]
    trace: str


class AttemptsView(NamedTuple):
    """The content of the page, from top to bottom."""

    fields: Sequence[SearchField]
    notes: Sequence[str]
    rows: Sequence[EntryDisplay]
    empty: str
    older: str  # the address of the next page; empty if there is none


def criteria_of(given: Mapping[str, str]) -> Criteria:
    """Return the filters of a form. Raises `ValueError` with a text for the user."""
    wanted: dict[str, Any] = _given(given)
    status: str = wanted.pop("status", "")
    if status and not (status.isascii() and status.isdigit() and len(status) == 3):
        raise ValueError("The status must be three digits, for example 503.")
    return Criteria(**wanted, status=int(status) if status else None)


def link(**wanted: str) -> str:
    """Return the address of a search."""
    return f"{PATH}?{urlencode(wanted, errors='replace')}"


def _given(given: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in given.items() if value}


def view_of(
    given: Mapping[str, str], criteria: Criteria, figures: HistoryFigures, configured_mode: str, found: Page, now: float
) -> AttemptsView:
    """Return the content of the page for a search result."""
    older = link(**_given(given), before=found.next) if found.next else ""
    return AttemptsView(
        fields_of(given),
        list(_notes(figures, configured_mode, found, now)),
        [_row(entry, now) for entry in found.entries],
        "" if found.entries else _empty(figures, criteria, found),
        older,
    )


def fields_of(given: Mapping[str, str]) -> list[SearchField]:
    """Return the fields of the form with the values that the user entered."""
    return [SearchField(name, label, given[name]) for name, label in FIELDS.items()]


def _notes(figures: HistoryFigures, configured_mode: str, found: Page, now: float) -> Iterator[str]:
    yield from (f"Recorded: {line}." for line in recorded(figures, configured_mode, lambda ms: moment(ms / 1000)))

    def dated(ms: int) -> str:
        return f"{moment(ms / 1000)} ({ago(ms / 1000, now)})"

    yield f"Kept: {kept(figures, f'{count(figures.entries)} entries', dated)}."
    yield f"Dropped: {count(figures.dropped)} entries were lost before they were stored."
    if figures.purged_ms is not None:
        yield f"Entries of an app were purged, the last time at {moment(figures.purged_ms / 1000)}."
    yield from (f"Missing: entries of {refusal}." for refusal in missing(figures, found))
    if found.unreadable:
        yield f"{count(found.unreadable)} entries could not be read; a later version may have written them."


def _empty(figures: HistoryFigures, criteria: Criteria, found: Page) -> str:
    if found.next is not None:
        reached = "" if found.reached_ms is None else f" back to {moment(found.reached_ms / 1000)}"
        return f"No entry was found{reached}. The search is not finished; go on with older entries."
    line = no_entry(figures, criteria, found)
    return line[:1].upper() + line[1:]


def _row(entry: Entry, now: float) -> EntryDisplay:
    row = entry.row
    named = [f"{name} {channel}".rstrip() for name, channel in entry.events]
    more = [f"and {count(row.more)} more"] if row.more else []
    return EntryDisplay(
        moment(row.at / 1000),
        ago(row.at / 1000, now),
        entry.app,
        row.webhook,
        row.job,
        link(job=row.job),
        str(row.attempt),
        row.outcome,
        row.reason or "",
        str(row.status or ""),
        "" if row.outcome == DEAD_LETTER else f"{row.took_ms:,} ms",
        [*named, *more],
        _trace_of(entry),
    )


def _trace_of(entry: Entry) -> str:
    row = entry.row
    names = [("trace", row.trace_id), ("span", row.span_id)]
    return ", ".join(f"{name} {value}" for name, value in names if value)
