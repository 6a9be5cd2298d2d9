"""Limits how often something is done: now and then several times in a row, and on average once in a given time."""

from __future__ import annotations

from typing import Final

_ROUNDING: Final = 1e-6


class TokenBucket:
    """Holds at most `burst` tokens and gets a new one every `seconds`; it is full at first. Pure but for its state."""

    __slots__ = ("_full_at", "_seconds", "_slack")

    def __init__(self, seconds: float, burst: int) -> None:
        self._seconds = seconds
        self._slack = seconds * (burst - 1) + _ROUNDING
        self._full_at = float("-inf")

    def has_token(self, now: float) -> bool:
        """Tell whether `take` may be called now."""
        return self._full_at - now <= self._slack

    def is_full(self, now: float) -> bool:
        """Tell whether a new bucket would do as well."""
        return self._full_at <= now

    def take(self, now: float) -> None:
        """Remove one token; the caller has asked `has_token`."""
        self._full_at = max(self._full_at, now) + self._seconds
