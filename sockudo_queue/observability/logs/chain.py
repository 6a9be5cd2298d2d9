"""The processors of a log line, in the order of structlog's chain: level, exception, redaction, time, renderer.

The last one gives bytes, which the writer takes. A line is rendered by the thread that logs it, so nothing that is
logged has to stay unchanged afterwards.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from structlog import DropEvent
from structlog.dev import ConsoleRenderer
from structlog.processors import TimeStamper, add_log_level
from structlog.types import EventDict, Processor

from sockudo_queue.errors import SockudoQueueError
from sockudo_queue.observability.logs.values import (
    DELETE,
    LINE_LIMIT,
    encode,
    encode_carefully,
    plain,
    shortened,
    stack_of,
)
from sockudo_queue.runtime.streams import visible

_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_EVENT_COLUMNS: Final = 22
FIRST: Final[EventDict] = {"timestamp": None, "level": None, "event": ""}
"""What a line begins with. A logger has these fields from the start, so that their later values stand first."""


def json_chain() -> list[Processor]:
    """Return the processors for lines of JSON."""
    return [add_log_level, describe_exception, redact, add_time, render_json]


def console_chain(*, colours: bool) -> list[Processor]:
    """Return the processors for lines that a person reads on a terminal."""
    local_time = TimeStamper(fmt="%H:%M:%S.%f", utc=False)
    renderer = ConsoleRenderer(colors=colours, sort_keys=False, pad_event_to=_EVENT_COLUMNS)
    return [add_log_level, describe_exception, redact, local_time, make_harmless, renderer, to_bytes]


def render(chain: Sequence[Processor], level: str, fields: EventDict) -> bytes:
    """Make a line without a logger, for the writer's own."""
    line: Any = {**FIRST, **fields}
    for processor in chain:
        line = processor(None, level, line)
    assert isinstance(line, bytes), "the last processor renders"
    return line


def _lost(logger: Any) -> DropEvent:
    """Count a line for which there is no memory. It is dropped: an error handler may be the one that logs."""
    if logger is not None:
        logger.lost()
    return DropEvent()


def add_time(_logger: object, _method: str, line: EventDict) -> EventDict:
    """Add the time as `TimeStamper(fmt="iso")` does, but leave its text to the encoder, which takes 2 µs less."""
    line["timestamp"] = datetime.now(UTC)
    return line


def describe_exception(_logger: object, _method: str, line: EventDict) -> EventDict:
    """Replace an exception by its type, that of its cause, and, if it was not expected, the places it came through."""
    if "exc_info" not in line:
        return line
    given = line.pop("exc_info")
    error = given if isinstance(given, BaseException) else given[1] if isinstance(given, tuple) else sys.exc_info()[1]
    if not given or error is None:
        return line
    line.setdefault("error", error)
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        line["cause"] = cause
    if not isinstance(error, SockudoQueueError):
        line["stack"] = stack_of(error)
    return line


def redact(logger: Any, _method: str, line: EventDict) -> EventDict:
    """Keep of each value what its type allows to show; most lines have nothing but plain values."""
    try:
        if not _PLAIN.issuperset(map(type, line.values())):
            for name, value in line.items():
                if type(value) not in _PLAIN:
                    line[name] = plain(value)
        return line
    except MemoryError:
        raise _lost(logger) from None


def render_json(logger: Any, _method: str, line: EventDict) -> bytes:
    """Encode a line; one that is too long, or has characters that JSON leaves as they are, takes a longer way."""
    try:
        encoded = encode(line)
        if DELETE not in encoded and encoded.isascii() and len(encoded) <= LINE_LIMIT:
            return encoded
        return encode_carefully(line)
    except MemoryError:
        raise _lost(logger) from None
    except Exception:  # noqa: BLE001 - a lone surrogate or whatever else cannot be encoded
        return encode_carefully(line)


def make_harmless(logger: Any, _method: str, line: EventDict) -> EventDict:
    """Spell out whatever a terminal could act upon, in names too: nothing can move the cursor or begin a line."""
    try:
        shown = {visible(name): visible(value) if isinstance(value, str) else value for name, value in shortened(line)}
        stack = shown.pop("stack", None)
        if isinstance(stack, list):
            shown["stack"] = "\n".join(f"    {each}" for each in stack)  # the renderer puts it on lines of its own
        return shown
    except MemoryError:
        raise _lost(logger) from None


def to_bytes(_logger: object, _method: str, text: Any) -> bytes:
    """Encode what the renderer has made."""
    return str(text).encode(errors="backslashreplace")[:LINE_LIMIT]
