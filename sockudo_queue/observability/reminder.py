"""Decides when to log a lasting condition: at its start, and again after an interval; pure, in seconds."""

from __future__ import annotations


class Reminder:
    """Limits how often one condition is logged. It has no lock: two concurrent callers may both log."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._logged_at = float("-inf")

    def is_due(self, now: float, *, changed: bool = False) -> bool:
        """Return whether to log the condition now; if so, the next time is more than `every` seconds away.

        `changed`: it has just started or changed, so it is always logged.
        """
        if not changed and now - self._logged_at <= self._every:
            return False
        self._logged_at = now
        return True
