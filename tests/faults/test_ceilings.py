"""One app that uses every limit, beside an honest one, in the memory of a small container.

For a few seconds by default, and for ten minutes with SOCKUDO_QUEUE_TEST_SCALE=1.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from tests.faults.measures import SCALE, figure
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import APP_KEY, APP_SECRET, dumps, event, job
from tests.helpers.memory_limit import limited, peak_mebibytes
from tests.helpers.receiver import Receiver
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

LIST = "sockudo_queue::queue:webhooks"
LIMIT_MEBIBYTES = 256
SECONDS = 600 if SCALE >= 1 else 6
HONEST_INTERVAL = 0.05
HOSTILE_INTERVAL = 0.5
GIANT_BYTES = 100_000_000  # a job of this size blocks Redis itself for a second, so there are two in ten minutes
GIANT_INTERVAL = 200.0
MAX_BACKLOG = 40  # jobs; more would measure how long Redis and the receiver take for what waits


def evil(*events: bytes, owner: str = "jobs") -> bytes:
    return job(events=events, app_id=owner)


def with_job_id(size: int) -> bytes:
    return dumps({"job_id": "j" * size, "app_key": APP_KEY, "app_id": "ids", "app_secret": APP_SECRET})[:-1] + (
        b',"payload":{"time_ms":1,"events":[' + event() + b"]}}"
    )


PATTERNS = [
    {"name": f"n{number}", "filter": {"channel_pattern": pattern % number}}
    for number, pattern in enumerate([r"\w{135}z%d"] * 60 + [r"(?:(?:a|b|.)?){6000}\d$%d"] * 10 + [r"\w{31}z%d"] * 60)
]
MANY = [{"url": "http://a/", "event_types": []}] * 40_000

CASES: dict[str, tuple[Callable[[Receiver], list[dict[str, Any]]], Sequence[Callable[[], bytes]]]] = {
    "patterns": (
        lambda receiver: [webhook(receiver.url(), **keys) for keys in PATTERNS],
        [
            lambda: evil(event(channel="c"), owner="patterns"),
            lambda: evil(*(event(channel=f"{n}a" * 66) for n in range(100)), owner="patterns"),
        ],
    ),
    "webhooks": (lambda _receiver: list(MANY), [lambda: evil(event(), owner="webhooks")]),
    "jobs": (
        lambda receiver: [webhook(receiver.url())],
        [
            lambda: evil(*[b"1"] * 2_500_000),
            lambda: evil(*[b"{}"] * 1_000_000),
            lambda: evil(*[b'{"name":"a"}'] * 1_000_000),
            lambda: evil(event(data="x" * 16_000_000)),
            lambda: evil(*[event(data="x" * 400)] * 9_999),
            lambda: evil(event(data=[[1]] * 1_000_000)),
            lambda: evil(event(channel="c" * 1_000_000)),
        ],
    ),
    "ids": (
        lambda receiver: [webhook(receiver.url())],
        [lambda: with_job_id(1_200_000), lambda: with_job_id(60_000), lambda: with_job_id(4_000_000)],
    ),
}


@contextmanager
def probed(daemon: DaemonProcess) -> Iterator[list[tuple[int, float]]]:
    """Ask `/livez` all the time from another process; yields a list that holds its answers at the end."""
    command = [sys.executable, "-m", "tests.faults.prober", str(daemon.metrics_port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as prober:
        answers: list[tuple[int, float]] = []
        yield answers
        output, _ = prober.communicate("")
        answers += [(int(status), float(took)) for status, took in map(str.split, output.splitlines()[::2])]


class Load:
    """Pushes honest jobs at a steady pace, and hostile ones beside them; knows when each honest one was pushed."""

    def __init__(self, server: RedisServer, hostile: Sequence[Callable[[], bytes]]) -> None:
        self.pushed: dict[int, float] = {}
        self.hostile = 0
        self._client, self._other = server.client(), server.client()
        self._bodies = [body() for body in hostile]
        self._over = threading.Event()

    def run(self, seconds: float) -> None:
        beside = threading.Thread(target=self._push_hostile, daemon=True)
        beside.start()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            number = len(self.pushed) + 1
            self.pushed[number] = time.monotonic()
            self._client.rpush(LIST, job(number))
            time.sleep(HONEST_INTERVAL)
        self._over.set()
        beside.join()

    def _push_hostile(self) -> None:
        chance, giant_at = random.Random(1), time.monotonic() + GIANT_INTERVAL
        while self._bodies and not self._over.wait(HOSTILE_INTERVAL):
            if self._other.llen(LIST) < MAX_BACKLOG:
                self._other.rpush(LIST, chance.choice(self._bodies))
                self.hostile += 1
            if time.monotonic() > giant_at:
                giant_at += GIANT_INTERVAL
                self._other.rpush(LIST, evil(event(data="x" * GIANT_BYTES)))


def latencies(receiver: Receiver, pushed: dict[int, float]) -> list[float]:
    """Return the seconds from the push to the first arrival of each honest job, the shortest first."""
    arrived: dict[int, float] = {}
    for request in list(receiver.requests):
        for number in re.findall(rb'"channel":"room-(\d+)"', request.body):
            arrived.setdefault(int(number), request.received_at)
    return sorted(arrived[number] - began for number, began in pushed.items() if number in arrived)


def beside(server: RedisServer, *names: str, seconds: float) -> float:
    """Return the 99th percentile of the honest app's latencies beside hostile ones, in seconds."""
    server.client().flushall()
    with Receiver() as honest, Receiver() as hostile:
        apps = [app(*CASES[name][0](hostile), app_id=name) for name in names]
        file = config(app(webhook(honest.url(), name="honest")), *apps)
        # Few dead letters are kept, since each has all of its bytes.
        with DaemonProcess(file, {"QUEUE_FAILED_RETENTION": "20"}, redis_url=server.url) as daemon:
            daemon.wait_ready(30)
            with limited(daemon.pid, LIMIT_MEBIBYTES) as in_group, probed(daemon) as probes:
                load = Load(server, [body for name in names for body in CASES[name][1]])
                load.run(seconds)
                eventually(lambda: len(latencies(honest, load.pushed)) == len(load.pushed), 60, daemon.output)
                took, peak = latencies(honest, load.pushed), peak_mebibytes(daemon.pid)
            assert daemon.running, daemon.output()
            assert not daemon.events("worker.died")
            assert {line["reason"] for line in daemon.events("job.dead_lettered")} <= {"unreadable", "webhook-invalid"}
    late, slowest = took[len(took) * 99 // 100], max(seconds for _, seconds in probes)
    figure(
        f"{len(took)} honest jobs beside {'+'.join(names) or 'nothing'} ({load.hostile} hostile jobs, "
        f"{'' if in_group else 'no '}cgroup): p99 {late * 1000:.0f} ms, peak {peak:.0f} MiB, slowest /livez "
        f"{slowest * 1000:.0f} ms"
    )
    assert peak < LIMIT_MEBIBYTES
    assert {status for status, _ in probes} == {200}
    return late


@pytest.mark.timeout(SECONDS + 240)
@pytest.mark.parametrize("names", [tuple(CASES)] if SCALE < 1 else [*((name,) for name in CASES), tuple(CASES)])
def test_hostile_app_costs_neither_the_daemon_nor_an_honest_app_beside_it(
    redis_server: RedisServer, names: tuple[str, ...]
) -> None:
    seconds = SECONDS if len(names) > 1 else SECONDS / 10
    alone = beside(redis_server, seconds=min(seconds, 3))
    late = beside(redis_server, *names, seconds=seconds)
    # Redis and the receivers need the processor too, and this machine may be busy with other things.
    assert late < max(1.0, 20 * alone)
