"""One run: jobs per second, CPU per job and memory of a subject, or the delay until webhooks arrive."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psutil

from benchmarks import receivers, work
from benchmarks.receivers import Receiver
from benchmarks.subjects import Subject
from tests.helpers.redis_server import RedisServer

WARM = 0.1
"""Share of the jobs before the measurement starts: start-up is measured elsewhere."""
TOO_LONG = 600.0


@dataclass(frozen=True)
class Figures:
    """The results of one run. CPU is that of all processes of the subject, in microseconds per job."""

    rate: float
    cpu: float
    memory_mb: float


@dataclass(frozen=True)
class Load:
    """The receiver and the jobs. `delay` None is nginx, which answers immediately."""

    jobs: int = 20_000
    delay: float | None = None
    endpoints: int = 1
    events: int = 2
    apps: int = 1
    event_bytes: int = 0

    def bodies(self, count: int) -> list[bytes]:
        """Return that number of jobs."""
        return work.bodies(
            count, events=self.events, endpoints=self.endpoints, apps=self.apps, event_bytes=self.event_bytes
        )


@contextlib.contextmanager
def receiver_for(load: Load) -> Iterator[Receiver]:
    """Start the receiver for a load."""
    with receivers.instant() if load.delay is None else receivers.waiting(load.delay) as receiver:
        yield receiver


def throughput(subject: Subject, server: RedisServer, load: Load) -> Figures:
    """Let a subject drain a full queue, and measure all but the first tenth."""
    count = load.jobs // subject.slowness
    with server.client() as client:
        client.flushall()
    with receiver_for(load) as receiver:
        subject.fill(server, load.bodies(count))
        urls = [receiver.url(endpoint) for endpoint in range(load.endpoints)]
        with subject.running(server, urls) as pids:
            return of_running(receiver, count, pids)


def of_running(receiver: Receiver, count: int, pids: Sequence[int]) -> Figures:
    """Measure running workers: all but the first tenth of `count` jobs."""
    wait_for(receiver, round(count * WARM))
    came, began, used = receiver.count(), time.monotonic(), cpu_seconds(pids)
    wait_for(receiver, count)
    took, used = time.monotonic() - began, cpu_seconds(pids) - used
    return Figures((count - came) / took, used / (count - came) * 1e6, memory_mb(pids))


def lateness(subject: Subject, server: RedisServer, per_second: int, seconds: float) -> tuple[float, float]:
    """Return p50 and p99 of the seconds from push to arrival, at a steady rate that all subjects can sustain."""
    with server.client() as client:
        client.flushall()
    with receivers.waiting(0.0) as receiver, subject.running(server, [receiver.url()]):
        subject.fill(server, work.bodies(50))
        wait_for(receiver, 50)
        time.sleep(0.5)
        receiver.lateness()
        count = round(per_second * seconds)
        began = time.monotonic()
        for number in range(count):
            time.sleep(max(began + number / per_second - time.monotonic(), 0))
            subject.fill(server, [work.timed_body(number)])
        wait_for(receiver, 50 + count)
        late = sorted(receiver.lateness())
    return statistics.median(late), late[int(len(late) * 0.99)]


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return user and system seconds of these processes and their descendants."""
    return sum(sum(process.cpu_times()[:2]) for process in _tree(pids))


def memory_mb(pids: Sequence[int]) -> float:
    """Return the resident megabytes of these processes and their descendants."""
    return sum(process.memory_info().rss for process in _tree(pids)) / 1e6


def _tree(pids: Sequence[int]) -> list[psutil.Process]:
    tops = [psutil.Process(pid) for pid in pids]
    return [*tops, *(child for top in tops for child in top.children(recursive=True))]


def wait_for(receiver: Receiver, count: int) -> None:
    """Wait until `count` webhooks have arrived. Raises `TimeoutError`."""
    give_up_at = time.monotonic() + TOO_LONG
    while receiver.count() < count:
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"{receiver.count()} of {count} arrived within {TOO_LONG:g} s")
        time.sleep(0.02)
