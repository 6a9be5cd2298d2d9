"""A job and its wire form, Sockudo's `JobData`. The bytes of each event are kept exactly as they came.

The wire form is compact JSON with `app_key`, `app_id`, `app_secret`, `payload.time_ms`, `payload.events`,
`original_signature`, from 5.0 on `job_id`, and from 5.2 on `trace_context`. The producer writes the keys of an event
in random order, and number formats differ between versions, so an event is copied as raw bytes and never decoded and
encoded again. `original_signature` is not a signature and is ignored.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec

from sockudo_queue.core import trace_context
from sockudo_queue.core.ceilings import DEFAULTS, MAX_ID_LENGTH, Ceilings
from sockudo_queue.core.decoding import DECODE_ERRORS
from sockudo_queue.core.event_keys import repeats_keys
from sockudo_queue.core.hmac_keys import hmac_key
from sockudo_queue.errors import MalformedJob


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event: `name` and `channel` for matching, `raw` for sending. A missing channel is an empty string.

    It refers to nothing that could refer back to it, so the garbage collector need not know it.
    """

    name: str
    channel: str
    raw: msgspec.Raw

    def __repr__(self) -> str:
        return f"Event(name={self.name!r})"


class Job(msgspec.Struct, frozen=True):
    """A job from the queue. `unreadable_events` counts the events that cannot match anything.

    `signing_key` is derived from the app's secret, which is not kept. `trace` is the job's trace context. It stays in
    the job's own bytes, so retries, dead letters and replays keep it on every driver.
    """

    app_key: str
    app_id: str
    signing_key: hmac.HMAC
    time_ms: int
    events: tuple[Event, ...]
    job_id: str | None
    unreadable_events: int
    trace: trace_context.ParsedTraceContext = trace_context.NOTHING

    def __repr__(self) -> str:
        return f"Job(app_id={self.app_id!r}, events={len(self.events)})"


# Sockudo's own type. Without bounds, a number with a thousand digits would be accepted and fail in later arithmetic.
_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


_MANY_EVENTS: Final = 8
"""From this number on, reading all events in one pass over the job is quicker than reading one after the other."""

# The decoder checks it at no cost.
_Id = Annotated[str, msgspec.Meta(max_length=MAX_ID_LENGTH)]

_Events = TypeVar("_Events")


class _Payload(msgspec.Struct, Generic[_Events]):
    time_ms: _Int64
    events: _Events

    def __repr__(self) -> str:
        return "_Payload(***)"


class _JobData(msgspec.Struct, Generic[_Events]):
    app_key: _Id
    app_id: _Id
    app_secret: str
    payload: _Payload[_Events]
    job_id: _Id | None = None
    trace_context: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    def __repr__(self) -> str:
        return "_JobData(***)"


class _Heads(msgspec.Struct):
    events: list[_EventHead]

    def __repr__(self) -> str:
        return "_Heads(***)"


class _JobHeads(msgspec.Struct):
    payload: _Heads

    def __repr__(self) -> str:
        return "_JobHeads(***)"


class _Owner(msgspec.Struct):
    app_id: _Id


class _EventName(msgspec.Struct):
    name: str

    def __repr__(self) -> str:
        return "_EventName(***)"


class _EventHead(msgspec.Struct, gc=False):
    name: str
    channel: str = ""

    def __repr__(self) -> str:
        return "_EventHead(***)"


_JOB: Final = msgspec.json.Decoder(_JobData[list[msgspec.Raw]])
_JOB_WITHOUT_EVENTS: Final = msgspec.json.Decoder(_JobData[msgspec.Raw])
_EVENTS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_OWNER: Final = msgspec.json.Decoder(_Owner)
_EVENT: Final = msgspec.json.Decoder(_EventHead)
_HEADS: Final = msgspec.json.Decoder(_JobHeads)
_EVENT_NAME: Final = msgspec.json.Decoder(_EventName)


def decode(body: bytes, ceilings: Ceilings = DEFAULTS) -> Job:
    """Read a job. Raises `MalformedJob` if no webhook request could be made from it.

    A bad event does not affect the others: an event that is no object or has no string `name` is counted and left
    out, as Sockudo does. So is one with `name` or `channel` twice, which Sockudo never writes.
    """
    size = len(body)
    if size > ceilings.job_bytes:
        raise MalformedJob(f"more than {ceilings.job_bytes} bytes")
    try:
        if not body.isascii():
            body.decode()  # msgspec does not check the values that it skips; a receiver would refuse such bytes
        # In memory an event takes far more than its bytes. A list has at most one item more than there are commas.
        max_events = ceilings.job_events
        has_few = size < max_events or body.count(b",") < max_events
        data = _JOB.decode(body) if has_few else _counted(body, max_events)
        signing_key = hmac_key(data.app_secret)
    except DECODE_ERRORS as error:
        raise MalformedJob(_fault(error)) from None
    in_headers = data.app_key + (data.job_id or "")
    if not data.app_key or not data.app_secret:
        raise MalformedJob("app_key or app_secret is empty, so the request could not be signed")
    if not (in_headers.isascii() and in_headers.isprintable()):
        raise MalformedJob("app_key or job_id contains characters that are not allowed in a header")
    count, unreadable = len(data.payload.events), 0
    is_one_pass = has_few and count >= _MANY_EVENTS
    events, odd = _in_one_pass(body, data.payload.events) if is_one_pass else _one_by_one(data.payload.events)
    # If every event has a name and a channel, and each of these keys occurs exactly once per event, no event repeats a
    # key. A key can also be spelled with escapes; only \u can escape a letter. One character is found 50 times faster
    # than two, and most jobs contain no backslash.
    is_escaped = b"\\" in body and b"\\u" in body
    if odd or is_escaped or body.count(b'"name"') != count or body.count(b'"channel"') != count:
        events = [event for event in events if not repeats_keys(event.raw)]
        unreadable = count - len(events)
    if size > ceilings.channel_bytes:  # in a smaller job no channel can be longer
        # A character has at most four bytes, so most names need not be encoded.
        long = [event.channel for event in events if len(event.channel) * 4 > ceilings.channel_bytes]
        if any(len(channel.encode()) > ceilings.channel_bytes for channel in long):
            raise MalformedJob(f"the name of a channel has more than {ceilings.channel_bytes} bytes")
    return Job(
        data.app_key,
        data.app_id,
        signing_key,
        data.payload.time_ms,
        tuple(events),
        data.job_id or None,
        unreadable,
        trace_context.NOTHING if data.trace_context is msgspec.UNSET else trace_context.read(data.trace_context),
    )


def app_of(body: bytes) -> str:
    """Return the app id of a job, even if the rest is unreadable; empty if there is none. Builds nothing else."""
    try:
        return _OWNER.decode(body).app_id
    except DECODE_ERRORS:
        return ""


def oldest_ms(bodies: Iterable[bytes]) -> int | None:
    """Return the earliest event time of some jobs; None if no body can be read."""
    times: list[int] = []
    for body in bodies:
        with suppress(MalformedJob):
            times.append(decode(body).time_ms)
    return min(times, default=None)


def _counted(body: bytes, max_events: int) -> _JobData[list[msgspec.Raw]]:
    """Read the fields of a job that may have too many events; count the events before they are built."""
    data = _JOB_WITHOUT_EVENTS.decode(body)
    _count(data.payload.events, max_events)
    events = _EVENTS.decode(data.payload.events)
    payload = _Payload(data.payload.time_ms, events)
    return _JobData(data.app_key, data.app_id, data.app_secret, payload, data.job_id, data.trace_context)


def _count(events: msgspec.Raw, max_events: int) -> None:
    """Raise `MalformedJob` if there are more events. The decoder stops at the first one over the limit."""
    try:
        _list_of(max_events).decode(events)
    except msgspec.ValidationError as error:
        if "at most length" in str(error):
            raise MalformedJob(f"more than {max_events} events") from None


@lru_cache(maxsize=2)
def _list_of(max_events: int) -> msgspec.json.Decoder[Any]:
    # msgspec checks the length of a list only after building it; a struct with this number of fields refuses the next.
    fields = [(f"event_{number}", msgspec.Raw, msgspec.UNSET) for number in range(max_events)]
    return msgspec.json.Decoder(msgspec.defstruct("Events", fields, array_like=True, forbid_unknown_fields=True))


def _in_one_pass(body: bytes, raws: list[msgspec.Raw]) -> tuple[list[Event], bool]:
    """Do the same as `_one_by_one` in fewer steps. All lists in the body must be bounded, also one that is repeated."""
    try:
        heads = _HEADS.decode(body).payload.events
    except DECODE_ERRORS:
        return _one_by_one(raws)
    events = [Event(head.name, head.channel, raw) for head, raw in zip(heads, raws, strict=True)]
    return events, "" in [head.channel for head in heads]


def _one_by_one(raws: list[msgspec.Raw]) -> tuple[list[Event], bool]:
    """Return the readable events, and whether one is unreadable or has no channel."""
    events, odd = list[Event](), False
    for raw in raws:
        event = _event(raw)
        if event is not None:
            events += (event,)
        if event is None or not event.channel:
            odd = True
    return events, odd


def _event(raw: msgspec.Raw) -> Event | None:
    # A value of another type is not built: a `name` or `channel` could be a list of millions.
    try:
        head = _EVENT.decode(raw)
        return Event(head.name, head.channel, raw)
    except DECODE_ERRORS:
        pass  # perhaps only because of the channel
    try:
        return Event(_EVENT_NAME.decode(raw).name, "", raw)
    except DECODE_ERRORS:
        return None


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
