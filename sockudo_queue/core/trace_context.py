"""The W3C trace context of a job, and the request headers that propagate it; pure.

Sockudo 5.2 puts the context into a job if its OpenTelemetry is enabled. The values come from the client's WebSocket
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
"""Maximum bytes of a `tracestate`; the specification requires no more to be propagated."""
BAGGAGE_LIMIT: Final = 8192
"""Maximum bytes of a `baggage`; the specification requires no more to be propagated."""

_TRACEPARENT: Final = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    r"(?P<more>-[ -~]*)?"  # only a later version has more
)
SAMPLED: Final = 0b01
_KNOWN_FLAGS: Final = 0b11
"""Sampled, and random trace id. The specification requires a sender to clear all other flags."""
_MAX_LENGTH: Final = 1024


class TraceContext(msgspec.Struct, frozen=True):
    """The propagated context of one span: the span of a job, or that of an attempt.

    `tracestate` and `baggage` are empty if absent or invalid.
    """

    trace_id: str
    span_id: str
    flags: int
    tracestate: str = ""
    baggage: str = ""

    @property
    def traceparent(self) -> str:
        """Return the value of the `traceparent` header for this span."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"

    def child(self, span_id: int) -> TraceContext:
        """Return the context of a child span. `span_id` has 64 bits and must not be 0."""
        return TraceContext(self.trace_id, f"{span_id:016x}", self.flags, self.tracestate, self.baggage)

    def headers(self, *, baggage: bool) -> dict[str, str]:
        """Return the headers with which a receiver continues this span."""
        headers = {TRACEPARENT: self.traceparent}
        if self.tracestate:
            headers[TRACESTATE] = self.tracestate
        if baggage and self.baggage:
            headers[BAGGAGE] = self.baggage
        return headers


class ParsedTraceContext(msgspec.Struct, frozen=True):
    """The trace context of a job, if it is valid, and the names of the fields that were rejected."""

    context: TraceContext | None
    rejected: tuple[str, ...] = ()


class _Fields(msgspec.Struct):
    """The relevant fields of a job's `trace_context`. All others are skipped and take no memory."""

    traceparent: msgspec.Raw = msgspec.Raw()
    tracestate: msgspec.Raw = msgspec.Raw()
    baggage: msgspec.Raw = msgspec.Raw()


_FIELDS: Final = msgspec.json.Decoder(_Fields)
_TEXT: Final = msgspec.json.Decoder(str)
NOTHING: Final = ParsedTraceContext(None)


def read(raw: bytes) -> ParsedTraceContext:
    """Read the JSON of a job's `trace_context`. Never raises: an invalid field is left out and named in `rejected`."""
    try:
        fields = _FIELDS.decode(raw)
    except DECODE_ERRORS:
        return NOTHING if bytes(raw) == b"null" else ParsedTraceContext(None, (TRACEPARENT,))
    rejected: list[str] = []
    parent = _text(fields.traceparent, TRACEPARENT, _MAX_LENGTH, rejected)
    state = _text(fields.tracestate, TRACESTATE, TRACESTATE_LIMIT, rejected)
    baggage = _text(fields.baggage, BAGGAGE, BAGGAGE_LIMIT, rejected)
    context = parse(parent, state, baggage)
    if context is None:
        # Without a `traceparent` a receiver cannot use the other two.
        return ParsedTraceContext(None, (TRACEPARENT, *rejected) if parent else tuple(rejected))
    return ParsedTraceContext(context, tuple(rejected))


def parse(traceparent: str, tracestate: str = "", baggage: str = "") -> TraceContext | None:
    """Read the value of a `traceparent`; None if it is invalid. The other two values are not checked."""
    matched = _TRACEPARENT.fullmatch(traceparent)
    if matched is None or (matched["version"] == "00" and matched["more"]):
        return None
    flags = int(matched["flags"], 16) & _KNOWN_FLAGS
    return TraceContext(matched["trace"], matched["span"], flags, tracestate, baggage)


def _text(raw: msgspec.Raw, name: str, limit: int, rejected: list[str]) -> str:
    """Return a field as header text; empty if it is absent or rejected."""
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
