"""Compiled patterns, kept within a number of bytes.

A compiled pattern grows while it searches: its engine keeps what it has worked out, up to 2 MB for each of several
threads. That cannot be asked for. It takes time, though, so a search that takes longer than a known one ever does is
charged for. What is charged is processor time: a busy thread may take the processor away in the middle of any search.
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
"""Seconds within which a search has learned nothing worth counting; one takes 0.3 µs mostly."""
_LEARNED_KIB: Final = 300_000
"""KiB that a pattern grows by in a second of searching; measured 40 to 290 KiB per ms."""
MOST_FOUND: Final = 20_000
"""Costly searches of a job whose results are remembered, 2 MB; each pair of an event and a webhook could be one."""


class _RememberedSearches(threading.local):
    """What the costly searches of this thread's job have found, by pattern and channel."""

    def __init__(self) -> None:
        self.results: dict[tuple[str, str], bool] = {}


class PatternCache:
    """Searches by pattern. Safe from any thread. An invalid pattern is kept, too, and is found nowhere.

    Several webhooks of an app may have one pattern, so what a costly search has found is remembered until `forget`.
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
        """`on_slow` gets the seconds of each costly search, and of each compilation; what it raises ends the search."""
        self._limit = limit_kib
        self._crowded = limit_kib // 2
        self._pattern_kib = pattern_kib
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._compile = compiler
        self._on_slow = on_slow
        self._lock = threading.Lock()
        self._searches: OrderedDict[str, Search] = OrderedDict()  # the latest used last
        self._sizes: dict[str, int] = {}
        self._found = _RememberedSearches()
        self._slow: set[str] = set()  # patterns with a search that seemed slow
        self.size_kib = 0

    def finds(self, pattern: str, channel: str) -> bool:
        """Tell whether the pattern is found in a channel's name."""
        search = self._searches.get(pattern)
        if search is None:
            began = self._cpu_clock()
            search = self._added(pattern)
            self._on_slow(self._cpu_clock() - began)
            return self._measured(pattern, search, channel)  # the first search learns the most
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
        """Forget what the searches of this thread have found; its job is matched."""
        self._found.results.clear()

    def _measured(self, pattern: str, search: Search, channel: str) -> bool:
        """Search by the clock of the thread, which takes as long to read as most searches take."""
        began = self._cpu_clock()
        found = search(channel)
        took = self._cpu_clock() - began
        if took > _KNOWN:
            self._note_slow(pattern)
            if len(self._found.results) < MOST_FOUND:
                self._found.results[pattern, channel] = found
            self._charge(pattern, round(took * _LEARNED_KIB))
            self._on_slow(took)
        return found

    def _note_slow(self, pattern: str) -> None:
        with self._lock:
            if pattern in self._searches:
                self._slow.add(pattern)

    def _note_use(self, pattern: str) -> None:
        """Keep a pattern longer than those not used since; not asked for while there is plenty of room."""
        with self._lock:
            if pattern in self._searches:
                self._searches.move_to_end(pattern)

    def _added(self, pattern: str) -> Search:
        try:
            search, size = self._compile(pattern, self._pattern_kib), max(estimate_kib(pattern), 1)
        except PatternError:
            search, size = _find_nothing, 1  # as Sockudo
        with self._lock:
            if pattern not in self._searches:
                self._searches[pattern] = search
        self._charge(pattern, size)
        return search

    def _charge(self, pattern: str, size_kib: int) -> None:
        """Count what a pattern takes, and drop those not used for longest until all fit."""
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
