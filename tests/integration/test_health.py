"""Probes and metrics over real sockets: what they answer, and that no client can keep another out."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import pytest

from sockudo_queue.errors import StartError
from sockudo_queue.observability import health as module
from sockudo_queue.observability import http_server
from sockudo_queue.observability.health import Health, HealthServer, Heartbeats
from sockudo_queue.observability.metrics import Metrics
from tests.helpers.waiting import eventually

CANARY: Final = "canary-7c41"
GET_LIVE: Final = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
GET_METRICS: Final = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
PROMPT_SECONDS: Final = 1.0


class Answer:
    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        first, *headers = head.decode().split("\r\n")
        self.status = int(first.split(" ")[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in headers)}


class Stuck:
    """Metrics that do not come until they are let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.let_go = threading.Event()

    def render(self, accept: str = "") -> tuple[bytes, str]:
        self.entered.set()
        self.let_go.wait(10)
        return b"late\n", "text/plain"


class Broken:
    def render(self, accept: str = "") -> tuple[bytes, str]:
        raise ValueError(CANARY)


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def server(health: Health) -> Iterator[HealthServer]:
    with serving(HealthServer(Metrics("redis", "webhooks"), health, "127.0.0.1", 0)) as started:
        yield started


@contextmanager
def serving(server: HealthServer) -> Iterator[HealthServer]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


def ask(port: int, request: bytes, host: str = "127.0.0.1") -> Answer:
    with socket.create_connection((host, port), 5) as connection:
        connection.sendall(request)
        return Answer(everything(connection))


def everything(connection: socket.socket) -> bytes:
    data = b""
    while received := connection.recv(65_536):
        data += received
    return data


def get(server: HealthServer, path: str) -> tuple[int, str]:
    answer = ask(server.port, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return answer.status, answer.body.decode()


def test_not_ready_tells_every_reason(server: HealthServer, health: Health) -> None:
    assert get(server, "/readyz") == (503, "starting: the daemon is starting\n")
    health.not_ready("broker", "no answer from 127.0.0.1:6379")
    health.ready()
    assert get(server, "/readyz") == (503, "broker: no answer from 127.0.0.1:6379\n")
    health.not_ready("draining", "the daemon is being stopped")
    assert get(server, "/readyz")[1].count("\n") == 2
    health.ready("broker")
    health.ready("draining")
    assert get(server, "/readyz") == (200, "ok\n")
    assert get(server, "/livez") == (200, "ok\n")


def test_a_thread_without_a_sign_of_life_is_named(server: HealthServer, health: Health) -> None:
    beats = health.beats
    beats.register("worker-1", 60)
    beats.register("worker-2", 0.01)
    late = eventually(lambda: beats.late())
    assert list(late) == ["worker-2"]
    status, text = get(server, "/livez")
    assert (status, text.startswith("worker-2: no sign of life for")) == (503, True)
    assert "worker-1" not in text
    beats.unregister("worker-2")
    assert get(server, "/livez") == (200, "ok\n")


def test_a_beat_counts_from_now_and_kinds_show_their_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    beats = Heartbeats()
    for name in ("worker-1", "worker-2", "renewer"):
        beats.register(name, 5)
    now[0] = 106.0
    beats.beat("worker-2")
    beats.beat("never-registered")
    now[0] = 108.0
    assert beats.late() == {"worker-1": (8, 5), "renewer": (8, 5)}
    assert beats.oldest_by_kind() == {"worker": 8, "renewer": 8}
    beats.unregister("worker-1")
    assert beats.oldest_by_kind() == {"worker": 2, "renewer": 8}


def test_metrics_are_served_in_the_form_that_is_asked_for(server: HealthServer) -> None:
    status, text = get(server, "/metrics?name=x")
    assert status == 200
    assert "sockudo_queue_claims_total{" in text
    wanted = b"GET /metrics HTTP/1.1\r\naccept: application/openmetrics-text; version=1.0.0\r\n\r\n"
    assert ask(server.port, wanted).headers["content-type"].startswith("application/openmetrics-text")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /livez HTTP/1.0\n\n", 200),
        (b"HEAD /livez HTTP/1.1\r\n\r\n", 200),
        (b"GET http://127.0.0.1:9602/livez?x=1 HTTP/1.1\r\n\r\n", 200),
        (b"GET HTTP://h/other HTTP/1.1\r\n\r\n", 404),
        (b"GET http://h HTTP/1.1\r\n\r\n", 404),
        (b"GET ftp://h/livez HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"GET /livez/ HTTP/1.1\r\n\r\n", 404),
        (b"POST /livez HTTP/1.1\r\nContent-Length: 90000\r\n\r\n" + b"x" * 90_000, 405),
        (b"hello\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET livez HTTP/1.1\r\n\r\n", 400),
        (b"GET /livez SPDY/3\r\n\r\n", 400),
        (b"\x16\x03\x01\xff\xfe\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nX: " + b"x" * 100_000, 431),
    ],
)
def test_each_request_has_one_answer_and_the_end(server: HealthServer, request_bytes: bytes, status: int) -> None:
    answer = ask(server.port, request_bytes)
    assert answer.status == status
    assert answer.headers["connection"] == "close"
    length = 0 if request_bytes.startswith(b"HEAD") else int(answer.headers["content-length"])
    assert len(answer.body) == length
    assert int(answer.headers["content-length"]) > 0
    assert ("allow" in answer.headers) == (status == 405)


def test_a_request_that_stops_halfway_is_answered(server: HealthServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
        connection.sendall(b"GET /livez HT")
        connection.shutdown(socket.SHUT_WR)
        assert Answer(everything(connection)).status == 400


def test_a_slow_request_ends_after_its_time(server: HealthServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "REQUEST_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
        connection.settimeout(0.02)
        began = time.monotonic()
        assert eventually(lambda: ended(connection))
    assert time.monotonic() - began < 3


def ended(connection: socket.socket) -> bool:
    """Send one more byte and tell whether the other side has had enough."""
    try:
        connection.sendall(b"x")
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


@pytest.mark.parametrize("begun", [b"", b"GET /metrics HT"])
def test_200_idle_clients_change_nothing(server: HealthServer, health: Health, begun: bytes) -> None:
    before = threading.active_count()
    with ExitStack() as idle:
        for _ in range(200):
            connection = idle.enter_context(socket.create_connection(("127.0.0.1", server.port), 5))
            connection.sendall(begun)
        for path in ("/livez", "/metrics") * 20:
            began = time.monotonic()
            assert get(server, path)[0] == 200
            assert time.monotonic() - began < PROMPT_SECONDS
        assert threading.active_count() <= before + 2 * module.CONNECTIONS_LIMIT
    eventually(lambda: threading.active_count() <= before)


def test_a_scrape_that_takes_long_does_not_keep_a_probe_waiting(health: Health) -> None:
    stuck = Stuck()
    with serving(HealthServer(stuck, health, "127.0.0.1", 0)) as server, ExitStack() as scrapers:
        waiting = [scrapers.enter_context(socket.create_connection(("127.0.0.1", server.port), 5)) for _ in range(8)]
        for connection in waiting:
            connection.sendall(GET_METRICS)
        assert stuck.entered.wait(5)
        began = time.monotonic()
        assert get(server, "/livez")[0] == 200
        assert time.monotonic() - began < PROMPT_SECONDS
        stuck.let_go.set()
        assert [Answer(everything(connection)).body for connection in waiting] == [b"late\n"] * 8


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_a_probe_that_has_come_is_answered_without_a_thread(
    server: HealthServer, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "Thread", None)
    theirs, ours = socket.socketpair()
    with theirs:
        theirs.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        server._receive(ours)
        assert Answer(everything(theirs)).status == {"/livez": 200, "/readyz": 503}[path]


def test_whatever_fails_at_a_connection_the_next_one_is_answered(
    server: HealthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, faults = http_server.arrived, [SystemExit(), MemoryError(), ValueError()]

    def arrived(connection: socket.socket) -> object:
        if faults:
            raise faults.pop()
        return real(connection)

    monkeypatch.setattr(module, "arrived", arrived)
    while faults:
        with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
            assert everything(connection) == b""
    assert get(server, "/livez") == (200, "ok\n")


def test_a_thread_that_rests_and_has_ended_is_named(server: HealthServer, health: Health) -> None:
    thread = threading.Thread(target=lambda: None)
    health.beats.watch("log-writer", thread.is_alive)
    assert get(server, "/livez") == (503, "log-writer: the thread has ended\n")


def test_when_every_connection_is_at_work_a_further_one_is_closed(
    health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECTIONS_LIMIT", 1)
    stuck = Stuck()
    with serving(HealthServer(stuck, health, "127.0.0.1", 0)) as server:
        with socket.create_connection(("127.0.0.1", server.port), 5) as scraper:
            scraper.sendall(GET_METRICS)
            assert stuck.entered.wait(5)
            with socket.create_connection(("127.0.0.1", server.port), 5) as further:
                assert is_closed(further)
            stuck.let_go.set()
            assert Answer(everything(scraper)).status == 200
        eventually(lambda: answers(server))


def is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def answers(server: HealthServer) -> bool:
    try:
        return get(server, "/livez")[0] == 200
    except (OSError, IndexError):
        return False


def test_metrics_that_fail_are_500_and_tell_nothing(health: Health, capfd: pytest.CaptureFixture[str]) -> None:
    with serving(HealthServer(Broken(), health, "127.0.0.1", 0)) as server:
        status, text = get(server, "/metrics")
        assert (status, text) == (500, "the page could not be made\n")
        assert get(server, "/livez")[0] == 200
    assert "metrics.failed" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("host", "clients"),
    [("::1", ["::1"]), ("[::1]", ["::1"]), ("::", ["::1", "127.0.0.1"]), ("0.0.0.0", ["127.0.0.1"])],
)
def test_both_versions_of_ip_are_served(health: Health, host: str, clients: list[str]) -> None:
    if ":" in host and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    with serving(HealthServer(Metrics("redis", "webhooks"), health, host, 0)) as server:
        assert [ask(server.port, GET_LIVE, client).status for client in clients] == [200] * len(clients)


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.parametrize(
    ("host", "port", "where"),
    [
        ("127.0.0.1", None, "127.0.0.1:"),
        ("no-such-host.invalid", 1, "no-such-host.invalid:1:"),
        ("192.0.2.1", 1, "192.0.2.1:1:"),
        ("2001:db8::1", 1, "[2001:db8::1]:1:"),
    ],
)
def test_an_address_that_cannot_be_had_is_named(
    server: HealthServer, health: Health, host: str, port: int | None, where: str
) -> None:
    second = HealthServer(Metrics("redis", "webhooks"), health, host, server.port if port is None else port)
    with pytest.raises(StartError) as caught:
        second.start()
    assert str(caught.value).startswith(f"cannot serve metrics and probes on {where}")
    assert "QUEUE_METRICS_PORT" in str(caught.value)
    second.stop()


def test_the_port_is_free_at_once_after_a_stop(health: Health) -> None:
    def serve_and_leave_connections(port: int) -> int:
        server = HealthServer(Metrics("redis", "webhooks"), health, "127.0.0.1", port)
        server.start()
        assert get(server, "/livez")[0] == 200
        with socket.create_connection(("127.0.0.1", server.port), 5):
            server.stop()
        server.stop()
        return server.port

    port = serve_and_leave_connections(0)
    assert serve_and_leave_connections(port) == port


def test_probes_are_prompt_beside_busy_threads(server: HealthServer) -> None:
    metrics = Metrics("redis", "webhooks")
    stopping = threading.Event()
    threads = [threading.Thread(target=keep_busy, args=(stopping, metrics.claimed)) for _ in range(5)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            began = time.monotonic()
            assert get(server, "/livez")[0] == 200
            assert time.monotonic() - began < PROMPT_SECONDS
    finally:
        stopping.set()
        for thread in threads:
            thread.join(5)


def keep_busy(stopping: threading.Event, work: Callable[[], None]) -> None:
    while not stopping.is_set():
        work()
