"""libcurl handles with one connection each: lent to a thread for one attempt, then idle, later closed by a service.

A handle costs three descriptors and some 30 KB, and closing one whose DNS look-up hangs can block for seconds. So
workers close only handles that have received too much, whose look-up has ended. If the pool is full of idle handles,
the one idle for longest is reused for the new endpoint. So the number of handles is limited to `IDLE_LIMIT` plus
those in use, whatever the number of endpoints.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar
from urllib.parse import quote

import certifi
import msgspec
import pycurl

from sockudo_queue import __version__
from sockudo_queue.core.outcome import Failure
from sockudo_queue.delivery.certificate_files import CertificateFiles, Certificates
from sockudo_queue.delivery.errors import TlsFault
from sockudo_queue.delivery.guard import Guard
from sockudo_queue.delivery.watchdog import ConnectionWatchdog
from sockudo_queue.runtime.interpreter_lock import is_quiet

P = ParamSpec("P")
T = TypeVar("T")

USER_AGENT: Final = f"sockudo-queue/{__version__}"
CONNECTION_LIFETIME: Final = 300
"""Seconds after which a connection is not reused, so that a change in DNS is noticed."""
CONNECTION_IDLE_SECONDS: Final = 55
"""Idle seconds after which a connection is not reused; most servers close theirs at 60 or later."""
DNS_LIFETIME: Final = 10
"""Seconds for which a DNS answer is reused, unless a connection to it has failed."""
BODY_KEPT: Final = 16_384
"""Maximum bytes of a request body that an idle handle keeps."""
IDLE_LIMIT: Final = 256
DESCRIPTORS_OF_A_HANDLE: Final = 3
QUARANTINE_SECONDS: Final = 35.0
"""Seconds until a handle with an interrupted DNS look-up is closed: by then glibc's own timeouts have ended it."""
_QUICK_EXIT: Final = 322
"""CURLOPT_QUICK_EXIT, missing in pycurl: closing does not wait for a hanging DNS look-up."""
_TARGET: Final = re.compile(r"[^/?#]*//[^/?#]*([^#]*)")
_VISIBLE: Final = "".join(map(chr, range(0x21, 0x7F)))


class Route(NamedTuple):
    """The requests for which a connection may be used; it is never used for others."""

    origin: str
    verify: bool  # the certificate
    guarded: bool  # the address

    @property
    def needs_certificates(self) -> bool:
        return self.verify and self.origin.startswith("https:")


def _plainly(transfer: Callable[[], None]) -> None:
    transfer()


class HandleOptions(msgspec.Struct, frozen=True):
    """The options of every handle. `max_response_bytes` limits the body; `around` calls each transfer."""

    max_response_bytes: int = 16_384
    ca_file: str = msgspec.field(default_factory=certifi.where)
    client_cert_file: str | None = None
    client_key_file: str | None = None
    environment_proxy: bool = False
    guard: Guard | None = None
    around: Callable[[Callable[[], None]], None] = _plainly

    @property
    def certificate_paths(self) -> list[str]:
        """The files that a TLS handshake reads."""
        paths = (self.ca_file, self.client_cert_file, self.client_key_file)
        return [path for path in paths if path is not None]


class _LentSocket:
    """A socket that pycurl duplicates and then drops; dropping closes the original, which nothing else closes."""

    __slots__ = ("_socket",)

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened

    def fileno(self) -> int:
        return self._socket.fileno()

    def __del__(self) -> None:
        self._socket.close()


class Handle:
    """One libcurl handle. Belongs to one thread at a time."""

    __slots__ = (
        "__weakref__",
        "_around",
        "_body_is_big",
        "_guard",
        "_limit",
        "_polled",
        "_readable",
        "_room",
        "_timeout_ms",
        "_url",
        "asks_dns",
        "curl",
        "idle_since",
        "lacking",
        "opened",
        "received",
        "refused",
        "route",
        "trust",
        "uses_proxies",
        "watchdog",
    )

    def __init__(self, options: HandleOptions, route: Route, trust: Certificates | None = None) -> None:
        """`trust`: the certificate files that the handle reads; without it, it opens their paths."""
        self.route = route
        self.trust = trust
        self.received: list[bytes] = []
        self.idle_since = 0.0
        # The results of opening connections in the last attempt.
        self.opened = False
        self.refused = ""
        self.lacking = ""
        # The next attempt bypasses the DNS cache: libcurl caches failed look-ups as well as outdated addresses.
        self.asks_dns = False
        self.watchdog = ConnectionWatchdog(options.max_response_bytes)
        self._guard = options.guard if route.guarded else None
        self._around = options.around
        self._limit = self._room = options.max_response_bytes
        self._url = ""
        self.uses_proxies = options.environment_proxy
        self._timeout_ms = 0
        self._body_is_big = False
        self.curl = curl = pycurl.Curl()
        name_of = trust.name_of if trust is not None else str
        for option, value in (
            (pycurl.NOSIGNAL, 1),
            (_QUICK_EXIT, 1),
            (pycurl.POST, 1),
            (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.HTTP_CONTENT_DECODING, 0),
            (pycurl.UPLOAD_BUFFERSIZE, 16_384),  # the minimum; this buffer is half of an idle handle's memory
            (pycurl.FOLLOWLOCATION, 0),
            (pycurl.MAXCONNECTS, 1),
            (pycurl.MAXAGE_CONN, CONNECTION_IDLE_SECONDS),
            (pycurl.MAXLIFETIME_CONN, CONNECTION_LIFETIME),
            (pycurl.DNS_CACHE_TIMEOUT, DNS_LIFETIME),
            (pycurl.TCP_KEEPALIVE, 1),
            (pycurl.USERAGENT, USER_AGENT),
            (pycurl.CAINFO, name_of(options.ca_file)),
            # libcurl's default is a path that most images do not have
            (pycurl.PROXY_CAINFO, name_of(options.ca_file)),
            (pycurl.SSL_VERIFYPEER, int(route.verify)),
            (pycurl.SSL_VERIFYHOST, 2 if route.verify else 0),
            (pycurl.WRITEFUNCTION, _weakly(self._receive)),
            (pycurl.OPENSOCKETFUNCTION, _weakly(self._open_socket)),
            (pycurl.SOCKOPTFUNCTION, self.watchdog.opened),
            (pycurl.CLOSESOCKETFUNCTION, self.watchdog.closed),
        ):
            curl.setopt(option, value)
        if options.client_cert_file is not None:
            curl.setopt(pycurl.SSLCERT, name_of(options.client_cert_file))
            curl.setopt(pycurl.SSLKEY, name_of(options.client_key_file or options.client_cert_file))
        if not options.environment_proxy:
            curl.setopt(pycurl.PROXY, "")

    def __del__(self) -> None:
        # Close while the callbacks still exist: libcurl needs them to close its connections.
        if hasattr(self, "curl"):
            self.curl.close()

    def perform(self, url: str, header_lines: list[bytes], body: bytes, timeout_ms: int) -> pycurl.error | None:
        """Send a POST and wait for the response, at most `timeout_ms` in all; return libcurl's error, if any.

        libcurl itself repeats a request once, if a kept connection turns out dead before any byte came back. There is
        no other repetition.
        """
        curl = self.curl
        if self._url != url:
            curl.setopt(pycurl.URL, url)
            if not self.uses_proxies:  # a forward proxy needs the whole URL there, which libcurl writes correctly
                curl.setopt(pycurl.REQUEST_TARGET, request_target(url))
            self._url = url
        if self._timeout_ms != timeout_ms:
            curl.setopt(pycurl.TIMEOUT_MS, timeout_ms)
            self._timeout_ms = timeout_ms
        self._room = self._limit
        self.opened = False
        self.watchdog.deadline = time.monotonic() + timeout_ms / 1000
        curl.setopt(pycurl.HTTPHEADER, header_lines)
        curl.setopt(pycurl.POSTFIELDS, body)
        self._body_is_big = len(body) > BODY_KEPT
        if self.asks_dns:
            curl.setopt(pycurl.DNS_CACHE_TIMEOUT, 0)
        needs_fresh = self._needs_fresh_connection()
        if needs_fresh:
            curl.setopt(pycurl.FRESH_CONNECT, 1)
        try:
            self._around(curl.perform)
        except pycurl.error as error:
            return error
        finally:
            if needs_fresh:
                curl.setopt(pycurl.FRESH_CONNECT, 0)
            if self.asks_dns:
                curl.setopt(pycurl.DNS_CACHE_TIMEOUT, DNS_LIFETIME)
                self.asks_dns = False
        return None

    def _needs_fresh_connection(self) -> bool:
        """Return whether no kept connection may be used for the next request.

        Bytes that arrived on an idle connection would be read as the next response: the end of the stream, a late body
        of a 204, a 408 from a server that closes it. libcurl itself checks only connections idle for over a second.
        """
        descriptor = self.curl.getinfo(pycurl.ACTIVESOCKET)
        if descriptor < 0:
            # The last connection has been closed. libcurl may still keep an older one, on which bytes have arrived.
            return True
        return not is_quiet(descriptor)

    def forget(self) -> None:
        """Drop the request and response of the last attempt; a handle may stay idle for a minute."""
        self.received = []
        if self._body_is_big:
            self._body_is_big = False
            self.curl.setopt(pycurl.POSTFIELDS, b"")
        self.refused = self.lacking = ""

    def _open_socket(self, _purpose: int, wanted: Any) -> _LentSocket | int:
        """Open the socket for a new connection, if the guard allows it. Must not raise: libcurl would ignore it."""
        try:
            host, port, *_ = wanted.addr
            refused = self._guard.refusal(host, port) if self._guard is not None else None
            if refused is None and self._guard is not None and (undecided := self._guard.undecided(port)) is not None:
                self.lacking = undecided
                return pycurl.SOCKET_BAD
            if refused is None:
                opened = _LentSocket(socket.socket(wanted.family, wanted.socktype, wanted.protocol))
                os.close(os.dup(opened.fileno()))  # a failure of pycurl's own dup would look like a refused connection
                self.opened = True
                return opened
            self.refused = refused
        except OSError as error:
            self.lacking = error.strerror or type(error).__name__
        except Exception as error:  # noqa: BLE001 - must not raise, as above
            self.lacking = type(error).__name__
        return pycurl.SOCKET_BAD

    def _receive(self, data: bytes) -> int:
        if len(data) <= self._room:
            self._room -= len(data)
            self.received.append(data)
            return len(data)
        self.received.append(data[: self._room])
        self._room = 0
        return 0  # fewer bytes than given end the transfer


def _weakly(method: Callable[P, T]) -> Callable[P, T]:
    """Return a callback that does not keep the handle alive, so that a dropped handle is freed by reference counting.

    The garbage collector would close the handle's sockets before libcurl does.
    """
    reference = weakref.WeakMethod(method)

    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        alive = reference()
        assert alive is not None, "libcurl calls back only while the handle is in use"
        return alive(*args, **kwargs)

    return call


def request_target(url: str) -> str:
    """Return the path and query of a URL unchanged; libcurl would rewrite `%c3` in a path as `%C3`.

    Characters that are invalid in a request line are percent-encoded.
    """
    found = _TARGET.match(url)
    target = quote(found[1], safe=_VISIBLE) if found is not None else ""
    return target if target.startswith("/") else f"/{target}"


class HandlePool:
    """The idle handles, by route. Safe from any thread."""

    def __init__(self, options: HandleOptions, *, limit: int = IDLE_LIMIT) -> None:
        self._options = options
        self._files = CertificateFiles(options.certificate_paths)
        self.limit = limit  # may be changed at any time
        self._lock = threading.Lock()
        self._by_route: dict[Route, deque[Handle]] = {}  # each sorted by the start of idling, as is `_idle`
        self._idle: OrderedDict[Handle, None] = OrderedDict()
        self._quarantined: deque[Handle] = deque()
        self._trust = self._files.present()

    def __len__(self) -> int:
        return len(self._idle) + len(self._quarantined)

    def take(self, route: Route) -> Handle:
        """Return a handle for a route, if possible an idle one. End its use by `give_back`, `quarantine` or `close`.

        Raises `TlsFault` if a certificate file that the route needs cannot be read.
        """
        trust = self._trust if time.monotonic() < self._files.check_at else self._files.present()
        if trust is not self._trust:
            self._drop_outdated(trust)
        if trust.fault and route.needs_certificates:
            raise TlsFault(Failure.TLS, trust.fault)
        with self._lock:
            handles = self._by_route.get(route)
            if handles:
                handle = handles.pop()
                del self._idle[handle]
                return handle
            found = self._longest_idle(route) if len(self._idle) >= self.limit else None
        if found is None:
            return Handle(self._options, route, trust)
        found.route = route
        return found

    def give_back(self, handle: Handle) -> None:
        """Keep a handle for the next attempt on its route."""
        handle.forget()
        handle.idle_since = time.monotonic()
        with self._lock:
            is_outdated = handle.trust is not self._trust and handle.trust != self._trust
            if not is_outdated:
                handles = self._by_route.get(handle.route)
                if handles is None:
                    handles = self._by_route[handle.route] = deque()
                handles.append(handle)
                self._idle[handle] = None
        if is_outdated:
            handle.curl.close()

    def _drop_outdated(self, trust: Certificates) -> None:
        """Close idle handles after the certificate files have changed; those in use are closed when they return.

        libcurl caches CA certificates for a day, and a connection must not outlive the trust that it was made with. The
        DNS look-up of an idle handle has ended, so closing it does not block.
        """
        with self._lock:
            outdated = [*self._idle] if trust != self._trust else []
            self._trust = trust
            if outdated:
                self._idle.clear()
                self._by_route.clear()
        for handle in outdated:
            handle.curl.close()

    def recheck_files(self) -> None:
        """Let the next attempt check the certificate files: a renewed file may be why TLS has failed."""
        self._files.recheck()

    def ask_dns(self, route: Route) -> None:
        """Let the next attempts on a route bypass the DNS cache: the cached address has led to a failure."""
        with self._lock:
            for handle in self._by_route.get(route, ()):
                handle.asks_dns = True

    def quarantine(self, handle: Handle) -> None:
        """Retire a handle with an interrupted DNS look-up; it is closed when the look-up has ended."""
        handle.forget()
        handle.idle_since = time.monotonic()
        with self._lock:
            self._quarantined.append(handle)
            too_many = self._quarantined.popleft() if len(self._quarantined) > self.limit else None
        if too_many is not None:
            # With deadlines of a few milliseconds, look-ups can be cut faster than they end. QUICK_EXIT avoids a wait.
            too_many.curl.close()

    def close(self, handle: Handle) -> None:
        """Close a handle that received too much or lacks a resource; never one with a look-up in progress."""
        handle.curl.close()

    def close_old(self, now: float) -> int:
        """Close handles that are too old, and return their number. May block for seconds, so not for workers."""
        with self._lock:
            old = [*self._old(now)]
            for route in [route for route, handles in self._by_route.items() if not handles]:
                del self._by_route[route]
        for handle in old:
            handle.curl.close()
        return len(old)

    def _old(self, now: float) -> Iterator[Handle]:
        while self._idle:
            handle = next(iter(self._idle))
            if now - handle.idle_since <= CONNECTION_IDLE_SECONDS and len(self._idle) <= self.limit:
                break
            self._remove(handle)
            yield handle
        while self._quarantined and now - self._quarantined[0].idle_since > QUARANTINE_SECONDS:
            yield self._quarantined.popleft()

    def _longest_idle(self, route: Route) -> Handle | None:
        """Take a handle of another origin with equal flags: connections with and without verification never mix."""
        for handle in self._idle:
            if handle.route[1:] == route[1:]:
                self._remove(handle)
                return handle
        return None

    def _remove(self, handle: Handle) -> None:
        first = self._by_route[handle.route].popleft()  # the longest idle of all is also the longest idle of its route
        assert first is handle
        del self._idle[handle]
