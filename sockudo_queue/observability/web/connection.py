"""One HTTP/1.1 connection: h11 reads and writes the protocol, this module the socket. Every wait has a deadline."""

from __future__ import annotations

import contextlib
import email.utils
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import h11
import msgspec

HEAD_BYTES: Final = 8_192
HEAD_LINES: Final = 100
BLANK_BYTES: Final = 64
"""Maximum bytes of empty lines that are ignored before a request."""
BODY_PIECES: Final = 10_000
"""Maximum number of chunks and packets of one body: each costs some microseconds, even a small one."""
SMALL_BODY: Final = 65_536
LINGER_SECONDS: Final = 1.0
RECEIVE_BYTES: Final = 65_536


class Limits(msgspec.Struct, frozen=True):
    """Limits of one server; times in seconds."""

    connections: int
    requests: int  # in the application at the same time
    body_bytes: int
    head_seconds: float  # for a whole head (and a TLS handshake), and between two requests on a connection
    body_seconds: float
    response_seconds: float  # for the client to read the response
    keep_alive: bool = False
    chunked_bodies: bool = False
    all_bodies_bytes: int = 0  # of all connections, without the first `SMALL_BODY` bytes of each


class HttpRequest(NamedTuple):
    """A complete request. `target` is in origin form: a path, optionally with a query."""

    method: str
    target: str
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


class HttpResponse(NamedTuple):
    """A complete response; `status` is code and reason, such as `200 OK`."""

    status: str
    headers: Sequence[tuple[str, str]]
    body: bytes


class BadRequest(Exception):
    """The received bytes are not a valid request. `status` is the status of the response, the message its text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class BytesInUse:
    """Counts the bytes of bodies that all connections of one server hold. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit, self._used = limit, 0
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Reserve bytes. Returns whether there was room; then the caller has to call `give_back` later."""
        with self._lock:
            has_room = self._used + size <= self._limit
            self._used += size if has_room else 0
            return has_room

    def give_back(self, size: int) -> None:
        with self._lock:
            self._used -= size


class HttpConnection:
    """One connection. Only `abort` may be called from other threads; the thread that uses the connection closes it.

    `OSError` (with `TimeoutError`) from any method means that the client is slow or gone, or did not use TLS.
    """

    def __init__(self, client: socket.socket, address: str, limits: Limits, in_use: BytesInUse | None = None) -> None:
        self.address = address
        self._in_use, self._taken = in_use or BytesInUse(limits.all_bodies_bytes), 0
        self._lines = self._blanks = self._pieces = 0
        self._socket, self._limits = client, limits
        self._protocol = _protocol()
        self._request: h11.Request | None = None
        self._body = bytearray()
        self._ready: HttpRequest | None = None
        self._fault: BadRequest | None = None

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Perform the TLS handshake as the server. Blocks for at most `head_seconds`."""
        self._socket.settimeout(self._limits.head_seconds)
        self._socket.getpeername()  # raises if the client is gone: `wrap_socket` would then leak a socket
        tls = context.wrap_socket(self._socket, server_side=True, do_handshake_on_connect=False)
        self._socket = tls
        tls.do_handshake()

    def arrived(self) -> HttpRequest | None:
        """Return the request if it has arrived completely; never blocks. `receive` returns it, or its error, again."""
        try:
            received = self._socket.recv(HEAD_BYTES, socket.MSG_DONTWAIT)
            if received:
                self._feed(received)
                self._ready = self._whole()
            else:
                self._protocol.receive_data(b"")
        except BlockingIOError:
            return None
        except BadRequest as fault:
            self._fault = fault
        return self._ready

    def receive(self) -> HttpRequest | None:
        """Block until a complete request has arrived. Returns None if the client closed before. Raises `BadRequest`."""
        if self._fault is not None:
            raise self._fault
        deadline, is_head = time.monotonic() + self._limits.head_seconds, True
        while (request := self._ready or self._whole()) is None:
            if self._protocol.their_state is h11.CLOSED:
                if self._protocol.trailing_data[0]:
                    raise BadRequest(400, "the request is not complete")
                return None
            if is_head and self._request is not None:
                deadline, is_head = time.monotonic() + self._limits.body_seconds, False
            if self._protocol.they_are_waiting_for_100_continue:
                self._send_all(self._encode(h11.InformationalResponse(status_code=100, headers=[])), deadline)
            self._set_timeout(deadline)
            # A head is read in small pieces, so that its limit holds.
            received = self._socket.recv(HEAD_BYTES if is_head else RECEIVE_BYTES)
            if received:
                self._feed(received)
            else:
                self._protocol.receive_data(b"")
        self._ready = None
        return request

    def respond(self, response: HttpResponse, *, close: bool = True) -> bool:
        """Send a response, without the body for HEAD. Returns whether another request may follow on the connection."""
        data = self._encoded(response, close=close)
        self._send_all(data, time.monotonic() + self._limits.response_seconds)
        return self._next_request()

    def respond_now(self, response: HttpResponse) -> None:
        """Send a short response without blocking: the send buffer of a new connection is empty."""
        self._socket.send(self._encoded(response, close=True), socket.MSG_DONTWAIT)

    def refuse(self, fault: BadRequest) -> None:
        """Respond to an invalid request, and continue reading briefly.

        Closing with unread bytes would reset the connection before the client has read the response.
        """
        text = f"{fault}\n".encode()
        headers = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(text))),
            ("X-Content-Type-Options", "nosniff"),
        ]
        response = HttpResponse(f"{fault.status} {HTTPStatus(fault.status).phrase}", headers, text)
        deadline = time.monotonic() + LINGER_SECONDS
        self._send_all(self._encoded(response, close=True), deadline)
        self._socket.shutdown(socket.SHUT_WR)
        left = 2 * self._limits.body_bytes
        while left > 0:
            self._set_timeout(deadline)
            received = self._socket.recv(RECEIVE_BYTES)
            left -= len(received)
            if not received:
                return

    def abort(self) -> None:
        """End the connection; a thread that waits on it gets an `OSError`. Thread-safe."""
        with contextlib.suppress(OSError):
            # Not the method of `SSLSocket`: it drops the TLS layer under a thread that reads.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        self._give_back()
        self._socket.close()

    def _feed(self, data: bytes) -> None:
        if self._request is None:
            if not self._protocol.trailing_data[0]:
                data = self._without_blank_lines(data)
            self._lines += _lines_of_head(data)
            if self._lines > HEAD_LINES:
                raise BadRequest(431, f"a request may have {HEAD_LINES} lines of headers")
        self._protocol.receive_data(data)

    def _without_blank_lines(self, data: bytes) -> bytes:
        """Drop empty lines before a request (RFC 9112, section 2.2)."""
        rest = data.lstrip(b"\r\n")
        self._blanks += len(data) - len(rest)
        if self._blanks > BLANK_BYTES:
            raise BadRequest(400, "there are too many empty lines before the request")
        return rest

    def _whole(self) -> HttpRequest | None:
        try:
            while True:
                event = self._protocol.next_event()
                if isinstance(event, h11.Request):
                    self._begin(event)
                elif isinstance(event, h11.Data):
                    self._add(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    return self._finished()
                else:  # more bytes are needed, or no more will come
                    return None
        except h11.RemoteProtocolError as error:
            # The text of the exception can contain parts of the request.
            raise BadRequest(error.error_status_hint, "this is not a valid HTTP request") from error

    def _begin(self, request: h11.Request) -> None:
        self._request = request
        names = {name for name, _ in request.headers}
        if {b"content-length", b"transfer-encoding"} <= names:
            raise BadRequest(400, "a request may not have both Content-Length and Transfer-Encoding")
        if b"transfer-encoding" in names and not self._limits.chunked_bodies:
            raise BadRequest(411, "a request with a body needs a Content-Length")
        length = next((int(value) for name, value in request.headers if name == b"content-length"), 0)
        self._check_length(length)

    def _add(self, data: bytes) -> None:
        self._pieces += 1
        if self._pieces > BODY_PIECES:
            raise BadRequest(413, f"the body of a request may come in {BODY_PIECES} pieces")
        self._check_length(len(self._body) + len(data))
        more = max(len(self._body) + len(data) - SMALL_BODY, 0) - self._taken
        if more > 0:
            if not self._in_use.take(more):
                raise BadRequest(503, "too many large requests at the same time; try again")
            self._taken += more
        self._body += data

    def _check_length(self, length: int) -> None:
        if length > self._limits.body_bytes:
            raise BadRequest(413, f"the body of a request may have {self._limits.body_bytes} bytes")

    def _finished(self) -> HttpRequest:
        request = self._request
        assert request is not None
        host, target = split_target(request.target.decode("latin-1"))
        headers = list(request.headers)
        if host is not None:  # it takes precedence over the header: RFC 9112, section 3.2.2
            headers = [(b"host", host.encode("latin-1")), *(each for each in headers if each[0] != b"host")]
        return HttpRequest(request.method.decode("latin-1"), target, headers, bytes(self._body))

    def _encoded(self, response: HttpResponse, *, close: bool) -> bytes:
        code, _, reason = response.status.partition(" ")
        headers = [*response.headers, ("Date", email.utils.formatdate(usegmt=True))]
        if close or not self._limits.keep_alive:
            headers.append(("Connection", "close"))
        is_head = self._request is not None and self._request.method == b"HEAD"
        head = self._encode(h11.Response(status_code=int(code), headers=headers, reason=reason))
        body = b"" if is_head else self._encode(h11.Data(data=response.body))
        return head + body + self._encode(h11.EndOfMessage())

    def _encode(self, event: h11.Event) -> bytes:
        return self._protocol.send(event) or b""

    def _next_request(self) -> bool:
        if self._protocol.our_state is not h11.DONE or self._protocol.their_state is not h11.DONE:
            return False
        rest, _ = self._protocol.trailing_data
        self._give_back()
        self._protocol, self._request, self._body = _protocol(), None, bytearray()
        self._lines = self._blanks = self._pieces = 0
        if rest:
            self._feed(rest)
        return True

    def _send_all(self, data: bytes, deadline: float) -> None:
        view = memoryview(data)
        while view:
            self._set_timeout(deadline)
            view = view[self._socket.send(view) :]

    def _set_timeout(self, deadline: float) -> None:
        """Set the socket timeout to end at the deadline. Raises `TimeoutError` if the deadline has passed."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)

    def _give_back(self) -> None:
        self._in_use.give_back(self._taken)
        self._taken = 0


def _lines_of_head(data: bytes) -> int:
    ends = [end for end in (data.find(b"\r\n\r\n"), data.find(b"\n\n")) if end >= 0]
    return data.count(b"\n", 0, min(ends, default=len(data)))


def split_target(target: str) -> tuple[str | None, str]:
    """Return host and path with query of a request's target. Raises `BadRequest`.

    The host is None unless the target is a whole URL (RFC 9112, section 3.2.2).
    """
    if target.startswith("/"):
        return None, target
    try:
        parts = urlsplit(target)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme.lower() not in ("http", "https"):
        raise BadRequest(400, "the target of a request must be a path or an http URL")
    host = parts.netloc.rpartition("@")[2]
    return host, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _protocol() -> h11.Connection:
    return h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
