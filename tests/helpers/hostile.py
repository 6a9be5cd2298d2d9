"""A receiver on raw sockets that behaves as no HTTP server would: a function of the test handles each connection."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import socket
import ssl
import struct
import termios
import threading
import time
import zlib
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, Self

Behaviour = Callable[["Visit"], None]

CHUNK: Final = 65_536
DRIP_SECONDS: Final = 0.05


class Visit:
    """One connection; its methods return quietly when the client has disconnected."""

    def __init__(self, connection: socket.socket, receiver: HostileReceiver, nth: int) -> None:
        self.connection = connection
        self.nth = nth  # connections so far, including this one
        self._receiver = receiver
        self._buffer = b""

    def read_request(self) -> bool:
        """Read one complete request; return False if the connection has ended."""
        while b"\r\n\r\n" not in self._buffer:
            if not self._receive():
                return False
        head, _, rest = self._buffer.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), 0)
        self._buffer = rest
        while len(self._buffer) < length:
            if not self._receive():
                return False
        self._buffer = self._buffer[length:]
        self._receiver.requests.append(head)
        return True

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def wait_until_received(self, timeout: float = 5.0) -> None:
        """Wait until the client's kernel has received everything; a busy machine delivers it later."""
        deadline = time.monotonic() + timeout
        unsent = bytearray(4)
        while time.monotonic() < deadline:
            fcntl.ioctl(self.connection, termios.TIOCOUTQ, unsent)
            if not any(unsent):
                return
            time.sleep(0.001)
        raise TimeoutError("the other side has not received everything that was sent")

    def drip(self, pieces: Iterable[bytes], pause: float = DRIP_SECONDS) -> None:
        """Send piece by piece while the client is connected."""
        for piece in pieces:
            self.send(piece)
            time.sleep(pause)

    def linger(self) -> None:
        """Keep the connection open and send nothing more until the client closes it."""
        while self._receive():
            self._buffer = b""

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _receive(self) -> bool:
        data = self.connection.recv(CHUNK)
        self._buffer += data
        return bool(data)


class HostileReceiver:
    """Listens on a free port of 127.0.0.1; each connection has a thread of its own that ends with it."""

    def __init__(self, behave: Behaviour, *, tls: ssl.SSLContext | None = None, backlog: int = 512) -> None:
        self.connections = 0
        self.requests: list[bytes] = []  # only their heads
        self._behave = behave
        self._tls = tls
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self.port: int = self._socket.getsockname()[1]
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, name="hostile", daemon=True).start()

    def url(self, path: str = "/", scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def close(self) -> None:
        # Only a shutdown wakes the thread that is blocked in accept.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _accept(self) -> None:
        for nth in itertools.count(1):
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections = nth
            threading.Thread(target=self._serve, args=(connection, nth), name="hostile visit", daemon=True).start()

    def _serve(self, connection: socket.socket, nth: int) -> None:
        self._open.add(connection)
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            self._behave(Visit(connection, self, nth))
        except OSError:
            pass  # the client has disconnected, as expected
        finally:
            self._open.discard(connection)
            with contextlib.suppress(OSError):
                connection.close()


def answering(*pieces: bytes, keep: bool = False) -> Behaviour:
    """Answer each request with the pieces; `keep` leaves the connection open for the next one."""

    def behave(visit: Visit) -> None:
        while visit.read_request():
            for piece in pieces:
                visit.send(piece)
            if not keep:
                return

    return behave


def speaking_first(data: bytes) -> Behaviour:
    """Send data immediately, before any request."""

    def behave(visit: Visit) -> None:
        visit.send(data)
        visit.linger()

    return behave


def dripping(*before: bytes, drops: Iterable[bytes] = ()) -> Behaviour:
    """Send the first pieces immediately, then one drop after the other."""

    def behave(visit: Visit) -> None:
        visit.read_request()
        for piece in before:
            visit.send(piece)
        visit.drip(drops or itertools.repeat(b"a"))

    return behave


def endless(*before: bytes, piece: bytes = b"a" * CHUNK) -> Behaviour:
    """Send the first pieces, then one piece repeatedly, as fast as possible."""

    def behave(visit: Visit) -> None:
        visit.read_request()
        for each in before:
            visit.send(each)
        while True:
            visit.send(piece)

    return behave


def silent(visit: Visit) -> None:
    """Read the request and never answer."""
    visit.read_request()
    visit.linger()


def deaf(visit: Visit) -> None:
    """Never read a byte."""
    visit.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    while visit.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO) == 1:  # ESTABLISHED
        time.sleep(DRIP_SECONDS)


def resetting(visit: Visit) -> None:
    """Read the request, and reset the connection."""
    visit.read_request()
    visit.reset()


def closing(visit: Visit) -> None:
    """Read the request, and close the connection without an answer."""
    visit.read_request()


def closing_on_reuse(visit: Visit) -> None:
    """Answer the first request of a connection, and close it when a second one comes."""
    visit.read_request()
    visit.send(ok())
    visit.read_request()


def ok(body: bytes = b"", *lines: bytes, status: bytes = b"200 OK") -> bytes:
    """Return an answer as it goes over the wire."""
    return b"\r\n".join([b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *lines, b"", body])


def gzip_bomb(megabytes: int = 20) -> bytes:
    """Return a small gzip stream that expands to that many megabytes of zeros."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([packer.compress(bytes(1 << 20)) for _ in range(megabytes)]) + packer.flush()
