"""The image's health check: ask the running daemon's `/livez`. It imports little, to be cheap."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import Final

from sockudo_queue.core.ports import METRICS_PORT

SECONDS: Final = 2.0


def address(environment: Mapping[str, str]) -> tuple[str, int]:
    """Return where the daemon of this container serves, from the same variables that it reads.

    What is no number is left for the daemon to complain of; the default is asked then.
    """
    port = environment.get("QUEUE_METRICS_PORT", "")
    return environment.get("QUEUE_METRICS_HOST", ""), int(port) if port.isdecimal() else METRICS_PORT


def ask(host: str, port: int, path: str = "/livez") -> tuple[bool, str]:
    """Return whether the daemon answers 200, and its answer in one line; never raises for a daemon that is away."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - "all" has no address
    connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        text = response.read(1000).decode("utf-8", "replace").strip()
    except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: what cannot be a host
        return False, f"no answer from {host}:{port}: {reason(error)}"
    finally:
        connection.close()
    return response.status == http.client.OK, " ".join(text.split())


def reason(error: Exception) -> str:
    """Return what went wrong as a person says it, without the number that the system has for it."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
