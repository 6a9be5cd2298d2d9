"""The ports that are used where a setting or a URL names none; pure, and cheap to import for the health check."""

from __future__ import annotations

from typing import Final

METRICS_PORT: Final = 9_602
"""Where the daemon serves `/metrics`, `/livez`, `/readyz` and the status page by default."""
REDIS_PORT: Final = 6_379


def default_port(scheme: str) -> int:
    """Return the port of a URL without one: 443 for `https`, else 80. The scheme is in lower case."""
    return 443 if scheme == "https" else 80
