"""The texts of the pages of dead letters; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import urlencode

from sockudo_queue.observability.status_page.attempts import SearchField
from sockudo_queue.observability.status_page.dead_letters import (
    DeadLetterDetails,
    DeadLetterProgress,
    DeadLetterSummary,
    FoundDeadLetters,
)
from sockudo_queue.observability.status_page.wording import ago, count, moment, seconds

PATH: Final = "/dead-letters"
SHOW: Final = f"{PATH}/show"
REPLAY: Final = f"{PATH}/replay"
PURGE: Final = f"{PATH}/purge"
FIELDS: Final = {
    "app": "App",
    "webhook": "Webhook",
    "reason": "Reason",
    "older": "Older than, e.g. 2h",
    "newer": "Newer than, e.g. 15m",
}
_VERBS: Final = {REPLAY: ("Replaying", "Replayed"), PURGE: ("Purging", "Purged")}


class DeadLetterRow(NamedTuple):
    """One dead letter in the list."""

    id: str
    link: str
    moment: str
    ago: str
    app: str
    webhook: str
    job: str
    reason: str
    last: str
    attempts: str
    events: str


class WorkDisplay(NamedTuple):
    """The progress of the last action."""

    kind: str
    title: str
    lines: Sequence[str]
    is_running: bool


class DeadLetterListView(NamedTuple):
    """The content of the list, from top to bottom. `given` is the filter, which is sent again with an action."""

    fields: Sequence[SearchField]
    given: Mapping[str, str]
    total: str
    work: WorkDisplay | None
    rows: Sequence[DeadLetterRow]
    empty: str
    older: str
    note: str
    reload: str
    scope: str


class DeadLetterDetailsView(NamedTuple):
    """The content of the page of one dead letter, from top to bottom."""

    row: DeadLetterRow
    facts: Sequence[tuple[str, str]]
    tries: Sequence[tuple[str, str, str]]
    unlisted: str
    earlier: Sequence[str]
    events: Sequence[str]
    obstacle: str


def given_of(given: Mapping[str, str]) -> dict[str, str]:
    """Return the fields that are not empty."""
    return {name: value for name, value in given.items() if value}


def list_link(given: Mapping[str, str], **more: str) -> str:
    """Return the address of a list."""
    query = urlencode(given_of(given) | more, errors="replace")
    return f"{PATH}?{query}" if query else PATH


def list_view(
    given: Mapping[str, str], found: FoundDeadLetters, total: int, work: DeadLetterProgress | None, now: float
) -> DeadLetterListView:
    """Return the content of one page of the list."""
    is_filtered = bool(given_of(given))
    return DeadLetterListView(
        fields_of(given),
        given_of(given),
        count(total),
        None if work is None else work_display(work, now),
        [row_of(summary, now) for summary in found.summaries],
        _empty(found, total, is_filtered=is_filtered),
        list_link(given, before=str(found.next)) if found.next is not None else "",
        "" if found.is_complete or found.next is not None else _UNORDERED,
        list_link(given),
        "matching" if is_filtered else "all",
    )


_UNORDERED: Final = (
    "SQS hands out dead letters in no order, so there may be others than these; a filter finds more. Actions reach all."
)


def fault_view(given: Mapping[str, str], fault: str, work: DeadLetterProgress | None, now: float) -> DeadLetterListView:
    """Return the content of a list that could not be read; it offers no actions."""
    shown = None if work is None else work_display(work, now)
    return DeadLetterListView(fields_of(given), {}, "-", shown, (), fault, "", "", list_link(given), "")


def fields_of(given: Mapping[str, str]) -> list[SearchField]:
    """Return the fields of the filter with the values that the user entered."""
    return [SearchField(name, label, given[name]) for name, label in FIELDS.items()]


def row_of(summary: DeadLetterSummary, now: float) -> DeadLetterRow:
    """Format one dead letter for display."""
    died = summary.died_ms / 1000
    return DeadLetterRow(
        summary.id,
        f"{SHOW}?{urlencode({'id': summary.id}, errors='replace')}",
        moment(died),
        ago(died, now),
        summary.app,
        summary.webhook,
        summary.job,
        summary.reason,
        summary.last,
        "-" if summary.attempts is None else count(summary.attempts),
        "-" if summary.events is None else count(summary.events),
    )


def work_display(work: DeadLetterProgress, now: float) -> WorkDisplay:
    """Format the progress or the result of an action."""
    is_running = work.ended_at is None
    verb = _VERBS[work.action][0 if is_running else 1]
    kind = "quiet" if is_running else "bad" if work.fault else "warn" if work.left or work.gone else "good"
    return WorkDisplay(kind, f"{verb} {_letters(work.done)}", list(_work_lines(work, now)), is_running)


def _work_lines(work: DeadLetterProgress, now: float) -> Iterator[str]:
    lasted = seconds((work.ended_at or now) - work.started_at)
    began = f"{work.user} chose {work.chosen} {ago(work.started_at, now)}"
    if work.ended_at is None:
        yield f"{began}; it has been running for {lasted} and has checked {_letters(work.seen)}. Reload to see more."
    else:
        yield f"{began}; it took {lasted}."
    if work.gone:
        yield f"Already gone: {count(work.gone)}. Somebody else has replayed or purged them."
    for reason, number in work.left.items():
        yield f"Left {count(number)}: {reason}."
    if work.fault:
        yield f"It stopped: {work.fault}. What was done is done; start it again for the rest."


def _letters(number: int) -> str:
    return f"{number:,} dead letter{'' if number == 1 else 's'}"


def _empty(found: FoundDeadLetters, total: int, *, is_filtered: bool) -> str:
    if found.summaries:
        return ""
    if found.next is not None:
        return f"None was found back to {moment(found.next.died_ms / 1000)}. The search is not finished; go on."
    if is_filtered and total:
        return f"No dead letter matches. Without the filter there are {count(total)}."
    return "There are no dead letters."


def details_view(details: DeadLetterDetails, now: float) -> DeadLetterDetailsView:
    """Format all data of one dead letter."""
    return DeadLetterDetailsView(
        row_of(details.summary, now),
        [
            ("Source", details.source),
            ("Body", f"{details.size:,} bytes, SHA-256 {details.digest}"),
            *([("Not readable", details.unreadable)] if details.unreadable else []),
        ],
        [(moment(each.at_ms / 1000), each.reason, f"{each.took_ms:,} ms") for each in details.tries],
        f"{count(details.unlisted_tries)} earlier attempts are not kept." if details.unlisted_tries else "",
        [
            f"{moment(death.died_ms / 1000)}: {death.reason} after {count(death.attempts)} attempts"
            f"{f', the last: {death.last}' if death.last else ''}; then replayed"
            for death in details.earlier
        ],
        [*(f"{name} {channel}".rstrip() for name, channel in details.events)]
        + ([f"and {count(details.more_events)} more"] if details.more_events else []),
        details.obstacle,
    )
