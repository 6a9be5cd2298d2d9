"""Standard streams that are closed or full: no traceback, and no socket in their place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.ports import free_port
from tests.helpers.redis_server import RedisServer

ALL_CLOSED: Final = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")


class ClosedStreams(DaemonProcess):
    """A daemon that is started without any standard stream."""

    def command(self) -> list[str]:
        return [*ALL_CLOSED, *super().command()]


def run(*arguments: str, stdout: str = "", stderr: str = "") -> tuple[int, str, str]:
    """Run a command with streams that lead to these files, or else are captured."""
    with open(stdout or os.devnull, "wb") as out, open(stderr or os.devnull, "wb") as err:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "sockudo_queue", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out if stdout else subprocess.PIPE,
            stderr=err if stderr else subprocess.PIPE,
            timeout=30,
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
            check=False,
        )
    return done.returncode, (done.stdout or b"").decode(), (done.stderr or b"").decode()


def test_a_daemon_without_streams_puts_no_connection_in_their_place(redis_server: RedisServer) -> None:
    daemon = ClosedStreams(config(app(webhook("http://127.0.0.1:9/"))), redis_url=redis_server.url)
    with daemon:
        daemon.wait_ready()
        kept = [str(Path(f"/proc/{daemon.pid}/fd/{number}").readlink()) for number in range(3)]
        assert kept == [os.devnull] * 3
        daemon.terminate()
        assert daemon.wait() == 0


def test_command_without_streams_keeps_its_exit_code() -> None:
    command = [*ALL_CLOSED, sys.executable, "-m", "sockudo_queue"]
    for asked in ("version", "--version", "--help"):
        assert subprocess.run([*command, asked], timeout=30, check=False).returncode == 0
    assert subprocess.run([*command, "check", "--config", "nowhere"], timeout=30, check=False).returncode == 2


@pytest.mark.parametrize(
    "arguments", [["version"], ["--version"], ["dead-letters", "--help"], ["health"], ["health", "--json"], ["demo"]]
)
def test_a_full_disk_is_one_line(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUE_METRICS_PORT", str(free_port()))
    code, _, err = run(*arguments, stdout="/dev/full")
    assert code == 1
    assert err == "sockudo-queue: standard output cannot be written: No space left on device\n"


def test_error_that_cannot_be_written_keeps_its_exit_code() -> None:
    assert run("check", "--config", "nowhere", stderr="/dev/full")[0] == 2


def test_characters_outside_the_locale_are_escaped(tmp_path: Path) -> None:
    file = tmp_path / "sockudo.json"
    file.write_text(
        '{"queue": {"driver": "none"}, "app_manager": {"array": {"apps": [{"id": "a\u2028\u00e9", "key": "k", '
        '"secret": "s", "policy": {"webhooks": []}}]}}}'
    )
    code, out, err = run("check", "--config", str(file))
    assert code in (0, 1)
    assert "\\xe9" in out
    assert "Traceback" not in err
