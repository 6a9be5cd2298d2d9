"""A job that kills the process working on it affects no other job."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.faults.arrivals import Arrivals
from tests.faults.measures import figure
from tests.faults.queue import SERVER_LIST, daemon_on, log_tail, own_key, push, records
from tests.helpers.configs import webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import job, jobs, numbers
from tests.helpers.queue_v2 import DEFAULT_BASE, Producer
from tests.helpers.receiver import Answer, Receiver, Request
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.timeout(180)

JOBS: Final = 5
KILLER: Final = 3
# Six are enough, unless a request is read late, and kills the process after the one that sent it, or a job is deferred
# between two kills, which ends its count.
STARTS: Final = 12
LEASE: Final = {"QUEUE_LEASE_DURATION_MS": "1000", "QUEUE_LEASE_RENEW_INTERVAL_MS": "300"}


class Killing:
    """Kills the daemon when a certain job comes; the others are answered after a while."""

    def __init__(self, killers: frozenset[int], delay: float = 0.05) -> None:
        self.arrivals = Arrivals()
        self.daemon: DaemonProcess | None = None
        self._killers = killers
        self._delay = delay
        self._lock = threading.Lock()

    def __call__(self, request: Request, nth: int) -> Answer:
        self.arrivals(request, nth)
        if self._killers.isdisjoint(numbers(request.body)):
            return Answer(delay=self._delay)
        with self._lock:
            assert self.daemon is not None
            if self.daemon.running:
                os.kill(self.daemon.pid, signal.SIGKILL)
        return Answer(delay=5)


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Any]:
    with redis_server.client() as connected:
        yield connected


@pytest.mark.parametrize("delay", [0.05, 0.3], ids=["quick neighbours", "slow neighbours"])
@pytest.mark.parametrize("form", ["lists", "v2"])
def test_only_the_job_that_kills_becomes_a_dead_letter(
    redis_server: RedisServer, client: Any, receiver: Receiver, form: str, delay: float
) -> None:
    script = Killing(frozenset({KILLER}), delay)
    receiver.answer(script)
    bodies = jobs(JOBS)
    if form == "lists":
        push(client, bodies)
    else:
        for body in bodies:
            Producer(client).enqueue(body)
    daemon = daemon_on(redis_server.url, receiver.url(), **LEASE)
    script.daemon = daemon
    with daemon:
        for _ in range(STARTS):
            eventually(lambda: not daemon.running or daemon.events("job.dead_lettered"), 30, log_tail(daemon))
            if daemon.running:
                break
            daemon.wait()
            daemon.start()
        eventually(lambda: daemon.events("job.dead_lettered"), 30, log_tail(daemon))
        eventually(lambda: script.arrivals.distinct == JOBS and left(client, form) == 0, 10, log_tail(daemon))
        dead = daemon.events("job.dead_lettered")
    assert [line["reason"] for line in dead] == ["worker-lost"]
    assert [numbers(body) for body in dead_bodies(client, form)] == [[KILLER]]
    figure(f"a job that kills, {form}: 1 dead letter, {script.arrivals.by_number.total()} POSTs of {JOBS} jobs")


def test_a_suspect_that_hangs_holds_up_no_others(redis_server: RedisServer, client: Any, receiver: Receiver) -> None:
    receiver.hang()
    push(client, [job(1)])
    with Receiver() as good:
        hooks = [webhook(receiver.url(), filter={"channel_suffix": "-1"}), webhook(good.url())]
        hooks[1]["filter"] = {"channel_prefix": "room-2"}
        daemon = daemon_on(redis_server.url, *hooks, **LEASE)
        with daemon:
            for _ in range(2):
                receiver.wait_for(1)
                daemon.kill()
                receiver.requests.clear()
                daemon.start()
            receiver.wait_for(1)
            [held] = eventually(lambda: records(client, "active"), 5)
            assert client.hget(own_key(SERVER_LIST, "lapses"), held.receipt.rpartition("/")[0]) == b"2"
            began = time.monotonic()
            push(client, [job(number) for number in range(2000, 2200)])
            good.wait_for(200, 10)
            took = time.monotonic() - began
            daemon.terminate()
            receiver.refuse()
            assert daemon.wait() == 0
    figure(f"200 jobs beside a suspect whose endpoint hangs: {took:.2f} s")
    assert took < 3


def left(client: Any, form: str) -> int:
    if form == "v2":
        return int(client.zcard(f"{DEFAULT_BASE}:active")) + int(client.llen(f"{DEFAULT_BASE}:wait"))
    return len(records(client, "active")) + len(records(client, "delayed")) + int(client.llen(SERVER_LIST))


def dead_bodies(client: Any, form: str) -> list[bytes]:
    source = SERVER_LIST if form == "lists" else DEFAULT_BASE
    return [record.body for record in records(client, "dead", source)]
