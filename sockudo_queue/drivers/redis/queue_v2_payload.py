"""The payloads of Queue V2: how a job lies in the hash `jobs`, and where our state travels in it.

    {"version":2,"id":"<id>","data":<JobData>}        as a server enqueues it
    <JobData>                                         as a claim unpacks it, and as we write it
    {…JobData…,"sockudo_queue":"<state>"}             with our state as the last field, which Sockudo ignores
    {"sockudo_queue_raw":"<bytes as Latin-1>",…}      for what is no JSON object, or no UTF-8, and has to be rewritten

`jobs` must hold valid UTF-8, since one payload that does not makes a whole claim of Sockudo's fail.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import unquote

import msgspec

from sockudo_queue.core.decoding import DECODE_ERRORS

_STATE: Final = b',"sockudo_queue":"'
_RAW: Final = b'{"sockudo_queue_raw":"'


class Piece(NamedTuple):
    """A value that the server assembles: text, its own bytes from `first` to `last` (counted from 1), and text."""

    before: bytes
    first: int
    last: int
    after: bytes


AS_STORED: Final = Piece(b"", 1, -1, b"")
"""The stored value, unchanged."""


class _JobEnvelope(msgspec.Struct):
    version: int
    id: str
    data: msgspec.Raw


_ENVELOPE: Final = msgspec.json.Decoder(_JobEnvelope)
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT: Final = msgspec.json.Decoder(str)
_ENCODER: Final = msgspec.json.Encoder()


def opened(payload: bytes, shown_id: str) -> tuple[bytes, bytes]:
    """Return the state and the body of a payload; the id is as shown by a claim. Unknown payloads stay unchanged."""
    state, body = _parted(_without_envelope(payload, shown_id))
    if body.startswith(_RAW):
        with contextlib.suppress(*DECODE_ERRORS):  # then it is not one of our payloads
            body = _TEXT.decode(body[len(_RAW) - 1 : -1]).encode("latin-1")
    return state, body


def closed(body: bytes, state: bytes) -> bytes:
    """Return a payload without an envelope that holds both; an empty state means none."""
    text = body if _takes_a_field(body) else _RAW[:-1] + _ENCODER.encode(body.decode("latin-1")) + b"}"
    return text[:-1] + _end(state)


def start_of(payload: bytes, body: bytes) -> int:
    """Return the offset of an opened body in its payload, or -1 if the body is not a part of the payload's bytes.

    The last byte of the body may be elsewhere: a state is stored before the brace.
    """
    if payload is body:
        return 0
    head = body[:-1]
    start = len(payload) - len(body) - 1  # in an envelope, whose last field is the job
    return start if payload.startswith(head, start) else payload.find(head)


def pieces(body: bytes, start: int) -> Callable[[bytes], Piece]:
    """Return a function that makes payloads of a stored body with a state, as `closed` does; `start` is the body's
    offset.

    If the offset is unknown, or no field can be added to the body, the whole payload is sent.
    """
    if start < 0 or not _takes_a_field(body):
        return lambda state: whole(closed(body, state))
    return lambda state: Piece(b"", start + 1, start + len(body) - 1, _end(state))


def whole(value: bytes) -> Piece:
    """Return a value of which the server has no bytes."""
    return Piece(value, 1, 0, b"")


def _end(state: bytes) -> bytes:
    """Return the end of an object's payload: its state, if any, and the brace."""
    return _STATE[:-1] + _ENCODER.encode(state.decode(errors="replace")) + b"}" if state else b"}"


def _without_envelope(payload: bytes, shown_id: str) -> bytes:
    if not payload.startswith(b"{"):
        return payload
    try:
        envelope = _ENVELOPE.decode(payload)
        if envelope.version != 2 or envelope.id != (unquote(shown_id) if "%" in shown_id else shown_id):
            return payload
        data = bytes(envelope.data)
        data.decode()  # the decoder does not check what it skips
    except DECODE_ERRORS:
        return payload
    return data


def _parted(text: bytes) -> tuple[bytes, bytes]:
    """Split off a state. Only the last field of the outermost object is followed by exactly one brace."""
    at = text.rfind(_STATE) if text.endswith(b'"}') else -1
    if at <= 0 or text[:1] != b"{":
        return b"", text
    try:
        state = _TEXT.decode(text[at + len(_STATE) - 1 : -1])
    except DECODE_ERRORS:
        return b"", text
    return state.encode(), text[:at] + b"}"


def _takes_a_field(body: bytes) -> bool:
    """Return whether a field can be appended and found again."""
    if body[:1] != b"{" or body[-1:] != b"}" or body.startswith(_RAW) or _parted(body)[0]:
        return False
    try:
        body.decode()
        return bool(_OBJECT.decode(body))
    except DECODE_ERRORS:
        return False
