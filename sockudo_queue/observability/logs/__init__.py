"""Log set-up: one line per event, as JSON or for a terminal, written to standard output by one thread.

Other modules call `get_logger()` and log an event name with fields: `log.info("delivery.attempted", app=…)`; no other
module configures logging. structlog's chain makes a line (`chain`), by type it is decided what may be shown (`values`),
and a thread writes it, so a call of the log never waits (`writer`).
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import Any, Final

import structlog
from structlog.types import Processor

from sockudo_queue.observability.logs.chain import FIRST, console_chain, json_chain, render
from sockudo_queue.observability.logs.values import place
from sockudo_queue.observability.logs.writer import THREAD, Writer
from sockudo_queue.runtime.streams import has_colours

__all__ = ["THREAD", "dropped_lines", "flush", "get_logger", "is_alive", "set_up"]


def get_logger(**context: Any) -> Any:
    """Return a logger that adds the given fields to each of its lines; safe from any thread."""
    return structlog.get_logger(**FIRST, **context)


def set_up(level: str, log_format: str, descriptor: int = 1) -> None:
    """Configure logging for the process: a level, and `json`, `pretty` or `auto` (pretty on a terminal).

    This starts a thread. Whoever waits for signals by their mask must have set the mask before. Raises `StartError`
    where the system gives no thread.
    """
    is_pretty = log_format == "pretty" or (log_format == "auto" and os.isatty(descriptor))
    chain = console_chain(colours=has_colours(descriptor)) if is_pretty else json_chain()
    _output.open(descriptor, chain)
    structlog.configure(
        processors=chain,
        wrapper_class=structlog.make_filtering_bound_logger(level),
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


class _Output:
    """Where the lines of all loggers go. structlog calls the method of a line's level at the end of the chain."""

    def __init__(self) -> None:
        self.writer: Writer | None = None

    def open(self, descriptor: int, chain: Sequence[Processor]) -> None:
        if self.writer is not None:
            self.writer.close()
        self.writer = Writer(descriptor, partial(render, chain))
        self.debug = self.info = self.warning = self.error = self.critical = self.writer.put

    def lost(self) -> None:
        """Count a line for which there was no memory."""
        if self.writer is not None:
            self.writer.drop(1)


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
