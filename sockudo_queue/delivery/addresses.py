"""Decides which addresses and ports may be called; pure.

Names cannot be checked: a resolver reads `127.1`, `2130706433` and `0x7f000001` all as 127.0.0.1, and a name may
resolve to another address the second time. So the address that is about to be connected to is checked. An IPv6 address
that contains an IPv4 one (mapped, NAT64, 6to4, Teredo and others) is checked as both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

import msgspec

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_NAT64_LOCAL: Final = IPv6Network("64:ff9b:1::/48")
_TEREDO: Final = IPv6Network("2001::/32")
_ISATAP: Final = (0x5EFE, 0x02005EFE)
# Where each kind contains its IPv4 address: the number of bits to the right of it.
_EMBEDDING: Final = (
    (IPv6Network("::/96"), 0),  # "compatible": deprecated, but still accepted by some systems
    (IPv6Network("::ffff:0:0:0/96"), 0),  # SIIT
    (_NAT64, 0),
    (IPv6Network("2002::/16"), 80),  # 6to4
)

LINK_LOCAL: Final = tuple(map(ip_network, ("169.254.0.0/16", "fe80::/10")))
METADATA: Final = tuple(
    map(
        ip_network,
        (
            "100.100.100.200/32",  # Alibaba
            "168.63.129.16/32",  # Azure
            "192.0.0.192/32",  # Oracle
            "fd00:ec2::/32",  # AWS, every service of the instance
            "fd00:c1::a9fe:a9fe/128",  # Oracle
            "fd20:ce::254/128",  # Google
            "fd00:42::42/128",  # Scaleway
        ),
    )
)
"""Clouds hand out credentials to any client there, as at 169.254.0.0/16, which is link-local."""
PRIVATE: Final = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
            "::/3",  # outside of 2000::/3 addresses are reserved or unassigned
            "2001::/23",
            "2001:db8::/32",
            "2002::/16",
            "3fff::/20",
            "4000::/2",
            "8000::/1",
        ),
    )
)
"""All networks outside of the public Internet, from the registries of special-purpose addresses."""


class Rules(msgspec.Struct, frozen=True):
    """The configured rules. `allowed` overrides every other network; empty `allowed_ports` allow any port.

    An IPv4-mapped network (`::ffff:10.0.0.0/104`) means those IPv4 addresses.
    """

    allowed: tuple[Network, ...] = ()
    denied: tuple[Network, ...] = ()
    private: bool = True  # may be called
    allowed_ports: frozenset[int] = frozenset()
    denied_ports: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        # Addresses are reduced to IPv4 before they are compared, so an IPv4-mapped rule would match none of them.
        msgspec.structs.force_setattr(self, "allowed", tuple(map(_unmapped, self.allowed)))
        msgspec.structs.force_setattr(self, "denied", tuple(map(_unmapped, self.denied)))


def refusal(rules: Rules, text: str, port: int) -> str | None:
    """Return why a connection to an address and port is refused, in a few words, or None if it is allowed."""
    if port in rules.denied_ports or (rules.allowed_ports and port not in rules.allowed_ports):
        return f"port {port} is not allowed"
    for address in addresses_in(text):
        reason = _refusal(rules, address)
        if reason is not None:
            return f"{address} is {reason}"
    return None


def addresses_in(text: str) -> tuple[Address, ...]:
    """Return the address itself and the IPv4 address that it contains; for a mapped one only the IPv4 address."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv4Address):
        return (address,)
    if address in _MAPPED:
        return (IPv4Address(int(address) & 0xFFFFFFFF),)
    return (address, *_carried(address))


def _unmapped(network: Network) -> Network:
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - _MAPPED.prefixlen))
    return network


def _carried(address: IPv6Address) -> Iterator[IPv4Address]:
    bits = int(address)
    for network, shift in _EMBEDDING:
        if address in network and bits > 1:  # :: and ::1 contain none
            yield IPv4Address(bits >> shift & 0xFFFFFFFF)
    if address in _NAT64_LOCAL:
        yield from _carried_locally(bits)
    if address in _TEREDO:
        yield IPv4Address(bits >> 64 & 0xFFFFFFFF)  # its server
        yield IPv4Address(~bits & 0xFFFFFFFF)  # its client
    if bits >> 32 & 0xFFFFFFFF in _ISATAP:
        yield IPv4Address(bits & 0xFFFFFFFF)


def _carried_locally(bits: int) -> Iterator[IPv4Address]:
    # The prefix length is the network owner's choice: the address is at the end, or split around a byte of zeros.
    for value in (
        bits,
        (bits >> 64 & 0xFFFF) << 16 | bits >> 40 & 0xFFFF,
        (bits >> 64 & 0xFF) << 24 | bits >> 32 & 0xFFFFFF,
        bits >> 24,
    ):
        if value >> 24 & 0xFF:  # 0 means that the length was wrong
            yield IPv4Address(value & 0xFFFFFFFF)


def _refusal(rules: Rules, address: Address) -> str | None:
    if _in(address, rules.allowed):
        return None
    for networks, reason in (
        (rules.denied, "in a denied network"),
        (LINK_LOCAL, "link-local"),
        (METADATA, "a cloud's metadata service"),
    ):
        if _in(address, networks):
            return reason
    # A NAT64 forwards to the IPv4 address inside, which is checked separately.
    if not rules.private and _in(address, PRIVATE) and not _in(address, (_NAT64,)):
        return "not a public address"
    return None


def _in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
