"""The channel patterns of one app, within the ceilings per pattern and per app."""

from __future__ import annotations

from sockudo_queue.core.apps import Filter
from sockudo_queue.core.ceilings import Ceilings
from sockudo_queue.core.matching import check_filter
from sockudo_queue.core.pattern_cost import estimate_kib


class AppPatterns:
    """Counts the patterns of an app while its webhooks are read. Equal patterns are compiled and counted once."""

    def __init__(self, ceilings: Ceilings) -> None:
        self._ceilings = ceilings
        self._faults: dict[str, str | None] = {}
        self._too_large: set[str] = set()
        self._kib = 0

    def fault(self, rules: Filter) -> str | None:
        """Return why a filter is invalid, in one line that names the key, or None."""
        pattern = rules.channel_pattern
        if pattern is None:
            return None
        if pattern not in self._faults:
            self._faults[pattern] = self._fault_of(pattern, rules)
        return self._faults[pattern]

    def is_above_ceiling(self, rules: Filter) -> bool:
        """Return whether a faulty filter's only fault is a pattern above the ceiling."""
        return rules.channel_pattern in self._too_large

    def _fault_of(self, pattern: str, rules: Filter) -> str | None:
        size = estimate_kib(pattern)
        # Checked before compiling, which takes up to 120 ms.
        if size > self._ceilings.pattern_kib:
            self._too_large.add(pattern)
        if size <= self._ceilings.pattern_kib and self._kib + size > self._ceilings.app_patterns_kib:
            self._too_large.add(pattern)
            return (
                f"channel_pattern: all patterns of the app compile to more than {self._ceilings.app_patterns_kib} KiB "
                "(queue.limits.app_patterns_kib); repeat less, or use channel_prefix"
            )
        fault = check_filter(rules, self._ceilings.pattern_kib)
        if size <= self._ceilings.pattern_kib:
            self._kib += size
        return fault
