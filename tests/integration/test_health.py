"""Probes and metrics over real sockets: what they answer, and that no client can keep another out."""

from __future__ import annotations

import gzip
import os
import resource
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import msgspec
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from sockudo_queue.errors import StartError
from sockudo_queue.observability.health import Health, Heartbeats
from sockudo_queue.observability.metrics import Metrics
from sockudo_queue.observability.web import health_server as module
from sockudo_queue.observability.web import server as web_server
from sockudo_queue.observability.web.application import Application
from sockudo_queue.observability.web.connection import HttpConnection
from sockudo_queue.observability.web.health_server import HealthServer
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


class Stuck(Collector):
    """Metrics that do not come until they are let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.let_go = threading.Event()

    def collect(self) -> Iterable[Metric]:
        self.entered.set()
        self.let_go.wait(10)
        yield Metric("late", "", "gauge")


class Broken(Collector):
    def collect(self) -> Iterable[Metric]:
        raise ValueError(CANARY)


def server_of(health: Health, *collectors: Collector, host: str = "127.0.0.1", port: int = 0) -> HealthServer:
    """Return a server, not yet started, with the daemon's own metrics or with these."""
    registry = Metrics("redis", "webhooks").registry
    if collectors:
        registry = CollectorRegistry(auto_describe=False)
        for each in collectors:
            registry.register(each)
    return HealthServer(Application(registry, health), host, port)


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def server(health: Health) -> Iterator[HealthServer]:
    with serving(server_of(health)) as started:
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


def test_not_ready_lists_every_reason(server: HealthServer, health: Health) -> None:
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


def test_metrics_are_served_in_the_format_that_a_client_ranks_highest(server: HealthServer) -> None:
    for accept, kind in {
        "": "text/plain; version=0.0.4",
        "application/openmetrics-text; version=1.0.0": "application/openmetrics-text",
        "text/plain;version=0.0.4;q=0.3, application/openmetrics-text;version=1.0.0;q=0.5": "application/openmetrics",
        "application/openmetrics-text;version=1.0.0;q=0.2,text/plain;version=1.0.0;q=0.5": "text/plain",
        "application/openmetrics-text;q=0": "text/plain; version=0.0.4",
        "application/openmetrics-text;q=odd": "application/openmetrics-text",
        "*/*;q=0.9, application/openmetrics-text;q=0.1": "text/plain",
        "application/openmetrics-text; version=abc": "application/openmetrics-text",
        "text/plain; version=1.0.0.0.0.0.0.0": "text/plain",
        "text/plain; version=.": "text/plain",
        "text/plain; version=1..0": "text/plain",
        "application/openmetrics-text; version=..1": "application/openmetrics-text",
        ";q=1,,;": "text/plain",
    }.items():
        answer = ask(server.port, f"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n".encode())
        assert answer.headers["content-type"].startswith(kind), accept


def test_metrics_are_compressed_for_clients_that_take_gzip() -> None:
    metrics = Metrics("redis", "webhooks")
    for number in range(100):
        metrics.webhook("shop", f"orders-{number}")
    with serving(HealthServer(Application(metrics.registry, Health()), "127.0.0.1", 0)) as server:
        request = "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {}\r\n\r\n"
        packed = ask(server.port, request.format("deflate, gzip").encode())
        plain = ask(server.port, request.format("gzip;q=0").encode())
        assert packed.headers["content-encoding"] == "gzip"
        assert len(packed.body) < 30_000 < 300_000 < len(plain.body)
        assert gzip.decompress(packed.body).count(b"\n") == plain.body.count(b"\n")


def test_on_a_loopback_address_a_foreign_name_reads_nothing_but_probes(health: Health) -> None:
    metrics = Metrics("redis", "webhooks")
    application = Application(metrics.registry, health, own_names_only=True)
    with serving(HealthServer(application, "127.0.0.1", 0)) as server:
        for host, status in {"evil.example": 421, "127.0.0.1": 200, "localhost:9602": 200, "[::1]:9602": 200}.items():
            assert ask(server.port, f"GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()).status == status
        target = b"GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
        assert ask(server.port, target).status == 421
        assert ask(server.port, b"GET /livez HTTP/1.1\r\nHost: evil.example\r\n\r\n").status == 200


def test_metrics_can_be_asked_for_by_name() -> None:
    metrics = Metrics("redis", "webhooks")
    metrics.webhook("shop", "orders")
    with serving(HealthServer(Application(metrics.registry, Health()), "127.0.0.1", 0)) as server:
        status, text = get(server, "/metrics?name[]=sockudo_webhook_attempts_total&name[]=sockudo_queue_slots_in_use")
    assert status == 200
    names = {line.partition("{")[0].partition(" ")[0] for line in text.splitlines() if not line.startswith("#")}
    assert names == {"sockudo_webhook_attempts_total", "sockudo_queue_slots_in_use"}


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /livez HTTP/1.0\n\n", 200),
        (b"HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET http://x/livez HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET HTTPS://x:9602/livez?a=b HTTP/1.1\r\nHost: x:\r\n\r\n", 200),
        (b"\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET http://x HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /livez/ HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n" + b"x" * 9_000, 405),
        (b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n" + b"x" * 20_000, 413),
        (b"GET /livez HTTP/1.1\r\nX: " + b"x" * 100_000, 431),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"a:\r\n" * 200 + b"\r\n", 431),
        (b"POST /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 100, 411),
        (b"\r\n" * 1_000, 400),
        (b"OPTIONS /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    ],
)
def test_each_request_has_one_answer_and_the_end(server: HealthServer, request_bytes: bytes, status: int) -> None:
    answer = ask(server.port, request_bytes)
    assert answer.status == status
    assert b"HTTP/1.0" in request_bytes or answer.headers["connection"] == "close"
    length = 0 if request_bytes.startswith(b"HEAD") else int(answer.headers["content-length"])
    assert len(answer.body) == length
    assert int(answer.headers["content-length"]) > 0
    assert ("allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"hello\r\n\r\n",
        b"GET livez HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET ftp://x/livez HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://[/livez HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /livez SPDY/3\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n\r\n",  # no Host
        b"GET /livez HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"\x16\x03\x01\xff\xfe\r\n\r\n",
    ],
)
def test_invalid_request_is_refused(server: HealthServer, request_bytes: bytes) -> None:
    assert ask(server.port, request_bytes).status == 400


@pytest.mark.parametrize("begun", [b"GET /livez HT", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx"])
def test_a_request_that_breaks_off_is_refused(server: HealthServer, begun: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 3) as connection:
        connection.sendall(begun)
        connection.shutdown(socket.SHUT_WR)
        assert Answer(everything(connection)).status == 400


def test_a_client_that_sends_nothing_gets_no_response(server: HealthServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 3) as connection:
        connection.sendall(b"\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        assert everything(connection) == b""


@pytest.mark.parametrize(
    "begun", [b"GET /livez HTTP/1.1\r\nX: ", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n"]
)
def test_a_slow_request_ends_after_its_time(health: Health, begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, head_seconds=0.3, body_seconds=0.3)
    with serving(server_of(health)) as server, socket.create_connection(("127.0.0.1", server.port), 5) as connection:
        connection.sendall(begun)
        connection.settimeout(0.02)
        began = time.monotonic()
        assert eventually(lambda: ended(connection))
    assert time.monotonic() - began < 3


def limit(monkeypatch: pytest.MonkeyPatch, **limits: Any) -> None:
    monkeypatch.setattr(module, "LIMITS", msgspec.structs.replace(module.LIMITS, **limits))


@pytest.mark.parametrize("piece", [b"\r\n", b"GET /livez HTTP/1.1\r\nX: ", b"x"])
def test_a_client_that_sends_without_a_pause_ends_after_its_time(
    health: Health, piece: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, head_seconds=0.3, body_seconds=0.3)
    head = b"" if piece != b"x" else b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 16000\r\n\r\n"
    with serving(server_of(health)) as server, socket.create_connection(("127.0.0.1", server.port), 5) as connection:
        connection.sendall(head)
        began = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - began < 5:
                connection.sendall(piece)
                time.sleep(0.01)
        assert time.monotonic() - began < 3


def test_a_client_that_does_not_read_loses_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, response_seconds=0.5)
    metrics = Metrics("redis", "webhooks")
    for number in range(100):
        metrics.webhook("shop" * 10_000, f"orders-{number}")  # megabytes, more than the kernel buffers
    with serving(HealthServer(Application(metrics.registry, Health()), "127.0.0.1", 0)) as server:
        assert get(server, "/livez")[0] == 200
        with socket.socket() as client:
            before = descriptors()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.connect(("127.0.0.1", server.port))
            client.sendall(GET_METRICS)
            eventually(lambda: descriptors() == before + 1)
            eventually(lambda: descriptors() == before)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def ended(connection: socket.socket) -> bool:
    """Send one more byte and return whether the other side has closed the connection."""
    try:
        connection.sendall(b"x")
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


@pytest.mark.parametrize("begun", [b"", b"GET /metrics HT"])
def test_200_idle_clients_change_nothing(server: HealthServer, health: Health, begun: bytes) -> None:
    before, open_before = threading.active_count(), descriptors()
    with ExitStack() as idle:
        for _ in range(200):
            connection = idle.enter_context(socket.create_connection(("127.0.0.1", server.port), 5))
            connection.sendall(begun)
        for path in ("/livez", "/metrics") * 20:
            began = time.monotonic()
            assert get(server, path)[0] == 200
            assert time.monotonic() - began < PROMPT_SECONDS
        assert descriptors() <= open_before + 200 + 2 * module.LIMITS.connections
        assert threading.active_count() <= before + 2 * module.LIMITS.connections


def test_a_scrape_that_takes_long_does_not_keep_a_probe_waiting(health: Health) -> None:
    stuck = Stuck()
    with serving(server_of(health, stuck)) as server, ExitStack() as scrapers:
        waiting = [scrapers.enter_context(socket.create_connection(("127.0.0.1", server.port), 5)) for _ in range(8)]
        for connection in waiting:
            connection.sendall(GET_METRICS)
        assert stuck.entered.wait(5)
        began = time.monotonic()
        assert get(server, "/livez")[0] == 200
        assert time.monotonic() - began < PROMPT_SECONDS
        stuck.let_go.set()
        assert [b"late" in Answer(everything(connection)).body for connection in waiting] == [True] * 8


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_a_probe_is_answered_without_another_thread(health: Health, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    admitted: list[HttpConnection] = []
    monkeypatch.setattr(web_server.WebServer, "_admit", lambda _server, connection: admitted.append(connection))
    server = server_of(health)
    server._web.bind()  # and not served yet, so that the request is there when the connection is accepted
    with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        thread = threading.Thread(target=server._web.serve)
        thread.start()
        try:
            assert Answer(everything(connection)).status == {"/livez": 200, "/readyz": 503}[path]
        finally:
            server.stop()
            thread.join(5)
    assert admitted == []
    assert not thread.is_alive()


def test_without_another_thread_a_scrape_is_refused_and_probes_go_on(
    server: HealthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    assert get(server, "/livez")[0] == 200
    with monkeypatch.context() as context:
        context.setattr(threading.Thread, "start", refuse)
        with socket.create_connection(("127.0.0.1", server.port), 5) as scraper:
            scraper.sendall(GET_METRICS)
            assert is_closed(scraper)
        eventually(lambda: answers(server))
    assert get(server, "/metrics")[0] == 200


@pytest.mark.parametrize("fault", [SystemExit, MemoryError, ValueError])
def test_failed_connection_does_not_affect_the_next_one(
    server: HealthServer, monkeypatch: pytest.MonkeyPatch, fault: type[BaseException]
) -> None:
    with monkeypatch.context() as context:

        def fail(*_: object) -> None:
            raise fault

        context.setattr(HttpConnection, "arrived", fail)
        with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
            assert is_closed(connection)
    eventually(lambda: answers(server))


def test_without_a_free_descriptor_the_server_waits_and_goes_on(
    server: HealthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []
    # The logger of a test opens files for a traceback, which the daemon's does not.
    monkeypatch.setattr(
        web_server, "get_logger", lambda: SimpleNamespace(error=lambda event, **_: logged.append(event))
    )
    assert get(server, "/livez")[0] == 200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = descriptors()
    with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
        eventually(lambda: descriptors() == before + 2)  # both ends of the connection
        spare = socket.socket().detach()
        lowest_free = os.dup(spare)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
        try:
            with socket.socket(fileno=spare) as further:
                further.connect(("127.0.0.1", server.port))
                eventually(lambda: logged)
                used = time.process_time()
                assert not select.select([further], [], [], 0.5)[0]
                assert time.process_time() - used < 0.2
                assert logged == ["http.failed"]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        connection.sendall(GET_LIVE)
        assert Answer(everything(connection)).status == 200


def test_a_thread_that_rests_and_has_ended_is_named(server: HealthServer, health: Health) -> None:
    thread = threading.Thread(target=lambda: None)
    health.beats.watch("log-writer", thread.is_alive)
    assert get(server, "/livez") == (503, "log-writer: the thread has ended\n")


def test_when_as_many_requests_as_allowed_are_in_flight_another_is_refused_and_probes_are_answered(
    health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, connections=4, requests=2)
    stuck = Stuck()
    with serving(server_of(health, stuck)) as server, ExitStack() as clients:
        scrapers = [clients.enter_context(socket.create_connection(("127.0.0.1", server.port), 5)) for _ in range(2)]
        for connection in scrapers:
            connection.sendall(GET_METRICS)
        assert stuck.entered.wait(5)
        eventually(lambda: ask(server.port, GET_METRICS).status == 503)
        assert ask(server.port, GET_METRICS).headers["retry-after"] == "1"
        assert get(server, "/livez")[0] == 200
        late = clients.enter_context(socket.create_connection(("127.0.0.1", server.port), 5))
        late.sendall(GET_LIVE[:5])
        time.sleep(0.1)  # so that the request does not arrive in one piece
        late.sendall(GET_LIVE[5:])
        assert Answer(everything(late)).status == 200
        stuck.let_go.set()
        assert [Answer(everything(connection)).status for connection in scrapers] == [200, 200]


def test_when_every_connection_has_a_request_a_further_one_is_closed(
    health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, connections=1, requests=1)
    stuck = Stuck()
    with (
        serving(server_of(health, stuck)) as server,
        socket.create_connection(("127.0.0.1", server.port), 5) as scraper,
    ):
        scraper.sendall(GET_METRICS)
        assert stuck.entered.wait(5)
        with socket.create_connection(("127.0.0.1", server.port), 5) as further:
            assert is_closed(further)
        stuck.let_go.set()
        assert Answer(everything(scraper)).status == 200


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


def test_failing_metrics_give_500_without_details(health: Health, capfd: pytest.CaptureFixture[str]) -> None:
    with serving(server_of(health, Broken())) as server:
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
    with serving(server_of(health, host=host)) as server:
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
def test_address_that_cannot_be_bound_is_named(
    server: HealthServer, health: Health, host: str, port: int | None, where: str
) -> None:
    second = server_of(health, host=host, port=server.port if port is None else port)
    with pytest.raises(StartError) as caught:
        second.start()
    assert str(caught.value).startswith(f"cannot serve metrics and probes on {where}")
    assert "QUEUE_METRICS_PORT" in str(caught.value)
    second.stop()


def test_the_port_is_free_at_once_after_a_stop(health: Health) -> None:
    def serve_and_leave_connections(port: int) -> int:
        server = server_of(health, port=port)
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
