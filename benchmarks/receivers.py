"""Receivers to deliver to: nginx for answers at once, and one of our own that waits, hangs, and measures lateness."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
import selectors
import shutil
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
http {{ access_log off; keepalive_requests 100000000; keepalive_timeout 300s; client_body_temp_path {directory};
  proxy_temp_path {directory}; fastcgi_temp_path {directory}; uwsgi_temp_path {directory}; scgi_temp_path {directory};
  server {{ listen {port} backlog=4096; location / {{ return 200 ""; }} location = /count {{ stub_status; }} }} }}
"""
_PUSHED_AT: Final = re.compile(rb'"pushed_at":(\d+)')
_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Receiver:
    """A receiver in a process of its own, which listens on all of 127/8: every address of it is another endpoint."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], *, counts_itself: bool) -> None:
        self.port = port
        self.process = process
        self._counts_itself = counts_itself
        self._asked = 0

    def url(self, endpoint: int = 0) -> str:
        return f"http://127.0.{1 + endpoint // 250}.{1 + endpoint % 250}:{self.port}/"

    def count(self) -> int:
        """Return how many webhooks have come."""
        text = self._get("/count")
        if self._counts_itself:
            return int(json.loads(text)["count"])
        self._asked += 1
        return int(text.split()[9]) - self._asked

    def lateness(self) -> list[float]:
        """Return the seconds from push to arrival of each webhook that has come, and forget them."""
        return [float(seconds) for seconds in json.loads(self._get("/lateness"))]

    def _get(self, path: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().read().decode()


@contextlib.contextmanager
def instant() -> Iterator[Receiver]:
    """Start nginx, or where there is none our own receiver, which costs more CPU than nginx."""
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
    """Start a receiver that answers after so many seconds; with a negative number never."""
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


class _Serving(asyncio.Protocol):
    """One connection: just enough HTTP for a POST with a length."""

    count = 0
    lateness: Final[list[float]] = []
    delay = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._received, 0, end)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._received) < whole:
                return
            request, self._received = self._received[:whole], self._received[whole:]
            self._answer(request)

    def _answer(self, request: bytes) -> None:
        if request.startswith(b"GET "):
            asked = {"count": _Serving.count} if request.startswith(b"GET /count") else _Serving.lateness
            text = json.dumps(asked).encode()
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))
            if asked is _Serving.lateness:
                _Serving.lateness.clear()
            return
        _Serving.count += 1
        if pushed_at := _PUSHED_AT.search(request):
            _Serving.lateness.append(time.time() - int(pushed_at[1]) / 1e9)
        if _Serving.delay == 0:
            self._transport.write(_ANSWER)
        elif _Serving.delay > 0:
            asyncio.get_running_loop().call_later(_Serving.delay, self._transport.write, _ANSWER)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Serving, "0.0.0.0", port, backlog=4096)
    await server.serve_forever()


def _loop() -> asyncio.AbstractEventLoop:
    # epoll counts in milliseconds and rounds up: half of one on average, which is 1 % of 50.
    return asyncio.SelectorEventLoop(selectors.SelectSelector() if _Serving.delay > 0 else None)


if __name__ == "__main__":
    _Serving.delay = float(sys.argv[2])
    with asyncio.Runner(loop_factory=_loop) as runner:
        runner.run(_serve(int(sys.argv[1])))
