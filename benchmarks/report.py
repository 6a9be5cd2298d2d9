"""Tables in Markdown and a plot as SVG, with the machine and the versions that were measured."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import suppress
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("sockudo-queue", "redis", "requests", "pycurl", "dramatiq", "huey", "celery")


class Row(NamedTuple):
    """One line of a table. `compared_with` names another one; `perfect` is a rate."""

    name: str
    rate: float
    cpu: float
    memory_mb: float
    compared_with: str | None = None
    perfect: float | None = None


class Report:
    """The results of one run of the benchmark."""

    def __init__(self, redis_version: str) -> None:
        self._parts: list[str] = []
        self._base: list[Row] = []
        self._head = [
            f"# {datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
            "",
            f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}, "
            f"server {redis_version}; {', '.join(_versions())}",
            "",
        ]

    def add_table(self, part: str, rows: Sequence[Row]) -> None:
        """Add a table; that of the base point compares all subjects with the daemon, its last row."""
        heads = ["", "jobs/s", "CPU per job", "memory"]
        if part == "base":
            self._base = rows = [row._replace(compared_with=_without(row.compared_with, rows[-1].name)) for row in rows]
            heads += ["ours: jobs/s", "ours: CPU per job"]
        if any(row.perfect for row in rows):
            heads.append("of perfect")
        if any(row.compared_with for row in rows):
            heads += ["jobs/s", "CPU per job", "of"]
        lines = [_line(heads), "|---" * len(heads) + "|"]
        lines += [_line(_cells(row, rows, heads)) for row in rows]
        self._parts += [f"## {part.capitalize()}", "", *lines, ""]

    def add_lateness(self, rows: Sequence[tuple[str, float, float]]) -> None:
        """Add the table of delays from push to arrival, in seconds."""
        self._parts += ["## From push to arrival, at 200 jobs/s", "", "| | p50 | p99 |", "|---|---|---|"]
        self._parts += [f"| {name} | {p50 * 1000:.2f} ms | {p99 * 1000:.2f} ms |" for name, p50, p99 in rows] + [""]

    def add_lines(self, title: str, lines: Sequence[str]) -> None:
        """Add a list."""
        self._parts += [f"## {title}", "", *(f"- {line}" for line in lines), ""]

    def text(self) -> str:
        """Return the report in Markdown."""
        return "\n".join([*self._head, *self._parts])

    def write(self, folder: Path) -> None:
        """Write the tables and the plot into a folder, named after today's date."""
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
        plot = f"![Jobs per second]({name}.svg)\n" if self._base else ""
        (folder / f"{name}.md").write_text(self.text() + plot)
        if self._base:
            (folder / f"{name}.svg").write_text(_plot(self._base))


def _cells(row: Row, rows: Sequence[Row], heads: Sequence[str]) -> list[str]:
    cells = [row.name, f"{row.rate:,.0f}", f"{row.cpu:,.0f} µs", f"{row.memory_mb:.0f} MB"]
    if "ours: jobs/s" in heads:
        cells += _ratios(rows[-1], row)
    if "of perfect" in heads:
        cells.append(f"{row.rate / row.perfect * 100:.1f} %" if row.perfect else "")
    other = next((each for each in rows if each.name == row.compared_with), None)
    if other is not None:
        cells += [*_ratios(row, other), other.name]
    return cells + [""] * (len(heads) - len(cells))


def _without(name: str | None, excluded: str) -> str | None:
    return None if name == excluded else name


def _ratios(one: Row, other: Row) -> list[str]:
    return [f"{one.rate / other.rate:.2f} times", f"{one.cpu / other.cpu:.2f} times"]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plot(rows: Sequence[Row]) -> str:
    most = max(row.rate for row in rows)
    bars = []
    for at, row in enumerate(rows):
        y, width = 40 + at * 34, 420 * row.rate / most
        bars.append(
            f'<text x="190" y="{y + 16}" text-anchor="end">{escape(row.name)}</text>'
            f'<rect x="200" y="{y}" width="{width:.0f}" height="22" rx="3"/>'
            f'<text x="{208 + width:.0f}" y="{y + 16}">{row.rate:,.0f}</text>'
        )
    height = 60 + len(rows) * 34
    style = "text{font:13px sans-serif;fill:#555}rect{fill:#3b7dd8}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 {height}"><style>{style}</style>'
        '<text x="200" y="24">jobs per second, 5 threads, a receiver that answers immediately</text>'
        f"{''.join(bars)}</svg>\n"
    )


def _versions() -> Iterator[str]:
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            yield f"{name} {version(name)}"
