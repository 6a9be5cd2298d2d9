"""Run an emulator of SQS on the loopback interface, with a clock that a test can move forward.

Runs in the environment of that emulator, not in that of the tests: `python sqs_emulator.py KIND PORT CLOCK_PORT`, where
KIND is `localstack` or `ministack`. On the second port, a GET of `/stop` halts the clock of visibilities and delays,
`/run` resets it to real time, and `/SECONDS` moves it forward.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Clock:
    """Replaces the module `time` where SQS reads it."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._stopped_at: float | None = None

    def time(self) -> float:
        if self._stopped_at is None:
            return time.time() + self._ahead
        self._stopped_at += 1e-6  # later messages must not appear to arrive at the same time
        return self._stopped_at + self._ahead

    def stop(self) -> None:
        self._ahead, self._stopped_at = 0.0, time.time()

    def run(self) -> None:
        self._ahead, self._stopped_at = 0.0, None

    def put_forward(self, seconds: float) -> None:
        self._ahead += seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


class UnstoppableClock(Clock):
    """For an emulator that also uses this clock to time its long polls."""

    def stop(self) -> None:
        self.run()


def serve_clock(port: int, clock: Clock, apply: Callable[[], None]) -> None:
    """Let a test move the clock; `apply` immediately makes messages visible that are due by then."""

    class Hand(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # a test turns the clock several times, over one connection

        def do_GET(self) -> None:
            match self.path[1:]:
                case "stop":
                    clock.stop()
                case "run":
                    clock.run()
                case seconds:
                    clock.put_forward(float(seconds))
            apply()
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Hand)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def localstack(port: int, clock_port: int) -> None:
    """Run only SQS, listen on the loopback interface only, and fetch and report nothing."""
    os.environ.update(
        SERVICES="sqs",
        EAGER_SERVICE_LOADING="1",
        GATEWAY_LISTEN=f"127.0.0.1:{port}",
        LOCALSTACK_HOST=f"127.0.0.1:{port}",
        SQS_ENDPOINT_STRATEGY="path",
        SKIP_SSL_CERT_DOWNLOAD="1",
        DISABLE_EVENTS="1",
        DNS_ADDRESS="0",
        LS_LOG="error",
        LOCALSTACK_VOLUME_DIR=tempfile.gettempdir(),
        SQS_DELAY_PURGE_RETRY="1",
        SQS_DELAY_RECENTLY_DELETED="1",
        SQS_ENABLE_MESSAGE_RETENTION_PERIOD="1",
    )
    from twisted.internet import endpoints

    listen = endpoints.TCP4ServerEndpoint

    def on_loopback(reactor: Any, chosen: int, *arguments: Any, **options: Any) -> Any:
        return listen(reactor, chosen, *arguments, **{**options, "interface": "127.0.0.1"})

    # It ignores its settings and listens on every interface.
    endpoints.TCP4ServerEndpoint = on_loopback
    from localstack.services.sqs import models, provider

    clock = Clock()
    models.time = provider.time = clock
    provider.now = lambda millis=False: int(clock.time() * (1000 if millis else 1))

    def apply() -> None:
        for _, _, store in models.sqs_stores.iter_stores():
            for queue in store.queues.values():
                queue.requeue_inflight_messages()
                queue.enqueue_delayed_messages()

    serve_clock(clock_port, clock, apply)
    from localstack.runtime.main import main as run

    run()


def ministack(port: int, clock_port: int) -> None:
    """Run only SQS."""
    os.environ.update(SERVICES="sqs", GATEWAY_PORT=str(port), BIND_HOST="127.0.0.1", LOG_LEVEL="ERROR")
    from ministack.app import main as run
    from ministack.services import sqs

    clock = UnstoppableClock()
    sqs.time = clock
    serve_clock(clock_port, clock, lambda: None)
    del sys.argv[1:]  # it would parse our arguments as its own
    run()


if __name__ == "__main__":
    {"localstack": localstack, "ministack": ministack}[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3]))
