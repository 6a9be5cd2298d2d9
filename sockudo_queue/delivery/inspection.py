"""Connects to an endpoint as a delivery would, but sends no request."""

from __future__ import annotations

import os
import select
from datetime import UTC, datetime
from typing import Final, NamedTuple

import pycurl

from sockudo_queue.core.outcome import Failure
from sockudo_queue.delivery.connections import Handle, HandleOptions, Route
from sockudo_queue.delivery.errors import TransportFault
from sockudo_queue.delivery.transport import fault_of, origin_of

HANG_UP_SECONDS: Final = 0.5
"""Seconds for a receiver that requests a client certificate to close the connection without one."""
_EXPIRES: Final = "Expire date"
_ASKS: Final = b"Request CERT"
"""libcurl's debug text if OpenSSL has received a request for a client certificate."""


_BEFORE_TLS: Final = frozenset({Failure.DNS, Failure.REFUSED, Failure.GUARD, Failure.INTERNAL})


class HandshakeFault(TransportFault):
    """The connection was made, but the TLS handshake failed or timed out."""


class ConnectionResult(NamedTuple):
    """The result of a connection. `expires` is None without https."""

    expires: datetime | None
    asks_for_certificate: bool
    hung_up: bool


def connect(url: str, options: HandleOptions, timeout: float, *, verify: bool = True) -> ConnectionResult:
    """Resolve the host, check the guard, connect, and do the TLS handshake for https; through a proxy if configured.

    Blocks for at most about `timeout` seconds. Raises `TransportFault`, as a delivery at this point would.
    """
    handle = Handle(options, Route(origin_of(url), verify, guarded=True))
    notes: list[bytes] = []
    try:
        timeout_ms = round(timeout * 1000)
        for option, value in (
            (pycurl.CONNECT_ONLY, 1),
            (pycurl.OPT_CERTINFO, 1),
            (pycurl.VERBOSE, 1),
            (pycurl.DEBUGFUNCTION, lambda kind, text: notes.append(text) if kind == pycurl.INFOTYPE_TEXT else None),
        ):
            handle.curl.setopt(option, value)
        fault = handle.perform(url, [], b"", timeout_ms)
        if fault is not None:
            raise _fault_of(handle, fault, timeout_ms)
        asks = any(_ASKS in note for note in notes)
        return ConnectionResult(_expiry(handle), asks, asks and _hangs_up(handle))
    finally:
        handle.curl.close()


def _fault_of(handle: Handle, fault: pycurl.error, timeout_ms: int) -> TransportFault:
    found = fault_of(handle, fault, timeout_ms)
    errno = handle.curl.getinfo(pycurl.OS_ERRNO)
    if found.failure is Failure.REFUSED and errno:
        return TransportFault(Failure.REFUSED, os.strerror(errno))
    if found.failure in _BEFORE_TLS or not handle.curl.getinfo(pycurl.CONNECT_TIME):
        return found
    return HandshakeFault(found.failure, str(found))


def _expiry(handle: Handle) -> datetime | None:
    chain = handle.curl.getinfo(pycurl.INFO_CERTINFO)
    return datetime.strptime(dict(chain[0])[_EXPIRES], "%b %d %H:%M:%S %Y %Z").replace(tzinfo=UTC) if chain else None


def _hangs_up(handle: Handle) -> bool:
    """Return whether the receiver closes the connection. With TLS 1.3 it refuses a client only after the handshake."""
    poll = select.poll()
    poll.register(handle.curl.getinfo(pycurl.ACTIVESOCKET), select.POLLRDHUP)
    return bool(poll.poll(HANG_UP_SECONDS * 1000))
