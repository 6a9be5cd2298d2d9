"""The form of URLs and host names, checked without a look-up; pure.

What libraries accept differs (`http://a..b/`, `http://[::1`, port 99999, white space), and the difference shows only
when a request is made. So everything is refused here that any of them would refuse or read in another way.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from urllib.parse import quote, urlsplit

import msgspec

MAX_URL_LENGTH = 8_192  # characters; what common servers accept in a request line
MAX_HOST_LENGTH = 253  # RFC 1035, written out without the root's dot
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\\s]")


class UrlParts(msgspec.Struct, frozen=True):
    """Where a URL points: lower-case scheme and host (IPv6 without brackets), and the port if it is written out."""

    scheme: str
    host: str
    port: int | None
    has_userinfo: bool


def url_parts(url: str, schemes: Collection[str]) -> UrlParts:
    """Return where the URL points. Raises ValueError; its text is a reason without any part of the URL."""
    if len(url) > MAX_URL_LENGTH:
        raise ValueError(f"is longer than {MAX_URL_LENGTH} characters")
    if _UNSAFE.search(url):
        raise ValueError("contains white space, a control character or a backslash")
    found = _SCHEME.match(url)
    expected = " or ".join(f"{scheme}://" for scheme in schemes)
    if found is None or found[1].lower() not in schemes:
        raise ValueError(f"must begin with {expected}")
    authority = re.split(r"[/?#]", url[found.end() :], maxsplit=1)[0]
    userinfo, at, host_port = authority.rpartition("@")
    if "@" in userinfo:
        raise ValueError("has more than one @ before the path; write %40 for an @ in a password")
    if "[" in userinfo or "]" in userinfo:
        raise ValueError("has a [ or ] before the @; write %5B and %5D in a password")
    if "%00" in userinfo:
        raise ValueError("has a NUL (%00) before the @")
    host, port = _host_and_port(host_port)
    if not _is_read_so_by_python(url, host, port):
        raise ValueError("is ambiguous; write every unusual character as %XX")
    return UrlParts(found[1].lower(), host, port, bool(at))


def _is_read_so_by_python(url: str, host: str, port: int | None) -> bool:
    try:
        parts = urlsplit(url)
        return (parts.hostname, parts.port) == (host, port)
    except ValueError:
        return False


def ascii_url(url: str) -> str:
    """Return the URL as it goes over the wire: the host in its `xn--` form, other letters percent-encoded.

    Raises ValueError where the host has no such form.
    """
    if url.isascii():
        return url
    import idna  # It comes with requests. Few URLs need it.

    scheme, separator, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    userinfo, at, host_port = authority.rpartition("@")
    host, colon, port = host_port.partition(":")
    try:
        name = host if host.isascii() else idna.encode(host, uts46=True).decode()
    except idna.IDNAError:
        raise ValueError("has an invalid international host name") from None
    return f"{scheme}{separator}{_escaped(userinfo)}{at}{name}{colon}{port}{_escaped(rest[len(authority) :])}"


def _escaped(text: str) -> str:
    return "".join(character if character.isascii() else quote(character) for character in text)


def _host_and_port(text: str) -> tuple[str, int | None]:
    if text.startswith("["):
        address, bracket, rest = text[1:].partition("]")
        if not bracket:
            raise ValueError("has a [ without a ] in the host")
        check_ipv6(address)
        if rest and not rest.startswith(":"):
            raise ValueError("has text between ] and the port")
        return address.lower(), port_of(rest[1:])
    host, _, port = text.partition(":")
    if ":" in port:
        raise ValueError("contains an IPv6 address without brackets, or two ports")
    check_host(host)
    return host.lower(), port_of(port)


def port_of(text: str) -> int | None:
    """Return the port, or None where nothing is written. Raises ValueError."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65_535):
        raise ValueError("has a port that is not a number from 1 to 65535")
    return int(text)


def check_ipv6(address: str) -> None:
    """Raise ValueError unless the text is an IPv6 address without brackets and zone."""
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        raise ValueError("contains an invalid IPv6 address") from None
    if "%" in address:
        raise ValueError("contains an IPv6 address with a zone")


def check_host(host: str) -> None:
    """Raise ValueError unless the text is a host name or an IPv4 address."""
    name = host.removesuffix(".")
    if not name:
        raise ValueError("has no host")
    if not name.isascii():
        raise ValueError("has a host with letters outside ASCII; write its xn-- form")
    if len(name) > MAX_HOST_LENGTH:
        raise ValueError(f"has a host longer than {MAX_HOST_LENGTH} characters")
    labels = name.split(".")
    for label in labels:
        if not label:
            raise ValueError("has a host with an empty part between its dots")
        if len(label) > 63:
            raise ValueError("has a host with a part longer than 63 characters")
        if not _LABEL.fullmatch(label):
            raise ValueError("has a host with invalid characters")
    # A name that ends in a number is an address to every resolver, also `127.1` and `0x7f.1`.
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1], re.IGNORECASE):
        try:
            ipaddress.IPv4Address(name)
        except ValueError:
            raise ValueError("has a host that ends in a number but is not an IPv4 address with four parts") from None
