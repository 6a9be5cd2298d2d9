"""Tells at the end of a run what the tests of faults have measured."""

from __future__ import annotations

import pytest

from tests.faults.measures import FIGURES, SCALE


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if FIGURES:
        terminalreporter.section(f"figures at scale {SCALE:g}")
    for line in FIGURES:
        terminalreporter.write_line(line)
    FIGURES.clear()  # the end-to-end tests tell theirs through the same function
