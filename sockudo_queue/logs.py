"""Log set-up: one line per event, as JSON or for a terminal, written to standard output by one thread.

Other modules call `get_logger()` and log an event name with fields: `log.info("delivery.attempted", app=…)`; nobody
else configures logging. A line is encoded by the thread that logs it, so fields are read at that moment, and is then
only appended to a queue. What may be shown is decided by type: plain values as they are, `Secret` as a mask, bytes as
their length, an error of this package as its text, any other error or object as the name of its type.
"""

from __future__ import annotations

import atexit
import logging
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from pathlib import PurePath
from queue import Empty, SimpleQueue
from traceback import walk_tb
from types import TracebackType
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog

from sockudo_queue.errors import SockudoQueueError
from sockudo_queue.redaction import MASK, Secret

LINE_LIMIT: Final = 8_192  # bytes; container runtimes split lines at 16 KiB
QUEUE_LIMIT: Final = 10_000  # lines that wait for a slow reader, some 4 MB as they usually are
BATCH_BYTES: Final = 65_536  # what a pipe takes at once
BATCH_PAUSE: Final = 0.02  # seconds; while lines are frequent, one write and one thread switch serve many of them
FAILED_PAUSE: Final = 1.0  # seconds between tries after a failed write: a broken pipe stays broken, a full disk may not
SHORT_TEXT: Final = 256  # characters of one text in a line that was too long
DEPTH_LIMIT: Final = 3
ITEMS_LIMIT: Final = 32
STACK_LIMIT: Final = 20

_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_SHOWN_AS_TEXT: Final = (date, time, timedelta, UUID, PurePath, Decimal, IPv4Address, IPv6Address)
_COLOURS: Final = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m"}
_encode: Final = msgspec.json.Encoder().encode


def get_logger(**context: Any) -> Any:
    """Return a logger that adds the given fields to each of its lines; safe from any thread."""
    return structlog.get_logger(**context)


def set_up(level: str, log_format: str, descriptor: int = 1) -> None:
    """Configure logging for the process: a level, and `json`, `pretty` or `auto` (pretty on a terminal).

    This starts a thread. Whoever waits for signals by their mask must have set the mask before.
    """
    terminal = os.isatty(descriptor)
    _output.open(descriptor, pretty=log_format == "pretty" or (log_format == "auto" and terminal), colours=terminal)
    structlog.configure(
        processors=[_output.render],
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


def dropped_lines() -> int:
    """Count the lines that were lost since `set_up`, because nobody read them or because writing failed."""
    return 0 if _output.writer is None else _output.writer.dropped


class _Output:
    """Where structlog's chain ends: fields in, one encoded line out, handed to the writer."""

    def __init__(self) -> None:
        self.writer: _Writer | None = None
        self._pretty = self._colours = False

    def open(self, descriptor: int, *, pretty: bool, colours: bool) -> None:
        if self.writer is not None:
            self.writer.close()
        self._pretty, self._colours = pretty, colours
        self.writer = _Writer(descriptor, self._notice)

    def render(self, _logger: Any, level: str, fields: Any) -> bytes:
        """Turn the fields of one event into one line without its end. It never raises: a log call may be all that
        an error handler has left.
        """
        if "exc_info" in fields:
            _explain(fields, fields.pop("exc_info"))
        now = datetime.now(UTC)
        line = {"timestamp": now, "level": level, "event": fields.pop("event", "")}
        for name, value in fields.items():
            line[name] = value if type(value) in _SCALARS else _plain(value)
        line["timestamp"], line["level"] = now, level  # again, lest a field of that name has taken the place
        if self._pretty:
            return _pretty(line, colours=self._colours)
        try:
            encoded = _encode(line)
            return encoded if len(encoded) <= LINE_LIMIT else _careful(line)
        except Exception:  # noqa: BLE001 - a lone surrogate or whatever else cannot be encoded
            return _careful(line)

    def msg(self, line: bytes) -> None:
        assert self.writer is not None
        self.writer.put(line)

    debug = info = warning = error = critical = msg

    def _notice(self, count: int) -> bytes:
        return self.render(None, "warning", {"event": "logs.dropped", "count": count})


class _Writer:
    """The thread that writes, and the bounded queue before it."""

    def __init__(self, descriptor: int, notice: Callable[[int], bytes]) -> None:
        self._descriptor = descriptor
        self._notice = notice
        self._lines: deque[bytes | threading.Event | None] = deque()
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._idle = self._torn = self._closed = False
        self._counting = threading.Lock()
        self.dropped = self._reported = 0
        self.thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self.thread.start()

    def put(self, line: bytes) -> None:
        if len(self._lines) >= QUEUE_LIMIT:
            self._drop(1)
            return
        self._lines.append(line)
        if self._idle:  # else the writer looks again by itself: no thread switch for most lines
            self._idle = False
            self._wake.put(None)

    def flush(self, timeout: float) -> bool:
        done = threading.Event()
        self._lines.append(done)
        self._wake.put(None)
        return done.wait(timeout)

    def close(self) -> None:
        """Let the thread end once it has written what waits; do not wait for it."""
        self._lines.append(None)
        self._wake.put(None)

    def _run(self) -> None:
        while True:
            self._await_line()
            written = self._write_batch()
            if self._closed:
                return
            self._pause(BATCH_PAUSE if written else FAILED_PAUSE)

    def _await_line(self) -> None:
        self._idle = True
        if not self._lines:  # asked after the flag is up, so a line that came meanwhile is either seen or wakes us
            self._wake.get()
        self._idle = False

    def _pause(self, seconds: float) -> None:
        try:
            self._wake.get(timeout=seconds)
        except Empty:
            return

    def _write_batch(self) -> bool:
        lines, flushed = self._take()
        lost = self.dropped
        if lost > self._reported:
            lines.insert(0, self._notice(lost - self._reported))
        try:
            if lines:
                self._write(b"\n".join(lines) + b"\n")
            self._reported = lost
            return True
        except OSError:  # Nobody reads, or the disk is full; there is no other place to say so than the counter.
            self._drop(len(lines) - (lost > self._reported))
            return False
        finally:
            for event in flushed:
                event.set()

    def _take(self) -> tuple[list[bytes], list[threading.Event]]:
        lines: list[bytes] = []
        flushed: list[threading.Event] = []
        size = 0
        while self._lines and size < BATCH_BYTES and not self._closed:
            match self._lines.popleft():
                case None:
                    self._closed = True
                case bytes() as line:
                    lines.append(line)
                    size += len(line)
                case event:
                    flushed.append(event)
        return lines, flushed

    def _write(self, data: bytes) -> None:
        rest = memoryview(b"\n" + data if self._torn else data)
        while rest:
            try:
                written = os.write(self._descriptor, rest)
            except BlockingIOError:  # Standard output may be shared with a program that made it non-blocking.
                select.select((), (self._descriptor,), (), FAILED_PAUSE)
                continue
            self._torn = rest[written - 1] != 10  # a failure now would leave half a line for the next to join
            rest = rest[written:]

    def _drop(self, count: int) -> None:
        with self._counting:
            self.dropped += count


# A process has one standard output and structlog one configuration; this is its end.
_output: Final = _Output()


def _plain(value: Any, depth: int = 0) -> Any:
    """Turn a value into what JSON has. Nothing foreign is asked for its text: a `repr` may raise, or show a secret."""
    try:
        match value:
            case str():  # first, for the members of a StrEnum, which are frequent
                return str.__str__(value)
            case None | bool():
                return value
            case Secret():
                return MASK
            case Enum():
                return _plain(value.value, depth)
            case int() | float():
                return value + 0
            case bytes() | bytearray() | memoryview():
                return f"<{len(value)} bytes>"
            case BaseException():
                return _describe(value)
            case Mapping() | list() | tuple() | set() | frozenset() | deque():
                return _plain_items(value, depth + 1) if depth < DEPTH_LIMIT else "…"
            case _:
                return str(value) if isinstance(value, _SHOWN_AS_TEXT) else f"<{type(value).__name__}>"
    except Exception:  # noqa: BLE001 - whatever a foreign object's methods raise
        return f"<{type(value).__name__}>"


def _plain_items(value: Any, depth: int) -> Any:
    kept = [item for item, _ in zip(value, range(ITEMS_LIMIT), strict=False)]
    if isinstance(value, Mapping):
        plain = {str(_plain(key, depth)): _plain(value[key], depth) for key in kept}
        return plain if len(kept) == len(value) else plain | {"…": len(value) - len(kept)}
    items = [_plain(item, depth) for item in kept]
    return items if len(kept) == len(value) else [*items, "…"]


def _careful(line: Mapping[str, Any]) -> bytes:
    """Encode a line that was too long or could not be encoded as it is."""
    try:
        encoded = _encode({_short(name): _short(value) for name, value in line.items()})
        if len(encoded) <= LINE_LIMIT:
            return encoded
    except Exception:  # noqa: BLE001, S110 - the line below holds nothing that could fail
        pass
    return _encode({name: _short(line[name]) for name in ("timestamp", "level", "event")} | {"truncated": True})


def _short(value: Any) -> Any:
    match value:
        case str():
            text = value.encode(errors="backslashreplace").decode()
            return text if len(text) <= SHORT_TEXT else text[:SHORT_TEXT] + "…"
        case dict():
            return {_short(name): _short(item) for name, item in value.items()}
        case list():
            return [_short(item) for item in value]
        case int() if value.bit_length() > 64:
            return "<int>"  # Python refuses to write some of them out
        case _:
            return value


def _describe(error: BaseException) -> str:
    """Name an error; only this package's messages are known to hold no secret."""
    name = type(error).__name__
    return f"{name}: {error}" if isinstance(error, SockudoQueueError) else name


def _explain(fields: dict[str, Any], given: Any) -> None:
    """Say what happened and, if nobody expected it, where: files and lines, without values or source text."""
    error = given if isinstance(given, BaseException) else given[1] if isinstance(given, tuple) else sys.exc_info()[1]
    if not given or error is None:
        return
    fields.setdefault("error", error)
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        fields["cause"] = cause
    if not isinstance(error, SockudoQueueError):
        stack = [f"{_place(frame.f_code.co_filename)}:{line}" for frame, line in walk_tb(error.__traceback__)]
        fields["stack"] = stack[-STACK_LIMIT:]


def _place(filename: str) -> str:
    return "/".join(PurePath(filename).parts[-2:])


def _pretty(line: dict[str, Any], *, colours: bool) -> bytes:
    level, event = line.pop("level"), _shown(line.pop("event"))
    when = line.pop("timestamp").astimezone().strftime("%H:%M:%S.%f")[:-3]
    start, bold, end = (_COLOURS.get(level, ""), "\x1b[1m", "\x1b[0m") if colours else ("", "", "")
    fields = " ".join(f"{_shown(name)}={_shown(value)}" for name, value in line.items())
    text = f"{when} {start}{level:<8}{end} {bold}{event:<20}{end} {fields}".rstrip()
    return text.encode(errors="backslashreplace")[:LINE_LIMIT]


def _shown(value: Any) -> str:
    """Write a value for a terminal; nothing in it can move the cursor or begin a line."""
    if isinstance(value, str):
        text = value if len(value) <= SHORT_TEXT else value[:SHORT_TEXT] + "…"
        return text if text.isprintable() and text and " " not in text else repr(text)
    return repr(_short(value))


class _LibraryHandler(logging.Handler):
    """Takes the warnings of libraries, without the values in them: those may be URLs, credentials or a job's text."""

    def emit(self, record: logging.LogRecord) -> None:
        log = get_logger()
        (log.error if record.levelno >= logging.ERROR else log.warning)(
            "library.warning",
            logger=record.name,
            message=_literal(record),
            where=f"{_place(record.pathname)}:{record.lineno}",
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
