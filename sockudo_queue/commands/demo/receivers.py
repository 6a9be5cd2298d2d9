"""Webhook receivers that verify every signature independently of the daemon."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

from sockudo_queue.commands.demo.jobs import APP_KEY, APP_SECRET

BLOCK_SIZE: Final = 64  # bytes of SHA-256's blocks


def hmac_sha256(key: bytes, message: bytes) -> str:
    """Return the HMAC in hexadecimal, after RFC 2104. The daemon's own code is not used: it could be wrong twice."""
    short = hashlib.sha256(key).digest() if len(key) > BLOCK_SIZE else key
    block = short.ljust(BLOCK_SIZE, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block) + message).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in block) + inner).hexdigest()


@dataclass(frozen=True, slots=True)
class DemoRequest:
    """One request, whether its signature is valid, and the status of the answer."""

    webhook: str
    job: str
    attempt: int
    events: int
    genuine: bool
    status: int


Decide = Callable[[str, str], int]
"""The status for a request, by its path and its job's id."""


class Receiver:
    """Listens on a free port of the loopback interface, and reports every request before answering it."""

    def __init__(self, decide: Decide, report: Callable[[DemoRequest], None]) -> None:
        self._server = _DemoServer(decide, report)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.1,), name="receiver", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()


class _DemoServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, decide: Decide, report: Callable[[DemoRequest], None]) -> None:
        self.decide, self.report = decide, report
        super().__init__(("127.0.0.1", 0), _DemoHandler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A daemon that ends during a request is reported elsewhere."""


class _DemoHandler(BaseHTTPRequestHandler):
    server: _DemoServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        job, attempt = self.headers["X-Sockudo-Job-Id"], int(self.headers["X-Sockudo-Attempt"])
        status = self.server.decide(self.path, job)
        genuine = (
            self.headers["X-Pusher-Signature"] == hmac_sha256(APP_SECRET.encode(), body)
            and self.headers["X-Pusher-Key"] == APP_KEY
        )
        events = len(json.loads(body)["events"])
        self.server.report(DemoRequest(self.headers["X-Sockudo-Webhook"], job, attempt, events, genuine, status))
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Log nothing; the demo prints the requests."""
