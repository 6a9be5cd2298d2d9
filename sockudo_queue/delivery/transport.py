"""The transport, with libcurl: one deadline for everything, a bounded response, no retries.

`requests` limits the time of each read but not of the whole request, follows redirects with empty GETs, and reads
endless responses. Here DNS, connect, TLS, send, headers and body share one deadline. libcurl itself repeats a request
once, if a kept connection turns out dead before any byte came back. `session` has an adapter for `requests`; the daemon
itself does not import that library, which would take a tenth of its start.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final, cast
from urllib.parse import urlsplit

import pycurl

from sockudo_queue.core.outcome import Failure
from sockudo_queue.delivery import proxies
from sockudo_queue.delivery.connections import Handle, HandleOptions, HandlePool, Route
from sockudo_queue.delivery.errors import ConnectFault, TimeFault, TransportFault, translated

HEADERS_KEPT: Final = 16_384
"""Bytes of response headers above which a handle is not reused: libcurl keeps them until its next transfer."""
PROXY_LOGIN: Final = 407
"""Status of a proxy that refuses our credentials. From an endpoint it is a permanent refusal of the request."""


class BoundedResponse:
    """A response with only its first bytes. The only header kept is `retry_after`, in seconds, 0 without one."""

    __slots__ = ("connection_reused", "content", "redirect_to", "retry_after", "status_code", "url")

    def __init__(self, status: int, url: str, content: bytes) -> None:
        self.status_code = status
        self.url = url
        self.redirect_to: str | None = None
        self.retry_after = 0
        self.connection_reused = False
        self.content = content


class CurlTransport:
    """The transport. Safe from any thread; each call in flight has its own handle."""

    def __init__(self, options: HandleOptions) -> None:
        self.pool = HandlePool(options)
        self._in_flight: set[Handle] = set()

    def post(
        self,
        url: str,
        lines: Iterable[bytes],
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout: float,
        verify: bool = True,
        guarded: bool = True,
    ) -> BoundedResponse:
        """Send a POST and wait for the response, at most `timeout` seconds in all. Raises `TransportFault`.

        `lines` are header lines in libcurl's format; `headers` follow them. `guarded` applies the network guard; it is
        for URLs that are not our own choice. After the status line the status decides, even if the body fails.
        """
        timeout_ms = max(round(timeout * 1000), 1)
        try:
            handle = self.pool.take(_route(url, verify, guarded))
        except pycurl.error as error:
            raise TransportFault(Failure.INTERNAL, f"no libcurl handle: {error}") from None
        done_with: Callable[[Handle], None] = self.pool.quarantine
        self._in_flight.add(handle)
        try:
            fault = handle.perform(url, [*lines, *header_lines(headers)], body, timeout_ms)
            answer = _answer(handle, url, fault, timeout_ms)
            done_with = self._after(handle)
            return answer
        except TransportFault as failed:
            done_with = self._after(handle, failed)
            raise
        finally:
            self._in_flight.discard(handle)
            done_with(handle)

    def _after(self, handle: Handle, failed: TransportFault | None = None) -> Callable[[Handle], None]:
        if handle.curl.getinfo(pycurl.HEADER_SIZE) > HEADERS_KEPT:
            return self.pool.close
        match failed and failed.failure:
            case Failure.DNS | Failure.REFUSED | Failure.CONNECT_TIMEOUT:
                handle.asks_dns = True
                self.pool.ask_dns(handle.route)
                if failed is not None and failed.failure is Failure.DNS and isinstance(failed, TimeFault):
                    return self.pool.quarantine
            case Failure.TLS:
                self.pool.recheck_files()
            case Failure.TOO_MANY_BYTES | Failure.INTERNAL:
                return self.pool.close
        return self.pool.give_back

    def enforce_deadlines(self) -> None:
        """End attempts that libcurl does not end, see `watchdog`. Call it often, from a thread without attempts."""
        for handle in tuple(self._in_flight):
            handle.watchdog.enforce()


def _answer(handle: Handle, url: str, fault: pycurl.error | None, timeout_ms: int) -> BoundedResponse:
    curl = handle.curl
    status = curl.getinfo(pycurl.RESPONSE_CODE)
    if fault is not None and status < 200:
        raise fault_of(handle, fault, timeout_ms)
    if status == PROXY_LOGIN and _is_of_a_proxy(handle, url):
        raise ConnectFault(Failure.REFUSED, f"the proxy answered {PROXY_LOGIN}: it refuses our login")
    received = handle.received
    answer = BoundedResponse(status, url, b"".join(received) if received else b"")
    if status >= 300:
        if status >= 400:
            answer.retry_after = max(curl.getinfo(pycurl.RETRY_AFTER), 0)
        elif redirect := curl.getinfo_raw(pycurl.REDIRECT_URL):
            answer.redirect_to = redirect.decode("latin-1")
    answer.connection_reused = curl.getinfo(pycurl.NUM_CONNECTS) == 0
    return answer


def _is_of_a_proxy(handle: Handle, url: str) -> bool:
    """Return whether a proxy may have written the response: one that forwards requests instead of tunnelling them."""
    return (
        handle.uses_proxies
        and url.startswith("http:")
        and bool(handle.curl.getinfo(pycurl.USED_PROXY))
        and proxies.forwards(os.environ)
    )


def fault_of(handle: Handle, fault: pycurl.error, timeout_ms: int) -> TransportFault:
    """Return the fault of a failed transfer, considering the results of opening its connections."""
    if not handle.opened:
        # If a host has several addresses, one that is allowed is enough, and then the network's error counts.
        if handle.refused:
            return TransportFault(Failure.GUARD, handle.refused)
        if handle.lacking:
            return TransportFault(Failure.INTERNAL, handle.lacking)
    if handle.watchdog.is_flooded:
        return TransportFault(Failure.TOO_MANY_BYTES, "received more bytes than any response needs")
    if handle.trust is not None:
        code, text = cast(tuple[int, str], fault.args)
        fault = pycurl.error(code, handle.trust.shown(str(text)))
    return translated(handle.curl, fault, timeout_ms, is_late=handle.watchdog.is_overdue)


def header_lines(headers: Mapping[str, str]) -> list[bytes]:
    """Return headers as libcurl header lines. Raises `UnicodeError` for half a surrogate pair.

    Values outside ASCII are sent as UTF-8, as Sockudo does.
    """
    # libcurl omits a header without a value unless it ends with a semicolon.
    return [(f"{name}: {value}" if value else f"{name};").encode() for name, value in headers.items()]


@lru_cache(maxsize=4096)
def _route(url: str, verify: bool, guarded: bool) -> Route:
    return Route(origin_of(url), verify, guarded)


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL, with its userinfo, so that users do not share a connection."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
