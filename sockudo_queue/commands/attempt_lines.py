"""The attempt history as lines for people and objects for machines.

What stands above every answer says what the answer is worth: an entry that is not there proves nothing by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any, Final

from sockudo_queue.commands.terminal import moment, plural, span
from sockudo_queue.config import LoadedSettings
from sockudo_queue.core.outcome import Verdict
from sockudo_queue.history.entry import DEAD_LETTER, Entry
from sockudo_queue.history.figures import HistoryFigures
from sockudo_queue.history.search import Criteria, Page
from sockudo_queue.history.story import WebhookStory
from sockudo_queue.history.wording import kept, missing, no_entry, recorded

HEADINGS: Final = ("TIME", "APP", "WEBHOOK", "JOB", "ATTEMPT", "OUTCOME", "STATUS", "TOOK", "EVENTS")
_ENDINGS: Final = {
    "delivered": "delivered",
    DEAD_LETTER: "given up as a dead letter",
    "refused": "refused; it becomes a dead letter",
    "failed": "the last attempt failed; a retry may follow",
}


def figures_lines(figures: HistoryFigures, configured: str, now: float) -> Iterator[str]:
    """Yield the lines above an answer: what is recorded, since when, and what is missing."""
    for label, line in zip_longest(("recorded",), recorded(figures, configured, moment), fillvalue=""):
        yield f"{label:<8}  {line}"
    if figures.modes and configured not in figures.current_modes:
        yield f"          the settings of this command have QUEUE_HISTORY={configured}"

    def dated(ms: int) -> str:
        return f"{moment(ms)} ({span(max(now - ms / 1000, 0))} ago)"

    yield f"kept      {kept(figures, plural(figures.entries, 'entry', 'entries'), dated)}"
    yield f"dropped   {plural(figures.dropped, 'entry', 'entries')} lost before they were stored"
    if figures.purged_ms is not None:
        yield f"purged    entries of an app, last at {moment(figures.purged_ms)}"


def missing_lines(figures: HistoryFigures, page: Page) -> Iterator[str]:
    """Yield the parts that could not be read, so that an answer does not look complete."""
    for refusal in missing(figures, page):
        yield f"missing   entries of {refusal}"
    if page.unreadable:
        yield f"missing   {plural(page.unreadable, 'entry', 'entries')} that this version cannot read"


def figures_for_machines(figures: HistoryFigures, loaded: LoadedSettings, page: Page) -> dict[str, Any]:
    """Return the same figures as an object."""
    return {
        "modes": [{"mode": each.mode, "since_ms": each.since_ms, "until_ms": each.until_ms} for each in figures.modes],
        "configured_mode": loaded.settings.history.mode,
        "entries": figures.entries,
        "bytes": figures.bytes,
        "oldest_ms": figures.oldest_ms,
        "complete_from_ms": figures.complete_from_ms,
        "dropped": figures.dropped,
        "purged_ms": figures.purged_ms,
        "unread_sources": missing(figures, page),
        "unreadable": page.unreadable,
    }


def is_complete(figures: HistoryFigures, page: Page) -> bool:
    """Return whether the history can be expected to have every attempt, so that a missing entry means something."""
    was_read = page.next is None and not missing(figures, page) and not page.unreadable
    was_removed = figures.complete_from_ms is not None or figures.purged_ms is not None
    return was_read and figures.records_all and not figures.dropped and not was_removed


def row_of(entry: Entry) -> tuple[str, ...]:
    """Return one entry as cells of a table."""
    row = entry.row
    return (
        moment(row.at),
        entry.app or "-",
        row.webhook or "(the whole job)",
        row.job,
        str(row.attempt),
        _outcome(entry),
        str(row.status or "-"),
        "-" if row.outcome == DEAD_LETTER else f"{row.took_ms:,} ms",
        _events(entry),
    )


def _outcome(entry: Entry) -> str:
    row = entry.row
    return f"{row.outcome} ({row.reason})" if row.reason else row.outcome


def _events(entry: Entry) -> str:
    named = [f"{name} {channel}".rstrip() for name, channel in entry.events]
    more = [f"and {entry.row.more:,} more"] if entry.row.more else []
    return ", ".join([*named, *more]) or "-"


def entry_for_machines(entry: Entry) -> dict[str, Any]:
    """Return one entry as an object."""
    row = entry.row
    return {
        "at_ms": row.at,
        "app": entry.app,
        "webhook": row.webhook or None,
        "job": row.job,
        "attempt": row.attempt,
        "outcome": row.outcome,
        "reason": row.reason,
        "status": row.status,
        "duration_ms": row.took_ms,
        "replica": entry.replica,
        "events": [{"name": name, "channel": channel or None} for name, channel in entry.events],
        "more_events": row.more,
        "trace_id": row.trace_id,
        "span_id": row.span_id,
    }


def story_for_machines(story: WebhookStory) -> dict[str, Any]:
    """Return the attempts of a job at one webhook as an object."""
    return {
        "app": story.app,
        "webhook": story.webhook or None,
        "ending": story.ending,
        "was_delivered": story.was_delivered,
        "entries": [entry_for_machines(entry) for entry in story.entries],
    }


def story_lines(found: Sequence[WebhookStory], figures: HistoryFigures, page: Page) -> Iterator[str]:
    """Yield for each webhook the attempts of a job and the result."""
    if not found:
        yield no_entry(figures, Criteria(job=""), page)
        return
    for story in found:
        yield ""
        yield f"webhook   {story.webhook or '- (the whole job)'} of the app {story.app or '-'}"
        for entry in story.entries:
            yield f"          {_try(entry)}"
        before = "; it was delivered earlier" if story.was_delivered and story.ending != Verdict.DELIVERED else ""
        yield f"          {_ENDINGS[story.ending]}{before}"
    if not figures.records_all:
        yield ""
        yield "webhooks that accepted the job at the first attempt are not listed"


def _try(entry: Entry) -> str:
    row = entry.row
    if row.outcome == DEAD_LETTER:
        return f"{moment(row.at)}  dead letter: {row.reason}, after {plural(row.attempt, 'attempt')}"
    status = f", status {row.status}" if row.status is not None else ""
    trace = f", trace {row.trace_id}" if row.trace_id else ""
    span_of_try = f", span {row.span_id}" if row.span_id else ""
    details = f"{_outcome(entry)}{status}, {row.took_ms:,} ms, {_events(entry)}{trace}{span_of_try}"
    return f"{moment(row.at)}  attempt {row.attempt}: {details}"
