"""A token bucket: limits the average rate of an action, and allows short bursts."""

from __future__ import annotations

from typing import Final

_ROUNDING: Final = 1e-6


class TokenBucket:
    """A bucket of at most `burst` tokens with a new one every `seconds`; full at the start. Reads no clock."""

    __slots__ = ("_full_at", "_seconds", "_slack")

    def __init__(self, seconds: float, burst: int) -> None:
        self._seconds = seconds
        self._slack = seconds * (burst - 1) + _ROUNDING
        self._full_at = float("-inf")

    def has_token(self, now: float) -> bool:
        """Return whether `take` may be called now."""
        return self._full_at - now <= self._slack

    def is_full(self, now: float) -> bool:
        """Return whether the bucket is full, so that a new one could replace it."""
        return self._full_at <= now

    def take(self, now: float) -> None:
        """Remove one token. Call it only after `has_token` returned True."""
        self._full_at = max(self._full_at, now) + self._seconds
