"""A long backlog, many workers and many endpoints: everything goes out once, and the probes answer all the while."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from tests.faults.measures import SCALE, figure
from tests.faults.queue import log_tail, push, waiting
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import job, numbers
from tests.helpers.receiver import Answer, Receiver, Request
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

JOBS: Final = 100_000 if SCALE >= 1 else 3_000
ENDPOINTS: Final = 1_000 if SCALE >= 1 else 200
WORKERS: Final = 128
PROBE_SECONDS: Final = 0.2
NOISE: Final = 0.0 if SCALE >= 1 else 0.03
"""Share of the probes that a short run beside other tests may find late, for the machine's sake."""


@contextmanager
def probed(daemon: DaemonProcess) -> Iterator[list[tuple[int, float]]]:
    """Ask the probes all the while; afterwards the list holds the status and the seconds of each."""
    answers: list[tuple[int, float]] = []
    command = [sys.executable, "-m", "tests.faults.prober", str(daemon.metrics_port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as prober:
        yield answers
        output, _ = prober.communicate(timeout=30)
    answers += [(int(status), float(seconds)) for status, seconds in map(str.split, output.splitlines())]


@pytest.mark.timeout(600)
def test_probes_are_prompt_beside_a_long_backlog(redis_server: RedisServer) -> None:
    hosts = [f"127.0.{number // 250 + 1}.{number % 250 + 1}" for number in range(ENDPOINTS)]
    came: Counter[int] = Counter()

    def count(request: Request, nth: int) -> Answer:
        came.update(numbers(request.body))
        return Answer()

    with Receiver(count, host=hosts) as receiver, redis_server.client() as client:
        urls = [f"http://{host}:{receiver.port}/" for host in hosts]
        file = config(*[app(webhook(url), app_id=f"app-{number}") for number, url in enumerate(urls)])
        push(client, [job(number, app_id=f"app-{number % ENDPOINTS}") for number in range(1, JOBS + 1)])
        with DaemonProcess(file, {"QUEUE_WORKERS": str(WORKERS)}, redis_url=redis_server.url) as daemon:
            daemon.wait_ready(30)
            began = time.monotonic()
            with probed(daemon) as answers:
                eventually(lambda: len(came) == JOBS, 500, log_tail(daemon))
                took = time.monotonic() - began
            eventually(lambda: waiting(client) == 0, 10, log_tail(daemon))

    seconds = sorted(took for _, took in answers)
    late = [each for each in seconds if each > PROBE_SECONDS]
    assert {status for status, _ in answers} == {200}
    assert len(late) <= NOISE * len(seconds), late[-5:]
    assert came.total() == JOBS
    figure(
        f"{JOBS} jobs, {ENDPOINTS} endpoints, {WORKERS} workers: {JOBS / took:.0f} jobs/s, "
        f"{len(seconds)} probes, the slowest {seconds[-1] * 1000:.0f} ms"
    )
