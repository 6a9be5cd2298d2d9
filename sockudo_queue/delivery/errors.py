"""Why no HTTP answer came: libcurl's codes and clocks in the words of `outcome.Failure`.

The errors are those of `requests` as well, so that the transport keeps to that library's contract.
"""

from __future__ import annotations

import re
from typing import Final, cast

import pycurl
import requests

from sockudo_queue.core.outcome import Failure

DETAIL_LENGTH: Final = 200


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
    100,  # CURLE_TOO_LARGE (one header without end), which pycurl does not name
}
# What we lack ourselves: memory, descriptors, a thread for the look-up. The endpoint has no part in it.
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
"""What OpenSSL says where the receiver has refused, which by TLS 1.3 it may do as late as in place of an answer."""


def translated(curl: pycurl.Curl, fault: pycurl.error, timeout_ms: int, *, is_late: bool = False) -> TransportFault:
    """Return what a failed transfer came to; `curl` still knows how far it had got.

    `is_late`: it was ended from outside, so what libcurl says of it is our own doing.
    """
    code, text = cast(tuple[int, str], fault.args)  # libcurl's number and its words
    if code == pycurl.E_OPERATION_TIMEDOUT or is_late:
        return TimeFault(_stage(curl), f"no answer within {timeout_ms} ms")
    # libcurl's text names hosts and library faults, and no header or body. Of a proxy it can repeat the whole URL.
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
    """Tell what was under way when the deadline passed.

    libcurl sets its clocks for sending and for the first byte to the end of a transfer that failed before it got so
    far, so what was counted decides. A proxy's answer to CONNECT counts as headers, but not as the request's status.
    """
    if curl.getinfo(pycurl.RESPONSE_CODE):
        return Failure.DEADLINE
    if curl.getinfo(pycurl.REQUEST_SIZE):
        return Failure.READ_TIMEOUT
    if curl.getinfo(pycurl.NAMELOOKUP_TIME) > 0:
        return Failure.CONNECT_TIMEOUT
    return Failure.DNS
