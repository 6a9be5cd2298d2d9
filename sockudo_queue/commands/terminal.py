"""Output of the commands: lines and tables for people, JSON for machines, and progress bars on a terminal.

Control characters of everything that comes out of a queue are escaped, so that a producer cannot write to an operator's
terminal.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, TextIO

from sockudo_queue.runtime import streams
from sockudo_queue.runtime.streams import json_escape, visible

if TYPE_CHECKING:
    from tqdm import tqdm

REDRAW_SECONDS: Final = 0.2
MIN_COLUMN_WIDTH: Final = 10
"""Minimum width of a table column; if that does not fit, the table is wider than the terminal."""
COLUMN_GAP: Final = 2


def print_line(line: str = "") -> None:
    """Write one line to standard output, with control characters escaped."""
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


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, indent: int = 0) -> list[str]:
    """Return aligned lines, the headings first, as wide as the terminal; in a pipe or a file each row is one line.

    A cell that is too wide goes on in the next line. The first column holds what a person copies and stays whole.
    """
    from prettytable import PrettyTable, TableStyle  # here, since it takes 0.07 s and most output has no table

    drawn = PrettyTable(headings, align="l", break_on_hyphens=False)
    drawn.set_style(TableStyle.PLAIN_COLUMNS)
    drawn.right_padding_width = COLUMN_GAP
    drawn.header = False  # The headings are a row, since only cells wrap.
    drawn.add_rows([list(map(visible, row)) for row in (headings, *rows)])
    if sys.stdout.isatty():
        widths = _narrowed(drawn.rows, shutil.get_terminal_size().columns - indent)
        drawn.max_width = dict(zip(headings, widths, strict=True))
    return [" " * indent + line.rstrip() for line in drawn.get_string().split("\n")]


def _narrowed(rows: Sequence[Sequence[str]], columns: int) -> list[int]:
    """Return the widths of a table's columns that fit a terminal; the widest columns except the first are narrowed."""
    from wcwidth import width

    first, *others = (max(map(width, cells)) for cells in zip(*rows, strict=True))
    while others and first + sum(others) + COLUMN_GAP * len(others) > columns and max(others) > MIN_COLUMN_WIDTH:
        others[others.index(max(others))] -= 1
    return [first, *others]


def plural(count: int, one: str, many: str = "") -> str:
    """Return `1 letter`, `1,234 letters`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def states(depth: Mapping[str, int]) -> str:
    """Return the number of records in each state, in the words of the docs."""
    words = {"active": "in flight", "dead-letter": "dead letters"}
    return ", ".join(f"{count:,} {words.get(state, state)}" for state, count in depth.items())


def span(seconds: float) -> str:
    """Return a duration for people: 45 s, 12 min, 3 h, 5 d."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if abs(seconds) >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def format_rate(done: int, seconds: float) -> str:
    """Return a rate: 1,234/s, 0.1/s."""
    each = done / seconds
    return f"{each:,.0f}/s" if each >= 10 else f"{each:.2g}/s"


def moment(milliseconds: int) -> str:
    """Return a time in UTC, to the second, or the number itself if it is out of range."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(milliseconds / 1000))
    except (OverflowError, ValueError, OSError):
        return f"{milliseconds} ms"


def _is_drawable(stream: TextIO) -> bool:
    return stream.isatty() and streams.can_draw(stream.fileno())


class Progress:
    """A progress bar on standard error with the rate and the remaining time, if that is a terminal."""

    def __init__(self, what: str, total: int, *, silent: bool = False) -> None:
        self._started = time.monotonic()
        self._bar: tqdm[NoReturn] | None = None
        if not silent and _is_drawable(sys.stderr):
            from tqdm import tqdm  # here, since it takes tens of milliseconds and most output has no bar

            tqdm.monitor_interval = 0  # no thread beside
            self._bar = tqdm(
                desc=what,
                total=total or None,
                file=sys.stderr,
                leave=False,
                dynamic_ncols=True,
                mininterval=REDRAW_SECONDS,
                unit="",
            )

    @property
    def seconds(self) -> float:
        return max(time.monotonic() - self._started, 1e-6)

    def at(self, done: int) -> None:
        """Redraw the bar, at most a few times a second."""
        if self._bar is not None:
            self._bar.update(done - self._bar.n)

    def end(self) -> None:
        """Remove the bar; the result is written elsewhere."""
        if self._bar is not None:
            self._bar.close()
