"""An adapter for `requests` whose transport is libcurl: one clock over everything, a bounded answer, nothing repeated.

`requests` by itself bounds each read and not the whole request, follows redirects into empty GETs, and reads answers
without end. Here DNS, connect, TLS, send, headers and body are under one deadline. libcurl sends once more by itself
only where a kept connection turns out dead before any byte came back, and then only once.

A libcurl handle holds one connection and belongs to an origin. A thread borrows the handle used last; handles are never
closed while the daemon delivers, because closing one whose resolver hangs blocks for seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, cast
from urllib.parse import urlsplit

import certifi
import pycurl
import requests
from requests.adapters import BaseAdapter

from sockudo_queue import __version__
from sockudo_queue.outcome import Failure

USER_AGENT: Final = f"sockudo-queue/{__version__}"
CONNECTION_LIFETIME: Final = 300
"""Seconds after which a connection is not used again, so that a change in DNS is noticed."""
CONNECTION_REST: Final = 55
"""Seconds of rest after which a connection is not used again; most servers close theirs at 60 or later."""


class TransportFault(requests.RequestException):
    """No HTTP answer came; `failure` says why, in the words of `outcome.Failure`."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure


class ConnectFault(TransportFault, requests.ConnectionError):
    """The receiver could not be reached, or ended the connection."""


class TimeFault(TransportFault, requests.Timeout):
    """The deadline passed."""


class TlsFault(TransportFault, requests.exceptions.SSLError):
    """No trusted connection could be made."""


class Answer(requests.Response):
    """A response with its first bytes only. Of the headers it has `Retry-After`, in whole seconds."""

    def __init__(self, status: int, url: str, retry_after: int, redirect: str | None, content: bytes) -> None:
        # The parent's constructor makes a cookie jar and more that nobody reads: half of an attempt's Python time.
        self.status_code = status
        self.url = url
        self.headers = {"Retry-After": str(retry_after)} if retry_after > 0 else {}  # type: ignore[assignment]
        self.redirect_to = redirect
        self.connection_reused = False
        self.encoding = "utf-8"
        self.reason = ""
        self.history = []
        self.raw = None
        self._content = content
        self._content_consumed = True


class Post(requests.PreparedRequest):
    """A prepared POST made of what is already in its final form, so nothing is prepared again."""

    def __init__(self, url: str, headers: Mapping[str, str], body: bytes) -> None:
        self.method = "POST"
        self.url = url
        self.headers = headers  # type: ignore[assignment]  # only read; a plain mapping is enough
        self.body = body
        self.hooks = {"response": []}


class _Handle:
    """One libcurl handle, with the options that never change set once."""

    __slots__ = ("curl", "limit", "received", "timeout_ms", "url")

    def __init__(self, limit: int, ca_file: str, *, environment_proxy: bool) -> None:
        self.limit = limit
        self.received: list[bytes] = []
        self.url = ""
        self.timeout_ms = 0
        self.curl = curl = pycurl.Curl()
        for option, value in (
            (pycurl.NOSIGNAL, 1),
            (pycurl.POST, 1),
            (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.FOLLOWLOCATION, 0),
            (pycurl.MAXCONNECTS, 1),
            (pycurl.MAXAGE_CONN, CONNECTION_REST),
            (pycurl.MAXLIFETIME_CONN, CONNECTION_LIFETIME),
            (pycurl.TCP_KEEPALIVE, 1),
            (pycurl.USERAGENT, USER_AGENT),
            (pycurl.CAINFO, ca_file),
            (pycurl.WRITEFUNCTION, self._receive),
        ):
            curl.setopt(option, value)
        if not environment_proxy:
            curl.setopt(pycurl.PROXY, "")

    def _receive(self, data: bytes) -> int:
        room = self.limit - sum(map(len, self.received))
        self.received.append(data[: max(room, 0)])
        return len(data) if len(data) <= room else 0  # taking less ends the transfer


class CurlAdapter(BaseAdapter):
    """The transport. Safe from any thread; each call in flight has a handle of its own."""

    def __init__(self, *, max_response_bytes: int, ca_file: str | None = None, environment_proxy: bool = False) -> None:
        super().__init__()
        self._limit = max_response_bytes
        self._ca_file = ca_file or certifi.where()
        self._environment_proxy = environment_proxy
        self._idle: dict[str, deque[_Handle]] = {}

    def send(  # type: ignore[override]  # what requests passes and libcurl decides itself is taken and not used
        self, request: requests.PreparedRequest, *_: Any, timeout: float = 10.0, **__: Any
    ) -> Answer:
        """Send a POST and wait for its answer, for at most `timeout` seconds in all. Raises `TransportFault`.

        Once a status line has come the status decides, whatever becomes of the body.
        """
        url = str(request.url)
        idle = self._idle_of(_origin(url))
        try:
            handle = idle.pop()
        except IndexError:
            handle = _Handle(self._limit, self._ca_file, environment_proxy=self._environment_proxy)
        try:
            return self._exchange(handle, request, url, max(round(timeout * 1000), 1))
        finally:
            handle.received = []
            idle.append(handle)

    def close(self) -> None:
        """Forget idle handles. Only for tests and tools: closing may block while a resolver hangs."""
        self._idle.clear()

    def _exchange(self, handle: _Handle, request: requests.PreparedRequest, url: str, timeout_ms: int) -> Answer:
        curl = handle.curl
        if handle.url != url:
            curl.setopt(pycurl.URL, url)
            handle.url = url
        if handle.timeout_ms != timeout_ms:
            curl.setopt(pycurl.TIMEOUT_MS, timeout_ms)
            handle.timeout_ms = timeout_ms
        curl.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in request.headers.items()])
        curl.setopt(pycurl.POSTFIELDS, request.body)
        fault: pycurl.error | None = None
        try:
            curl.perform()
        except pycurl.error as error:
            fault = error
        status = curl.getinfo(pycurl.RESPONSE_CODE)
        if fault is not None and status < 200:
            raise _translated(curl, fault, timeout_ms)
        redirect = curl.getinfo(pycurl.REDIRECT_URL) if 300 <= status < 400 else None
        retry_after = curl.getinfo(pycurl.RETRY_AFTER) if status >= 400 else 0
        answer = Answer(status, url, retry_after, redirect, b"".join(handle.received))
        answer.connection_reused = curl.getinfo(pycurl.NUM_CONNECTS) == 0
        return answer

    def _idle_of(self, origin: str) -> deque[_Handle]:
        return self._idle.get(origin) or self._idle.setdefault(origin, deque())


@lru_cache(maxsize=4096)
def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


_CONNECT_CODES: Final = {
    pycurl.E_COULDNT_RESOLVE_HOST: Failure.DNS,
    pycurl.E_COULDNT_RESOLVE_PROXY: Failure.DNS,
    pycurl.E_COULDNT_CONNECT: Failure.REFUSED,
    pycurl.E_GOT_NOTHING: Failure.RESET,
    pycurl.E_SEND_ERROR: Failure.RESET,
    pycurl.E_RECV_ERROR: Failure.RESET,
}
_TLS_CODES: Final = {
    pycurl.E_SSL_CONNECT_ERROR,
    pycurl.E_PEER_FAILED_VERIFICATION,
    pycurl.E_SSL_CERTPROBLEM,
    pycurl.E_SSL_CIPHER,
    pycurl.E_SSL_CACERT_BADFILE,
    pycurl.E_SSL_ISSUER_ERROR,
}
_TOO_MANY: Final = {
    pycurl.E_WRITE_ERROR,
    pycurl.E_FILESIZE_EXCEEDED,
    100,  # CURLE_TOO_LARGE (headers without end), which pycurl does not name
}


def _translated(curl: pycurl.Curl, fault: pycurl.error, timeout_ms: int) -> TransportFault:
    code, text = cast(tuple[int, str], fault.args)  # libcurl's number and its words
    if code == pycurl.E_OPERATION_TIMEDOUT:
        return TimeFault(_stage(curl), f"no answer within {timeout_ms} ms")
    # libcurl's text names hosts and library faults; it holds no header, no body and no userinfo.
    detail = str(text)[:200]
    if code in _TLS_CODES:
        return TlsFault(Failure.TLS, detail)
    if code in _TOO_MANY:
        return TransportFault(Failure.TOO_MANY_BYTES, detail)
    if code in _CONNECT_CODES:
        return ConnectFault(_CONNECT_CODES[code], detail)
    return TransportFault(Failure.PROTOCOL, detail)


def _stage(curl: pycurl.Curl) -> Failure:
    """Tell what was under way when the deadline passed."""
    if curl.getinfo(pycurl.STARTTRANSFER_TIME) > 0:
        return Failure.DEADLINE
    if curl.getinfo(pycurl.PRETRANSFER_TIME) > 0:
        return Failure.READ_TIMEOUT
    if curl.getinfo(pycurl.NAMELOOKUP_TIME) > 0:
        return Failure.CONNECT_TIMEOUT
    return Failure.DNS
