"""The daemon's handle reads exit codes, probes, metrics and logs of a process; a stand-in shows it what to read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from sockudo_queue import __version__
from tests.faults.queue import SERVER_LIST, own_key
from tests.helpers.commands import CommandProcess, run_process
from tests.helpers.daemon import DaemonEndedError, DaemonProcess, wiped_environment
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

_STAND_IN = """
import http.server, json, os, sys

class Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'# TYPE seen counter\\nseen_total{a="1",b="x"} 2.0\\nseen_total{a="2",b="x"} 3.0\\n'
        self.send_response(200 if self.path in ("/readyz", "/metrics") else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass

print("plain text", flush=True)
print(json.dumps({"event": "started", "names": sorted(os.environ), "directory": os.listdir(".")}), flush=True)
if "--fail" in sys.argv:
    sys.exit(7)
http.server.HTTPServer(("127.0.0.1", int(os.environ["QUEUE_METRICS_PORT"])), Pages).serve_forever()
"""


class _StandIn(DaemonProcess):
    def command(self) -> list[str]:
        return [sys.executable, "-c", _STAND_IN, *self._arguments]


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[DaemonProcess]:
    monkeypatch.setenv("QUEUE_DRIVER", "sqs")
    with _StandIn({"queue": {"driver": "redis"}}, {"EXTRA": "1"}, redis_url="redis://h:1/0") as started:
        yield started.wait_ready()


def test_probes_and_metrics_are_read(daemon: DaemonProcess) -> None:
    assert daemon.get("/readyz") == 200
    assert daemon.get("/nothing") == 404
    assert daemon.metrics()["seen_total", frozenset({("a", "1"), ("b", "x")})] == 2.0
    assert daemon.metric("seen_total", b="x") == 5.0
    assert daemon.metric("seen_total", a="9") == 0.0


def test_the_environment_is_wiped_and_logs_are_read(daemon: DaemonProcess) -> None:
    [started] = eventually(lambda: daemon.events("started"))

    assert {"EXTRA", "REDIS_URL", "QUEUE_METRICS_PORT", "PATH"} <= set(started["names"])
    assert "QUEUE_DRIVER" not in started["names"]
    assert sorted(started["directory"]) == ["sockudo.json", "stderr", "stdout"]
    assert "plain text" in daemon.output()


def test_a_frozen_daemon_does_not_answer(daemon: DaemonProcess) -> None:
    daemon.pause()
    assert daemon.get("/readyz") == 0
    daemon.resume()
    assert daemon.get("/readyz") == 200


def test_exit_status_of_the_daemon_is_returned(daemon: DaemonProcess) -> None:
    with pytest.raises(AssertionError, match="still running"):
        daemon.wait(0.05)

    daemon.terminate()
    assert daemon.wait() == -signal.SIGTERM
    daemon.start().wait_ready()
    daemon.kill()
    assert (daemon.running, daemon.wait(), daemon.get("/readyz")) == (False, -signal.SIGKILL, 0)


def test_an_early_end_fails_at_once_and_shows_the_output() -> None:
    with _StandIn(arguments=["--fail"]) as daemon, pytest.raises(DaemonEndedError, match=r"exit code 7(.|\n)*plain"):
        daemon.wait_ready()


def test_forked_daemon_is_a_child_with_its_own_environment_and_exit_code() -> None:
    with DaemonProcess({}, {"QUEUE_DRIVER": "memory"}) as daemon:
        daemon.wait_ready()
        process = psutil.Process(daemon.pid)
        assert process.ppid() == os.getpid()
        assert process.cmdline() != daemon.command()  # forked
        assert process.cwd() == str(daemon.directory)
        daemon.terminate()
        assert daemon.wait() == 0
        assert daemon.start().wait_ready().running
        daemon.kill()
        assert daemon.wait() == -signal.SIGKILL


@pytest.mark.parametrize("variable", ["PYTHONUTF8", "LC_ALL"])
def test_daemon_with_a_variable_that_is_read_at_the_start_is_not_forked(variable: str) -> None:
    with DaemonProcess({}, {"QUEUE_DRIVER": "memory", variable: "1"}) as daemon:
        daemon.wait_ready()
        assert psutil.Process(daemon.pid).cmdline() == daemon.command()


def test_command_is_a_process_with_an_exit_code_and_output_of_its_own() -> None:
    known = run_process("version", environment=wiped_environment())
    assert (known.returncode, known.stdout, known.stderr) == (0, f"sockudo-queue {__version__}\n", "")
    unknown = run_process("versoin", environment=wiped_environment())
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "did you mean version" in unknown.stderr


@pytest.mark.parametrize(("variables", "forked"), [({}, True), ({"PYTHONUTF8": "1"}, False)])
def test_output_of_a_command_is_read_while_it_runs_and_a_signal_ends_it(
    redis_server: RedisServer, variables: dict[str, str], forked: bool
) -> None:
    settings = {"REDIS_URL": redis_server.url} | variables
    with redis_server.client() as client:
        client.set(own_key(SERVER_LIST, "attempts"), "of another type")
        with CommandProcess(("attempts", "--follow"), wiped_environment() | settings) as followed:
            eventually(lambda: "cannot be read" in followed.stderr(), 10)
            assert (psutil.Process(followed.pid).cmdline()[-2:] != ["attempts", "--follow"]) is forked
            followed.signal(signal.SIGINT)
            assert followed.finish(10).returncode == 1


@pytest.mark.parametrize("variables", [{}, {"PYTHONUTF8": "1"}], ids=["forked", "whole"])
def test_command_that_still_runs_is_killed_at_the_end_of_its_block(
    redis_server: RedisServer, variables: dict[str, str]
) -> None:
    settings = {"REDIS_URL": redis_server.url} | variables
    with CommandProcess(("attempts", "--follow"), wiped_environment() | settings) as followed:
        process = psutil.Process(followed.pid)
        with pytest.raises(subprocess.TimeoutExpired):
            followed.finish(0.05)
    assert not process.is_running()
