"""One HTTP/1 request on a connection and its answer, as small as probes and pages need it: GET and HEAD, no more."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

REQUEST_SECONDS: Final = 5.0  # for a whole request to arrive, however slowly its bytes come
RESPONSE_SECONDS: Final = 5.0
REQUEST_BYTES: Final = 8_192
LINGER_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request; `path` is without a query."""

    method: str
    path: str
    accept: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; `headers` are whole lines beside those that every answer has."""

    status: int
    body: bytes
    kind: str
    headers: tuple[str, ...] = ()


def arrived(connection: socket.socket) -> tuple[bytes, Request | Answer | None]:
    """Return what has come of a request, without waiting, and the request or its refusal if that is all of it."""
    try:
        data = connection.recv(REQUEST_BYTES, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return b"", None
    return data, _parse(data.decode("latin-1")) if _is_whole(data) else None


def read_request(connection: socket.socket, data: bytes = b"") -> Request | Answer | None:
    """Read one request's head, which begins with `data`; an answer if it is none, `None` if the client sent nothing."""
    deadline = time.monotonic() + REQUEST_SECONDS
    while not _is_whole(data):
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        received = connection.recv(4096)
        if not received:
            return text(400, "the request is not complete") if data else None
        data += received
        if len(data) > REQUEST_BYTES:
            return text(431, f"a request may have {REQUEST_BYTES} bytes")
    return _parse(data.decode("latin-1"))


def _is_whole(data: bytes) -> bool:
    return b"\r\n\r\n" in data or b"\n\n" in data


def _parse(head: str) -> Request | Answer:
    first, *headers = head.split("\n")
    match first.strip().split(" "):
        case [method, target, version] if version.startswith("HTTP/1.") and (path := _path(target)):
            if method not in ("GET", "HEAD"):
                return text(405, "only GET and HEAD are served")
            accept = [line.partition(":")[2].strip() for line in headers if line.lower().startswith("accept:")]
            return Request(method, path, ",".join(accept))
        case _:
            return text(400, "this is no HTTP/1 request")


def _path(target: str) -> str:
    """Return the path of a request target, also of one in absolute form; empty for one that has none."""
    if target.lower().startswith("http://"):
        target = "/" + target[len("http://") :].partition("/")[2]
    return target.partition("?")[0] if target.startswith("/") else ""


def text(status: int, line: str) -> Answer:
    """Return a line of plain text."""
    return Answer(status, f"{line}\n".encode(), "text/plain; charset=utf-8")


def send(connection: socket.socket, answer: Answer, *, body: bool) -> None:
    """Send an answer, or its head alone. Raises `OSError` where the client is slow or gone."""
    connection.settimeout(RESPONSE_SECONDS)
    connection.sendall(_bytes_of(answer, body=body))
    if answer.status in (400, 405, 431):
        _linger(connection)


def send_now(connection: socket.socket, answer: Answer, *, body: bool) -> None:
    """Send a short answer without waiting: it finds the buffers of a new connection empty. Raises `OSError`."""
    connection.send(_bytes_of(answer, body=body), socket.MSG_DONTWAIT)


def _bytes_of(answer: Answer, *, body: bool) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\nContent-Type: {answer.kind}\r\n"
        f"Content-Length: {len(answer.body)}\r\nConnection: close\r\nCache-Control: no-store\r\n"
        + ("Allow: GET, HEAD\r\n" if answer.status == 405 else "")
        + "".join(f"{line}\r\n" for line in answer.headers)
    )
    return head.encode() + b"\r\n" + (answer.body if body else b"")


def _linger(connection: socket.socket) -> None:
    """Read on for a moment: closing with unread bytes would reset the connection before the client has the answer."""
    connection.shutdown(socket.SHUT_WR)
    deadline = time.monotonic() + LINGER_SECONDS
    while (remaining := deadline - time.monotonic()) > 0:
        connection.settimeout(remaining)
        if not connection.recv(REQUEST_BYTES):
            return
