"""Hosts and ports as URLs write them, and the ports where none is written; pure, and cheap to import."""

from __future__ import annotations

from typing import Final

METRICS_PORT: Final = 9_602
"""Where the daemon serves `/metrics`, `/livez`, `/readyz` and the status page by default."""
REDIS_PORT: Final = 6_379


def default_port(scheme: str) -> int:
    """Return the port of a URL without one: 443 for `https`, else 80. The scheme is in lower case."""
    return 443 if scheme == "https" else 80


def host_port(host: str, port: int) -> str:
    """Return host and port as a URL writes them, an IPv6 address in brackets."""
    return f"{bracketed(host)}:{port}"


def bracketed(host: str) -> str:
    """Return a host as a URL writes it, an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host
