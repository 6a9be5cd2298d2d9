"""Asks a daemon for its `/status.json`, with its login and over its TLS."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from sockudo_queue.commands import probe
from sockudo_queue.config import MetricsSettings
from sockudo_queue.core.ports import default_port
from sockudo_queue.errors import SettingsError

SECONDS: Final = 3.0
PAGE_BYTES: Final = 4_000_000
_NEEDS_LOGIN: Final = (
    "it needs a login; set QUEUE_METRICS_USERNAME and QUEUE_METRICS_PASSWORD, or QUEUE_METRICS_TOKEN, as for the daemon"
)


@dataclass(frozen=True)
class DaemonPages:
    """Where a daemon serves its pages. `shown` is the address without a login."""

    shown: str
    host: str
    port: int
    tls: bool
    authorization: str | None
    cert_file: str | None

    def status(self) -> dict[str, Any] | str:
        """Return what `/status.json` says, or why it does not."""
        try:
            connection = self._connected()
        except (OSError, http.client.HTTPException) as error:
            return f"no answer: {probe.reason(error)}"
        try:
            headers = {} if self.authorization is None else {"Authorization": self.authorization}
            connection.request("GET", "/status.json", headers=headers)
            response = connection.getresponse()
            return _understood(response.status, response.read(PAGE_BYTES))
        except (OSError, http.client.HTTPException) as error:
            return f"no answer: {probe.reason(error)}"
        finally:
            connection.close()

    def _connected(self) -> http.client.HTTPConnection:
        """Return a connection to which a login may be sent. Raises `OSError`."""
        if not self.tls:
            return http.client.HTTPConnection(self.host, self.port, timeout=SECONDS)
        own = _certificate_in(self.cert_file)
        if own is not None:
            # A daemon is asked by an address that its certificate need not name; having our own is proof enough.
            unchecked = ssl.create_default_context()
            unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
            connection = http.client.HTTPSConnection(self.host, self.port, timeout=SECONDS, context=unchecked)
            connection.connect()
            if connection.sock.getpeercert(binary_form=True) == own:
                return connection
            connection.close()
        connection = http.client.HTTPSConnection(
            self.host, self.port, timeout=SECONDS, context=ssl.create_default_context()
        )
        connection.connect()
        return connection


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
    example = "must be where a daemon serves its pages, for example http://10.0.0.7:9602"
    raise SettingsError([f"--url {without_login(url)}: {example}"])


def without_login(url: str) -> str:
    """Return an address as it may be shown."""
    before, at, after = url.rpartition("@")
    scheme, slashes, _ = before.partition("//")
    return f"{scheme if slashes else ''}{slashes}{after}" if at else url


def _authorization(user: str, password: str, metrics: MetricsSettings) -> str | None:
    if not user and metrics.token is not None:
        return f"Bearer {metrics.token.current()}"
    if not user and metrics.password is not None:
        user, password = metrics.username, metrics.password.current()
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode() if user else None


def _certificate_in(path: str | None) -> bytes | None:
    """Return the first certificate in a file, or None where it cannot be read here."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    try:
        text = Path(path).read_text("ascii") if path is not None else ""
        return ssl.PEM_cert_to_DER_cert(begin + text.partition(begin)[2].partition(end)[0] + end) if text else None
    except (OSError, ValueError):
        return None


def _understood(status: int, body: bytes) -> dict[str, Any] | str:
    match status:
        case http.client.NOT_FOUND:
            return "its status page is switched off (QUEUE_METRICS_STATUS_PAGE), or it is another program"
        case http.client.UNAUTHORIZED:
            return _NEEDS_LOGIN
        case http.client.TOO_MANY_REQUESTS:
            return "it refuses logins from this host for a minute, because too many failed"
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if status != http.client.OK or not isinstance(document, dict) or "webhooks" not in document:
        return f"the answer, with status {status}, is not that of a daemon"
    return document
