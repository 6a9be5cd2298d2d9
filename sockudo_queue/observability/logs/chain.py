"""The processors of a log line, in the order of structlog's chain: level, redaction, time, renderer.

The last one returns bytes for the writer. The logging thread renders the line itself, so logged objects may change
afterwards.
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
"""The first fields of a line. A logger has them from the start, so that they come first although set later."""


def json_chain() -> list[Processor]:
    """Return the processors for lines of JSON."""
    return [add_log_level, redact, add_time, render_json]


def console_chain(*, colours: bool) -> list[Processor]:
    """Return the processors for lines on a terminal."""
    local_time = TimeStamper(fmt="%H:%M:%S.%f", utc=False)
    renderer = ConsoleRenderer(colors=colours, sort_keys=False, pad_event_to=_EVENT_COLUMNS)
    return [add_log_level, redact, local_time, make_harmless, renderer, to_bytes]


def render(chain: Sequence[Processor], level: str, fields: EventDict) -> bytes:
    """Render a line without a logger, for the writer's own lines."""
    line: Any = {**FIRST, **fields}
    for processor in chain:
        line = processor(None, level, line)
    assert isinstance(line, bytes), "the last processor renders"
    return line


def _lost(logger: Any) -> DropEvent:
    """Count a line that was lost for lack of memory. Do not raise its error: an error handler may have logged it."""
    if logger is not None:
        logger.lost()
    return DropEvent()


def add_time(_logger: object, _method: str, line: EventDict) -> EventDict:
    """Add the time as `TimeStamper(fmt="iso")` does, but let the encoder format it, which saves 2 µs."""
    line["timestamp"] = datetime.now(UTC)
    return line


def _describe_exception(line: EventDict) -> None:
    """Replace an exception by its type, its cause's type, and, if it was unexpected, its stack of files and lines."""
    given = line.pop("exc_info")
    error = given if isinstance(given, BaseException) else given[1] if isinstance(given, tuple) else sys.exc_info()[1]
    if not given or error is None:
        return
    line.setdefault("error", error)
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        line["cause"] = cause
    if not isinstance(error, SockudoQueueError):
        line["stack"] = stack_of(error)


def redact(logger: Any, _method: str, line: EventDict) -> EventDict:
    """Reduce each value to what its type allows to be shown; most lines have only plain values."""
    try:
        if "exc_info" in line:
            _describe_exception(line)
        if not _PLAIN.issuperset(map(type, line.values())):
            for name, value in line.items():
                if type(value) not in _PLAIN:
                    line[name] = plain(value)
        return line
    except MemoryError:
        raise _lost(logger) from None


def render_json(logger: Any, _method: str, line: EventDict) -> bytes:
    """Encode a line. A line that is too long, or has characters that JSON does not escape, takes a slower path."""
    try:
        encoded = encode(line)
        if DELETE not in encoded and encoded.isascii() and len(encoded) <= LINE_LIMIT:
            return encoded
        return encode_carefully(line)
    except MemoryError:
        raise _lost(logger) from None
    except Exception:  # noqa: BLE001 - for example a lone surrogate
        return encode_carefully(line)


def make_harmless(logger: Any, _method: str, line: EventDict) -> EventDict:
    """Escape all control characters, also in names, so that no value can move the cursor or start a new line."""
    try:
        shown = {visible(name): visible(value) if isinstance(value, str) else value for name, value in shortened(line)}
        stack = shown.pop("stack", None)
        if isinstance(stack, list):
            shown["stack"] = "\n".join(f"    {each}" for each in stack)  # the renderer prints it on lines of its own
        return shown
    except MemoryError:
        raise _lost(logger) from None


def to_bytes(_logger: object, _method: str, text: Any) -> bytes:
    """Encode the renderer's text."""
    return str(text).encode(errors="backslashreplace")[:LINE_LIMIT]
