"""A signal while the program is still being imported."""

from __future__ import annotations

import os
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
