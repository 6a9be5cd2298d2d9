"""The HTTP ingress of the memory driver, alone and in the running daemon."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any, Final

import pytest

from sockudo_queue.errors import StartError
from sockudo_queue.services.ingress import BODY_LIMIT, JOBS_LIMIT, LIMITS, Ingress, NotJobs, split_jobs
from tests.helpers import jobs
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.data import job_files
from tests.helpers.ports import free_port
from tests.helpers.receiver import Receiver
from tests.helpers.waiting import eventually

SECONDS: Final = 5.0


class Door:
    """A started ingress, and the jobs that it accepted."""

    def __init__(self) -> None:
        self.jobs: list[bytes] = []
        self.ingress = Ingress(self.jobs.append, "127.0.0.1", 0)
        self.ingress.bind()
        self.thread = threading.Thread(target=self.ingress.serve, args=(lambda: None,), daemon=True)
        self.thread.start()

    def send(
        self, body: bytes = b"{}", path: str = "/jobs", method: str = "POST", **headers: str
    ) -> tuple[int, dict[str, Any]]:
        return send(self.ingress.port, body, path, method, **headers)

    def raw(self, request: bytes) -> bytes:
        """Send bytes as they are and return all that comes back until the connection ends."""
        with socket.create_connection(("127.0.0.1", self.ingress.port), SECONDS) as connection:
            connection.sendall(request)
            return b"".join(iter(lambda: connection.recv(65_536), b""))


def send(
    port: int, body: bytes, path: str = "/jobs", method: str = "POST", **headers: str
) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"{}")
    finally:
        connection.close()


@pytest.fixture
def door() -> Iterator[Door]:
    opened = Door()
    yield opened
    opened.ingress.stop()


def test_one_job_comes_through_byte_for_byte(door: Door) -> None:
    for file in job_files():
        assert door.send(file.body) == (202, {"accepted": 1})
    assert door.jobs == [file.body for file in job_files()]


def test_json_lines_come_through_in_their_order(door: Door) -> None:
    first, second, third = jobs.jobs(3)
    assert door.send(first + b"\n\r\n" + second + b"\r\n" + third + b"\n") == (202, {"accepted": 3})
    assert door.jobs == [first, second, third]


def test_one_job_may_have_lines(door: Door) -> None:
    body = json.dumps(json.loads(jobs.job()), indent=2).encode()
    assert door.send(b"\n" + body + b"\n") == (202, {"accepted": 1})
    assert door.jobs == [body]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", "the body is empty"),
        (b" \n\n", "the body is empty"),
        (b"[1]", "line 1 is not a JSON object"),
        (b'"text"', "line 1 is not a JSON object"),
        (b"{}\n\nnull", "line 3 is not a JSON object"),
        (b'{"a":1} {"a":2}', "line 1 is not a JSON object"),
        (b'{"a":"\xff"}', "line 1 is not a JSON object"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "line 1 is not a JSON object"),
    ],
)
def test_invalid_job_is_reported_with_its_line(body: bytes, fault: str) -> None:
    with pytest.raises(NotJobs, match=fault):
        split_jobs(body)


def test_more_jobs_than_a_request_may_have_are_refused() -> None:
    assert len(split_jobs(b"{}\n" * JOBS_LIMIT)) == JOBS_LIMIT
    with pytest.raises(NotJobs, match="10000 jobs"):
        split_jobs(b"{}\n" * (JOBS_LIMIT + 1))


def test_of_a_request_with_a_fault_nothing_is_taken(door: Door) -> None:
    assert door.send(jobs.job() + b"\nSECRET") == (400, {"error": "line 2 is not a JSON object"})
    assert door.jobs == []


def test_a_connection_serves_several_requests(door: Door) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", door.ingress.port, timeout=SECONDS)
    for body, status in ((b"{}", 202), (b"[]", 400), (b"{}", 202)):
        connection.request("POST", "/jobs", body)
        response = connection.getresponse()
        response.read()
        assert response.status == status
    connection.close()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/jobs", 405),
        ("PUT", "/jobs", 405),
        ("OPTIONS", "/jobs", 405),
        ("POST", "/", 404),
        ("POST", "/job", 404),
    ],
)
def test_nothing_else_is_served(door: Door, method: str, path: str, status: int) -> None:
    assert door.send(b"{}", path, method)[0] == status
    assert door.jobs == []


def test_request_above_the_limit_is_refused_with_413(door: Door) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", door.ingress.port, timeout=SECONDS)
    connection.request("POST", "/jobs", b"{" + b" " * BODY_LIMIT + b"}")
    assert connection.getresponse().status == 413
    connection.close()
    assert door.send(b"{" + b" " * (BODY_LIMIT - 2) + b"}") == (202, {"accepted": 1})


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: -1\r\n",
        b"Content-Length: 1e3\r\n",
        b"Content-Length: " + b"9" * 5_000 + b"\r\n",
        b"Content-Length: 2\r\nContent-Length: 3\r\n",
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n",
    ],
)
def test_invalid_or_repeated_content_length_is_refused(door: Door, head: bytes) -> None:
    answer = door.raw(b"POST /jobs HTTP/1.1\r\nHost: 127.0.0.1\r\n" + head + b"\r\n{}")
    assert answer.split()[1] == (b"501" if b"gzip" in head else b"400")
    assert answer.count(b"HTTP/1.1") == 1
    assert door.jobs == []


def test_a_client_that_asks_first_is_refused_before_it_sends(door: Door) -> None:
    head = b"POST /jobs HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    assert door.raw(head % (BODY_LIMIT + 1)).split()[1] == b"413"


def test_a_request_in_absolute_form_is_taken(door: Door) -> None:
    head = b"\r\nPOST http://127.0.0.1/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    assert door.raw(head + b"Content-Length: 2\r\n\r\n{}").split()[1] == b"202"


def test_a_body_in_countless_chunks_is_refused(door: Door) -> None:
    head = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert door.raw(head + b"1\r\n \r\n" * 20_000).split()[1] == b"413"


def test_bodies_of_all_connections_are_bounded_together(door: Door) -> None:
    head = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % BODY_LIMIT
    with ExitStack() as slow:
        for _ in range(5):  # one more than there is room for
            connection = slow.enter_context(socket.create_connection(("127.0.0.1", door.ingress.port), SECONDS))
            with suppress(ConnectionError):
                connection.sendall(head + b" " * (BODY_LIMIT - 1))
        large = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 500000\r\n\r\n"
        large += b" " * 500_000
        eventually(lambda: door.raw(large).split()[1] == b"503")
        assert door.send() == (202, {"accepted": 1})
    eventually(lambda: door.raw(large).split()[1] == b"400")


def test_a_request_in_chunks_is_taken(door: Door) -> None:
    head = b"POST /jobs HTTP/1.1\r\nHost: [::1]:9603\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert door.raw(head + b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n").split()[1] == b"202"
    assert door.jobs == [b"{}"]


def test_a_body_is_no_form_whatever_the_client_calls_it(door: Door) -> None:
    for kind in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        assert door.send(b'{"a":"&=&=%00"}', **{"Content-Type": kind}) == (202, {"accepted": 1})


def test_a_web_page_cannot_put_jobs(door: Door) -> None:
    assert door.send(jobs.job(), Origin="http://a-page.example")[0] == 403
    assert door.jobs == []


def test_a_request_that_breaks_off_puts_nothing(door: Door) -> None:
    with socket.create_connection(("127.0.0.1", door.ingress.port), SECONDS) as connection:
        connection.sendall(b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{}")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(65_536).split()[1] == b"400"
    assert door.jobs == []


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9603", 202),
        ("LOCALHOST", 202),
        ("[::1]:9603", 202),
        ("evil.example", 421),
        ("evil.example:9603", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
    ],
)
def test_a_name_that_leads_to_the_loopback_address_cannot_be_used_to_put_jobs(
    door: Door, host: str, status: int
) -> None:
    assert door.send(jobs.job(), Host=host)[0] == status
    assert len(door.jobs) == (status == 202)


def test_beyond_the_loopback_address_any_name_is_taken() -> None:
    taken: list[bytes] = []
    ingress = Ingress(taken.append, "0.0.0.0", 0)
    ingress.bind()
    threading.Thread(target=ingress.serve, args=(lambda: None,), daemon=True).start()
    try:
        assert send(ingress.port, jobs.job(), Host="queue.example")[0] == 202
    finally:
        ingress.stop()


def test_a_client_that_asks_first_and_sends_then_is_served(door: Door) -> None:
    with socket.create_connection(("127.0.0.1", door.ingress.port), SECONDS) as connection:
        connection.sendall(
            b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        )
        assert connection.recv(65_536).split()[1] == b"100"
        connection.sendall(b"{}")
        assert connection.recv(65_536).split()[1] == b"202"


def test_requests_in_one_packet_are_answered_in_their_order(door: Door) -> None:
    one = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b"
    last = b"\r\nPOST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answers = door.raw(one % (7, b'{"a":1}') + b"\r\n" + one % (7, b'{"a":2}') + last)
    assert [part.split()[0] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"202", b"202", b"404"]
    assert door.jobs == [b'{"a":1}', b'{"a":2}']


@pytest.mark.parametrize("begun", [b"", b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{"])
def test_idle_or_slow_clients_block_no_other(door: Door, begun: bytes) -> None:
    address = ("127.0.0.1", door.ingress.port)
    with ExitStack() as slow:
        for _ in range(2 * LIMITS.connections):
            slow.enter_context(socket.create_connection(address, SECONDS)).sendall(begun)
        for _ in range(20):
            assert door.send()[0] == 202


def test_fault_of_the_application_costs_its_connection_alone(capfd: pytest.CaptureFixture[str]) -> None:
    def fail(_job: bytes) -> None:
        raise RuntimeError("CANARY")

    ingress = Ingress(fail, "127.0.0.1", 0)
    ingress.bind()
    threading.Thread(target=ingress.serve, args=(lambda: None,), daemon=True).start()
    try:
        for _ in range(2 * LIMITS.requests):
            with pytest.raises((ConnectionError, http.client.HTTPException)):
                send(ingress.port, b"{}")
        assert send(ingress.port, b"{}", path="/")[0] == 404
        eventually(lambda: "http.failed" in capfd.readouterr().out)
        assert "Traceback" not in capfd.readouterr().err
    finally:
        ingress.stop()


def test_taken_port_is_reported_with_the_setting_to_change(door: Door) -> None:
    with pytest.raises(StartError, match="QUEUE_MEMORY_INGRESS_PORT"):
        Ingress(lambda job: None, "127.0.0.1", door.ingress.port).bind()


@pytest.mark.parametrize(("host", "where"), [("192.0.2.1", "192.0.2.1:1:"), ("2001:db8::1", "[2001:db8::1]:1:")])
def test_an_address_that_cannot_be_bound_is_named_as_in_a_url(host: str, where: str) -> None:
    with pytest.raises(StartError) as caught:
        Ingress(lambda job: None, host, 1).bind()
    assert str(caught.value).startswith(f"cannot take jobs on {where}")


def test_stopped_ingress_frees_its_port() -> None:
    opened = Door()
    opened.ingress.stop()
    again = Ingress(lambda job: None, "127.0.0.1", opened.ingress.port)
    again.bind()
    again.stop()
    eventually(lambda: not opened.thread.is_alive())


def daemon_on(receiver: Receiver, port: int, **environment: str) -> DaemonProcess:
    settings = {"QUEUE_DRIVER": "memory", "QUEUE_MEMORY_INGRESS_PORT": str(port)}
    return DaemonProcess(config(app(webhook(receiver.url(), name="all"))), settings | environment)


def test_daemon_delivers_jobs_of_the_ingress(receiver: Receiver) -> None:
    port = free_port()
    with daemon_on(receiver, port, QUEUE_HISTORY="all") as daemon:
        daemon.wait_ready()
        assert send(port, b"\n".join(jobs.jobs(20)))[0] == 202
        requests = receiver.wait_for(20)
        assert sorted(request.body for request in requests) == sorted(jobs.webhook_body(n) for n in range(1, 21))
        eventually(lambda: daemon.metric("sockudo_queue_settlements_total", outcome="completed") == 20)
        eventually(lambda: daemon.metric("sockudo_queue_history_entries_written_total") == 20)
        daemon.terminate()
        assert daemon.wait() == 0
        assert daemon.events("memory.lost") == []


def test_jobs_dropped_by_full_memory_are_counted_and_jobs_left_at_the_end_logged(receiver: Receiver) -> None:
    receiver.hang()
    port = free_port()
    with daemon_on(
        receiver, port, QUEUE_MEMORY_CAPACITY="10", QUEUE_WORKERS="1", QUEUE_SHUTDOWN_TIMEOUT_MS="0"
    ) as daemon:
        daemon.wait_ready()
        assert send(port, b"\n".join(jobs.jobs(50)))[0] == 202
        eventually(lambda: daemon.metric("sockudo_queue_evicted_total") == 40)
        daemon.terminate()
        assert daemon.wait() == 0
        assert [line["records"] for line in daemon.events("memory.lost")] == [10]


def test_a_taken_port_ends_the_start(receiver: Receiver, door: Door) -> None:
    with daemon_on(receiver, door.ingress.port) as daemon:
        assert daemon.wait() == 3
        assert "QUEUE_MEMORY_INGRESS_PORT" in daemon.stderr()


def test_without_a_queue_the_daemon_is_idle_and_ready() -> None:
    with DaemonProcess(config(), {"QUEUE_DRIVER": "none"}) as daemon:
        daemon.wait_ready()
        assert daemon.get("/livez") == 200
        daemon.terminate()
        assert daemon.wait() == 0
        assert len(daemon.events("daemon.idle")) == 1
