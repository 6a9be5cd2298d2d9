"""The rule by which a Redis Cluster chooses the part of a key that decides its slot; pure."""

from __future__ import annotations


def has_hash_tag(key: str) -> bool:
    """Tell whether the slot of a key is that of a part in braces.

    Only the first opening brace and the first closing brace behind it count, and there must be something between them.
    """
    opening = key.find("{")
    return opening >= 0 and key.find("}", opening + 1) > opening + 1
