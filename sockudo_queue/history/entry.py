"""One entry of the attempt history: a finished delivery attempt, or a delivery that became a dead letter.

An entry contains names and figures only, never a body, a header, a URL or a secret. Every field is bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec

from sockudo_queue.core.job import Event

DEAD_LETTER: Final = "dead-letter"
"""The outcome of an entry that is not an attempt: the delivery became a dead letter. All other outcomes are verdicts.
"""
MAX_EVENTS: Final = 20
"""Maximum number of events that an entry names; the rest are only counted."""
MAX_TEXT_LENGTH: Final = 255
"""Maximum characters of a name. Sockudo's ids have the same limit; its channel names have 200 unless configured
otherwise."""
EVENTS_TEXT: Final = 2_000
"""Maximum total characters of event and channel names in one entry. At least one event is always named."""
MAX_TIME_MS: Final = 253_402_300_799_999
"""The last millisecond of the year 9999; a later time cannot be shown as a date."""

# Any client that can write to the store can write an entry, so a number that cannot be shown makes its row unreadable.
Moment = Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME_MS)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class EntryRow(msgspec.Struct, array_like=True, frozen=True):
    """The stored form of an entry: a JSON array. A later version may add elements at the end.

    `at` is the end of the attempt, in ms by the clock of the queue. `events` alternates event names and channels;
    `more` counts the events that are left out. App and replica are stored once for several rows. `trace_id` is the
    trace of the job; `span_id` is the span that was sent to the receiver and is in the attempt's log line.
    """

    at: Moment
    job: str
    webhook: str
    attempt: Count
    outcome: str
    reason: str | None = None
    status: Count | None = None
    took_ms: Count = 0
    events: list[str] = []  # msgspec copies the default
    more: Count = 0
    trace_id: str | None = None
    span_id: str | None = None


class Entry(msgspec.Struct, frozen=True):
    """One entry as a search returns it. `webhook` is empty for a job that became a dead letter as a whole."""

    app: str
    replica: str
    row: EntryRow

    @property
    def events(self) -> list[tuple[str, str]]:
        """Name and channel of each event. The channel is empty if it is not recorded or the event has none."""
        return list(zip(self.row.events[::2], self.row.events[1::2], strict=False))


_UNTRACED: Final = b",null,null]"
_ROWS: Final = msgspec.json.Encoder()
_ROW: Final = msgspec.json.Decoder(EntryRow)


def encode(row: EntryRow) -> bytes:
    """Return a row as one line of JSON, without the line break."""
    try:
        line = _ROWS.encode(row)
    except UnicodeEncodeError:  # a name from the settings may contain a lone surrogate
        texts = {name: clean(getattr(row, name) or "") for name in ("job", "webhook", "reason")}
        events = [clean(text) for text in row.events]
        line = _ROWS.encode(msgspec.structs.replace(row, **texts, events=events))
    is_traced = row.trace_id is not None or row.span_id is not None
    return line if is_traced else line[: -len(_UNTRACED)] + b"]"


def decode(line: bytes) -> EntryRow:
    """Decode a row. Raises one of `DECODE_ERRORS` if this version cannot read it."""
    return _ROW.decode(line)


def clean(text: str) -> str:
    """Return the text with characters that UTF-8 cannot encode replaced, cut to `MAX_TEXT_LENGTH`."""
    return text[:MAX_TEXT_LENGTH].encode(errors="replace").decode()


def names_of(events: Sequence[Event], *, channels: bool) -> tuple[list[str], int]:
    """Return alternating names and channels of the events, and the number of events that are left out."""
    names: list[str] = []
    room = EVENTS_TEXT
    for event in events[:MAX_EVENTS]:
        name, channel = event.name[:MAX_TEXT_LENGTH], event.channel[:MAX_TEXT_LENGTH] if channels else ""
        room -= len(name) + len(channel)
        if room < 0 and names:
            break
        names += (name, channel)
    return names, len(events) - len(names) // 2
