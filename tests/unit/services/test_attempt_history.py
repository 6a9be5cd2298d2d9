"""Entries that wait to be stored: bounded, never blocking, and counted if they are lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from sockudo_queue.drivers import ring_history
from sockudo_queue.drivers.ring_history import RingHistory
from sockudo_queue.errors import BrokerError, BrokerRefused, BrokerUnavailable
from sockudo_queue.history.entry import EntryRow, encode
from sockudo_queue.history.search import Criteria
from sockudo_queue.history.store import OutOfMemory
from sockudo_queue.services.attempt_history import (
    BATCH_ROWS,
    MAX_BYTES,
    MAX_PAUSE,
    MAX_ROWS,
    MEMORY_PAUSE,
    REFUSED_PAUSE,
    AttemptHistory,
)

ROW = encode(EntryRow(1, "j", "orders", 1, "retryable", "status-503", 503))


class HistoryStore(RingHistory):
    """A ring that fails on request, and records its calls."""

    def __init__(self) -> None:
        super().__init__(length=100_000, mode="all")
        self.error: BrokerError | None = None
        self.calls: list[tuple[str, int, int]] = []
        self.made_room = 0
        self.asked: list[tuple[str, str]] = []
        self.asked_error: BrokerError | None = None
        self.unfinished = 0

    def note(self, source: str) -> bool:
        self._ask("note", source)
        self.unfinished = max(self.unfinished - 1, 0)
        return self.unfinished > 0

    def give_way(self, source: str) -> None:
        self._ask("give way", source)

    def _ask(self, what: str, source: str) -> None:
        self.asked.append((what, source))
        if self.asked_error is not None:
            raise self.asked_error

    def write(self, source: str, items: Sequence[bytes], lost: int) -> bool:
        self.calls.append((source, sum(each.count(b"\n") for each in items), lost))
        if self.error is not None:
            raise self.error
        super().write(source, items, lost)
        return self.unfinished > 0

    def make_room(self, source: str) -> None:
        self.made_room += 1


class Log:
    def __init__(self) -> None:
        self.events: list[str] = []

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda event, **fields: self.events.append(event)


class World:
    def __init__(self) -> None:
        self.store, self.log, self.now = HistoryStore(), Log(), 0.0
        log: Any = self.log
        self.history = AttemptHistory(self.store, "pod:1", log, lambda: self.now)

    def append(self, count: int = 1, source: str = "list", row: bytes = ROW) -> None:
        for _ in range(count):
            self.history.append(source, "shop", row)

    @property
    def lost(self) -> dict[str, int]:
        return {reason: count for reason, count in self.history.dropped.items() if count}


def test_entries_are_stored_in_batches() -> None:
    world = World()
    world.append(BATCH_ROWS + 10)
    world.history.flush()
    assert [count for _, count, _ in world.store.calls] == [BATCH_ROWS, 10]
    assert (world.history.written, world.lost, world.history.is_taken) == (BATCH_ROWS + 10, {}, True)
    assert len(world.history.search(Criteria(), 2_000, None, lambda: False).entries) == BATCH_ROWS + 10


def test_store_is_not_called_without_entries() -> None:
    world = World()
    world.history.flush()
    world.append()
    world.history.flush()
    world.history.flush()
    assert len(world.store.calls) == 1


def test_entry_that_finds_no_room_is_dropped_and_counted() -> None:
    world = World()
    world.append(MAX_ROWS + 7)
    assert world.lost == {"full": 7}
    world.history.flush()
    assert world.history.figures().dropped == 7
    assert world.history.written == MAX_ROWS


def test_bytes_that_wait_are_bounded() -> None:
    world = World()
    world.append(10, row=b"x" * (MAX_BYTES // 4))
    assert world.lost == {"full": 6}


def test_sources_have_room_of_their_own() -> None:
    world = World()
    world.append(MAX_ROWS + 1, "full")
    world.append(1, "other")
    world.history.flush()
    assert world.lost == {"full": 1}
    assert ("other", 1, 0) in world.store.calls


def test_batch_that_gets_no_answer_is_lost_and_the_others_wait() -> None:
    world = World()
    world.append(BATCH_ROWS + 10)
    world.store.error = BrokerUnavailable("silent")
    for _ in range(50):
        world.history.flush()
    assert len(world.store.calls) == 1  # it is not asked again and again
    assert (world.lost, world.history.is_taken) == ({"unavailable": BATCH_ROWS}, False)
    world.store.error, world.now = None, MAX_PAUSE
    world.history.flush()
    assert (world.history.written, world.history.is_taken) == (10, True)
    assert world.history.figures().dropped == BATCH_ROWS
    assert world.log.events == []  # others report an outage


def test_store_without_memory_is_asked_to_make_room_and_tried_later() -> None:
    world = World()
    world.store.error = OutOfMemory("used memory > maxmemory")
    for _ in range(3):
        world.append(2)
        world.history.flush()
        world.now += MEMORY_PAUSE
    assert (world.lost, world.store.made_room) == ({"memory": 6}, 3)
    assert world.log.events == ["history.stopped"]
    world.store.error = None
    world.append()
    world.history.flush()
    assert world.log.events == ["history.stopped", "history.resumed"]


def test_store_that_refuses_is_left_alone_with_one_warning() -> None:
    world = World()
    world.store.error = BrokerRefused("no permissions to run the 'xadd' command")
    world.append(3)
    world.history.flush()
    for _ in range(10):
        world.append()
        world.history.flush()
        world.now += REFUSED_PAUSE / 20
    assert (len(world.store.calls), world.log.events, world.lost) == (1, ["history.stopped"], {"refused": 13})
    world.now = REFUSED_PAUSE
    world.history.flush()
    assert len(world.store.calls) == 1  # a call without an entry would be useless
    world.append()
    world.history.flush()
    assert (len(world.store.calls), world.log.events) == (2, ["history.stopped"])
    world.store.error, world.now = None, 2 * REFUSED_PAUSE
    world.append()
    world.history.flush()
    assert world.log.events == ["history.stopped", "history.resumed"]
    assert world.history.figures().dropped == 14


@pytest.mark.parametrize("error", [BrokerUnavailable("x"), BrokerRefused("x"), OutOfMemory("x")])
def test_memory_stays_bounded_while_the_store_takes_nothing(error: BrokerError) -> None:
    world = World()
    world.store.error = error
    for _ in range(30):
        world.append(1_000)
        world.history.flush()
        world.now += 1
    waiting = sum(len(each.rows) for each in world.history._sources.values())
    assert waiting <= MAX_ROWS
    assert waiting + sum(world.history.dropped.values()) == 30_000


def asking_world() -> World:
    world = World()
    world.store.sources = ("list", "other")
    return world


def test_store_is_looked_after_now_and_then_without_any_entry() -> None:
    world = asking_world()
    for _ in range(181):
        world.history.flush()
        world.now += 1.0
    asked = Counter(world.store.asked)
    assert asked["note", "list"] == asked["note", "other"] == 4
    assert asked["give way", "list"] == 19
    assert world.store.calls == []


def test_older_items_over_the_caps_are_removed_step_by_step() -> None:
    world = asking_world()
    world.history.flush()
    world.store.unfinished = 7
    world.append()
    world.history.flush()
    world.store.asked.clear()
    for _ in range(10):
        world.history.flush()
        world.now += 0.1
    assert Counter(world.store.asked)["note", "list"] == 4


def test_store_that_refuses_to_be_looked_after_is_left_alone_for_long() -> None:
    world = asking_world()
    world.store.asked_error = BrokerRefused("no permissions")
    for _ in range(100):
        world.history.flush()
        world.now += 1.0
    assert Counter(world.store.asked) == {
        ("note", "list"): 1,
        ("note", "other"): 1,
        ("give way", "list"): 1,
        ("give way", "other"): 1,
    }
    assert set(world.log.events) == {"history.mode_not_noted", "history.not_shortened"}
    assert world.history.is_taken


def test_silent_store_is_asked_about_one_source_and_not_often() -> None:
    world = asking_world()
    world.store.asked_error = BrokerUnavailable("silent")
    for _ in range(int(MAX_PAUSE)):
        world.history.flush()
        world.now += 1.0
    assert world.store.asked == [("give way", "list")]


def test_source_that_fills_as_fast_as_it_is_stored_keeps_no_other_waiting() -> None:
    world = World()
    written = world.store.write

    def write_slowly(source: str, items: Sequence[bytes], lost: int) -> bool:
        is_more = written(source, items, lost)
        world.now += 0.1
        if source == "busy" and len(world.store.calls) < 1_000:
            world.append(source="busy")
        return is_more

    world.store.write = write_slowly  # type: ignore[method-assign]
    world.append(source="busy")
    world.append(source="quiet")
    world.history.flush()
    assert world.store.calls[-1][0] == "quiet"
    assert len(world.store.calls) < 50


def test_entries_after_a_clock_was_set_back_are_found_with_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    for now in (1_000_000, 500_000, 1_000_001):
        monkeypatch.setattr(ring_history, "_now_ms", lambda now=now: now)
        world.append()
        world.history.flush()
    page = world.store.search(Criteria(), 10, None, lambda: False)
    assert (len(page.entries), page.unreadable) == (3, 0)
