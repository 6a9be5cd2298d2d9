"""systemd, as a socket that receives its datagrams, learns when the daemon has started and when it stops."""

from __future__ import annotations

import socket
from pathlib import Path
from uuid import uuid4

import pytest

from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.ports import free_port
from tests.helpers.waiting import eventually

CONFIG = config(app(webhook("http://127.0.0.1:9/")))


def listener(address: str) -> socket.socket:
    received = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    received.bind(address)
    received.settimeout(15)
    return received


@pytest.mark.parametrize("abstract", [False, True])
def test_start_and_stop_are_notified(tmp_path: Path, abstract: bool) -> None:
    name = f"@sockudo-queue-{uuid4()}" if abstract else str(tmp_path / "notify")
    daemon = DaemonProcess(CONFIG, {"QUEUE_DRIVER": "memory", "NOTIFY_SOCKET": name})
    with listener(name.replace("@", "\0")) as received, daemon:
        assert received.recv(100) == b"READY=1"
        assert daemon.get("/livez") == 200
        daemon.terminate()
        assert received.recv(100) == b"STOPPING=1"
        assert daemon.wait(10) == 0


def test_ready_does_not_wait_for_the_queue(tmp_path: Path) -> None:
    """Or systemd would end and restart the daemon for as long as Redis is away."""
    path = str(tmp_path / "notify")
    url = f"redis://127.0.0.1:{free_port()}/0"
    with listener(path) as received, DaemonProcess(CONFIG, {"NOTIFY_SOCKET": path}, redis_url=url) as daemon:
        assert received.recv(100) == b"READY=1"
        assert daemon.get("/readyz") == 503


def test_failed_start_is_not_notified_as_ready(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    daemon = DaemonProcess(CONFIG, {"QUEUE_DRIVER": "memory", "NOTIFY_SOCKET": path})
    with listener(path) as received, socket.create_server(("127.0.0.1", daemon.metrics_port)), daemon:
        assert daemon.wait(10) == 3
        received.setblocking(False)
        with pytest.raises(BlockingIOError):
            received.recv(100)


def test_missing_socket_is_a_warning_and_no_failure(tmp_path: Path) -> None:
    path = tmp_path / "absent"
    with DaemonProcess(CONFIG, {"QUEUE_DRIVER": "memory", "NOTIFY_SOCKET": str(path)}) as daemon:
        eventually(lambda: daemon.events("settings.warning"), 15, daemon.output)
        [warning] = daemon.events("settings.warning")
        daemon.wait_ready()
        assert warning["text"] == f"NOTIFY_SOCKET: cannot send READY=1 to {path}: No such file or directory"
