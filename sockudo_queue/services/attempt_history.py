"""The attempt history of a daemon: takes entries from workers without a wait, and stores them in batches.

What waits to be stored is bounded. An entry that finds no room, or that the store does not take, is dropped and
counted; neither a worker nor a delivery ever waits for the history.
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
from sockudo_queue.history.store import HistoryStore, Loss, OutOfMemory
from sockudo_queue.runtime.backoff import Backoff

FLUSH_SECONDS: Final = 1.0
"""How long an entry waits for others, to be stored with them. A crash loses what waits."""
ROUND_SECONDS: Final = 2.0
"""How long one source is served before the next, since new entries may come as fast as a slow store takes them."""
WAKE_AT: Final = 500
"""Entries of a source that are stored without that wait."""
MOST_ROWS: Final = 10_000
MOST_BYTES: Final = 4_000_000
"""Entries of one source that may wait, and their bytes; with what Python adds, 6 MB of memory."""
BATCH_ROWS: Final = 1_000
BATCH_BYTES: Final = 200_000
"""Entries that one call stores, and their bytes. Some servers take no large request."""
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 10.0
"""Seconds until a store that did not answer is tried again."""
MEMORY_PAUSE: Final = 10.0
REFUSED_PAUSE: Final = 600.0
"""Seconds until a store is tried again that refused, for a missing right or a key of another type."""


class _Source:
    """What waits to be stored of one source, and whether the store takes it."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, bytes]] = []
        self.size = 0
        self.lost = 0  # not told to the store yet
        self.loss: Loss | None = None  # why the store did not take the last batch
        self.retry_at = 0.0
        self.backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)

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
    """Append from any thread; one thread calls `flush` every `FLUSH_SECONDS`.

    Searching asks the store, in the thread of the caller.
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
        self.dropped: dict[str, int] = dict.fromkeys(Loss, 0)
        self._store = store
        self._replica = replica
        self._log = log
        self._clock = clock
        self._sources: dict[str, _Source] = {}
        self._lock = threading.Lock()  # held for microseconds
        self._sending = threading.Lock()
        self._note_at = self._room_at = 0.0
        self._left_alone_until: dict[tuple[Callable[[str, BrokerError], None], str], float] = {}
        self.wakes = threading.Event()
        """Set when enough entries wait to be stored at once."""

    def append(self, source: str, app: str, row: bytes) -> None:
        """Keep a row to be stored, or drop it where too many wait or the store refuses. Never waits, never raises."""
        with self._lock:
            waiting = self._sources.get(source)
            if waiting is None:
                waiting = self._sources[source] = _Source()
            count = len(waiting.rows)
            if waiting.loss is Loss.REFUSED and self._clock() < waiting.retry_at:
                self._drop(waiting, Loss.REFUSED, 1)
            elif count >= MOST_ROWS or waiting.size + len(row) > MOST_BYTES:
                self._drop(waiting, Loss.FULL, 1)
            else:
                waiting.rows.append((app, row))
                waiting.size += len(row)
                if count + 1 == WAKE_AT:
                    self.wakes.set()

    def search(self, criteria: Criteria, limit: int, before: Position | None, is_over: Callable[[], bool]) -> Page:
        """Return a page of what is stored, see `HistoryStore.search`. Raises `BrokerError`."""
        return self._store.search(criteria, limit, before, is_over)

    def figures(self) -> HistoryFigures:
        """Return what the store says of itself. Raises `BrokerError`."""
        return self._store.figures()

    @property
    def is_taken(self) -> bool:
        """Tell whether the store took the last batch of every source."""
        return all(waiting.loss is None for waiting in self._sources.copy().values())

    def _look_after_store(self) -> None:
        """Give way where memory is short, and note the mode, so that an answer can name every mode that was used."""
        now = self._clock()
        if now >= self._room_at:
            self._room_at = now + MEMORY_PAUSE
            self._ask_for_each(self._store.give_way, self._log_not_shortened)
        if now >= self._note_at:
            self._note_at = now + NOTE_SECONDS
            if self._ask_for_each(self._store.note, self._log_not_noted):
                self._note_at = now

    def _ask_for_each(self, ask: Callable[[str], bool | None], log_fault: Callable[[str, BrokerError], None]) -> bool:
        """Ask the store about each source; return whether there is more to do. After a refusal a long pause follows."""
        is_more = False
        for source in self._store.sources:
            if self._clock() < self._left_alone_until.get((log_fault, source), 0.0):
                continue
            try:
                is_more |= bool(ask(source))
            except BrokerError as error:
                log_fault(source, error)
                if isinstance(error, BrokerUnavailable):  # each of the others would wait as long
                    self._note_at = self._room_at = self._clock() + LONGEST_PAUSE
                    return False
                if not isinstance(error, OutOfMemory):
                    self._left_alone_until[log_fault, source] = self._clock() + REFUSED_PAUSE
        return is_more

    def _log_not_shortened(self, source: str, error: BrokerError) -> None:
        self._log.debug("history.not_shortened", source=source, reason=str(error))

    def _log_not_noted(self, source: str, error: BrokerError) -> None:
        self._log.debug("history.mode_not_noted", source=source, reason=str(error))

    def flush(self) -> None:
        """Store what waits now, and look after what is stored. Blocks for as long as the store takes to answer."""
        self.wakes.clear()
        with self._sending:
            self._look_after_store()
            for name, waiting in self._sources.copy().items():
                until = self._clock() + ROUND_SECONDS
                # Without an entry nothing is tried that a store has refused.
                while waiting.rows or (waiting.lost and waiting.loss is not Loss.REFUSED):
                    if self._clock() < waiting.retry_at or not self._send(name, waiting) or self._clock() > until:
                        break

    def close(self) -> None:
        """Close the connections of the store."""
        self._store.close()

    def _send(self, name: str, waiting: _Source) -> bool:
        """Store one batch; return whether there may be more to do now."""
        with self._lock:
            rows, lost = waiting.take(), waiting.lost
        try:
            if self._store.write(name, packed(rows, self._replica), lost):
                self._note_at = 0.0  # it removes what is over the caps
        except BrokerError as error:
            self._failed(name, waiting, error, len(rows))
            return False
        with self._lock:
            waiting.lost -= lost
            self.written += len(rows)
            was, waiting.loss = waiting.loss, None
        waiting.backoff.reset()
        if was in (Loss.REFUSED, Loss.MEMORY):
            self._log.info("history.resumed", source=name)
        return bool(waiting.rows)

    def _failed(self, name: str, waiting: _Source, error: BrokerError, count: int) -> None:
        loss, pause = _consequence(error, waiting.backoff)
        with self._lock:
            was, waiting.loss = waiting.loss, loss
            waiting.retry_at = self._clock() + pause
            if loss is Loss.REFUSED:
                count += len(waiting.rows)
                waiting.rows, waiting.size = [], 0
            self._drop(waiting, loss, count)
        if loss is not was and loss is not Loss.UNAVAILABLE:  # an outage is reported by those who wait for jobs
            self._log.warning("history.stopped", source=name, reason=str(error))
        if loss is Loss.MEMORY:
            self._make_room(name)

    def _make_room(self, name: str) -> None:
        try:
            self._store.make_room(name)
        except BrokerError as error:
            self._log.debug("history.not_shortened", source=name, reason=str(error))

    def _drop(self, waiting: _Source, loss: Loss, count: int) -> None:
        """Count entries that are lost; called under the lock."""
        waiting.lost += count
        self.dropped[loss] += count


def _consequence(error: BrokerError, backoff: Backoff) -> tuple[Loss, float]:
    """Return what an error of the store means for a batch, and the pause that follows."""
    match error:
        case OutOfMemory():
            return Loss.MEMORY, MEMORY_PAUSE
        case BrokerUnavailable():
            return Loss.UNAVAILABLE, backoff.next()
        case _:
            return Loss.REFUSED, REFUSED_PAUSE
