"""Tables of the commands: alignment, wrapping on a terminal, one line for each row elsewhere."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import pytest

from sockudo_queue.commands.terminal import table

Narrow = Callable[[int], None]
REASON = "the receiver closed the connection"
URL = "https://receiver.example/orders"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Narrow:
    """Make standard output a terminal of a width."""

    def of(columns: int) -> None:
        monkeypatch.setattr("sys.stdout", Terminal())
        monkeypatch.setenv("COLUMNS", str(columns))

    return of


@pytest.mark.parametrize(
    ("columns", "lines"),
    [
        (60, ["ID              REASON", f"{'9' * 14}  {REASON}"]),
        (50, ["ID              REASON", f"{'9' * 14}  {REASON}"]),
        (49, ["ID              REASON", f"{'9' * 14}  the receiver closed the", f"{'':14}  connection"]),
        (
            20,
            [
                "ID              REASON",
                f"{'9' * 14}  the",
                f"{'':14}  receiver",
                f"{'':14}  closed the",
                f"{'':14}  connection",
            ],
        ),
    ],
)
def test_cell_wraps_at_blanks_and_first_column_stays_whole(terminal: Narrow, columns: int, lines: list[str]) -> None:
    terminal(columns)

    assert table(("ID", "REASON"), [("9" * 14, REASON)]) == lines


def test_first_column_with_blanks_and_hyphens_stays_whole_on_any_terminal(terminal: Narrow) -> None:
    terminal(1)
    first = "orders of the second-warehouse"

    assert table(("WEBHOOK", "RESULT"), [(first, "ok")]) == [f"WEBHOOK{'':23}  RESULT", f"{first}  ok"]


def test_word_without_blanks_wraps_at_any_character(terminal: Narrow) -> None:
    terminal(20)

    assert table(("APP", "URL"), [("shop", URL)]) == [
        "APP   URL",
        "shop  https://receiv",
        "      er.example/ord",
        "      ers",
    ]


def test_widest_columns_are_narrowed_and_short_ones_stay_whole(terminal: Narrow) -> None:
    terminal(41)

    assert table(("ID", "STATE", "REASON", "URL"), [("1", "open", REASON, URL)], indent=4) == [
        "    ID  STATE  REASON        URL",
        "    1   open   the receiver  https://rece",
        "               closed the    iver.example",
        "               connection    /orders",
    ]


def test_heading_of_a_narrowed_column_wraps(terminal: Narrow) -> None:
    terminal(12)

    assert table(("ID", "LAST FAILURE"), [("1", "status-500")]) == ["ID  LAST", "    FAILURE", "1   status-500"]


def test_hyphens_are_characters_like_others(terminal: Narrow) -> None:
    terminal(21)

    assert table(("APP", "WEBHOOK"), [("shop", "orders-of-the-second-warehouse")]) == [
        "APP   WEBHOOK",
        "shop  orders-of-the-s",
        "      econd-warehouse",
    ]


def test_wide_characters_take_two_columns(terminal: Narrow) -> None:
    terminal(23)

    assert table(("APP", "WEBHOOK", "STATE"), [("日本", "日本語の注文通知", "open"), ("shop", "orders", "open")]) == [
        "APP   WEBHOOK     STATE",
        "日本  日本語の注  open",
        "      文通知",
        "shop  orders      open",
    ]


def test_combining_characters_take_no_column(terminal: Narrow) -> None:
    terminal(30)
    name = "e\u0301" * 10

    assert table(("APP", "WEBHOOK", "REASON"), [("e\u0301te\u0301", name, "status-50034"), ("1", name + "!", "x")]) == [
        "APP  WEBHOOK      REASON",
        f"e\u0301te\u0301  {name}   status-50034",
        f"1    {name}!  x",
    ]
    terminal(27)
    assert table(("APP", "WEBHOOK", "STATE"), [("shop", name * 2, "open")])[1:] == [
        "shop  " + "e\u0301" * 14 + "  open",
        "      " + "e\u0301" * 6,
    ]


@pytest.mark.parametrize(
    "cell", ["0012.50", "1e5", "1,234", "None", "True", "  indented", "a  b", "-", "--- ok", "|", "<b>"]
)
def test_cells_are_shown_as_they_are(cell: str) -> None:
    assert table(("A", "B", "C"), [(cell, cell, "end")]) == [
        f"A{'':{len(cell) + 1}}B{'':{len(cell) + 1}}C",
        f"{cell}  {cell}  end",
    ]


def test_control_characters_are_escaped_before_they_are_measured(terminal: Narrow) -> None:
    terminal(80)
    cells = ("\x1b[31mred", "two\nlines\t", "\u202eleft")

    assert table(("A", "B", "C"), [cells]) == [
        "A            B             C",
        "\\x1b[31mred  two\\nlines\\t  \\u202eleft",
    ]


def test_pipe_gets_one_line_for_each_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", io.StringIO())
    monkeypatch.setenv("COLUMNS", "20")

    heading, *rows = table(("ID", "REASON", "URL"), [("1", REASON * 50, URL), ("2", "-", URL)], indent=2)

    gap = " " * (len(REASON) * 50 - 1)
    assert rows == [f"  1   {REASON * 50}  {URL}", f"  2   -{gap}  {URL}"]
    assert heading == f"  ID  REASON{'':{len(REASON) * 50 - 6}}  URL"


@pytest.mark.parametrize(
    ("rows", "lines"), [([], []), ([("", "")], [""]), ([("1", ""), ("", "2")], ["1", "   2"])], ids=repr
)
def test_lines_have_no_trailing_blanks(rows: Sequence[tuple[str, str]], lines: list[str]) -> None:
    assert table(("A", "B"), rows) == ["A  B", *lines]
