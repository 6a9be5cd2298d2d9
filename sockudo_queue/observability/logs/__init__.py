"""Log set-up: one line per event, as JSON or for a terminal, written to standard output by one thread.

Other modules call `get_logger()` and log an event name with fields: `log.info("delivery.attempted", app=…)`; nobody
else configures logging. The thread that logs reads the fields, so they are as they were at that moment, and appends
them to a queue; the thread that writes encodes them, many lines after each other, which costs less than here and there.
`values` decides what may be shown, `writer` writes.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final

import structlog

from sockudo_queue.observability.logs.values import (
    DELETE,
    LINE_LIMIT,
    encode,
    encode_shortened,
    explain,
    place,
    plain,
    pretty,
    spell_out,
)
from sockudo_queue.observability.logs.writer import THREAD, Line, Writer
from sockudo_queue.runtime.streams import has_colours

__all__ = ["THREAD", "dropped_lines", "flush", "get_logger", "is_alive", "set_up"]

_NUMBERS: Final = frozenset({int, float, bool, type(None)})


def get_logger(**context: Any) -> Any:
    """Return a logger that adds the given fields to each of its lines; safe from any thread."""
    return structlog.get_logger(**context)


def set_up(level: str, log_format: str, descriptor: int = 1) -> None:
    """Configure logging for the process: a level, and `json`, `pretty` or `auto` (pretty on a terminal).

    This starts a thread. Whoever waits for signals by their mask must have set the mask before. Raises `StartError`
    where the system gives no thread.
    """
    is_pretty = log_format == "pretty" or (log_format == "auto" and os.isatty(descriptor))
    _output.open(descriptor, pretty=is_pretty, colours=has_colours(descriptor))
    structlog.configure(
        processors=[],
        wrapper_class=_logger_class(level),
        context_class=dict,
        logger_factory=lambda *_: _output,
        cache_logger_on_first_use=True,
    )
    _route_libraries(level)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = _unraisable


def flush(timeout: float) -> bool:
    """Write what waits, for at most `timeout` seconds; tell whether all of it was tried."""
    return _output.writer is None or _output.writer.flush(timeout)


def is_alive() -> bool:
    """Tell whether there is a thread that writes."""
    return _output.writer is None or _output.writer.thread.is_alive()


def dropped_lines() -> int:
    """Count the lines that were lost since `set_up`: nobody read them, writing failed, or memory was short."""
    return 0 if _output.writer is None else _output.writer.dropped


def _logger_class(level: str) -> Any:
    """Return structlog's logger without its chain of processors: there is one way for a line, and it is a hot one."""
    base: Any = structlog.make_filtering_bound_logger(level)

    class Logger(base):  # type: ignore[misc]
        def _proxy_to_logger(self, method_name: str, event: str | None = None, **fields: Any) -> None:
            if event is not None:
                fields["event"] = event
            _output.log(method_name, self._context | fields if self._context else fields)

    return Logger


class _Output:
    """Where all lines go: fields in, one line out, handed to the writer."""

    def __init__(self) -> None:
        self.writer: Writer | None = None
        self._pretty = self._colours = False

    def open(self, descriptor: int, *, pretty: bool, colours: bool) -> None:
        if self.writer is not None:
            self.writer.close()
        self._pretty, self._colours = pretty, colours
        self.writer = Writer(descriptor, self._encode)

    def log(self, level: str, fields: dict[str, Any]) -> None:
        """Make a line of the fields of one event. It never raises: a log call may be all that an error handler has
        left.
        """
        assert self.writer is not None
        try:
            if "exc_info" in fields:
                explain(fields, fields.pop("exc_info"))
            for name, value in fields.items():
                kind = type(value)
                if kind is str:
                    if len(value) > LINE_LIMIT:
                        fields[name] = value[:LINE_LIMIT]  # the line is too long anyway; the rest is not kept
                elif kind not in _NUMBERS:
                    fields[name] = plain(value)
            self.writer.put((time.time(), level, fields))
        except MemoryError:
            self.writer.drop(1)

    def _encode(self, line: Line) -> bytes:
        """Turn a line into bytes without its end. Never raises."""
        moment, level, fields = line
        when = datetime.fromtimestamp(moment, UTC)
        named = {"timestamp": when, "level": level, "event": fields.get("event", "")} | fields
        named["timestamp"], named["level"] = when, level  # again, lest a field of that name has taken the place
        if self._pretty:
            return pretty(named, colours=self._colours)
        try:
            encoded = encode(named)
            if DELETE in encoded or not encoded.isascii():  # asked here: most lines are spared a call
                encoded = spell_out(encoded)
            return encoded if len(encoded) <= LINE_LIMIT else encode_shortened(named)
        except Exception:  # noqa: BLE001 - a lone surrogate or whatever else cannot be encoded
            return encode_shortened(named)


# A process has one standard output and structlog one configuration; this is its end.
_output: Final = _Output()


class _LibraryHandler(logging.Handler):
    """Takes the warnings of libraries, without the values in them: those may be URLs, credentials or a job's text."""

    def emit(self, record: logging.LogRecord) -> None:
        log = get_logger()
        (log.error if record.levelno >= logging.ERROR else log.warning)(
            "library.warning",
            logger=record.name,
            message=_literal(record),
            where=f"{place(record.pathname)}:{record.lineno}",
            exc_info=record.exc_info,
        )


def _literal(record: logging.LogRecord) -> str | None:
    """Return the message if it stands in the library's source as it is; one built at run time may hold anything."""
    frame = sys._getframe()  # noqa: SLF001 - documented, and the only way to the caller's code
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_filename == record.pathname and frame.f_lineno == record.lineno:
            return record.msg if isinstance(record.msg, str) and record.msg in frame.f_code.co_consts else None
    return None


def _route_libraries(level: str) -> None:
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _LibraryHandler)]:
        root.removeHandler(handler)
    threshold = max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()])
    root.addHandler(_LibraryHandler(threshold))
    root.setLevel(threshold)


def _uncaught(kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        get_logger().critical("process.failed", exc_info=error)
        flush(1.0)


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        name = args.thread.name if args.thread else None
        get_logger().error("thread.failed", thread=name, exc_info=args.exc_value)


def _unraisable(args: Any) -> None:
    get_logger().error("process.unraisable", exc_info=args.exc_value)


atexit.register(flush, 1.0)
