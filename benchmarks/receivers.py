"""Receivers: nginx for immediate answers, and one of our own that delays, hangs, and measures lateness."""

from __future__ import annotations

import contextlib
import ctypes
import heapq
import http.client
import itertools
import json
import random
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.helpers.ports import free_port

_NGINX: Final = """
worker_processes 1; daemon off; pid {directory}/pid; error_log /dev/null crit;
events {{ worker_connections 8192; }}
http {{ access_log off; keepalive_requests 100000000; keepalive_timeout 300s; client_max_body_size 0;
  client_body_temp_path {directory}; proxy_temp_path {directory};
  fastcgi_temp_path {directory}; uwsgi_temp_path {directory}; scgi_temp_path {directory};
  server {{ listen {port} backlog=4096; location / {{ return 200 ""; }} location = /count {{ stub_status; }} }} }}
"""
_PUSHED_AT: Final = re.compile(rb'"pushed_at":(\d+)')
_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_PR_SET_TIMERSLACK: Final = 29
_FACTORS: Final = [0.9 + number / 500 for number in range(101)]
_ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Receiver:
    """A receiver in a process of its own that listens on all of 127/8: every address of it is another endpoint."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], *, counts_itself: bool) -> None:
        self.port = port
        self.process = process
        self._counts_itself = counts_itself
        self._asked = 0

    def url(self, endpoint: int = 0) -> str:
        return f"http://127.0.{1 + endpoint // 250}.{1 + endpoint % 250}:{self.port}/"

    def count(self) -> int:
        """Return the number of received webhooks."""
        text = self._get("/count")
        if self._counts_itself:
            return int(json.loads(text)["count"])
        self._asked += 1
        return int(text.split()[9]) - self._asked

    def lateness(self) -> list[float]:
        """Return the seconds from push to arrival of each received webhook, and forget them."""
        return [float(seconds) for seconds in json.loads(self._get("/lateness"))]

    def _get(self, path: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().read().decode()


@contextlib.contextmanager
def instant() -> Iterator[Receiver]:
    """Start nginx, or without it our own receiver, which costs more CPU."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        with waiting(0.0) as receiver:
            yield receiver
        return
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        settings = Path(directory, "nginx.conf")
        settings.write_text(_NGINX.format(directory=directory, port=port))
        with _process([nginx, "-c", str(settings), "-p", directory], port, counts_itself=False) as receiver:
            yield receiver


@contextlib.contextmanager
def waiting(delay: float) -> Iterator[Receiver]:
    """Start a receiver that answers after `delay` seconds, or never if it is negative."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.receivers", str(port), str(delay)]
    with _process(command, port, counts_itself=True) as receiver:
        yield receiver


@contextlib.contextmanager
def _process(command: list[str], port: int, *, counts_itself: bool) -> Iterator[Receiver]:
    process = subprocess.Popen(command)
    receiver = Receiver(port, process, counts_itself=counts_itself)
    try:
        for _ in range(500):
            with contextlib.suppress(OSError):
                receiver.count()
                break
            time.sleep(0.01)
        yield receiver
    finally:
        process.terminate()
        process.wait()


class _Connection:
    """One connection: just enough HTTP for a POST with a length."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self._received = b""

    def requests(self) -> Iterator[bytes]:
        """Read the available data and yield complete requests. Raises `OSError` if the connection has ended."""
        data = self.link.recv(65_536)
        if not data:
            raise ConnectionResetError
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._received, 0, end)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._received) < whole:
                return
            request, self._received = self._received[:whole], self._received[whole:]
            yield request


class _Server:
    """Answers each webhook after `delay` seconds plus or minus 10 %; the average is exact.

    With a constant delay, workers that started together would stay in step forever and compete for the CPU each time.
    """

    def __init__(self, port: int, delay: float) -> None:
        self._delay = delay
        self._count = 0
        self._lateness: list[float] = []
        self._due: list[tuple[float, int, socket.socket]] = []  # a heap; the number keeps sockets from being compared
        self._numbers = itertools.count()
        self._factors = itertools.cycle(random.Random(1).sample(_FACTORS, len(_FACTORS)))
        self._listener = socket.create_server(("0.0.0.0", port), backlog=4096)
        self._connections: dict[int, _Connection] = {}
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)
        self._now = 0.0
        # The kernel wakes ordinary processes up to 50 µs late, in order to wake several together.
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)

    def serve(self) -> None:
        while True:
            # epoll counts in milliseconds and rounds up: half of one on average, which is 1 % of 50.
            pause = max(self._due[0][0] - time.monotonic(), 0) if self._due else None
            select.select([self._epoll], [], [], pause)
            self._now = time.monotonic()
            for descriptor, _ in self._epoll.poll(0):
                if descriptor == self._listener.fileno():
                    self._accept()
                else:
                    self._read(descriptor)
                self._answer_due()  # a burst of a hundred requests must not delay earlier answers
            self._answer_due()

    def _answer_due(self) -> None:
        while self._due and self._due[0][0] <= time.monotonic():
            with contextlib.suppress(OSError):
                heapq.heappop(self._due)[2].sendall(_ANSWER)

    def _accept(self) -> None:
        link, _ = self._listener.accept()
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections[link.fileno()] = _Connection(link)
        self._epoll.register(link, select.EPOLLIN)

    def _read(self, descriptor: int) -> None:
        connection = self._connections[descriptor]
        try:
            for request in connection.requests():
                self._answer(connection.link, request)
        except OSError:
            del self._connections[descriptor]
            connection.link.close()

    def _answer(self, link: socket.socket, request: bytes) -> None:
        if request.startswith(b"GET "):
            text = json.dumps({"count": self._count} if request.startswith(b"GET /count") else self._lateness).encode()
            link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))
            if request.startswith(b"GET /lateness"):
                self._lateness.clear()
            return
        self._count += 1
        if pushed_at := _PUSHED_AT.search(request):
            self._lateness.append(time.time() - int(pushed_at[1]) / 1e9)
        if self._delay == 0:
            link.sendall(_ANSWER)
        elif self._delay > 0:
            due = self._now + self._delay * next(self._factors)
            heapq.heappush(self._due, (due, next(self._numbers), link))


if __name__ == "__main__":
    _Server(int(sys.argv[1]), float(sys.argv[2])).serve()
