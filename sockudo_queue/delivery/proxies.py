"""Checks the environment's proxy variables, which libcurl reads later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Final
from urllib.parse import urlsplit

VARIABLES: Final = ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
"""The variables that libcurl reads. It reads `http_proxy` only in lower case."""
_SCHEMES: Final = frozenset({"http", "https", "socks4", "socks4a", "socks5", "socks5h"})


def adopt(environment: MutableMapping[str, str]) -> None:
    """Copy `HTTP_PROXY` to `http_proxy`: libcurl ignores it, because a CGI script gets it from a request header."""
    if environment.get("HTTP_PROXY") and not environment.get("http_proxy"):
        environment["http_proxy"] = environment["HTTP_PROXY"]


def faults(environment: MutableMapping[str, str]) -> Iterator[str]:
    """Yield one line for each variable without a usable proxy. No line contains a value: it may contain a password."""
    for variable in VARIABLES:
        value = environment.get(variable, "").strip()
        if value and (fault := _fault(value if "://" in value else f"http://{value}")):
            yield f"{variable}: {fault}; for example http://proxy.example:3128"


def forwards(environment: Mapping[str, str]) -> bool:
    """Return whether the proxy for `http:` URLs is an HTTP proxy, which may itself respond. SOCKS only relays bytes."""
    named = (environment.get(variable, "") for variable in ("http_proxy", "all_proxy", "ALL_PROXY"))
    return not next(filter(None, named), "").lower().startswith("socks")


def _fault(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "is not the URL of a proxy, or its port is not between 1 and 65535"
    if parts.scheme.lower() not in _SCHEMES:
        return f"must begin with {', '.join(f'{scheme}://' for scheme in sorted(_SCHEMES))}"
    if not host or port == 0:
        return "must have a host, and a port between 1 and 65535"
    return None
