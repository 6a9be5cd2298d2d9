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
    """Whether a host, an address or `localhost`, is reached from this machine alone."""
    name = host.removeprefix("[").removesuffix("]")
    return ipaddress.ip_address(name).is_loopback if is_address(name) else name.lower() == "localhost"
