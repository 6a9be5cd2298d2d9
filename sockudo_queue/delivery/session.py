"""A `requests.Session` over our transport, for attempts that commands make.

The daemon's workers call the adapter directly: a session costs some 0.2 ms per request, three times the cost of the
rest of a job.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import requests

from sockudo_queue.delivery.transport import BoundedResponse, CurlAdapter

_ANY_URL: Final = "https://webhook.invalid/"


class SessionTransport:
    """Posts like the adapter, through a session. For one thread at a time."""

    def __init__(self, adapter: CurlAdapter) -> None:
        self._adapter = adapter
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
        assert isinstance(answer, BoundedResponse), "no other adapter is mounted"
        return answer

    def enforce_deadlines(self) -> None:
        """See `CurlAdapter`."""
        self._adapter.enforce_deadlines()


def _named(lines: Iterable[bytes]) -> dict[str, str]:
    """Return header lines as a dict, without those that only suppress a header of libcurl."""
    pairs = (line.decode().partition(":") for line in lines if not line.endswith(b":"))
    return {name.rstrip(";"): value.strip() for name, _, value in pairs}
