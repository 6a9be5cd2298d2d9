"""Compare this daemon with alternatives, and with itself while one parameter changes at a time.

    python -m benchmarks                 # everything, some 15 minutes
    python -m benchmarks --part base     # one part: base, workers, receivers, shapes, queues, lateness, rest
    python -m benchmarks --rounds 5 --out benchmarks/results

The rows of a table are measured in turns within one run; figures of different runs or machines are not comparable.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import extras
from benchmarks.measure import Figures, Load, lateness, throughput
from benchmarks.report import Report, Row
from benchmarks.subjects import Daemon, DaemonOnV2, Subject, floor, others
from tests.helpers.redis_binaries import require_server, server_version
from tests.helpers.redis_server import RedisServer

PARTS = ("base", "workers", "receivers", "shapes", "queues", "lateness", "rest")


@dataclass(frozen=True)
class Point:
    """One line of a table: a subject under a load."""

    name: str
    subject: Subject
    load: Load = field(default_factory=Load)


def base() -> Iterator[Point]:
    """Yield all subjects at the base point: 5 workers, an instant receiver, one endpoint, two events."""
    for subject in (*others(), Daemon()):
        if subject.is_there:
            yield Point(subject.name, subject)
        else:
            sys.stderr.write(f"{subject.name} is not installed: pip install '.[bench]'\n")


def workers() -> Iterator[Point]:
    """Yield the daemon with few and many workers, and with 50 ms receivers, where the number of workers limits the
    rate."""
    for count in (1, 5, 32, 128):
        yield Point(f"{count} workers, instant receiver", Daemon(workers=count))
    for count in (5, 32, 128):
        load = Load(jobs=max(count * 200, 2000), delay=0.05)
        yield Point(f"{count} workers, 50 ms receiver ({count / 0.05:.0f}/s is perfect)", Daemon(workers=count), load)
        yield Point(f"the floor with {count} threads there", floor(count), load)
    for replicas in (2, 4):
        yield Point(f"{replicas} replicas of 5 workers", Daemon(replicas=replicas))


def receivers() -> Iterator[Point]:
    """Yield slow receivers."""
    for delay in (0.02, 0.2):
        yield Point(f"receiver takes {delay * 1000:.0f} ms", Daemon(), Load(jobs=2000, delay=delay))


def shapes() -> Iterator[Point]:
    """Yield more endpoints, events and apps."""
    for endpoints in (10, 1000):
        yield Point(f"{endpoints} endpoints", Daemon(), Load(endpoints=endpoints))
    for events in (10, 100):
        yield Point(f"{events} events a job", Daemon(), Load(events=events))
    yield Point("10,000 apps", Daemon(apps=10_000), Load(apps=10_000))


def queues() -> Iterator[Point]:
    """Yield the other queue formats."""
    yield Point("lists", Daemon())
    yield Point("Queue V2", DaemonOnV2())
    yield from (Point(name, subject) for name, subject in extras.other_queues())


def measured(points: Iterator[Point], rounds: int, server: RedisServer) -> list[Row]:
    """Measure all points in turn, several times, and return the medians."""
    listed = list(points)
    figures: list[list[Figures]] = [[] for _ in listed]
    for round_ in range(rounds):
        for point, seen in zip(listed, figures, strict=True):
            run = getattr(point.subject, "throughput", None) or throughput
            seen.append(run(point.subject, server, point.load))
            sys.stderr.write(f"{round_ + 1}/{rounds} {point.name}: {seen[-1].rate:.0f} jobs/s, {seen[-1].cpu:.0f} us\n")
    return [
        Row(
            point.name,
            statistics.median(one.rate for one in seen),
            statistics.median(one.cpu for one in seen),
            max(one.memory_mb for one in seen),
        )
        for point, seen in zip(listed, figures, strict=True)
    ]


def main() -> None:
    """Run the selected parts and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--part", action="append", choices=PARTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=None, help="folder for the table and the plot")
    options = parser.parse_args()
    wanted = options.part or PARTS
    tables: dict[str, Callable[[], Iterator[Point]]] = {
        "base": base,
        "workers": workers,
        "receivers": receivers,
        "shapes": shapes,
        "queues": queues,
    }
    with RedisServer() as server:
        report = Report(server_version(require_server(server.kind)))
        for part in [part for part in tables if part in wanted]:
            report.add_table(part, measured(tables[part](), options.rounds, server))
        if "lateness" in wanted:
            subjects = [subject for subject in (*others()[:2], Daemon()) if subject.is_there]
            report.add_lateness([(subject.name, *lateness(subject, server, 200, 10)) for subject in subjects])
        if "rest" in wanted:
            report.add_lines("The rest", list(extras.rest(server)))
    sys.stdout.write(report.text())
    if options.out is not None:
        report.write(options.out)


if __name__ == "__main__":
    main()
