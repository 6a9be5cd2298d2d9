"""What a host is: an address, or a name; pure."""

from __future__ import annotations

import ipaddress


def is_address(host: str) -> bool:
    """Whether a host is an IP address, an IPv6 one in brackets or without."""
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a host, an address or a usual name, is reached from this machine alone."""
    name = host.removeprefix("[").removesuffix("]")
    if not is_address(name):
        return name.lower().removesuffix(".") in ("localhost", "ip6-localhost", "ip6-loopback")
    address = ipaddress.ip_address(name)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback


def is_own_name(host: str) -> bool:
    """Whether a `Host` header names this machine by an address or as `localhost`.

    Such names never come from a name server that somebody else runs.
    """
    name, _, port = host.rpartition(":")
    name = name if port.isdecimal() and name else host
    return is_address(name) or name.lower() == "localhost"
