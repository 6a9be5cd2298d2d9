"""The attempt history of drivers that cannot store one on a server: a ring in memory, lost when the process ends."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from sockudo_queue.history import search
from sockudo_queue.history.figures import HistoryFigures, ModePeriod
from sockudo_queue.history.items import as_text, owner_start
from sockudo_queue.history.search import Criteria, Page, Position
from sockudo_queue.history.store import ENTRY_BYTES, PurgeResult

TEXT_ITEMS: Final = 100
ITEM_BYTES: Final = 180
"""Overhead of an item in bytes: a tuple with two numbers, the header of the bytes object, and a slot of the deque."""

_Item = tuple[int, int, bytes]


class RingHistory:
    """See `history.store.HistoryStore`. Entries of every source share the ring."""

    sources: tuple[str, ...] = ()

    def __init__(self, *, length: int, mode: str) -> None:
        self._length = length
        self._mode = mode
        self._since_ms = _now_ms()
        self._lock = threading.Lock()
        self._items: deque[_Item] = deque()
        self._entries = self._bytes = self._lost = self._number = 0
        self._purged_ms: int | None = None
        self._gone_ms: int | None = None

    def write(self, source: str, items: Sequence[bytes], lost: int) -> bool:  # noqa: ARG002 - all sources share the ring
        with self._lock:
            self._lost += lost
            # A clock that is set back must not order an item before older ones.
            now = max(_now_ms(), self._items[-1][0]) if self._items else _now_ms()
            for item in items:
                self._number += 1
                self._items.append((now, self._number, item))
                self._count(item, 1)
            while self._items and (self._entries > self._length or self._bytes > self._length * ENTRY_BYTES):
                self._gone_ms, _, gone = self._items.popleft()
                self._count(gone, -1)
        return False

    def note(self, source: str) -> bool:  # noqa: ARG002 - all sources share the ring
        """See `HistoryStore`. Nothing to store: the mode is that of this process."""
        return False

    def make_room(self, source: str) -> None:
        """See `HistoryStore`. Nothing to do: the ring is bounded."""

    def give_way(self, source: str) -> None:
        """See `make_room`."""

    def search(self, criteria: Criteria, limit: int, before: Position | None, is_over: Callable[[], bool]) -> Page:
        return search.search([self._texts], criteria, limit, before, is_over)

    def figures(self) -> HistoryFigures:
        with self._lock:
            return HistoryFigures(
                (ModePeriod(self._mode, self._since_ms, _now_ms()),),
                self._entries,
                self._bytes,
                self._items[0][0] if self._items else None,
                self._lost,
                self._gone_ms,
                self._purged_ms,
            )

    def purge(self, app: str) -> PurgeResult:
        start = owner_start(app)
        with self._lock:
            before = self._entries
            for item in self._items:
                if item[2].startswith(start):
                    self._count(item[2], -1)
            self._items = deque(item for item in self._items if not item[2].startswith(start))
            if before > self._entries:
                self._purged_ms = _now_ms()
            return PurgeResult(before - self._entries)

    def close(self) -> None:
        """See `HistoryStore`. There is no connection."""

    def _count(self, item: bytes, sign: int) -> None:
        self._entries += sign * item.count(b"\n")
        self._bytes += sign * (len(item) + ITEM_BYTES)

    def _texts(self, before: Position | None) -> Iterator[bytes]:
        with self._lock:
            items = [item for item in self._items if before is None or item[:2] <= (before.ms, before.number)]
        for end in range(len(items), 0, -TEXT_ITEMS):
            texts = [as_text((b"%d-%d" % item[:2], item[2])) for item in items[max(end - TEXT_ITEMS, 0) : end]]
            yield b"".join(reversed(texts))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
