"""The demo, as a person runs it: what it shows, how it ends, and that nothing is left behind."""

from __future__ import annotations

import hmac
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import psutil
import pytest

import sockudo_queue
from sockudo_queue.commands.demo.receivers import hmac_sha256
from tests.helpers.waiting import eventually

COMMAND: Final = [sys.executable, "-m", "sockudo_queue", "demo"]
_ROOT: Final = str(Path(sockudo_queue.__file__).parents[1])


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": _ROOT} | more


def test_the_demo_shows_the_product_at_work() -> None:
    # Settings of a developer's own daemon do not reach it.
    theirs = environment(QUEUE_DRIVER="redis", REDIS_URL="redis://127.0.0.1:1", QUEUE_METRICS_PORT="1")
    done = subprocess.run(COMMAND, env=theirs, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    shown = done.stdout
    assert "\x1b" not in shown
    for line in (
        r"orders +-> attempt 1, 1 event: 503, will be retried +signature valid",
        r"orders +-> attempt 2, 1 event: 503, will be retried +signature valid",
        r"orders +-> attempt 3, 1 event: 200, delivered +signature valid",
        r"orders +-> attempt 1, 3 events: 200, delivered +signature valid",
        r"lobby +-> attempt 1, 2 events: 200, delivered +signature valid",
        r"chat-log +-> attempt 1, 1 event: 404, refused +signature valid",
        r"chat-log +kept as a dead letter: refused, last answer status-404",
        r"- +kept as a dead letter: unreadable",
        r"daemon +stopped by SIGTERM, exit code 0",
    ):
        assert re.search(line, shown), (line, shown)
    assert "6 attempts: 3 delivered, 2 to be retried, 1 refused; 2 dead letters" in shown
    assert "6 of 6 signatures valid" in shown


def test_the_demo_runs_no_code_of_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "sockudo_queue.py").write_text("import pathlib; pathlib.Path('was-run').touch()")
    entry = "from sockudo_queue.cli import main; main()"
    command = [sys.executable, "-P", "-c", entry, "demo"]
    done = subprocess.run(command, env=environment(), cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_demo_takes_its_daemon_with_it(number: signal.Signals) -> None:
    with subprocess.Popen(COMMAND, env=environment(), stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        ready = next(line for line in demo.stdout if "ready, process" in line)
        child = psutil.Process(int(ready.partition("process ")[2].split(":")[0]))
        demo.send_signal(number)
        assert demo.wait(10) == 1
        eventually(lambda: not child.is_running())


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 200])
def test_the_demo_checks_signatures_rightly(length: int) -> None:
    key, message = b"k" * length, b'{"time_ms":1,"events":[]}'
    assert hmac_sha256(key, message) == hmac.digest(key, message, "sha256").hex()
