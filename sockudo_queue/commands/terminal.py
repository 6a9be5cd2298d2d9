"""What the commands write: lines and tables for people, JSON for machines, and progress where somebody looks on.

Everything that comes out of a queue is shown with its control characters spelled out: nobody who can put a job may
write to an operator's terminal.
"""

from __future__ import annotations

import json
import sys
import time
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final, TextIO

from sockudo_queue.runtime import streams
from sockudo_queue.runtime.streams import json_escape, visible

REDRAW_SECONDS: Final = 0.2


def print_line(line: str = "") -> None:
    """Write one line to standard output, whatever is in it."""
    streams.write(visible(line) + "\n")


def print_error(line: str) -> None:
    """Write one line to standard error, with the program's name before it."""
    streams.write_error(f"sockudo-queue: {visible(line)}\n")


def print_json(value: Any) -> None:
    """Write a value as one line of JSON, in ASCII."""
    streams.write(json.dumps(value) + "\n")


def print_json_with(value: Mapping[str, Any], name: str, raw: Sequence[bytes]) -> None:
    """Write an object as `print_json` does, with one member more: a list of JSON texts as they were received.

    They are not parsed: Python refuses some numbers that JSON may hold, and rounds others.
    """
    listed = ", ".join(_on_one_line(each.decode()) for each in raw)
    streams.write(f"{json.dumps(value)[:-1]}, {json.dumps(name)}: [{listed}]}}\n")


def _on_one_line(text: str) -> str:
    """Return a JSON text in ASCII. A line break in it stands between its parts, since strings have none."""
    return "".join(each if " " <= each <= "~" else " " if each in "\t\r\n" else json_escape(each) for each in text)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return aligned lines, the headings first; the last column is as wide as it likes."""
    shown = [tuple(headings), *[tuple(map(visible, row)) for row in rows]]
    widths = [max(map(_columns, column)) for column in zip(*shown, strict=True)]
    return [
        "  ".join([*[_padded(cell, width) for cell, width in zip(row[:-1], widths, strict=False)], row[-1]]).rstrip()
        for row in shown
    ]


def _columns(text: str) -> int:
    """Return how many columns of a terminal a text takes: ideographs take two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(
        2 if unicodedata.east_asian_width(each) in "WF" else 0 if unicodedata.combining(each) else 1 for each in text
    )


def _padded(cell: str, width: int) -> str:
    return cell + " " * (width - _columns(cell))


def plural(count: int, one: str, many: str = "") -> str:
    """Return `1 letter`, `1,234 letters`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def span(seconds: float) -> str:
    """Return a length of time as people say it: 45 s, 12 min, 3 h, 5 d."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if abs(seconds) >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def pace(done: int, seconds: float) -> str:
    """Return how much is done a second: 1,234/s, 0.1/s."""
    each = done / seconds
    return f"{each:,.0f}/s" if each >= 10 else f"{each:.2g}/s"


def moment(milliseconds: int) -> str:
    """Return a time in UTC, to the second; a number that is no time as it is."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(milliseconds / 1000))
    except (OverflowError, ValueError, OSError):
        return f"{milliseconds} ms"


def _is_drawable(stream: TextIO) -> bool:
    return stream.isatty() and streams.can_draw(stream.fileno())


class Progress:
    """A line on standard error that follows long work, only where that is a terminal."""

    def __init__(self, what: str, total: int, *, silent: bool = False) -> None:
        self._what, self._total = what, total
        self._shows = not silent and _is_drawable(sys.stderr)
        self._started = time.monotonic()
        self._drawn_at = self._started

    @property
    def seconds(self) -> float:
        return max(time.monotonic() - self._started, 1e-6)

    def at(self, done: int) -> None:
        """Draw the line anew, a few times a second."""
        if not self._shows or time.monotonic() - self._drawn_at < REDRAW_SECONDS:
            return
        self._drawn_at = time.monotonic()
        of = f" of {self._total:,}" if self._total >= done else ""
        streams.write_error(f"\r\033[K{self._what} {done:,}{of}, {pace(done, self.seconds)}")

    def end(self) -> None:
        """Take the line away; what came of it is said elsewhere."""
        if self._shows:
            streams.write_error("\r\033[K")
