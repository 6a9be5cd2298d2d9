"""The outbound proxies that the environment names. libcurl reads the variables; here they are checked beforehand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Final
from urllib.parse import urlsplit

VARIABLES: Final = ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
"""The variables that libcurl reads. Of `http_proxy` it reads only the lower-case name."""
_SCHEMES: Final = frozenset({"http", "https", "socks4", "socks4a", "socks5", "socks5h"})


def adopt(environment: MutableMapping[str, str]) -> None:
    """Let libcurl see `HTTP_PROXY`, which it leaves out because a CGI script gets that variable from a request."""
    if environment.get("HTTP_PROXY") and not environment.get("http_proxy"):
        environment["http_proxy"] = environment["HTTP_PROXY"]


def faults(environment: MutableMapping[str, str]) -> Iterator[str]:
    """Yield one line for each variable that names no usable proxy. No line holds a value: it may have a password."""
    for variable in VARIABLES:
        value = environment.get(variable, "").strip()
        if value and (fault := _fault(value if "://" in value else f"http://{value}")):
            yield f"{variable}: {fault}; for example http://proxy.example:3128"


def forwards(environment: Mapping[str, str]) -> bool:
    """Tell whether the proxy for `http:` URLs reads requests and may answer them. SOCKS only passes bytes on."""
    named = (environment.get(variable, "") for variable in ("http_proxy", "all_proxy", "ALL_PROXY"))
    return not next(filter(None, named), "").lower().startswith("socks")


def _fault(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "is no URL of a proxy, or its port is not between 1 and 65535"
    if parts.scheme.lower() not in _SCHEMES:
        return f"must begin with {', '.join(f'{scheme}://' for scheme in sorted(_SCHEMES))}"
    if not host or port == 0:
        return "must have a host, and a port between 1 and 65535"
    return None
