"""One entry of the attempt history: an attempt at an endpoint that has ended, or a delivery that became a dead letter.

An entry holds names and figures only, never a body, a header, a URL or a secret. Everything in it is bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec

from sockudo_queue.core.job import Event

DEAD_LETTER: Final = "dead-letter"
"""The outcome of an entry that is no attempt: the delivery was given up. All other outcomes are verdicts."""
MOST_EVENTS: Final = 20
"""Events that an entry names; of the others it has the number."""
LONGEST_TEXT: Final = 255
"""Characters of each name; Sockudo's ids have as many, and its channels 200 unless it is configured otherwise."""
EVENTS_TEXT: Final = 2_000
"""Characters of all names of events and channels in one entry. One event is always named."""
LATEST_MS: Final = 253_402_300_799_999
"""The last moment of the year 9999; a later one cannot be shown as a date."""

# Anyone who can write to the store can write an entry, so a number that cannot be shown makes its row unreadable.
Moment = Annotated[int, msgspec.Meta(ge=0, le=LATEST_MS)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class EntryRow(msgspec.Struct, array_like=True, frozen=True):
    """What is stored of an entry, as a JSON array. A later version may add elements at the end.

    `at` is when it ended, in ms by the clock of the queue. `events` are names and channels in turn, and `more` counts
    those that are left out. App and replica are stored once for several rows. `trace_id` is the trace of the job, and
    `span_id` the span that the receiver was given, as in the log line of the attempt.
    """

    at: Moment
    job: str
    webhook: str
    attempt: Count
    outcome: str
    reason: str | None = None
    status: Count | None = None
    took_ms: Count = 0
    events: list[str] = []  # msgspec copies it
    more: Count = 0
    trace_id: str | None = None
    span_id: str | None = None


class Entry(msgspec.Struct, frozen=True):
    """One entry as a reader gets it. `webhook` is empty for a job that was given up as a whole."""

    app: str
    replica: str
    row: EntryRow

    @property
    def events(self) -> list[tuple[str, str]]:
        """Name and channel of each event; the channel is empty where it is not kept or there is none."""
        return list(zip(self.row.events[::2], self.row.events[1::2], strict=False))


_UNTRACED: Final = b",null,null]"
_ROWS: Final = msgspec.json.Encoder()
_ROW: Final = msgspec.json.Decoder(EntryRow)


def encode(row: EntryRow) -> bytes:
    """Return a row as one line of JSON, without the line break."""
    try:
        line = _ROWS.encode(row)
    except UnicodeEncodeError:  # a name of the settings may have half a surrogate pair
        texts = {name: clean(getattr(row, name) or "") for name in ("job", "webhook", "reason")}
        events = [clean(text) for text in row.events]
        line = _ROWS.encode(msgspec.structs.replace(row, **texts, events=events))
    is_traced = row.trace_id is not None or row.span_id is not None
    return line if is_traced else line[: -len(_UNTRACED)] + b"]"


def decode(line: bytes) -> EntryRow:
    """Read a row. Raises one of `DECODE_ERRORS` for what this version cannot read."""
    return _ROW.decode(line)


def clean(text: str) -> str:
    """Return a text that can be encoded, cut to its bound."""
    return text[:LONGEST_TEXT].encode(errors="replace").decode()


def names_of(events: Sequence[Event], *, channels: bool) -> tuple[list[str], int]:
    """Return names and channels of events in turn, and how many events are left out."""
    names: list[str] = []
    room = EVENTS_TEXT
    for event in events[:MOST_EVENTS]:
        name, channel = event.name[:LONGEST_TEXT], event.channel[:LONGEST_TEXT] if channels else ""
        room -= len(name) + len(channel)
        if room < 0 and names:
            break
        names += (name, channel)
    return names, len(events) - len(names) // 2
