"""Reads INFO of a Redis server: its fields, and whether it evicts our keys. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sockudo_queue.drivers.base import Finding, FindingLevel

ALMOST_FULL: Final = 0.9
NEARLY_FULL: Final = 0.95
MAX_DIGITS: Final = 18


def eviction(info: Mapping[str, str]) -> Finding:
    """Return whether the server evicts our keys when it is full."""
    policy, limit, used = info.get("maxmemory_policy", ""), _number(info, "maxmemory"), _number(info, "used_memory")
    if (text := eviction_of_ours(info)) is not None:
        return Finding(FindingLevel.ERROR if limit else FindingLevel.WARNING, "eviction", text)
    if limit and used > limit * ALMOST_FULL:
        return Finding(
            FindingLevel.WARNING,
            "eviction",
            f"the server uses {used / limit:.0%} of maxmemory; when it is full, Sockudo cannot queue. Give it more",
        )
    if policy.startswith("volatile"):
        return Finding(
            FindingLevel.OK, "eviction", f"maxmemory-policy {policy} evicts none of our keys: they have no expiry"
        )
    return Finding(FindingLevel.OK, "eviction", f"maxmemory-policy {policy or 'noeviction'}")


def eviction_of_ours(info: Mapping[str, str]) -> str | None:
    """Return a text if the server may evict our keys, which have no expiry; else None."""
    policy = info.get("maxmemory_policy", "")
    if not policy.startswith("allkeys"):
        return None
    loses = (
        "drops jobs when the server is full" if _number(info, "maxmemory") else "would drop jobs if maxmemory were set"
    )
    return f"maxmemory-policy {policy} {loses}; set maxmemory-policy noeviction there"


def memory_over(info: Mapping[str, str]) -> int:
    """Return the bytes by which a server is above the limit at which the attempt history gives way to jobs.

    A server that evicts other keys is always full, and accepts writes as long as it can.
    """
    limit = _number(info, "maxmemory")
    used = _number(info, "used_memory") - _number(info, "mem_not_counted_for_evict")
    share = NEARLY_FULL if info.get("maxmemory_policy", "noeviction") == "noeviction" else 1.0
    return max(used - round(limit * share), 0) if limit else 0


def _number(info: Mapping[str, str], name: str) -> int:
    digits = info.get(name, "")
    return int(digits) if digits.isdecimal() and len(digits) <= MAX_DIGITS else 0


def fields(reply: bytes) -> dict[str, str]:
    """Return the fields of INFO by name."""
    lines = reply.decode(errors="replace").splitlines()
    return dict(line.partition(":")[::2] for line in lines if ":" in line)
