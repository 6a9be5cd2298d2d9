"""The image's health check: request `/livez` of the running daemon. It imports few modules, to be fast."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import Final

from sockudo_queue.core.ports import METRICS_PORT

SECONDS: Final = 2.0


def address(environment: Mapping[str, str]) -> tuple[str, int, bool]:
    """Return host and port of the daemon in this container, and whether it uses TLS.

    It looks at the same variables that the daemon reads. Where the port is no number, which the daemon reports, this is
    the default.
    """
    port = environment.get("QUEUE_METRICS_PORT", "")
    tls = bool(environment.get("QUEUE_METRICS_TLS_CERT_FILE", "").strip())
    return environment.get("QUEUE_METRICS_HOST", ""), int(port) if port.isdecimal() else METRICS_PORT, tls


def ask(host: str, port: int, tls: bool = False, path: str = "/livez") -> tuple[bool, str]:
    """Return whether the daemon answers 200, and its answer in one line. Never raises if it does not answer."""
    host = host.removeprefix("[").removesuffix("]")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - "all" has no address
    connection = _connection(host, port, tls)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        text = response.read(1000).decode("utf-8", "replace").strip()
    except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: what cannot be a host
        return False, f"no answer from {host}:{port}: {reason(error)}"
    finally:
        connection.close()
    return response.status == http.client.OK, " ".join(text.split())


def _connection(host: str, port: int, tls: bool) -> http.client.HTTPConnection:
    if not tls:
        return http.client.HTTPConnection(host, port, timeout=SECONDS)
    import ssl  # here, since few need it

    # The certificate is for the name by which others reach the daemon, and a probe has nothing to hide.
    context = ssl._create_unverified_context()  # noqa: S323, SLF001 - kubelet's probes do the same  # nosec B323
    return http.client.HTTPSConnection(host, port, timeout=SECONDS, context=context)


def reason(error: BaseException) -> str:
    """Return the message of an error without the system's error number."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
