"""A start with too few threads or descriptors: it succeeds as a whole, or ends before a job is taken."""

from __future__ import annotations

import os
import subprocess
from typing import Final

import pytest

from tests.faults.measures import SCALE
from tests.faults.queue import SERVER_LIST, daemon_on, log_tail, push, waiting
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import jobs
from tests.helpers.receiver import Receiver
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.timeout(60)

JOBS: Final = 3
OTHER_USER: Final = 61_234
"""A user without processes: the limit counts all of a user's, and does not hold for root."""
THREADS: Final = (1, 2, 3, 6, 9, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 24)
DESCRIPTORS: Final = (8, 12, 20, 30, 40, 50, 60, 80)
# Another user may not enter the directory that the interpreter is in, so it keeps the right to read everything.
_AS_OTHER_USER: Final = (
    "setpriv",
    f"--reuid={OTHER_USER}",
    f"--regid={OTHER_USER}",
    "--clear-groups",
    "--inh-caps=-all,+dac_read_search",
    "--ambient-caps=-all,+dac_read_search",
)


def some(limits: tuple[int, ...]) -> tuple[int, ...]:
    return limits if SCALE >= 1 else limits[::3]


@pytest.mark.parametrize("limit", some(THREADS))
def test_too_few_threads_end_the_start_before_a_job_is_taken(
    redis_server: RedisServer, receiver: Receiver, limit: int
) -> None:
    if os.geteuid() != 0 or subprocess.run([*_AS_OTHER_USER, "true"], check=False, capture_output=True).returncode:
        pytest.skip("the limit holds for no root, and counts all processes of a user: it takes the right to be another")
    daemon = limited(
        daemon_on(redis_server.url, receiver.url()), *_AS_OTHER_USER, "prlimit", f"--nproc={limit}:{limit}"
    )
    os.chown(daemon.directory, OTHER_USER, OTHER_USER)
    starts_whole_or_not_at_all(daemon, redis_server, receiver, "ulimit -u")


@pytest.mark.parametrize("limit", some(DESCRIPTORS))
def test_too_few_descriptors_end_the_start_before_a_job_is_taken(
    redis_server: RedisServer, receiver: Receiver, limit: int
) -> None:
    daemon = limited(daemon_on(redis_server.url, receiver.url()), "prlimit", f"--nofile={limit}:{limit}")
    starts_whole_or_not_at_all(daemon, redis_server, receiver, "ulimit -n")


def limited(daemon: DaemonProcess, *before: str) -> DaemonProcess:
    """Put a command before that of a daemon that is not started yet."""
    command = [*before, *daemon.command()]
    daemon.command = lambda: command  # type: ignore[method-assign]
    return daemon


def starts_whole_or_not_at_all(
    daemon: DaemonProcess, redis_server: RedisServer, receiver: Receiver, advice: str
) -> None:
    with redis_server.client() as client, daemon:
        push(client, jobs(JOBS))
        before = client.lrange(SERVER_LIST, 0, -1)
        # It is ready, or it has ended.
        eventually(lambda: not daemon.running or daemon.get("/readyz") == 200, 20, daemon.output)
        if daemon.running:
            receiver.wait_for(JOBS, 20)
            eventually(lambda: waiting(client) == 0, 10, log_tail(daemon))
            daemon.terminate()
            assert daemon.wait() == 0, daemon.output()
            assert daemon.events("process.failed") == []
            return
        assert daemon.wait() == 3, daemon.output()
        [line] = daemon.stderr().splitlines()
        assert advice in line
        assert daemon.stdout() == ""
        assert client.keys() == [SERVER_LIST.encode()]
        assert client.lrange(SERVER_LIST, 0, -1) == before
        assert receiver.count == 0
