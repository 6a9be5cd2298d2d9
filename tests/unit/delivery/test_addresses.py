"""The rules of the network guard, by tables: embedded addresses and the effect of each setting."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest

from sockudo_queue.delivery.addresses import Rules, addresses_in, refusal

METADATA = IPv4Address("169.254.169.254")
V4 = int(METADATA)
# Every IPv6 form that contains an IPv4 address, with the metadata address inside.
EMBEDDED = {
    "mapped": "::ffff:169.254.169.254",
    "mapped in hexadecimal": "::ffff:a9fe:a9fe",
    "compatible": "::169.254.169.254",
    "SIIT": "::ffff:0:169.254.169.254",
    "NAT64": "64:ff9b::169.254.169.254",
    "NAT64 of one's own, /96": "64:ff9b:1::169.254.169.254",
    "NAT64 of one's own, /48": "64:ff9b:1:a9fe:a9:fe00::",
    "NAT64 of one's own, /56": "64:ff9b:1:1a9:fe:a9fe::",
    "NAT64 of one's own, /64": "64:ff9b:1:1:a9:fea9:fe00::",
    "6to4": "2002:a9fe:a9fe::1",
    "Teredo, client": str(IPv6Address((0x20010000 << 96) | (0xFFFFFFFF ^ V4))),
    "Teredo, server": str(IPv6Address((0x20010000 << 96) | (V4 << 64) | 1)),
    "ISATAP": "2001:db8:1::5efe:169.254.169.254",
    "ISATAP, global": "2001:db8:1::200:5efe:169.254.169.254",
}


@pytest.mark.parametrize("text", EMBEDDED.values(), ids=EMBEDDED)
def test_embedded_address_is_checked(text: str) -> None:
    assert METADATA in addresses_in(text)
    assert refusal(Rules(), text, 80) is not None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("169.254.169.254", "link-local"),
        ("169.254.0.1", "link-local"),
        ("169.254.170.2", "link-local"),
        ("fe80::1", "link-local"),
        ("fe80::1%3", "link-local"),
        ("febf::1", "link-local"),
        ("100.100.100.200", "metadata"),
        ("168.63.129.16", "metadata"),
        ("192.0.0.192", "metadata"),
        ("fd00:ec2::254", "metadata"),
        ("fd00:ec2::23", "metadata"),
        ("fd20:ce::254", "metadata"),
        ("::ffff:168.63.129.16", "metadata"),
    ],
)
def test_link_local_and_metadata_addresses_are_refused_by_default(text: str, reason: str) -> None:
    assert reason in (refusal(Rules(), text, 80) or "")


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "::1", "fd12::1", "8.8.8.8", "2a00:1450::1", "100.64.0.1"],
)
def test_private_and_public_addresses_are_allowed_by_default(text: str) -> None:
    assert refusal(Rules(), text, 80) is None


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0",
        "0.1.2.3",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::10.0.0.1",
        "2002:7f00:1::",
        "2001:db8::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "100::1",
        "fc00::1",
        "fdff::1",
        "fec0::1",
        "ff02::1",
        "3fff::1",
        "5f00::1",
    ],
)
def test_private_address_is_refused_if_private_is_off(text: str) -> None:
    assert refusal(Rules(private=False), text, 80) is not None


@pytest.mark.parametrize(
    "text", ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2a00:1450::1", "2606:4700::1", "64:ff9b::1.1.1.1"]
)
def test_public_address_is_allowed_if_private_is_off(text: str) -> None:
    assert refusal(Rules(private=False), text, 80) is None


def test_allowed_networks_override_all_others() -> None:
    rules = Rules(
        allowed=(ip_network("10.1.0.0/16"), ip_network("169.254.7.7/32")),
        denied=(ip_network("10.0.0.0/8"), ip_network("203.0.113.0/24")),
        private=False,
    )
    assert refusal(rules, "10.1.2.3", 80) is None
    assert refusal(rules, "::ffff:10.1.2.3", 80) is None
    assert refusal(rules, "169.254.7.7", 80) is None
    assert refusal(rules, "10.2.2.3", 80) == "10.2.2.3 is in a denied network"
    assert refusal(rules, "::ffff:203.0.113.9", 80) == "203.0.113.9 is in a denied network"
    assert refusal(rules, "2002:a01:203::1", 80) is not None  # what it carries is allowed, and itself is not
    assert refusal(rules, "1.1.1.1", 80) is None


def test_allowed_and_denied_ports_are_checked() -> None:
    assert refusal(Rules(denied_ports=frozenset({25})), "1.1.1.1", 25) == "port 25 is not allowed"
    assert refusal(Rules(denied_ports=frozenset({25})), "1.1.1.1", 26) is None
    assert refusal(Rules(allowed_ports=frozenset({443})), "1.1.1.1", 80) == "port 80 is not allowed"
    assert refusal(Rules(allowed_ports=frozenset({443})), "1.1.1.1", 443) is None
    both = Rules(allowed_ports=frozenset({443}), denied_ports=frozenset({443}))
    assert refusal(both, "1.1.1.1", 443) is not None


@pytest.mark.parametrize("network", ["::ffff:127.0.0.0/104", "::ffff:127.0.0.1", "::ffff:0:0/96"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1"])
def test_a_network_written_as_mapped_ipv6_means_its_ipv4_addresses(network: str, address: str) -> None:
    denied, allowed = Rules(denied=(ip_network(network),)), Rules(allowed=(ip_network(network),), private=False)
    assert refusal(denied, address, 80) == "127.0.0.1 is in a denied network"
    assert refusal(allowed, address, 80) is None
    assert refusal(Rules(denied=(ip_network("::/0"),)), address, 80) is None
