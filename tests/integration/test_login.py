"""Login and TLS of the daemon's port, on the real daemon: what is refused, who is served, and renewed certificates."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from sockudo_queue.observability.health import Health
from sockudo_queue.observability.metrics import Metrics
from sockudo_queue.observability.web import health_server, tls_files
from sockudo_queue.observability.web.application import Application
from sockudo_queue.observability.web.health_server import HealthServer
from sockudo_queue.observability.web.login import FAILURES
from tests.helpers.certificates import Authority
from tests.helpers.commands import Commands
from tests.helpers.configs import app, config
from tests.helpers.daemon import DaemonProcess
from tests.helpers.ports import free_port
from tests.helpers.waiting import eventually

PASSWORD = "canary-4f6e-password"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def environment(authority: Authority, tmp_path: Path) -> dict[str, str]:
    """A login from a file, and a certificate for a name that is not the address."""
    certificate, key = authority.files("queue.example")
    (tmp_path / "password").write_text(PASSWORD + "\n")
    return {
        "QUEUE_DRIVER": "none",
        "QUEUE_METRICS_PASSWORD_FILE": str(tmp_path / "password"),
        "QUEUE_METRICS_TLS_CERT_FILE": str(certificate),
        "QUEUE_METRICS_TLS_KEY_FILE": str(key),
        "QUEUE_METRICS_HOST": "127.0.0.1",
        "QUEUE_METRICS_PORT": str(free_port()),
    }


@pytest.fixture
def daemon(environment: dict[str, str]) -> Iterator[DaemonProcess]:
    with DaemonProcess(config(), environment) as started:
        eventually(lambda: started.events("daemon.ready"), 10, started.output)
        yield started


def status_of(environment: dict[str, str], path: str, **headers: str) -> int:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # without reading the system's authorities, which is slow
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(
        "127.0.0.1", int(environment["QUEUE_METRICS_PORT"]), timeout=5, context=context
    )
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_the_commands_work_with_login_and_tls(
    daemon: DaemonProcess, environment: dict[str, str], tmp_path: Path
) -> None:
    run = Commands(tmp_path, config(app()), environment)
    assert run("health", "--ready").out == "ok\n"
    assert run("stats").out.startswith(f"daemon    https://127.0.0.1:{environment['QUEUE_METRICS_PORT']}/: ready")

    other = environment | {"QUEUE_METRICS_PASSWORD_FILE": ""}
    assert "it requires a login; set QUEUE_METRICS_" in Commands(tmp_path, config(app()), other)("stats").out
    url = f"https://sockudo-queue:{PASSWORD}@127.0.0.1:{environment['QUEUE_METRICS_PORT']}"
    shown = Commands(tmp_path, config(app()), other)("stats", "--url", url).out
    assert ": ready" in shown
    assert PASSWORD not in shown + daemon.output()

    # With another CA file, the login is not sent to a server whose certificate is not trusted.
    certificate, _ = Authority(tmp_path, "another").files("queue.example", name="another")
    other = environment | {"QUEUE_METRICS_TLS_CERT_FILE": str(certificate)}
    assert "certificate verify failed" in Commands(tmp_path, config(app()), other)("stats").out


def test_an_address_that_fails_too_often_has_to_wait(daemon: DaemonProcess, environment: dict[str, str]) -> None:
    for _ in range(FAILURES):
        assert status_of(environment, "/metrics", Authorization="Bearer guess") == 401
    assert status_of(environment, "/metrics", Authorization="Bearer guess") == 429
    assert status_of(environment, "/livez") == 200
    [line, *_] = eventually(lambda: daemon.events("login.failed"))
    assert (line["address"], line["path"], line["failures"]) == ("127.0.0.1", "/metrics", 1)
    assert "guess" not in daemon.output()


def test_bytes_that_are_no_tls_leave_no_line(daemon: DaemonProcess, environment: dict[str, str]) -> None:
    lines = len(daemon.log_lines())
    for _ in range(20):
        connection = http.client.HTTPConnection("127.0.0.1", int(environment["QUEUE_METRICS_PORT"]), timeout=5)
        connection.request("GET", "/livez")
        with pytest.raises((OSError, http.client.HTTPException)):
            connection.getresponse()
        connection.close()
    assert status_of(environment, "/livez") == 200
    assert len(daemon.log_lines()) == lines


def test_a_certificate_that_cannot_be_used_ends_the_start_and_is_named_by_check(
    environment: dict[str, str], tmp_path: Path
) -> None:
    del environment["QUEUE_METRICS_TLS_KEY_FILE"]
    with DaemonProcess(config(), environment) as started:
        assert started.wait(10) == 3
        assert "QUEUE_METRICS_TLS_CERT_FILE" in started.stderr()
        assert "Traceback" not in started.output()
    ran = Commands(tmp_path, config(app()), environment)("check")
    assert ran.code == 1
    assert "error    pages: queue.metrics.tls_cert_file (QUEUE_METRICS_TLS_CERT_FILE)" in ran.out
    assert "a certificate or a key is missing" in ran.out


@pytest.mark.parametrize(
    ("more", "warns"),
    [
        ({"QUEUE_METRICS_HOST": "0.0.0.0"}, True),
        ({"QUEUE_METRICS_HOST": "::"}, True),
        ({"QUEUE_METRICS_HOST": "0.0.0.0", "QUEUE_METRICS_TOKEN": "t"}, False),
        ({"QUEUE_METRICS_HOST": "0.0.0.0", "QUEUE_METRICS_ENABLED": "false"}, False),
        ({"QUEUE_METRICS_HOST": "[::1]"}, False),
        ({"QUEUE_METRICS_HOST": "localhost"}, False),
    ],
)
def test_check_warns_of_pages_without_a_login(tmp_path: Path, more: dict[str, str], warns: bool) -> None:
    ran = Commands(tmp_path, config(app()), {"QUEUE_DRIVER": "none"} | more)("check")
    assert ("warning  pages: " in ran.out) == warns


def test_a_renewed_certificate_is_used_without_a_restart(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tls_files, "RENEWAL_SECONDS", 0.05)
    certificate, key = authority.files("queue.example")
    served = HealthServer(
        Application(Metrics("redis", "webhooks").registry, Health()), "127.0.0.1", 0, str(certificate), str(key)
    )
    served.start()
    try:
        old = shown_by(served.port)
        shutil.copy(authority.files("queue.example", name="next")[0], certificate)  # the old key does not belong to it
        eventually(lambda: shown_by(served.port) == old and "tls.files_unusable" in capfd.readouterr().out)
        shutil.copy(tmp_path / "next-key.pem", key)
        eventually(lambda: shown_by(served.port) != old)
        assert shown_by(served.port) == ssl.PEM_cert_to_DER_cert(certificate.read_text())
    finally:
        served.stop()


def test_a_pipe_in_the_place_of_the_certificate_is_not_waited_for(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tls_files, "RENEWAL_SECONDS", 0.0)
    certificate, key = authority.files("queue.example")
    application = Application(Metrics("redis", "webhooks").registry, Health())
    served = HealthServer(application, "127.0.0.1", 0, str(certificate), str(key))
    served.start()
    try:
        old = shown_by(served.port)
        certificate.unlink()
        os.mkfifo(certificate)
        assert shown_by(served.port) == old
        assert "is not a regular file" in capfd.readouterr().out
    finally:
        served.stop()


def test_connections_that_are_reset_before_the_handshake_delay_no_other(authority: Authority) -> None:
    certificate, key = authority.files("queue.example")
    application = Application(Metrics("redis", "webhooks").registry, Health())
    served = HealthServer(application, "127.0.0.1", 0, str(certificate), str(key))
    served.start()
    try:
        began = time.monotonic()
        for _ in range(50):
            with socket.create_connection(("127.0.0.1", served.port), 5) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        shown_by(served.port)
        assert time.monotonic() - began < 2
    finally:
        served.stop()


def test_a_client_that_begins_no_tls_loses_its_connection(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_server, "LIMITS", msgspec.structs.replace(health_server.LIMITS, head_seconds=0.3))
    certificate, key = authority.files("queue.example")
    application = Application(Metrics("redis", "webhooks").registry, Health())
    served = HealthServer(application, "127.0.0.1", 0, str(certificate), str(key))
    served.start()
    try:
        with socket.create_connection(("127.0.0.1", served.port), 5) as idle:
            assert idle.recv(1) == b""
    finally:
        served.stop()


def shown_by(port: int) -> bytes:
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", port), timeout=5))
