"""Formats hosts and ports for URLs, and holds the default ports; pure, and cheap to import."""

from __future__ import annotations

from typing import Final

METRICS_PORT: Final = 9_602
"""Default port of `/metrics`, `/livez`, `/readyz` and the status page."""
REDIS_PORT: Final = 6_379


def default_port(scheme: str) -> int:
    """Return the port of a URL that names none: 443 for `https`, else 80. The scheme is in lower case."""
    return 443 if scheme == "https" else 80


def host_port(host: str, port: int) -> str:
    """Return `host:port` for a URL, with an IPv6 address in brackets."""
    return f"{bracketed(host)}:{port}"


def bracketed(host: str) -> str:
    """Return a host for a URL, with an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host
