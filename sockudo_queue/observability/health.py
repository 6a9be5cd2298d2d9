"""Whether the daemon lives and is ready, and the small HTTP server that says so beside `/metrics`.

Other parts tell `Health` and `Heartbeats` what they know; a probe only reads that, so it never waits for a network call
or a driver. Every connection serves one request and is closed.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from sockudo_queue.core.ports import host_port
from sockudo_queue.errors import StartError
from sockudo_queue.observability.http_server import Answer, Request, arrived, read_request, send, send_now, text
from sockudo_queue.observability.logs import get_logger
from sockudo_queue.runtime.limits import start_thread
from sockudo_queue.runtime.streams import visible

CONNECTIONS_LIMIT: Final = 32
ACCEPT_PAUSE: Final = 0.1  # seconds after a failed accept: without a free file descriptor it fails again at once
LISTEN_BACKLOG: Final = 128


class Page(Protocol):
    """What `/metrics` shows: the page and its content type, for an `Accept` header."""

    def render(self, accept: str = "") -> tuple[bytes, str]: ...


class Heartbeats:
    """When each registered thread last gave a sign of life. Safe from any thread; `beat` is one store in a dict."""

    def __init__(self) -> None:
        self._allowances: dict[str, float] = {}
        self._last: dict[str, float] = {}
        self._resting: dict[str, Callable[[], bool]] = {}

    def register(self, name: str, allowance: float) -> None:
        """Expect a beat of this thread at least every `allowance` seconds, from now on."""
        self._last[name] = time.monotonic()
        self._allowances[name] = allowance

    def unregister(self, name: str) -> None:
        """Expect nothing more of a thread that ends."""
        self._allowances.pop(name, None)
        self._last.pop(name, None)

    def beat(self, name: str) -> None:
        self._last[name] = time.monotonic()

    def watch(self, name: str, is_alive: Callable[[], bool]) -> None:
        """Expect a thread that may rest for as long as it likes to be there, without beats."""
        self._resting[name] = is_alive

    def ended(self) -> list[str]:
        """Return the watched threads that have ended."""
        return [name for name, is_alive in self._resting.items() if not is_alive()]

    def late(self) -> dict[str, tuple[float, float]]:
        """Return the threads that are late, each with the seconds since its beat and its allowance."""
        ages = self._ages()
        allowed = self._allowances.copy()
        return {name: (ages[name], allowed[name]) for name in ages if name in allowed and ages[name] > allowed[name]}

    def oldest_by_kind(self) -> dict[str, float]:
        """Return the seconds since the oldest beat among threads of one kind: `worker` for `worker-1`, `worker-2`."""
        oldest: dict[str, float] = {}
        for name, age in self._ages().items():
            kind = name.rstrip("0123456789").rstrip("-")
            oldest[kind] = max(age, oldest.get(kind, 0.0))
        return oldest

    def _ages(self) -> dict[str, float]:
        now, last = time.monotonic(), self._last.copy()
        return {name: now - last[name] for name in self._allowances.copy() if name in last}


class Health:
    """What the probes answer. It begins as not ready, for the reason `starting`; safe from any thread."""

    def __init__(self, beats: Heartbeats | None = None) -> None:
        self.beats = beats if beats is not None else Heartbeats()
        self._lock = threading.Lock()
        self._reasons: Mapping[str, str] = {"starting": "the daemon is starting"}

    def ready(self, source: str = "starting") -> None:
        """Withdraw one reason against being ready; the others stand."""
        with self._lock:
            self._reasons = {name: reason for name, reason in self._reasons.items() if name != source}

    def not_ready(self, source: str, reason: str) -> None:
        """Set or replace the reason of one source, a line for a person and without secrets."""
        with self._lock:
            self._reasons = {**self._reasons, source: reason}

    @property
    def reasons(self) -> Mapping[str, str]:
        """The reasons against being ready, by source; empty means ready."""
        return self._reasons

    def live_page(self) -> tuple[int, str]:
        late = self.beats.late()
        return _page(
            [f"{name}: no sign of life for {age:.0f} s, allowed {most:g}" for name, (age, most) in late.items()]
            + [f"{name}: the thread has ended" for name in self.beats.ended()]
        )

    def ready_page(self) -> tuple[int, str]:
        return _page([visible(f"{source}: {reason}") for source, reason in self.reasons.items()])


def _page(faults: list[str]) -> tuple[int, str]:
    return (503, "\n".join(faults)) if faults else (200, "ok")


class HealthServer:
    """Serves `/metrics`, `/livez` and `/readyz`, and further pages by their paths.

    A probe is answered at once by the thread that accepts: a thread of its own would wait for its turn at the
    interpreter several times more, each time behind every busy worker. What takes longer has a thread per connection.
    When all connections are taken, the oldest that has not sent its request is closed for the new one: idle clients,
    however many, never keep a probe out.
    """

    def __init__(
        self,
        metrics: Page,
        health: Health,
        host: str,
        port: int,
        pages: Mapping[str, Callable[[], Answer]] | None = None,
    ) -> None:
        """`pages` must ask nobody for what they show: a reader may not make the daemon wait."""
        self._metrics, self._health = metrics, health
        self._pages = pages or {}
        self._host, self._port = host.removeprefix("[").removesuffix("]"), port
        self._listener: socket.socket | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._waiting: dict[socket.socket, None] = {}  # connections without a whole request, in order of arrival
        self._open = 0
        self._rendering = threading.Lock()  # one page at a time, or a crowd of scrapers would take all of the CPU

    @property
    def port(self) -> int:
        """The port that is served; once started, the real one for port 0."""
        return self._port

    def start(self) -> None:
        """Bind and begin to serve. Raises `StartError` if the address cannot be used, or no thread can be started."""
        self._listener = self._bind()
        self._port = self._listener.getsockname()[1]
        start_thread(threading.Thread(target=self._accept_all, args=(self._listener,), name="health", daemon=True))

    def stop(self) -> None:
        """Accept nothing more and free the port; requests in flight may end by themselves."""
        self._stopping.set()
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for connections
            self._listener.close()

    def _bind(self) -> socket.socket:
        try:
            flags = socket.AI_PASSIVE
            found = socket.getaddrinfo(self._host or None, self._port, type=socket.SOCK_STREAM, flags=flags)
            family, kind, protocol, _, address = found[0]
            return _listen(family, kind, protocol, address)
        except OSError as error:
            raise StartError(
                f"cannot serve metrics and probes on {host_port(self._host, self._port)}: {error.strerror}; "
                "set another QUEUE_METRICS_PORT or QUEUE_METRICS_HOST"
            ) from error

    def _accept_all(self, listener: socket.socket) -> None:
        """Accept until `stop`. Whatever fails costs one connection, and never the thread."""
        while not self._stopping.is_set():
            try:
                self._accept(listener)
            except BaseException as error:  # noqa: BLE001 - without this thread every probe fails
                get_logger().error("thread.crashed", thread="health", exc_info=error)
                self._stopping.wait(ACCEPT_PAUSE)

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            self._stopping.wait(ACCEPT_PAUSE)
            return
        try:
            self._receive(connection)
        except BaseException:
            connection.close()
            raise

    def _receive(self, connection: socket.socket) -> None:
        try:
            data, request = arrived(connection)
            probe = self._probe(request) if isinstance(request, Request) else None
            if isinstance(request, Request) and probe is not None:
                send_now(connection, probe, body=request.method != "HEAD")
        except OSError:  # the client is gone
            connection.close()
            return
        if probe is None:
            self._admit(connection, data)
        else:
            connection.close()

    def _admit(self, connection: socket.socket, data: bytes) -> None:
        with self._lock:
            if self._open >= CONNECTIONS_LIMIT and not self._evict():
                connection.close()
                return
            self._open += 1
            self._waiting[connection] = None
        try:
            threading.Thread(target=self._serve, args=(connection, data), name="health-request", daemon=True).start()
        except (RuntimeError, MemoryError):  # no thread to be had now
            self._forget(connection)

    def _evict(self) -> bool:
        oldest = next(iter(self._waiting), None)
        if oldest is None or self._open >= 2 * CONNECTIONS_LIMIT:  # those being closed still have their threads
            return False
        del self._waiting[oldest]
        with contextlib.suppress(OSError):
            oldest.shutdown(socket.SHUT_RDWR)  # its own thread reads the end and closes it
        return True

    def _forget(self, connection: socket.socket) -> None:
        with self._lock:
            self._waiting.pop(connection, None)
            self._open -= 1
        connection.close()

    def _serve(self, connection: socket.socket, data: bytes) -> None:
        try:
            request = read_request(connection, data)
            with self._lock:
                self._waiting.pop(connection, None)
            match request:
                case Request():
                    send(connection, self._answer(request), body=request.method != "HEAD")
                case Answer():
                    send(connection, request, body=True)
        except OSError:  # the client is slow or gone
            pass
        finally:
            self._forget(connection)

    def _probe(self, request: Request) -> Answer | None:
        match request.path:
            case "/livez":
                return text(*self._health.live_page())
            case "/readyz":
                return text(*self._health.ready_page())
            case _:
                return None

    def _answer(self, request: Request) -> Answer:
        match request.path:
            case "/metrics":
                return self._page(lambda: Answer(200, *self._metrics.render(request.accept)))
            case path if path in self._pages:
                return self._page(self._pages[path])
            case _:
                others = f"try {', '.join(['/metrics', '/livez', '/readyz', *self._pages])}"
                return self._probe(request) or text(404, others)

    def _page(self, render: Callable[[], Answer]) -> Answer:
        try:
            with self._rendering:
                return render()
        except Exception as error:  # noqa: BLE001 - a fault in one value must not end the server
            get_logger().error("metrics.failed", exc_info=error)
            return text(500, "the page could not be made")


def _listen(family: int, kind: int, protocol: int, address: Any) -> socket.socket:
    listener = socket.socket(family, kind, protocol)
    try:
        # A restart must not wait for the last scrapes' connections to time out.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] != "::")  # `::` serves IPv4 too
        listener.bind(address)
        listener.listen(LISTEN_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
