"""The attempt history of a daemon: accepts entries from workers without blocking, and stores them in batches.

The buffer is bounded. An entry is dropped and counted if the buffer is full or the store does not accept it, so workers
and deliveries never wait for the history.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

from sockudo_queue.errors import BrokerError, BrokerUnavailable
from sockudo_queue.history.figures import NOTE_SECONDS, HistoryFigures
from sockudo_queue.history.items import packed
from sockudo_queue.history.search import Criteria, Page, Position
from sockudo_queue.history.store import EntryLoss, HistoryStore, OutOfMemory
from sockudo_queue.runtime.backoff import Backoff

FLUSH_SECONDS: Final = 1.0
"""How long entries are collected for one batch. A crash loses the collected entries."""
ROUND_SECONDS: Final = 2.0
"""Maximum time for one source before the next one, because new entries may arrive as fast as a slow store accepts them.
"""
WAKE_AT: Final = 500
"""Number of entries of a source that triggers an immediate flush."""
MAX_ROWS: Final = 10_000
MAX_BYTES: Final = 4_000_000
"""Maximum buffered entries of one source, and their bytes; with Python's overhead, about 6 MB of memory."""
BATCH_ROWS: Final = 1_000
BATCH_BYTES: Final = 200_000
"""Maximum entries per call to the store, and their bytes. Some servers reject large requests."""
FIRST_PAUSE: Final = 1.0
MAX_PAUSE: Final = 10.0
"""Seconds until the retry after a store did not answer."""
MEMORY_PAUSE: Final = 10.0
REFUSED_PAUSE: Final = 600.0
"""Seconds until the retry after a store refused entries, because of a missing permission or a key of another type."""


class _Source:
    """The buffered entries of one source, and the result of its last batch."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, bytes]] = []
        self.size = 0
        self.lost = 0  # not reported to the store yet
        self.loss: EntryLoss | None = None  # why the store did not accept the last batch
        self.retry_at = 0.0
        self.backoff = Backoff(FIRST_PAUSE, MAX_PAUSE)

    def take(self) -> list[tuple[str, bytes]]:
        """Return the next batch."""
        count, size = 0, 0
        for _, row in self.rows[:BATCH_ROWS]:
            if count and size + len(row) > BATCH_BYTES:
                break
            count, size = count + 1, size + len(row)
        taken, self.rows = self.rows[:count], self.rows[count:]
        self.size -= size
        return taken


class AttemptHistory:
    """Buffers and stores entries. `append` is thread-safe; one thread calls `flush` every `FLUSH_SECONDS`.

    A search reads the store in the caller's thread.
    """

    def __init__(
        self,
        store: HistoryStore,
        replica: str,
        log: Any,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`replica` names this daemon in its entries."""
        self.written = 0
        self.dropped: dict[str, int] = dict.fromkeys(EntryLoss, 0)
        self._store = store
        self._replica = replica
        self._log = log
        self._clock = clock
        self._sources: dict[str, _Source] = {}
        self._lock = threading.Lock()  # held for microseconds
        self._sending = threading.Lock()
        self._note_at = self._room_at = 0.0
        self._skip_until: dict[tuple[Callable[[str, BrokerError], None], str], float] = {}
        self.wakes = threading.Event()
        """Set when enough entries are buffered for an immediate flush."""

    def append(self, source: str, app: str, row: bytes) -> None:
        """Buffer a row, or drop it if the buffer is full or the store refuses entries. Never blocks, never raises."""
        with self._lock:
            waiting = self._sources.get(source)
            if waiting is None:
                waiting = self._sources[source] = _Source()
            count = len(waiting.rows)
            if waiting.loss is EntryLoss.REFUSED and self._clock() < waiting.retry_at:
                self._drop(waiting, EntryLoss.REFUSED, 1)
            elif count >= MAX_ROWS or waiting.size + len(row) > MAX_BYTES:
                self._drop(waiting, EntryLoss.FULL, 1)
            else:
                waiting.rows.append((app, row))
                waiting.size += len(row)
                if count + 1 == WAKE_AT:
                    self.wakes.set()

    def search(self, criteria: Criteria, limit: int, before: Position | None, is_over: Callable[[], bool]) -> Page:
        """Return a page of stored entries; see `HistoryStore.search`. Raises `BrokerError`."""
        return self._store.search(criteria, limit, before, is_over)

    def figures(self) -> HistoryFigures:
        """Return the figures of the store. Raises `BrokerError`."""
        return self._store.figures()

    @property
    def is_taken(self) -> bool:
        """Whether the store accepted the last batch of every source."""
        return all(waiting.loss is None for waiting in self._sources.copy().values())

    def _maintain_store(self) -> None:
        """Shorten the history if the server is short of memory, and store the mode for readers of the history."""
        now = self._clock()
        if now >= self._room_at:
            self._room_at = now + MEMORY_PAUSE
            self._call_for_each(self._store.give_way, self._log_not_shortened)
        if now >= self._note_at:
            self._note_at = now + NOTE_SECONDS
            if self._call_for_each(self._store.note, self._log_not_noted):
                self._note_at = now

    def _call_for_each(
        self, method: Callable[[str], bool | None], log_fault: Callable[[str, BrokerError], None]
    ) -> bool:
        """Call a method of the store for each source. Returns whether more calls are needed.

        After a refusal the source is skipped for `REFUSED_PAUSE`.
        """
        is_more = False
        for source in self._store.sources:
            if self._clock() < self._skip_until.get((log_fault, source), 0.0):
                continue
            try:
                is_more |= bool(method(source))
            except BrokerError as error:
                log_fault(source, error)
                if isinstance(error, BrokerUnavailable):  # each other source would time out too
                    self._note_at = self._room_at = self._clock() + MAX_PAUSE
                    return False
                if not isinstance(error, OutOfMemory):
                    self._skip_until[log_fault, source] = self._clock() + REFUSED_PAUSE
        return is_more

    def _log_not_shortened(self, source: str, error: BrokerError) -> None:
        self._log.debug("history.not_shortened", source=source, reason=str(error))

    def _log_not_noted(self, source: str, error: BrokerError) -> None:
        self._log.debug("history.mode_not_noted", source=source, reason=str(error))

    def flush(self) -> None:
        """Store the buffered entries and maintain the store. Blocks for as long as the store takes to answer."""
        self.wakes.clear()
        with self._sending:
            self._maintain_store()
            for name, waiting in self._sources.copy().items():
                until = self._clock() + ROUND_SECONDS
                # A refusing store is called only if there is an entry to store.
                while waiting.rows or (waiting.lost and waiting.loss is not EntryLoss.REFUSED):
                    if self._clock() < waiting.retry_at or not self._send(name, waiting) or self._clock() > until:
                        break

    def close(self) -> None:
        self._store.close()

    def _send(self, name: str, waiting: _Source) -> bool:
        """Store one batch. Returns whether more can be stored now."""
        with self._lock:
            rows, lost = waiting.take(), waiting.lost
        try:
            if self._store.write(name, packed(rows, self._replica), lost):
                self._note_at = 0.0  # `note` removes items over the limits
        except BrokerError as error:
            self._failed(name, waiting, error, len(rows))
            return False
        with self._lock:
            waiting.lost -= lost
            self.written += len(rows)
            was, waiting.loss = waiting.loss, None
        waiting.backoff.reset()
        if was in (EntryLoss.REFUSED, EntryLoss.MEMORY):
            self._log.info("history.resumed", source=name)
        return bool(waiting.rows)

    def _failed(self, name: str, waiting: _Source, error: BrokerError, count: int) -> None:
        loss, pause = _consequence(error, waiting.backoff)
        with self._lock:
            was, waiting.loss = waiting.loss, loss
            waiting.retry_at = self._clock() + pause
            if loss is EntryLoss.REFUSED:
                count += len(waiting.rows)
                waiting.rows, waiting.size = [], 0
            self._drop(waiting, loss, count)
        if loss is not was and loss is not EntryLoss.UNAVAILABLE:  # `pipeline.broker_status` reports an outage
            self._log.warning("history.stopped", source=name, reason=str(error))
        if loss is EntryLoss.MEMORY:
            self._make_room(name)

    def _make_room(self, name: str) -> None:
        try:
            self._store.make_room(name)
        except BrokerError as error:
            self._log.debug("history.not_shortened", source=name, reason=str(error))

    def _drop(self, waiting: _Source, loss: EntryLoss, count: int) -> None:
        """Count lost entries. The caller holds the lock."""
        waiting.lost += count
        self.dropped[loss] += count


def _consequence(error: BrokerError, backoff: Backoff) -> tuple[EntryLoss, float]:
    """Return the kind of loss for an error of the store, and the pause before the next call."""
    match error:
        case OutOfMemory():
            return EntryLoss.MEMORY, MEMORY_PAUSE
        case BrokerUnavailable():
            return EntryLoss.UNAVAILABLE, backoff.next()
        case _:
            return EntryLoss.REFUSED, REFUSED_PAUSE
