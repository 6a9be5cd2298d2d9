"""Classifies requests without an HTTP response: maps libcurl's codes and timings to `outcome.Failure`.

`session` raises them through `requests`.
"""

from __future__ import annotations

import re
from typing import Final, cast

import pycurl

from sockudo_queue.core.outcome import Failure

DETAIL_LENGTH: Final = 200


class TransportFault(Exception):
    """There was no HTTP response; `failure` says why."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure


class ConnectFault(TransportFault):
    """The receiver could not be reached, or closed the connection."""


class TimeFault(TransportFault):
    """The deadline passed."""


class TlsFault(TransportFault):
    """No trusted connection could be made."""


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
    100,  # CURLE_TOO_LARGE (an endless header), missing in pycurl
}
# Resources missing on our side: memory, descriptors, a thread for the look-up. The endpoint is not at fault.
_OURS: Final = {
    pycurl.E_FAILED_INIT,
    pycurl.E_OUT_OF_MEMORY,
    pycurl.E_URL_MALFORMAT,
    pycurl.E_BAD_FUNCTION_ARGUMENT,
    pycurl.E_UNKNOWN_OPTION,
}
_HEADERS_WITHOUT_END: Final = "Too large response headers"
_REQUEST_TOO_LARGE: Final = "HTTP request too large"
_ALERT: Final = re.compile("SSL routines:.* alert ")
"""OpenSSL's text for a refusal by the receiver. With TLS 1.3 it may come as late as in place of a response."""


def translated(curl: pycurl.Curl, fault: pycurl.error, timeout_ms: int, *, is_late: bool = False) -> TransportFault:
    """Return the fault of a failed transfer; `curl` still has the details of its progress.

    `is_late`: the watchdog ended the transfer, so libcurl's error is a consequence of that.
    """
    code, text = cast(tuple[int, str], fault.args)  # libcurl's code and message
    if code == pycurl.E_OPERATION_TIMEDOUT or is_late:
        return TimeFault(_stage(curl), f"no answer within {timeout_ms} ms")
    # libcurl's text names hosts and library errors, and no header or body. For a proxy it can contain the whole URL.
    detail = str(text)[:DETAIL_LENGTH]
    if "://" in detail or "@" in detail:
        detail = f"libcurl error {code}, about a URL that is not shown"
    if code in _OURS:
        return TransportFault(Failure.INTERNAL, detail)
    if code in _TLS_CODES or _ALERT.search(detail):
        return TlsFault(Failure.TLS, detail)
    if detail.startswith(_REQUEST_TOO_LARGE):
        return TransportFault(Failure.INTERNAL, detail)
    if code in _TOO_MANY or detail.startswith(_HEADERS_WITHOUT_END):
        return TransportFault(Failure.TOO_MANY_BYTES, detail)
    if code in _CONNECT_CODES:
        return ConnectFault(_CONNECT_CODES[code], detail)
    return TransportFault(Failure.PROTOCOL, detail)


def _stage(curl: pycurl.Curl) -> Failure:
    """Return the phase in which the deadline passed.

    If a transfer fails, libcurl sets its timings for sending and for the first byte to the end of the transfer, so the
    counters decide. A proxy's response to CONNECT counts as headers, but not as the request's status.
    """
    if curl.getinfo(pycurl.RESPONSE_CODE):
        return Failure.DEADLINE
    if curl.getinfo(pycurl.REQUEST_SIZE):
        return Failure.READ_TIMEOUT
    if curl.getinfo(pycurl.NAMELOOKUP_TIME) > 0:
        return Failure.CONNECT_TIMEOUT
    return Failure.DNS
