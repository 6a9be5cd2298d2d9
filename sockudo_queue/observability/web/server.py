"""Serves a WSGI application on one port.

The thread that accepts connections answers quick requests too. A separate thread for a probe would have to wait for the
GIL several more times, each time behind every busy worker. Every other connection has its own thread.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sockudo_queue.observability.logs import get_logger
from sockudo_queue.observability.reminder import Reminder
from sockudo_queue.observability.web.connection import (
    BadRequest,
    BytesInUse,
    HttpConnection,
    HttpRequest,
    HttpResponse,
    Limits,
)
from sockudo_queue.observability.web.listener import listen
from sockudo_queue.observability.web.wsgi import response_of

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from sockudo_queue.observability.web.tls_files import TlsFiles

ACCEPT_PAUSE: Final = 0.1  # seconds after a failed accept: without a free file descriptor it fails again immediately
BEAT_SECONDS: Final = 0.5
BUSY: Final = HttpResponse(
    "503 Service Unavailable", [("Content-Length", "0"), ("Retry-After", "1"), ("Cache-Control", "no-store")], b""
)
_LOG_INTERVAL: Final = 60.0


class WebServer:
    """Serves the application; call `bind`, then `serve`. Thread-safe."""

    def __init__(
        self,
        application: WSGIApplication,
        host: str,
        port: int,
        limits: Limits,
        *,
        is_quick: Callable[[str], bool] = lambda _path: False,
        tls: TlsFiles | None = None,
    ) -> None:
        """`is_quick` returns whether the application answers a GET of this path without blocking."""
        self._host, self._port = host.removeprefix("[").removesuffix("]"), port
        self._application, self._is_quick = application, is_quick
        self._limits, self._tls = limits, tls
        self._listener: socket.socket | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._idle: dict[HttpConnection, None] = {}  # not in the application, in order of arrival
        self._threads = 0
        self._requests = threading.BoundedSemaphore(limits.requests)
        self._body_bytes = BytesInUse(limits.all_bodies_bytes)
        self._failures = Reminder(_LOG_INTERVAL)

    @property
    def port(self) -> int:
        """The served port; after `bind` the actual port if 0 was configured."""
        return self._port

    def bind(self) -> None:
        """Bind the port. Raises `OSError`."""
        self._listener = listen(self._host, self._port)
        self._port = self._listener.getsockname()[1]

    def serve(self, beat: Callable[[], None] | None = None) -> None:
        """Block until `stop`; an error closes at most one connection. `beat` is called at least twice a second."""
        listener = self._listener
        assert listener is not None
        if beat is not None:
            with contextlib.suppress(OSError):  # stopped before it started
                listener.settimeout(BEAT_SECONDS)
        while not self._stopping.is_set():
            if beat is not None:
                beat()
            try:
                self._accept(listener)
            except TimeoutError:
                continue
            except BaseException as error:  # noqa: BLE001 - without this thread every probe would fail
                self._failed(error)

    def stop(self) -> None:
        """Stop accepting connections and free the port; requests in flight continue to their end."""
        self._stopping.set()
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for connections
            self._listener.close()

    def _failed(self, error: BaseException) -> None:
        if self._stopping.is_set():
            return
        if self._failures.is_due(time.monotonic()):
            get_logger().error("http.failed", port=self._port, exc_info=error)
        self._stopping.wait(ACCEPT_PAUSE)

    def _accept(self, listener: socket.socket) -> None:
        client, address = listener.accept()
        connection = HttpConnection(client, str(address[0]), self._limits, self._body_bytes)
        try:
            if self._tls is not None or not self._answered(connection):
                self._admit(connection)
                return
        except OSError:  # the client is gone
            pass
        except BaseException:
            connection.close()
            raise
        connection.close()

    def _answered(self, connection: HttpConnection) -> bool:
        """Answer a quick request that has arrived completely. Returns whether it was one."""
        request = connection.arrived()
        if request is None or not self._is_quick(request.path):
            return False
        connection.respond_now(self._response(connection, request))
        return True

    def _admit(self, connection: HttpConnection) -> None:
        """Serve the connection in its own thread, or close it if too many are open."""
        with self._lock:
            if self._threads >= self._limits.connections and not self._evict():
                connection.close()
                return
            self._threads += 1
            self._idle[connection] = None
        try:
            threading.Thread(target=self._serve, args=(connection,), name="http-request", daemon=True).start()
        except (RuntimeError, MemoryError):  # the system has no thread now
            self._forget(connection)

    def _evict(self) -> bool:
        """Close the oldest connection without a request in the application, to make room for a new one."""
        oldest = next(iter(self._idle), None)
        if oldest is None or self._threads >= 2 * self._limits.connections:  # closing connections still have theirs
            return False
        del self._idle[oldest]
        oldest.abort()  # its own thread closes it
        return True

    def _forget(self, connection: HttpConnection) -> None:
        with self._lock:
            self._idle.pop(connection, None)
            self._threads -= 1
        connection.close()

    def _serve(self, connection: HttpConnection) -> None:
        try:
            if self._tls is not None:
                connection.start_tls(self._tls.context())
            while (request := connection.receive()) is not None:
                response = self._response_in_turn(connection, request)
                if not connection.respond(response, close=self._stopping.is_set()):
                    return
        except BadRequest as fault:
            with contextlib.suppress(OSError):
                connection.refuse(fault)
        except OSError:  # the client is slow or gone
            pass
        except Exception as error:  # noqa: BLE001 - an error of the application must be logged and not be printed to stderr
            self._failed(error)
        finally:
            self._forget(connection)

    def _response_in_turn(self, connection: HttpConnection, request: HttpRequest) -> HttpResponse:
        if self._is_quick(request.path):
            return self._response(connection, request)
        if not self._requests.acquire(blocking=False):
            return BUSY
        with self._lock:
            self._idle.pop(connection, None)
        try:
            return self._response(connection, request)
        finally:
            with self._lock:
                self._idle[connection] = None
            self._requests.release()

    def _response(self, connection: HttpConnection, request: HttpRequest) -> HttpResponse:
        return response_of(self._application, request, connection.address, tls=self._tls is not None)
