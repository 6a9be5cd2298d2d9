"""What stops the daemon before it takes a job: bad settings, and a port that somebody else has."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import Any, Final

import pytest

from tests.faults.queue import SERVER_LIST, daemon_on, push
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import jobs
from tests.helpers.receiver import Receiver
from tests.helpers.redis_server import RedisServer

CANARY: Final = "CANARY"
GOOD: Final = config(app(webhook("http://127.0.0.1:9/")))

# Settings, and for each line of the complaint the words that must be in it.
FAULTS: Final = {
    "a number that is none": ({"QUEUE_WORKERS": CANARY}, GOOD, [["QUEUE_WORKERS"]]),
    "a number out of bounds": ({"QUEUE_METRICS_PORT": "99999"}, GOOD, [["QUEUE_METRICS_PORT"]]),
    "an unknown driver": ({"QUEUE_DRIVER": CANARY}, GOOD, [["QUEUE_DRIVER", "redis"]]),
    "a renewal after the lease": (
        {"QUEUE_LEASE_DURATION_MS": "1000", "QUEUE_LEASE_RENEW_INTERVAL_MS": "2000"},
        GOOD,
        [["QUEUE_LEASE_RENEW_INTERVAL_MS"]],
    ),
    "two at once": (
        {"QUEUE_WORKERS": CANARY, "QUEUE_SHUTDOWN_TIMEOUT_MS": "-1"},
        GOOD,
        [["QUEUE_WORKERS"], ["QUEUE_SHUTDOWN_TIMEOUT_MS"]],
    ),
    "a webhook with a bad URL": ({}, config(app(webhook(f"ftp://user:{CANARY}@h/"))), [["webhook 1", "url"]]),
    "a header with a line break": (
        {},
        config(app(webhook("http://127.0.0.1:9/", headers={"X-Token": f"{CANARY}\r\nX: y"}))),
        [["X-Token"]],
    ),
    "a password in a URL that is none": ({"REDIS_URL": f"redsi://:{CANARY}@h:1/0"}, GOOD, [["REDIS_URL"]]),
}


@pytest.mark.parametrize("case", FAULTS)
def test_bad_settings_end_with_a_line_for_each_fault(case: str) -> None:
    environment, file, expected = FAULTS[case]
    code, daemon = run(file, environment)
    lines = daemon.stderr().splitlines()

    assert code == 2
    assert len(lines) == len(expected), lines
    for words in expected:
        assert any(all(word in line for word in words) for line in lines), (words, lines)
    assert CANARY not in daemon.output()
    assert "Traceback" not in daemon.output()


def test_a_file_that_is_not_there_is_named() -> None:
    with DaemonProcess(environment={"QUEUE_CONFIG_FILE": "nowhere.json"}) as daemon:
        assert daemon.wait(10) == 2
        [line] = daemon.stderr().splitlines()
    assert "nowhere.json" in line


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_taken_metrics_port_ends_the_start_before_a_job_is_taken(
    redis_server: RedisServer, receiver: Receiver, host: str
) -> None:
    daemon = daemon_on(redis_server.url, receiver.url(), QUEUE_METRICS_HOST=host)
    with redis_server.client() as client, socket.create_server((host, daemon.metrics_port)):
        push(client, jobs(10))
        before = client.lrange(SERVER_LIST, 0, -1)
        with daemon:
            assert daemon.wait(10) == 3
            [line] = daemon.stderr().splitlines()
        assert client.lrange(SERVER_LIST, 0, -1) == before
        assert client.keys() == [SERVER_LIST.encode()]
    assert f"{host}:{daemon.metrics_port}" in line
    assert receiver.count == 0


def test_a_working_directory_that_is_gone_holds_nothing(redis_server: RedisServer) -> None:
    daemon = DaemonProcess(GOOD, redis_url=redis_server.url)
    gone = daemon.directory / "gone"
    command = ["sh", "-c", f'mkdir "{gone}" && cd "{gone}" && rmdir "{gone}" && exec "$@"', "sh", sys.executable, "-m"]
    for arguments, code in ((["stats", "--config", str(daemon.config_path)], 0), (["stats", "--config", "x.json"], 2)):
        done = subprocess.run(
            [*command, "sockudo_queue", *arguments],
            env=daemon.environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == code, done.stderr
    daemon.close()


def test_a_daemon_that_restarts_within_a_second_gets_its_port_again(
    redis_server: RedisServer, receiver: Receiver
) -> None:
    with daemon_on(redis_server.url, receiver.url()) as daemon:
        for _ in range(3):
            daemon.wait_ready()
            daemon.metrics()
            daemon.terminate()
            assert daemon.wait() == 0
            daemon.start()
        daemon.wait_ready()


def run(file: dict[str, Any], environment: dict[str, str]) -> tuple[int, DaemonProcess]:
    """Run a daemon that is expected to end by itself; its output can still be read."""
    daemon = DaemonProcess(file, environment)
    return daemon.start().wait(10), daemon
