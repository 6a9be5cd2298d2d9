"""A cache of compiled patterns with a limit in bytes.

A compiled pattern grows during searches: its engine caches up to 2 MB of automaton states for each of several threads,
and does not report the size. Building states takes time, so a search that is slower than any search without new states
is charged. The charge uses processor time, because the thread may be preempted in the middle of any search.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from sockudo_queue.core.ceilings import DEFAULTS
from sockudo_queue.core.channel_pattern import PatternError, Search, compile_pattern
from sockudo_queue.core.pattern_cost import estimate_kib

_KNOWN: Final = 20e-6
"""Seconds up to which a search added no states worth counting; most take 0.3 µs."""
_LEARNED_KIB: Final = 300_000
"""KiB by which a pattern grows per second of searching; measured: 40 to 290 KiB per ms."""
MAX_FOUND: Final = 20_000
"""Maximum number of slow searches of a job whose results are remembered (2 MB); without a limit it could be one per
event and webhook."""


class _RememberedSearches(threading.local):
    """Results of the slow searches of this thread's job, by pattern and channel."""

    def __init__(self) -> None:
        self.results: dict[tuple[str, str], bool] = {}


class PatternCache:
    """Searches by pattern. Thread-safe. An invalid pattern is cached too, and never matches.

    Several webhooks of an app may have the same pattern, so results of slow searches are remembered until `forget`.
    """

    def __init__(
        self,
        limit_kib: int,
        pattern_kib: int = DEFAULTS.pattern_kib,
        clock: Callable[[], float] = time.perf_counter,
        cpu_clock: Callable[[], float] = time.thread_time,
        compiler: Callable[[str, int], Search] = compile_pattern,
        on_slow: Callable[[float], None] = lambda _: None,
    ) -> None:
        """`on_slow` gets the seconds of each slow search and each compilation; an exception from it ends the search."""
        self._limit = limit_kib
        self._crowded = limit_kib // 2
        self._pattern_kib = pattern_kib
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._compile = compiler
        self._on_slow = on_slow
        self._lock = threading.Lock()
        self._searches: OrderedDict[str, Search] = OrderedDict()  # least recently used first
        self._sizes: dict[str, int] = {}
        self._found = _RememberedSearches()
        self._slow: set[str] = set()  # patterns with at least one slow search
        self.size_kib = 0

    def finds(self, pattern: str, channel: str) -> bool:
        """Return whether the pattern matches a channel's name."""
        search = self._searches.get(pattern)
        if search is None:
            began = self._cpu_clock()
            search = self._added(pattern)
            self._on_slow(self._cpu_clock() - began)
            return self._measured(pattern, search, channel)  # the first search adds the most states
        if self.size_kib > self._crowded:
            self._note_use(pattern)
        if pattern in self._slow:
            found = self._found.results.get((pattern, channel))
            return self._measured(pattern, search, channel) if found is None else found
        began = self._clock()
        found = search(channel)
        if self._clock() - began > _KNOWN:
            self._note_slow(pattern)
        return found

    def forget(self) -> None:
        """Forget the remembered results of this thread, because its job is matched."""
        self._found.results.clear()

    def _measured(self, pattern: str, search: Search, channel: str) -> bool:
        """Search and measure processor time.

        Reading that clock takes as long as most searches, so only first searches and slow patterns are measured.
        """
        began = self._cpu_clock()
        found = search(channel)
        took = self._cpu_clock() - began
        if took > _KNOWN:
            self._note_slow(pattern)
            if len(self._found.results) < MAX_FOUND:
                self._found.results[pattern, channel] = found
            self._charge(pattern, round(took * _LEARNED_KIB))
            self._on_slow(took)
        return found

    def _note_slow(self, pattern: str) -> None:
        with self._lock:
            if pattern in self._searches:
                self._slow.add(pattern)

    def _note_use(self, pattern: str) -> None:
        """Mark a pattern as recently used. Skipped while the cache is less than half full."""
        with self._lock:
            if pattern in self._searches:
                self._searches.move_to_end(pattern)

    def _added(self, pattern: str) -> Search:
        try:
            search, size = self._compile(pattern, self._pattern_kib), max(estimate_kib(pattern), 1)
        except PatternError:
            search, size = _find_nothing, 1  # like Sockudo
        with self._lock:
            if pattern not in self._searches:
                self._searches[pattern] = search
        self._charge(pattern, size)
        return search

    def _charge(self, pattern: str, size_kib: int) -> None:
        """Add to the size of a pattern, and evict the least recently used ones until all fit."""
        with self._lock:
            if pattern not in self._searches:
                return
            self._sizes[pattern] = self._sizes.get(pattern, 0) + size_kib
            self.size_kib += size_kib
            while self.size_kib > self._limit and self._searches:
                oldest = next(iter(self._searches))
                del self._searches[oldest]
                self._slow.discard(oldest)
                self.size_kib -= self._sizes.pop(oldest, 0)


def _find_nothing(_channel: str) -> bool:
    return False
