"""A long backlog, many workers and many endpoints: everything goes out once, and the probes answer all the while."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Final

import pytest

from tests.faults.measures import SCALE, figure
from tests.faults.queue import push, told, waiting
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


class Prober(threading.Thread):
    """Asks both probes again and again, and keeps how long each answer took and what it was."""

    def __init__(self, daemon: DaemonProcess) -> None:
        super().__init__(name="prober", daemon=True)
        self.seconds: list[float] = []
        self.statuses: Counter[int] = Counter()
        self._daemon = daemon
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.02):
            for path in ("/livez", "/readyz"):
                began = time.monotonic()
                self.statuses[self._daemon.get(path)] += 1
                self.seconds.append(time.monotonic() - began)

    def end(self) -> None:
        self._ended.set()
        self.join()


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
            prober = Prober(daemon)
            began = time.monotonic()
            prober.start()
            eventually(lambda: len(came) == JOBS, 500, told(daemon))
            took = time.monotonic() - began
            prober.end()
            eventually(lambda: waiting(client) == 0, 10, told(daemon))

    late = [seconds for seconds in prober.seconds if seconds > PROBE_SECONDS]
    assert set(prober.statuses) == {200}
    assert len(late) <= NOISE * len(prober.seconds), sorted(late)[-5:]
    assert came.total() == JOBS
    figure(
        f"{JOBS} jobs, {ENDPOINTS} endpoints, {WORKERS} workers: {JOBS / took:.0f} jobs/s, "
        f"{len(prober.seconds)} probes, the slowest {max(prober.seconds) * 1000:.0f} ms"
    )
