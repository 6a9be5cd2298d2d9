"""Colours of the log, as a person sees them on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

import sockudo_queue

ROOT = str(Path(sockudo_queue.__file__).parents[1])


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
