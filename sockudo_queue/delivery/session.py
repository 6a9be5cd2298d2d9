"""A `requests.Session` over our transport, for attempts that commands make.

The daemon's workers call the transport directly: a session costs some 0.2 ms per request, three times the cost of the
rest of a job.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import requests
from requests.adapters import BaseAdapter

from sockudo_queue.delivery.transport import BoundedResponse, CurlTransport

_ANY_URL: Final = "https://webhook.invalid/"
_NO_EXPECT: Final = (b"Expect:",)
"""An empty Expect header keeps libcurl from asking before it sends a large body."""


class _SessionResponse(requests.Response):
    """A response of the transport, for a session."""

    def __init__(self, answer: BoundedResponse) -> None:
        super().__init__()
        self.answer = answer
        self.status_code, self.url = answer.status_code, answer.url
        self._content, self._content_consumed = answer.content, True


class CurlAdapter(BaseAdapter):
    """The transport as an adapter of `requests`."""

    def __init__(self, transport: CurlTransport) -> None:
        super().__init__()
        self._transport = transport

    def send(  # type: ignore[override]  # arguments that libcurl decides itself are accepted and ignored
        self, request: requests.PreparedRequest, *_: Any, timeout: float = 10.0, verify: bool = True, **__: Any
    ) -> _SessionResponse:
        """Send a prepared POST; see `CurlTransport.post`."""
        assert isinstance(request.body, bytes)
        url, headers = str(request.url), request.headers
        return _SessionResponse(
            self._transport.post(url, _NO_EXPECT, headers, request.body, timeout=timeout, verify=verify)
        )

    def close(self) -> None:
        """Do nothing: only the maintenance service closes handles, see `HandlePool.close_old`."""


class SessionTransport:
    """Posts like the transport, through a session. For one thread at a time."""

    def __init__(self, transport: CurlTransport) -> None:
        self._transport = transport
        adapter = CurlAdapter(transport)
        self._session = requests.Session()
        self._session.trust_env = False  # libcurl handles proxies, and `.netrc` must not add credentials.
        self._session.headers.clear()
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def post(
        self,
        url: str,
        lines: Iterable[bytes],
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout: float,
        verify: bool = True,
    ) -> BoundedResponse:
        """Send a POST and wait for its answer. Raises `TransportFault`, or `requests.RequestException`."""
        request = requests.Request("POST", _ANY_URL, headers=_named(lines) | dict(headers), data=body)
        prepared = self._session.prepare_request(request)
        prepared.url = url  # Set here because requests would change the percent-encoding, unlike a delivery.
        del prepared.headers["Content-Length"]  # libcurl's
        answer = self._session.send(prepared, timeout=timeout, verify=verify, allow_redirects=False)
        assert isinstance(answer, _SessionResponse), "no other adapter is mounted"
        return answer.answer

    def enforce_deadlines(self) -> None:
        """See `CurlTransport`."""
        self._transport.enforce_deadlines()


def _named(lines: Iterable[bytes]) -> dict[str, str]:
    """Return header lines as a dict, without those that only suppress a header of libcurl."""
    pairs = (line.decode().partition(":") for line in lines if not line.endswith(b":"))
    return {name.rstrip(";"): value.strip() for name, _, value in pairs}
