"""How a Redis Cluster chooses the part of a key that decides its slot; pure."""

from __future__ import annotations


def has_hash_tag(key: str) -> bool:
    """Return whether only a part of the key, in braces, decides the slot.

    Only the first opening brace and the first closing brace after it count, and the part must not be empty.
    """
    opening = key.find("{")
    return opening >= 0 and key.find("}", opening + 1) > opening + 1
