"""Compare this daemon with alternatives, and with itself while one parameter changes at a time.

    python -m benchmarks                             # everything, three quarters of an hour
    python -m benchmarks --list                      # the names of all rows
    python -m benchmarks --part webhooks --rounds 5  # one part
    python -m benchmarks --row "10 events"           # the rows whose name contains a text
    python -m benchmarks --part base --against DIR   # each row of the daemon also with the package in another tree
    python -m benchmarks --out benchmarks/results

The rows of a table are measured in turns within one run; figures of different runs or machines are not comparable.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path

from benchmarks import extras, tables
from benchmarks.measure import Figures, lateness, throughput
from benchmarks.report import Report, Row
from benchmarks.tables import Point
from tests.helpers.redis_binaries import require_server, server_version
from tests.helpers.redis_server import RedisServer

PARTS = (*tables.TABLES, "lateness", "rest")


def chosen(points: Iterable[Point], texts: list[str] | None, trees: list[Path]) -> list[Point]:
    """Return the rows whose name contains one of the texts and the rows that these are compared with."""
    known = list(points)
    if texts is not None:
        found = [point for point in known if any(text.lower() in point.name.lower() for text in texts)]
        names = {name for point in found for name in (point.name, point.compared_with)}
        known = [point for point in known if point.name in names]
    for tree in trees:
        known = [row for point in known for row in point.beside(tree)]
    return known


def measured(points: list[Point], rounds: int, server: RedisServer) -> list[Row]:
    """Measure all points in turn, several times, and return the medians."""
    figures: dict[str, list[Figures]] = {point.name: [] for point in points}
    for round_ in range(rounds):
        for point in points if round_ % 2 == 0 else reversed(points):
            run = getattr(point.subject, "throughput", None) or throughput
            one = run(point.subject, server, point.load)
            figures[point.name].append(one)
            _say(f"{round_ + 1}/{rounds} {point.name}: {one.rate:.0f} jobs/s, {one.cpu:.0f} us")
    return [
        Row(
            point.name,
            statistics.median(one.rate for one in figures[point.name]),
            statistics.median(one.cpu for one in figures[point.name]),
            max(one.memory_mb for one in figures[point.name]),
            point.compared_with,
            point.perfect,
        )
        for point in points
    ]


def delays(points: list[Point], rounds: int, server: RedisServer) -> list[tuple[str, float, float]]:
    """Measure p50 and p99 from push to arrival of all points in turn, and return the medians."""
    seen: dict[str, list[tuple[float, float]]] = {point.name: [] for point in points}
    for round_ in range(rounds):
        for point in points if round_ % 2 == 0 else reversed(points):
            p50, p99 = lateness(point.subject, server, 200, 10)
            seen[point.name].append((p50, p99))
            _say(f"{round_ + 1}/{rounds} {point.name}: p50 {p50 * 1000:.2f} ms, p99 {p99 * 1000:.2f} ms")
    return [(name, *(statistics.median(column) for column in zip(*pairs, strict=True))) for name, pairs in seen.items()]


def report_of(options: argparse.Namespace) -> Report:
    """Measure the selected rows."""
    wanted = options.part or PARTS
    with RedisServer() as server:
        report = Report(server_version(require_server(server.kind)))
        for part, rows in tables.TABLES.items():
            points = chosen(rows(), options.row, options.against) if part in wanted else []
            if points:
                report.add_table(part, measured(points, options.rounds, server))
        points = chosen(tables.lateness(), options.row, options.against) if "lateness" in wanted else []
        if points:
            report.add_lateness(delays(points, options.rounds, server))
        if "rest" in wanted and options.row is None:
            report.add_lines("The rest", list(extras.rest(server)))
    return report


def main() -> None:
    """Run the selected parts and write the results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", action="append", choices=PARTS)
    parser.add_argument("--row", action="append", metavar="TEXT", help="only rows whose name contains the text")
    parser.add_argument("--list", action="store_true", help="print the names of all rows and end")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", action="append", type=Path, default=[], metavar="DIR", help="another source tree")
    parser.add_argument("--out", type=Path, default=None, help="folder for the table and the plot")
    options = parser.parse_args()
    if missing := [tree for tree in options.against if not Path(tree, "sockudo_queue").is_dir()]:
        parser.error(f"{missing[0]} contains no sockudo_queue; --against takes the root of a source tree")
    options.against = [tree.resolve() for tree in options.against]
    if options.list:
        for part, rows in (tables.TABLES | {"lateness": tables.lateness}).items():
            sys.stdout.writelines(f"{part}: {point.name}\n" for point in rows())
        return
    report = report_of(options)
    sys.stdout.write(report.text())
    if options.out is not None:
        report.write(options.out)


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    main()
