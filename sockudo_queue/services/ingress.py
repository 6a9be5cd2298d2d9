"""The HTTP door to the memory driver: `POST /jobs` takes one job, or several as JSON Lines.

It exists for that driver alone, since nothing else can put a job into this process's memory. It listens on the loopback
interface unless told otherwise, and asks nobody who they are.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, Final

import msgspec

from sockudo_queue.core.decoding import DECODE_ERRORS
from sockudo_queue.core.ports import host_port
from sockudo_queue.errors import StartError

PATH: Final = "/jobs"
BODY_LIMIT: Final = 8 * 1024 * 1024
"""Bytes of one request. By default a job of Sockudo holds a hundred events at most, of some 10 KB each."""
CONNECTIONS_LIMIT: Final = 32
READ_SECONDS: Final = 10.0
"""Longest silence of a client in the middle of a request, and between two requests."""
POLL_SECONDS: Final = 0.1
ACCEPT_PAUSE: Final = 0.1  # seconds after a failed accept: without a free descriptor it fails again immediately


class NotJobs(Exception):
    """The body is not what the door takes; the message says where, and holds nothing of the body."""


def split_jobs(body: bytes) -> list[bytes]:
    """Return the jobs of a request: the whole body where it is one JSON object, else an object a line.

    Raises `NotJobs`. Whether an object is a job that can be delivered is the dispatcher's business.
    """
    whole = body.strip()
    if _is_object(whole):
        return [whole]
    lines = [(number, line.strip()) for number, line in enumerate(body.split(b"\n"), 1)]
    jobs = [(number, line) for number, line in lines if line]
    if not jobs:
        raise NotJobs("the body is empty")
    for number, line in jobs:
        if not _is_object(line):
            raise NotJobs(f"line {number} is not a JSON object")
    return [line for _, line in jobs]


def _is_object(text: bytes) -> bool:
    if not text.startswith(b"{"):
        return False
    try:
        text.decode()
        return isinstance(msgspec.json.decode(text), dict)
    except DECODE_ERRORS:
        return False


class Ingress:
    """Accepts in the caller's thread, and serves each connection in one of its own. `put` must not block."""

    def __init__(self, put: Callable[[bytes], None], host: str, port: int) -> None:
        self._put = put
        self._host, self._port = host.removeprefix("[").removesuffix("]"), port
        self._server: _Server | None = None

    @property
    def port(self) -> int:
        """The port that is served; once bound, the real one for port 0."""
        return self._port

    def bind(self) -> None:
        """Take the port. Raises `StartError` if the address cannot be used."""
        try:
            self._server = _Server(self._host, self._port, self._put)
        except OSError as error:
            raise StartError(
                f"cannot take jobs on {host_port(self._host, self._port)}: {error.strerror}; "
                "set another QUEUE_MEMORY_INGRESS_PORT or QUEUE_MEMORY_INGRESS_HOST"
            ) from error
        self._port = self._server.server_address[1]

    def serve(self, beat: Callable[[], None]) -> None:
        """Accept connections until `stop`; `beat` is called many times a second. After `bind`."""
        server = self._server
        assert server is not None
        while not server.stopping:
            beat()
            try:
                server.handle_request()
            except (OSError, ValueError):  # the listener was closed by `stop`
                if not server.stopping:
                    raise

    def stop(self) -> None:
        """Take nothing more: the port is free, and a request in flight is refused. From any thread."""
        if self._server is not None:
            self._server.stopping = True
            with contextlib.suppress(OSError):
                self._server.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for connections
            self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    timeout = POLL_SECONDS

    def __init__(self, host: str, port: int, put: Callable[[bytes], None]) -> None:
        self.put = put
        self.stopping = False
        self._free = threading.BoundedSemaphore(CONNECTIONS_LIMIT)
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, *_, address = found[0]
        super().__init__((str(address[0]), int(address[1])), _Request)

    def server_bind(self) -> None:
        """Bind without the library's look-up of our own name, which can take seconds."""
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, or close it where too many are open."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread to be had now
            self._free.release()
            raise

    def get_request(self) -> Any:
        """Accept one connection. Raises `OSError`."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(ACCEPT_PAUSE)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle of a request is nobody's fault."""


class _Request(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = READ_SECONDS

    def do_POST(self) -> None:
        refusal = self._refusal()
        if refusal is not None:
            self._answer(*refusal, close=True)
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if len(body) < int(self.headers["Content-Length"]):
            self._answer(HTTPStatus.BAD_REQUEST, {"error": "the request is not complete"}, close=True)
            return
        try:
            jobs = split_jobs(body)
        except NotJobs as fault:
            self._answer(HTTPStatus.BAD_REQUEST, {"error": str(fault)})
            return
        for job in jobs:
            self.server.put(job)
        self._answer(HTTPStatus.ACCEPTED, {"accepted": len(jobs)})

    def do_GET(self) -> None:
        self._answer(HTTPStatus.METHOD_NOT_ALLOWED, {"error": f"only POST {PATH} is served"}, close=True)

    do_HEAD = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = do_GET  # noqa: N815 - the library's names

    def handle_expect_100(self) -> bool:
        """Tell a client that asks first whether its body would be taken."""
        refusal = self._refusal()
        if refusal is not None:
            self._answer(*refusal, close=True)
            return False
        return super().handle_expect_100()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Be silent: what comes of a job is logged where it is delivered."""

    def _refusal(self) -> tuple[HTTPStatus, dict[str, Any]] | None:
        """Return the answer to a request whose body need not be read."""
        length = self.headers.get("Content-Length", "")
        if self.path.partition("?")[0] != PATH:
            return HTTPStatus.NOT_FOUND, {"error": f"try POST {PATH}"}
        if "Origin" in self.headers:
            # Any page that a developer's browser shows may post to the loopback interface.
            return HTTPStatus.FORBIDDEN, {"error": "requests of web pages are not taken"}
        if self.server.stopping:
            return HTTPStatus.SERVICE_UNAVAILABLE, {"error": "the daemon is being stopped"}
        if not (length.isascii() and length.isdigit()):
            return HTTPStatus.LENGTH_REQUIRED, {"error": "a request needs a Content-Length"}
        if len(length) > 12 or int(length) > BODY_LIMIT:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": f"a request may have {BODY_LIMIT} bytes"}
        return None

    def _answer(self, status: HTTPStatus, answer: dict[str, Any], *, close: bool = False) -> None:
        body = msgspec.json.encode(answer) + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "POST")
        if close:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        if close:
            self._linger()

    def _linger(self) -> None:
        """Read on for a moment: closing with unread bytes would reset the connection before the answer is read."""
        self.close_connection = True
        self.connection.settimeout(0.5)
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            left = BODY_LIMIT
            while left > 0 and (received := self.connection.recv(65_536)):
                left -= len(received)
