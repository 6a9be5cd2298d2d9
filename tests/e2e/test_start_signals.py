"""A signal while the program is still being imported."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import sockudo_queue
from tests.helpers.configs import config
from tests.helpers.daemon import DaemonProcess

ROOT = str(Path(sockudo_queue.__file__).parents[1])
SIGNALLED = """
import os, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "sockudo_queue.cli":
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Finder())
"""


def signalled_at_import(directory: Path, number: signal.Signals) -> str:
    """Return a PYTHONPATH with which a process sends itself a signal when it begins to import the command line."""
    (directory / "sitecustomize.py").write_text(SIGNALLED.format(number=int(number)))
    return os.pathsep.join([str(directory), ROOT])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_during_the_imports_stops_the_daemon_in_order(tmp_path: Path, number: signal.Signals) -> None:
    environment = {"QUEUE_DRIVER": "memory", "PYTHONPATH": signalled_at_import(tmp_path, number)}
    with DaemonProcess(config(), environment=environment) as daemon:
        assert daemon.wait(10) == 0, daemon.output()
        assert [line["code"] for line in daemon.events("daemon.stopped")] == [0]
        assert "Traceback" not in daemon.output()


def run_version(directory: Path, number: signal.Signals) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": signalled_at_import(directory, number)}
    command = [sys.executable, "-m", "sockudo_queue", "version"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


def test_interrupt_during_the_imports_of_another_command_is_one_line(tmp_path: Path) -> None:
    done = run_version(tmp_path, signal.SIGINT)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "sockudo-queue: interrupted\n")


def test_termination_during_the_imports_of_another_command_ends_it(tmp_path: Path) -> None:
    done = run_version(tmp_path, signal.SIGTERM)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGTERM, "", "")


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_log_on_a_terminal_follows_the_variables_for_colours(variables: dict[str, str], coloured: bool) -> None:
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "TERM")}
    settings = {"QUEUE_DRIVER": "none", "QUEUE_METRICS_ENABLED": "false", "PYTHONPATH": ROOT}
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "sockudo_queue", "run"], env=kept | settings | variables, stdout=follower, cwd="/"
    )
    os.close(follower)
    shown = b""
    while b"daemon.ready" not in shown:
        shown += os.read(leader, 4096)
    process.terminate()
    assert process.wait(10) == 0
    os.close(leader)
    assert (b"\x1b[" in shown) == coloured
