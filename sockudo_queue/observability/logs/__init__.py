"""Log set-up: one line per event, as JSON or for a terminal, written to standard output by one thread.

Other modules call `get_logger()` and log an event name with fields: `log.info("delivery.attempted", app=…)`; no other
module configures logging. structlog's chain builds a line (`chain`), the types of values decide what is shown
(`values`), and a thread writes it, so that logging never blocks (`writer`).
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
    """Return a logger that adds the given fields to each line. Safe from any thread."""
    return structlog.get_logger(**FIRST, **context)


def set_up(level: str, log_format: str, descriptor: int = 1) -> None:
    """Configure logging for the process: a level, and `json`, `pretty` or `auto` (pretty on a terminal).

    This starts a thread, so a signal mask that all threads must inherit has to be set before. Raises `StartError` if
    the system cannot start the thread.
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
    """Write pending lines, for at most `timeout` seconds; return whether a write of all of them was tried."""
    return _output.writer is None or _output.writer.flush(timeout)


def is_alive() -> bool:
    """Return whether the writer thread is alive."""
    return _output.writer is None or _output.writer.thread.is_alive()


def dropped_lines() -> int:
    """Return the number of lines lost since `set_up`: no reader, failed writes, or no memory."""
    return 0 if _output.writer is None else _output.writer.dropped


class _Output:
    """The target of all loggers. At the end of the chain, structlog calls the method named like the line's level."""

    def __init__(self) -> None:
        self.writer: Writer | None = None

    def open(self, descriptor: int, chain: Sequence[Processor]) -> None:
        if self.writer is not None:
            self.writer.close()
        self.writer = Writer(descriptor, partial(render, chain))
        self.debug = self.info = self.warning = self.error = self.critical = self.writer.put

    def lost(self) -> None:
        """Count a line that was lost because of missing memory."""
        if self.writer is not None:
            self.writer.drop(1)


# Global, because a process has one standard output and structlog one configuration.
_output: Final = _Output()


class _LibraryHandler(logging.Handler):
    """Logs warnings of libraries without the values in them, which may be URLs, credentials or a job's text."""

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
    """Return the message if it is a literal in the library's source; one built at run time may contain any value."""
    frame = sys._getframe()  # noqa: SLF001 - documented, and the only access to the caller's code
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
