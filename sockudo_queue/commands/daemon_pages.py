"""Asks a daemon for its `/status.json`, with its login and over its TLS."""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from sockudo_queue.commands import probe
from sockudo_queue.config import MetricsSettings
from sockudo_queue.core.ports import default_port, host_port
from sockudo_queue.errors import SettingsError

SECONDS: Final = 3.0
PAGE_BYTES: Final = 4_000_000
_NEEDS_LOGIN: Final = (
    "it requires a login; set QUEUE_METRICS_USERNAME and QUEUE_METRICS_PASSWORD, or QUEUE_METRICS_TOKEN, as for the "
    "daemon"
)


@dataclass(frozen=True)
class DaemonPages:
    """The address of a daemon's pages. `shown` is the address without a login."""

    shown: str
    host: str
    port: int
    tls: bool
    authorization: str | None
    cert_file: str | None

    def status(self) -> dict[str, Any] | str:
        """Return the content of `/status.json`, or why there is none."""
        try:
            return self._status()
        except (OSError, UnicodeError, urllib3.exceptions.HTTPError) as error:  # requests' own errors are OSErrors
            return f"no answer: {probe.reason(_root_cause(error))}"

    def _status(self) -> dict[str, Any] | str:
        own = _certificate_in(self.cert_file) if self.tls else None
        if own is not None:
            try:
                return self._asked(_PinnedAdapter(own), verify=False)
            except requests.exceptions.SSLError:
                pass  # another daemon, whose certificate must then be valid
        return self._asked(HTTPAdapter())

    def _asked(self, adapter: HTTPAdapter, *, verify: bool = True) -> dict[str, Any] | str:
        scheme = "https" if self.tls else "http"
        headers = {} if self.authorization is None else {"Authorization": self.authorization}
        with requests.Session() as session:
            session.trust_env = False  # no proxy, and no `.netrc`
            session.verify = verify
            session.mount(f"{scheme}://", adapter)
            url = f"{scheme}://{host_port(self.host, self.port)}/status.json"
            with session.get(url, headers=headers, timeout=SECONDS, stream=True, allow_redirects=False) as response:
                return _understood(response.status_code, response.raw.read(PAGE_BYTES, decode_content=True))


class _PinnedAdapter(HTTPAdapter):
    """Accepts one certificate, whatever its authority and name. Use it with `verify=False`.

    A daemon may be asked by an address that its certificate does not name. That it has our own certificate is proof.
    """

    def __init__(self, certificate: bytes) -> None:
        self._fingerprint = hashlib.sha256(certificate).hexdigest()
        super().__init__()

    def init_poolmanager(self, *args: Any, **settings: Any) -> None:
        super().init_poolmanager(*args, assert_fingerprint=self._fingerprint, assert_hostname=False, **settings)


def pages_at(url: str, metrics: MetricsSettings) -> DaemonPages:
    """Return the pages at a URL; its own login wins over that of the settings. Raises `SettingsError`."""
    try:
        parts = urlsplit(url if "//" in url else f"//{url}")
        host, port = parts.hostname, parts.port or default_port(parts.scheme)
        if host is not None and parts.scheme in ("", "http", "https"):
            host.encode("idna")  # as the look-up will, which has no error of its own for what cannot be a name
            login = _authorization(unquote(parts.username or ""), unquote(parts.password or ""), metrics)
            return DaemonPages(without_login(url), host, port, parts.scheme == "https", login, metrics.tls_cert_file)
    except ValueError:
        pass
    example = "must be the address of a daemon's pages, for example http://10.0.0.7:9602"
    raise SettingsError([f"--url {without_login(url)}: {example}"])


def without_login(url: str) -> str:
    """Return an address without its login, for output."""
    before, at, after = url.rpartition("@")
    scheme, slashes, _ = before.partition("//")
    return f"{scheme if slashes else ''}{slashes}{after}" if at else url


def _authorization(user: str, password: str, metrics: MetricsSettings) -> str | None:
    if not user and metrics.token is not None:
        return f"Bearer {metrics.token.current()}"
    if not user and metrics.password is not None:
        user, password = metrics.username, metrics.password.current()
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode() if user else None


def _root_cause(error: BaseException) -> BaseException:
    """Return the first error of a chain that requests and urllib3 have wrapped, which names the reason alone."""
    *_, root = _chain(error)
    return root


def _chain(error: BaseException) -> Iterator[BaseException]:
    next_error: BaseException | None = error
    while next_error is not None:
        yield next_error
        next_error = next_error.__cause__ or next_error.__context__


def _certificate_in(path: str | None) -> bytes | None:
    """Return the first certificate in a file, or None if it cannot be read."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    try:
        text = Path(path).read_text("ascii") if path is not None else ""
        return ssl.PEM_cert_to_DER_cert(begin + text.partition(begin)[2].partition(end)[0] + end) if text else None
    except (OSError, ValueError):
        return None


def _understood(status: int, body: bytes) -> dict[str, Any] | str:
    match status:
        case HTTPStatus.NOT_FOUND:
            return "its status page is switched off (QUEUE_METRICS_STATUS_PAGE), or it is another program"
        case HTTPStatus.UNAUTHORIZED:
            return _NEEDS_LOGIN
        case HTTPStatus.TOO_MANY_REQUESTS:
            return "it blocks logins from this host for up to a minute, because too many failed"
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if status != HTTPStatus.OK or not isinstance(document, dict) or "webhooks" not in document:
        return f"the answer (status {status}) is not from a sockudo-queue daemon"
    return document
