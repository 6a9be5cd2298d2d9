"""`dead-letters list` and `show`: dead letters without their secrets."""

from __future__ import annotations

import argparse
import os
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any, Final

from sockudo_queue.commands.context import EXIT_NO, reached
from sockudo_queue.commands.dead_letter_selection import none_matches, selection_of
from sockudo_queue.commands.terminal import (
    moment,
    plural,
    print_error,
    print_json,
    print_json_with,
    print_line,
    span,
    table,
)
from sockudo_queue.core.delivery_state import DeliveryState
from sockudo_queue.core.job import Job
from sockudo_queue.drivers.base import DeadLetterStore, Driver
from sockudo_queue.errors import SettingsError
from sockudo_queue.operations.dead_letters import DeadLetterEntry, Selection
from sockudo_queue.runtime import streams

HEADINGS: Final = ("ID", "SINCE", "REASON", "LAST", "ATTEMPTS", "EVENTS", "APP", "WEBHOOK")
_RAW_MODE: Final = 0o600  # it holds the app's secret


def list_dead_letters(options: argparse.Namespace) -> int:
    """Print the newest selected dead letters, the newest last, and the number for each reason."""
    with reached(options) as queue:
        if queue is None:
            return EXIT_NO
        selection, letters = selection_of(options), queue.driver.dead_letters
        if options.json:
            _list_for_machines(selection, letters, options.limit)
        else:
            _list_for_people(selection, queue.driver, 50 if options.limit is None else options.limit)
    return 0


def _list_for_machines(selection: Selection, letters: DeadLetterStore, limit: int | None) -> None:
    """Print one object per line as they come, so that a long list needs no memory; a limit keeps the newest."""
    chosen = selection.walk(letters)
    for entry in deque(chosen, limit) if limit else chosen:
        print_json(entry.summary)


def _list_for_people(selection: Selection, driver: Driver, limit: int) -> None:
    reasons: Counter[str] = Counter()
    newest: deque[tuple[str, ...]] = deque(maxlen=limit or None)
    for entry in selection.walk(driver.dead_letters):
        reasons[entry.reason] += 1
        newest.append(_row(entry, selection.now))
    if not reasons:
        print_line("no dead letters" if selection.is_everything else none_matches(driver))
        return
    for line in table(HEADINGS, newest):
        print_line(line)
    total = sum(reasons.values())
    if total > len(newest):
        print_line(f"… and {total - len(newest):,} older; --limit 0 shows all")
    print_line(
        f"{plural(total, 'dead letter')}: {', '.join(f'{count:,} {reason}' for reason, count in reasons.most_common())}"
    )


def _row(entry: DeadLetterEntry, now: float) -> tuple[str, ...]:
    state, job = entry.state, entry.job
    return (
        entry.letter.id,
        f"{span(max(now - entry.letter.died_ms / 1000, 0))} ago",
        entry.reason,
        entry.last or "-",
        str(state.attempts) if state else "-",
        str(len(job.events)) if isinstance(job, Job) else "-",
        entry.app or "-",
        entry.webhook or "(the whole job)",
    )


def show(options: argparse.Namespace) -> int:
    """Print one dead letter without secrets, or each dead letter of a job."""
    with reached(options) as queue:
        if queue is None:
            return EXIT_NO
        entries = list(Selection(frozenset([options.id])).walk(queue.driver.dead_letters))
    if not entries:
        print_error(f"dead-letters: no dead letter has the id {options.id}, and no job with that id has one")
        return EXIT_NO
    if options.raw is not None:
        return _write_raw(entries, options.raw)
    for number, entry in enumerate(entries):
        if options.json:
            _show_for_machines(entry)
            continue
        if number:
            print_line()
        _show_for_people(entry)
    return 0


def _write_raw(entries: list[DeadLetterEntry], name: str) -> int:
    """Write the bytes of the job, including the app's secret, to a file that only its owner can read."""
    body = entries[0].letter.body  # all letters of a job have its bytes
    if name == "-":
        streams.write_bytes(body)
        return 0
    try:
        # Never over a file that is there: its rights would stay as they are.
        with os.fdopen(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _RAW_MODE), "wb") as stream:
            stream.write(body)
    except OSError as error:
        raise SettingsError([f"--raw {name}: cannot be written: {error.strerror}"]) from None
    print_error(f"wrote {plural(len(body), 'byte')} to {name}; if they are a job, they contain the app's secret")
    return 0


def _details(entry: DeadLetterEntry) -> dict[str, Any]:
    """Return all details except secrets, as an object."""
    state, job = entry.state, entry.job
    details = entry.summary | {
        "source": entry.letter.source,
        "sha256": entry.digest,
        "history": [
            {"reason": death.reason, "died_ms": death.died, "attempts": death.attempts, "last": death.last}
            for death in (state.history if state else ())
        ],
        "tries": [
            {"at_ms": each.at, "reason": each.reason, "status": each.status, "duration_ms": each.took_ms}
            for each in (state.tries if state else ())
        ],
    }
    if isinstance(job, str):
        return details | {"unreadable": job}
    return details | {
        "app_key": job.app_key,
        "time_ms": job.time_ms,
        "unreadable_events": job.unreadable_events,
    }


def _tries(entry: DeadLetterEntry, state: DeliveryState) -> Iterator[str]:
    """Yield each stored attempt, the first one first, including those before a replay."""
    missing = entry.unlisted_tries
    if missing and state.tries:
        yield f"{plural(missing, 'earlier attempt')} not kept"
    for each in state.tries:
        yield f"{moment(each.at)}  {each.reason}, {each.took_ms:,} ms"


def _show_for_machines(entry: DeadLetterEntry) -> None:
    if isinstance(entry.job, str):
        print_json(_details(entry))
    else:
        print_json_with(_details(entry), "event_list", [bytes(event.raw) for event in entry.job.events])


def _show_for_people(entry: DeadLetterEntry) -> None:
    state, job = entry.state, entry.job
    print_line(f"id        {entry.letter.id}")
    print_line(f"job       {entry.job_id}")
    print_line(f"since     {moment(entry.letter.died_ms)}")
    print_line(f"reason    {entry.reason}")
    print_line(f"app       {entry.app or '-'}")
    print_line(f"webhook   {entry.webhook or '- (the whole job)'}")
    print_line(f"attempts  {state.attempts if state else '-'}, the last: {entry.last or '-'}")
    for line in _tries(entry, state) if state else ():
        print_line(f"          {line}")
    for death in state.history if state else ():
        tries = plural(death.attempts, "attempt")
        last = f", the last: {death.last}" if death.last else ""
        print_line(f"before    {moment(death.died)}  {death.reason} after {tries}{last}; then replayed")
    print_line(f"source    {entry.letter.source}")
    print_line(f"body      {plural(len(entry.letter.body), 'byte')}, SHA-256 {entry.digest}")
    if isinstance(job, str):
        print_line(f"          not a job: {job}; --raw FILE writes the bytes")
        return
    skipped = f", and {job.unreadable_events} that cannot be read" if job.unreadable_events else ""
    print_line(f"app key   {job.app_key}; the secret is not shown")
    print_line(f"events    {len(job.events)}{skipped}, of {moment(job.time_ms)}")
    for event in job.events:
        print_line(f"          {bytes(event.raw).decode()}")
