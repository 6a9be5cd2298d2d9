"""The W3C trace context of a job, and the request headers that pass it on; pure.

Sockudo 5.2 puts the context into a job when its OpenTelemetry is on. The values come from the client's WebSocket
upgrade, so they are checked before they become headers. The formats are those of
https://www.w3.org/TR/trace-context/ and https://www.w3.org/TR/baggage/.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from sockudo_queue.core.decoding import DECODE_ERRORS

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
BAGGAGE: Final = "baggage"
FIELDS: Final = (TRACEPARENT, TRACESTATE, BAGGAGE)

TRACESTATE_LIMIT: Final = 512
"""Bytes of a `tracestate`; the specification asks for no more to be passed on."""
BAGGAGE_LIMIT: Final = 8192
"""Bytes of a `baggage`; the specification asks for no more to be passed on."""

_TRACEPARENT: Final = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-(?P<flags>[0-9a-f]{2})"
    r"(?P<more>-[ -~]*)?"  # only a later version has more
)
_KNOWN_FLAGS: Final = 0b11
"""Sampled, and random trace id. The specification has a sender clear all others."""


class TraceContext(msgspec.Struct, frozen=True):
    """The trace that a job belongs to. `tracestate` and `baggage` are empty where the job has none that is sound."""

    trace_id: str
    flags: int
    tracestate: str = ""
    baggage: str = ""

    def headers(self, span_id: int, *, baggage: bool) -> dict[str, str]:
        """Return the headers of one attempt. `span_id` has 64 bits and names the attempt; it must not be 0."""
        headers = {TRACEPARENT: f"00-{self.trace_id}-{span_id:016x}-{self.flags:02x}"}
        if self.tracestate:
            headers[TRACESTATE] = self.tracestate
        if baggage and self.baggage:
            headers[BAGGAGE] = self.baggage
        return headers


class Found(msgspec.Struct, frozen=True):
    """What a job says of its trace: the context, if there is a sound one, and the fields that were left out."""

    context: TraceContext | None
    rejected: tuple[str, ...] = ()


class _Fields(msgspec.Struct):
    """The fields of a job's `trace_context` that are of use; whatever else it has is skipped, and costs no memory."""

    traceparent: msgspec.Raw = msgspec.Raw()
    tracestate: msgspec.Raw = msgspec.Raw()
    baggage: msgspec.Raw = msgspec.Raw()


_FIELDS: Final = msgspec.json.Decoder(_Fields)
_TEXT: Final = msgspec.json.Decoder(str)
NOTHING: Final = Found(None)


def read(raw: bytes) -> Found:
    """Read the JSON of a job's `trace_context`. Never raises: a field that is not sound is left out and named."""
    try:
        fields = _FIELDS.decode(raw)
    except DECODE_ERRORS:
        return NOTHING if bytes(raw) == b"null" else Found(None, (TRACEPARENT,))
    rejected: list[str] = []
    parent = _text(fields.traceparent, TRACEPARENT, 1024, rejected)
    state = _text(fields.tracestate, TRACESTATE, TRACESTATE_LIMIT, rejected)
    baggage = _text(fields.baggage, BAGGAGE, BAGGAGE_LIMIT, rejected)
    matched = _TRACEPARENT.fullmatch(parent)
    if matched is None or (matched["version"] == "00" and matched["more"]):
        # Without a trace the other two say nothing that a receiver could use.
        return Found(None, (TRACEPARENT, *rejected) if parent else tuple(rejected))
    context = TraceContext(matched["trace"], int(matched["flags"], 16) & _KNOWN_FLAGS, state, baggage)
    return Found(context, tuple(rejected))


def _text(raw: msgspec.Raw, name: str, limit: int, rejected: list[str]) -> str:
    """Return a field as header text; empty where it is absent, and where it is rejected."""
    if not bytes(raw):
        return ""
    try:
        text = _TEXT.decode(raw).strip()
    except DECODE_ERRORS:
        rejected.append(name)
        return ""
    if len(text) > limit or not (text.isascii() and (text.isprintable() or not text)):
        rejected.append(name)
        return ""
    return text
