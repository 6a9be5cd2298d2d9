"""The receiver records requests byte for byte, and one connection never delays another."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.helpers.receiver import Answer, Receiver, Request


@pytest.fixture
def connection(receiver: Receiver) -> Iterator[http.client.HTTPConnection]:
    client = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=2)
    yield client
    client.close()


def _post(client: http.client.HTTPConnection, body: bytes = b"x", path: str = "/") -> int:
    client.request("POST", path, body)
    response = client.getresponse()
    response.read()
    return response.status


def test_a_request_is_kept_as_it_came(receiver: Receiver) -> None:
    body = b'{"a":"\xff\xe2\x80\xa8"}'
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=2) as client:
        client.sendall(
            b"POST /a?b=1 HTTP/1.1\r\nHOST: h\r\nX-One: 1\r\nx-one:  2\r\nContent-Length: %d\r\n" % len(body)
        )
        client.sendall(b"\r\n" + body[:3])
        client.sendall(body[3:])
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")

        [request] = receiver.wait_for(1)
        assert (request.method, request.path, request.body) == ("POST", "/a?b=1", body)
        assert request.header_lines[:3] == (("HOST", "h"), ("X-One", "1"), ("x-one", "2"))
        assert request.headers["host"] == "h"
        assert (request.port, request.client_port) == (receiver.port, client.getsockname()[1])


def test_connection_is_kept_alive_until_an_answer_closes_it(
    receiver: Receiver, connection: http.client.HTTPConnection
) -> None:
    receiver.answer(lambda request, nth: Answer(201, close=nth == 3))

    assert [_post(connection) for _ in range(4)] == [201] * 4
    assert receiver.accepted == 2  # http.client opens a new one after the close


def test_script_gets_request_and_number(receiver: Receiver, connection: http.client.HTTPConnection) -> None:
    def script(request: Request, nth: int) -> Answer:
        return Answer(503 if nth <= 2 else 200, [("Retry-After", "1")], b"later")

    receiver.answer(script)
    assert [_post(connection) for _ in range(3)] == [503, 503, 200]

    receiver.clear()
    assert receiver.count == 0
    assert _post(connection) == 503


def test_a_hanging_or_slow_connection_does_not_hold_back_another(
    receiver: Receiver, connection: http.client.HTTPConnection
) -> None:
    receiver.answer(lambda request, nth: Answer(hang=request.path == "/hang", delay=5 * (request.path == "/slow")))
    others = [http.client.HTTPConnection("127.0.0.1", receiver.port) for _ in range(2)]
    for other, path in zip(others, ("/hang", "/slow"), strict=True):
        other.request("POST", path, b"x")
    receiver.wait_for(2)

    before = time.monotonic()
    assert _post(connection) == 200
    assert time.monotonic() - before < 1

    for other in others:
        other.close()


def test_reset_refuse_and_broken_answers(receiver: Receiver, connection: http.client.HTTPConnection) -> None:
    receiver.answer(lambda request, nth: Answer(reset=True))
    with pytest.raises(ConnectionResetError):
        _post(connection)
    connection.close()

    receiver.answer(lambda request, nth: Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", close=True))
    with pytest.raises(http.client.IncompleteRead):
        _post(connection)
    connection.close()

    receiver.refuse()
    with pytest.raises(ConnectionRefusedError):
        _post(connection)
    connection.close()

    receiver.listen()
    receiver.always(204)
    assert _post(connection) == 204


def test_a_trickle_is_slow_and_whole(receiver: Receiver, connection: http.client.HTTPConnection) -> None:
    receiver.answer(lambda request, nth: Answer(body=b"abc", trickle=0.005))
    before = time.monotonic()
    connection.request("POST", "/", b"x")

    assert connection.getresponse().read() == b"abc"
    assert time.monotonic() - before >= 0.2  # some forty bytes


def test_wait_for_reports_the_requests_that_arrived(receiver: Receiver, connection: http.client.HTTPConnection) -> None:
    _post(connection, b"only this", "/here")

    with pytest.raises(AssertionError, match=r"1 of 2 requests came\nPOST /here b'only this'"):
        receiver.wait_for(2, timeout=0.05)


def test_it_is_fast_enough_to_load_the_daemon(receiver: Receiver) -> None:
    threads, each = 20, 200
    request = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 500\r\n\r\n" + b"x" * 500

    def send() -> None:
        with socket.create_connection(("127.0.0.1", receiver.port)) as client:
            for _ in range(each):
                client.sendall(request)
                client.recv(1000)

    workers = [threading.Thread(target=send) for _ in range(threads)]
    before = time.monotonic()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert receiver.count == threads * each
    assert receiver.accepted == threads
    assert threads * each / (time.monotonic() - before) > 3_000
