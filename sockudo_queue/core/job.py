"""A job and its wire form: what Sockudo's `JobData` says, with each event's bytes kept exactly as they came.

The wire form is compact JSON with `app_key`, `app_id`, `app_secret`, `payload.time_ms`, `payload.events`,
`original_signature`, from 5.0 on `job_id`, and from 5.2 on `trace_context`. The key order inside events is random and
frozen by the producer, and number formats differ between versions, so an event is copied as raw bytes and never decoded
and encoded again.
`original_signature` is no signature and nobody reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Annotated, Final

import msgspec

from sockudo_queue.core import trace_context
from sockudo_queue.core.decoding import DECODE_ERRORS
from sockudo_queue.core.secret import Secret
from sockudo_queue.errors import MalformedJob


class Event(msgspec.Struct, frozen=True):
    """One event: its name and channel for matching, its bytes for sending. A missing channel is empty."""

    name: str
    channel: str
    raw: msgspec.Raw

    def __repr__(self) -> str:
        return f"Event(name={self.name!r})"


class Job(msgspec.Struct, frozen=True):
    """What Sockudo put on the queue. `unreadable_events` counts the events that cannot match anything.

    `trace` is the trace that the job belongs to. It stays in the job's own bytes, so retries, dead letters and replays
    keep it on every driver.
    """

    app_key: str
    app_id: str
    app_secret: Secret
    time_ms: int
    events: tuple[Event, ...]
    job_id: str | None
    unreadable_events: int
    trace: trace_context.Found = trace_context.NOTHING

    def __repr__(self) -> str:
        return f"Job(app_id={self.app_id!r}, events={len(self.events)})"


# Sockudo's own type. Without bounds a number of a thousand digits would pass, and fail in whatever computes with it.
_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class _Payload(msgspec.Struct):
    time_ms: _Int64
    events: list[msgspec.Raw]

    def __repr__(self) -> str:
        return "_Payload(***)"


class _JobData(msgspec.Struct):
    app_key: str
    app_id: str
    app_secret: str
    payload: _Payload
    job_id: str | None = None
    trace_context: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    def __repr__(self) -> str:
        return "_JobData(***)"


class _EventHead(msgspec.Struct):
    name: object = None
    channel: object = None

    def __repr__(self) -> str:
        return "_EventHead(***)"


_JOB: Final = msgspec.json.Decoder(_JobData)
_EVENT: Final = msgspec.json.Decoder(_EventHead)


def decode(body: bytes) -> Job:
    """Read a job. Raises `MalformedJob` when no webhook could be made from it.

    One odd event never costs its neighbours: an event that is no object or has no string `name` is counted and left
    out, as Sockudo does. So is one with `name` or `channel` twice, which no Sockudo writes.
    """
    try:
        if not body.isascii():
            body.decode()  # msgspec does not look into what it skips; a receiver would refuse such bytes
        data = _JOB.decode(body)
    except DECODE_ERRORS as error:
        raise MalformedJob(_fault(error)) from None
    if not data.app_key or not data.app_secret:
        raise MalformedJob("app_key or app_secret is empty, so nothing could be signed")
    in_headers = data.app_key + (data.job_id or "")
    if not (in_headers.isascii() and in_headers.isprintable()):
        raise MalformedJob("app_key or job_id has characters that are not allowed in a header")
    count = len(data.payload.events)
    # Most jobs need no closer look. A key can be spelled with escapes, of which only \\u can stand for a letter.
    if body.count(b'"name"') > count or body.count(b'"channel"') > count or b"\\u" in body:
        read = [None if _repeats_keys(raw) else _event(raw) for raw in data.payload.events]
    else:
        read = [_event(raw) for raw in data.payload.events]
    events = [event for event in read if event is not None]
    return Job(
        data.app_key,
        data.app_id,
        Secret(data.app_secret),
        data.payload.time_ms,
        tuple(events),
        data.job_id or None,
        count - len(events),
        trace_context.NOTHING if data.trace_context is msgspec.UNSET else trace_context.read(data.trace_context),
    )


def oldest_ms(bodies: Iterable[bytes]) -> int | None:
    """Return when the first of some jobs' events happened; None where no body can be read."""
    times: list[int] = []
    for body in bodies:
        with suppress(MalformedJob):
            times.append(decode(body).time_ms)
    return min(times, default=None)


def _event(raw: msgspec.Raw) -> Event | None:
    try:
        head = _EVENT.decode(raw)
    except DECODE_ERRORS:
        return None
    name, channel = head.name, head.channel
    if type(name) is not str:
        return None
    return Event(name, channel if type(channel) is str else "", raw)


def _repeats_keys(raw: msgspec.Raw) -> bool:
    """Return whether `name` or `channel` stands there twice.

    We match by the last one. A receiver that reads the first would get an event that its filter keeps from it.
    """
    keys: list[str] = []

    def note(pairs: list[tuple[str, object]]) -> None:
        keys[:] = [key for key, _ in pairs]  # of the outermost object in the end

    try:
        json.loads(bytes(raw), object_pairs_hook=note, parse_int=str)
    except (ValueError, RecursionError):
        return True
    return keys.count("name") > 1 or keys.count("channel") > 1


def _fault(error: Exception) -> str:
    match error:
        case msgspec.ValidationError():
            return str(error)  # names the path and the types, never a value
        case RecursionError():
            return "nested too deeply"
        case UnicodeError():
            return "not valid UTF-8"
        case _:
            return "not valid JSON"
