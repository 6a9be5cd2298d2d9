"""The rows of each table: which subjects are measured, and under which load."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks import extras, sockudo
from benchmarks.measure import Load
from benchmarks.subjects import Daemon, DaemonOnV2, ManyWebhooks, Subject, floor, others
from benchmarks.work import THREADS


@dataclass(frozen=True)
class Point:
    """One row of a table: a subject under a load.

    `compared_with` names the row of the same table that its figures are divided by. `perfect` is the rate that the
    time of the receiver alone would allow.
    """

    name: str
    subject: Subject
    load: Load = field(default_factory=Load)
    compared_with: str | None = None
    perfect: float | None = None

    def beside(self, tree: Path) -> list[Point]:
        """Return the same row for the package in another source tree, and this row compared with it."""
        if not isinstance(self.subject, Daemon):
            return [self]
        name = f"{self.name} ({tree.name})"
        other = Point(name, self.subject.of_tree(tree), self.load, self.compared_with, self.perfect)
        return [other, Point(self.name, self.subject, self.load, name, self.perfect)]


def base() -> Iterator[Point]:
    """Yield all subjects at the base point: 5 workers, an instant receiver, one endpoint, two events."""
    for subject in (*others(), Daemon()):
        if subject.is_there:
            yield Point(subject.name, subject, compared_with=None if isinstance(subject, Daemon) else Daemon().name)
        else:
            sys.stderr.write(f"{subject.name} is not installed: pip install '.[bench]'\n")


def workers() -> Iterator[Point]:
    """Yield the daemon with few and many workers, and with 50 ms receivers, where the number of workers limits the
    rate."""
    for count in (1, 5, 32, 128):
        yield Point(f"{count} workers, instant receiver", Daemon(workers=count))
    for count in (5, 32, 128):
        load = Load(jobs=max(count * 200, 2000), delay=0.05)
        yield Point(f"{count} workers, 50 ms receiver", Daemon(workers=count), load, perfect=count / 0.05)
        yield Point(f"the floor with {count} threads there", floor(count), load, perfect=count / 0.05)
    for replicas in (2, 4):
        yield Point(f"{replicas} replicas of 5 workers", Daemon(replicas=replicas))


def receivers() -> Iterator[Point]:
    """Yield slow receivers."""
    for delay in (0.02, 0.05, 0.2):
        load = Load(jobs=2000, delay=delay)
        # Attempts that take longer than 100 ms leave their slots, so the number of workers does not limit their rate.
        perfect = THREADS / delay if delay < 0.1 else None
        yield Point(f"receiver takes {delay * 1000:.0f} ms", Daemon(), load, perfect=perfect)


def shapes() -> Iterator[Point]:
    """Yield more endpoints and apps."""
    for endpoints in (10, 1000):
        yield Point(f"{endpoints} endpoints", Daemon(), Load(endpoints=endpoints))
    yield Point("10,000 apps", Daemon(apps=10_000), Load(apps=10_000))


def sizes() -> Iterator[Point]:
    """Yield more events per job, and larger events."""
    for events, jobs in ((1, 20_000), (10, 20_000), (100, 10_000), (1000, 2000)):
        load = Load(jobs=jobs, events=events)
        name, first = f"{events:,} events a job", "1 event a job"
        yield Point(name if events > 1 else first, Daemon(), load, first if events > 1 else None)
    for size, jobs, name in ((100, 20_000, "100 B"), (10_000, 10_000, "10 KB"), (1_000_000, 200, "1 MB")):
        load = Load(jobs=jobs, events=1, event_bytes=size)
        yield Point(f"one event of {name}", Daemon(), load, "1 event a job")


def webhooks() -> Iterator[Point]:
    """Yield apps with one and with many webhooks, of which one matches."""
    for key in ("channel_prefix", "channel_pattern"):
        first, load = f"1 webhook, {key}", Load(jobs=10_000)
        yield Point(first, ManyWebhooks(1, key), load)
        for count in (10, 100, 1000):
            yield Point(f"{count:,} webhooks, {key}", ManyWebhooks(count, key), load, first)


def queues() -> Iterator[Point]:
    """Yield the other queue formats."""
    yield Point("lists", Daemon())
    yield Point("Queue V2", DaemonOnV2())
    yield from (Point(name, subject) for name, subject in extras.other_queues())


def beside_sockudo() -> Iterator[Point]:
    """Yield Sockudo's own workers, each followed by the daemon on the same queue."""
    if sockudo.program() is None:
        sys.stderr.write("Sockudo's own workers are not measured: set SOCKUDO to its binary (5.0 or later)\n")
        return
    for count, load, name in (
        (5, Load(jobs=40_000), "instant receiver"),
        (5, Load(jobs=2000, delay=0.02), "20 ms receiver"),
        (64, Load(jobs=4000, delay=0.05), "50 ms receiver"),
    ):
        theirs = f"Sockudo, {count} workers, {name}"
        yield Point(theirs, sockudo.OwnWorkers(count), load)
        yield Point(f"sockudo-queue, {count} workers, {name}", sockudo.DaemonBeside(workers=count), load, theirs)


TABLES: Final[dict[str, Callable[[], Iterator[Point]]]] = {
    "base": base,
    "workers": workers,
    "receivers": receivers,
    "shapes": shapes,
    "sizes": sizes,
    "webhooks": webhooks,
    "queues": queues,
    "sockudo": beside_sockudo,
}


def lateness() -> Iterator[Point]:
    """Yield the subjects whose time from push to arrival is measured."""
    for subject in (*others()[:2], Daemon()):
        if subject.is_there:
            yield Point(subject.name, subject)
    yield Point("sockudo-queue, Queue V2", DaemonOnV2())
    if sockudo.program() is not None:
        yield Point("Sockudo, Queue V2", sockudo.OwnWorkers(THREADS))
