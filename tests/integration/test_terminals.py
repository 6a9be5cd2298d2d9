"""What commands write to terminals of several widths and kinds, and to a pipe."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

import sockudo_queue

ROOT: Final = str(Path(sockudo_queue.__file__).parents[1])
REASON: Final = "the receiver answered with a sentence that goes on and on \x1b[2J \u202e and ends at last"
ROWS: Final = [
    ("1,234", REASON, "shop", "orders-of-the-second-warehouse"),
    ("5", "exhausted", "shop", "\u65e5\u672c\u8a9e"),
]
TABLE: Final = f"""
from sockudo_queue.commands.terminal import print_line, table
for line in table(("COUNT", "REASON", "APP", "WEBHOOK"), {ROWS!r}, indent=4):
    print_line(line)
"""
PROGRESS: Final = """
import time
from sockudo_queue.commands.terminal import Progress
progress = Progress("replayed", 1000)
for done in range(0, 1001, 100):
    time.sleep(0.07)
    progress.at(done)
progress.end()
print("replayed 1,000")
"""


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    left_out = ("NO_COLOR", "FORCE_COLOR", "TERM", "COLUMNS", "LINES")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return {**kept, "PYTHONPATH": ROOT, "TERM": "xterm", **variables}


def on_terminal(script: str, columns: int, **variables: str) -> str:
    """Run a script on a terminal of this width; return everything that it wrote."""
    leader, follower = os.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    command = [sys.executable, "-c", script]
    process = subprocess.Popen(
        command, stdin=follower, stdout=follower, stderr=follower, env=environment(variables), cwd="/"
    )
    os.close(follower)
    written = b"".join(_read(leader))
    os.close(leader)
    assert process.wait(10) == 0, written
    return written.decode().replace("\r\n", "\n")


def _read(descriptor: int) -> Iterator[bytes]:
    while True:
        try:
            yield os.read(descriptor, 65_536)
        except OSError:  # The other end is closed.
            return


def in_pipe(script: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script]
    return subprocess.run(command, env=environment({}), cwd="/", capture_output=True, text=True, timeout=10, check=True)


@pytest.mark.parametrize(("columns", "lines"), [(60, 8), (160, 3)])
@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["plain", "no-color", "dumb"])
def test_table_fits_the_terminal(columns: int, lines: int, variables: dict[str, str]) -> None:
    heading, *rows = on_terminal(TABLE, columns, **variables).splitlines()

    assert len(rows) == lines - 1
    assert all(len(row) <= columns and row.isprintable() for row in rows)
    assert heading.index("APP") == rows[0].index("shop") == rows[-1].index("shop")
    assert rows[0].startswith("    1,234  the receiver")
    assert "日本語" in rows[-1]


def test_wide_characters_and_a_first_column_with_blanks_on_a_narrow_terminal() -> None:
    rows = [("the shop of the second-warehouse", "日本語の注文通知", "open"), ("日本", "e\u0301" * 12, "open")]

    assert on_terminal(TABLE.replace(repr(ROWS), repr(rows)).replace('"REASON", ', ""), 20).splitlines() == [
        "    COUNT                             APP         WEBHOOK",
        "    the shop of the second-warehouse  日本語の注  open",
        "                                      文通知",
        "    日本                              " + "e\u0301" * 10 + "  open",
        "                                      " + "e\u0301" * 2,
    ]


def test_table_in_a_pipe_is_whole() -> None:
    heading, long, short = in_pipe(TABLE).stdout.splitlines()

    assert "and ends at last  shop  orders-of-the-second-warehouse" in long
    assert "\\x1b[2J \\u202e" in long
    assert heading.index("APP") == long.index("shop") == short.index("shop")


def test_narrow_terminal_keeps_the_first_column_whole_and_a_little_of_each() -> None:
    heading, first, *_ = on_terminal(TABLE, 20).splitlines()

    assert heading == "    COUNT  REASON      APP   WEBHOOK"
    assert first == "    1,234  the         shop  orders-of-"


@pytest.mark.parametrize("columns", [60, 160])
def test_progress_shows_rate_and_rest_and_is_taken_away(columns: int) -> None:
    written = on_terminal(PROGRESS, columns, NO_COLOR="1")

    drawn = [line for line in re.split(r"[\r\n]", written) if "replayed:" in line]
    assert len(drawn) > 1
    assert all(len(line) <= columns for line in drawn)
    assert re.search(r"\d00/1000 \[00:00<00:\d\d, [\d.]+/s\]", drawn[-1]), drawn
    assert written.rpartition("\r")[2] == "replayed 1,000\n"
    assert "\x1b[3" not in written


def test_terminal_that_cannot_move_its_cursor_gets_no_progress() -> None:
    assert on_terminal(PROGRESS, 60, TERM="dumb") == "replayed 1,000\n"


def test_pipe_gets_no_progress() -> None:
    ran = in_pipe(PROGRESS)

    assert (ran.stdout, ran.stderr) == ("replayed 1,000\n", "")
