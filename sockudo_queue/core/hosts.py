"""Classifies hosts: IP addresses, loopback addresses and names, and names of this machine; pure."""

from __future__ import annotations

import ipaddress


def is_address(host: str) -> bool:
    """Return whether a host is an IP address; IPv6 with or without brackets."""
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Return whether a host (address or common name) is reachable only from this machine."""
    name = host.removeprefix("[").removesuffix("]")
    if not is_address(name):
        return name.lower().removesuffix(".") in ("localhost", "ip6-localhost", "ip6-loopback")
    address = ipaddress.ip_address(name)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback


def is_own_name(host: str) -> bool:
    """Return whether a `Host` header names this machine by an address or as `localhost`.

    A third party's name server cannot serve such names, so DNS rebinding cannot use them.
    """
    name, _, port = host.rpartition(":")
    name = name if port.isdecimal() and name else host
    return is_address(name) or name.lower() == "localhost"
