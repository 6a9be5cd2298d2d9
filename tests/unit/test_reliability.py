"""docs/reliability.md names tests for every reported fault: each of them exists, and no fault is without one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "reliability.md").read_text()
MIN_REPORTED: Final = 70
_TEST: Final = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_SOURCE: Final = re.compile(r"[\w.-]+/[\w.-]+#\d+")


def rows() -> list[list[str]]:
    """Return the cells of the tables of reported faults."""
    lines = [line for line in PAGE.splitlines() if line.startswith("| ") and _SOURCE.match(line, 2)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_reported_fault_has_a_source_a_promise_and_a_test() -> None:
    table = rows()
    assert len(table) >= MIN_REPORTED
    assert all(len(row) == 4 and all(row) and _TEST.search(row[3]) for row in table)
    assert len({row[0] for row in table}) == len(table)


def test_every_test_that_is_named_exists() -> None:
    named = set(_TEST.findall(PAGE))
    assert len(named) > MIN_REPORTED
    for path, name in named:
        source = ROOT / path
        assert source.is_file(), path
        assert re.search(rf"^ *(def|class) {name}\b", source.read_text(), re.MULTILINE), f"{path}::{name}"


def test_every_file_that_is_named_exists() -> None:
    for path in re.findall(r"`((?:tests|scripts|fuzz)/[\w/.]+)`", PAGE):
        assert (ROOT / path).exists(), path
