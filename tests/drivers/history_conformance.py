"""The behaviour that every store of the attempt history shows.

A test module gives a fixture `history` with a `HistoryUnderTest` and inherits from `HistoryConformance`.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

import pytest

from sockudo_queue.history.entry import EntryRow, encode
from sockudo_queue.history.items import packed
from sockudo_queue.history.search import Criteria, Page, position_of
from sockudo_queue.history.store import ENTRY_BYTES, HistoryStore, PurgeResult

LENGTH: Final = 1_000
NOW: Final = 1_751_100_000_000
ODD: Final = ("a" * 255, 'é"\\\n\x00\x1b[31m' * 20, "😀" * 255, "@1-1 [", "[", "")


class HistoryUnderTest(Protocol):
    """An empty history; `store` makes another instance on it, as another process would have."""

    source: str

    def store(self, *, length: int = LENGTH, mode: str = "all") -> HistoryStore: ...


def row(number: int = 1, **fields: object) -> EntryRow:
    given: dict[str, object] = {"events": ["channel_occupied", f"room-{number}"], "reason": "status-503", "status": 503}
    given |= fields
    return EntryRow(NOW + number, f"job-{number}", "orders", 1, "retryable", took_ms=5, **given)  # type: ignore[arg-type]


def write(store: HistoryStore, source: str, *rows: EntryRow, app: str = "shop", lost: int = 0) -> None:
    store.write(source, packed([(app, encode(each)) for each in rows], "pod:1"), lost)


def find(store: HistoryStore, limit: int = 10_000, **criteria: object) -> Page:
    return store.search(Criteria(**criteria), limit, None, lambda: False)  # type: ignore[arg-type]


def jobs_in(page: Page) -> list[str]:
    return [entry.row.job for entry in page.entries]


class HistoryConformance:
    def test_empty_history_says_so(self, history: HistoryUnderTest) -> None:
        store = history.store()
        assert find(store) == Page((), None)
        figures = store.figures()
        assert (figures.entries, figures.bytes, figures.oldest_ms, figures.dropped) == (0, 0, None, 0)
        assert not figures.refused

    def test_written_entries_are_found_newest_first(self, history: HistoryUnderTest) -> None:
        store = history.store()
        write(store, history.source, row(1), row(2))
        write(store, history.source, row(3))
        page = find(store)
        assert jobs_in(page) == ["job-3", "job-2", "job-1"]
        assert next((entry.app, entry.replica, entry.row) for entry in page.entries) == ("shop", "pod:1", row(3))
        assert jobs_in(find(store, channel="room-2")) == ["job-2"]
        figures = store.figures()
        assert (figures.current_modes, figures.entries, figures.dropped) == (("all",), 3, 0)
        assert figures.oldest_ms is not None
        assert figures.complete_from_ms is None

    @pytest.mark.parametrize("app", ODD)
    def test_odd_names_are_kept(self, history: HistoryUnderTest, app: str) -> None:
        store = history.store()
        write(store, history.source, row(1), app="shop")
        write(store, history.source, row(2, events=[app, app], reason=app), app=app)
        assert jobs_in(find(store, app=app)) == ["job-2"]
        assert jobs_in(find(store, channel=app)) == ["job-2"]
        assert jobs_in(find(store, reason=app or None, event=app)) == ["job-2"]

    def test_pages_go_on_where_the_one_before_ended(self, history: HistoryUnderTest) -> None:
        store = history.store()
        for number in range(30):
            write(store, history.source, row(2 * number), row(2 * number + 1))
        paged, token = list[str](), None
        while True:
            page = store.search(Criteria(), 7, position_of(token) if token else None, lambda: False)
            paged += jobs_in(page)
            token = page.next
            write(store, history.source, row(1_000 + len(paged)))  # what comes meanwhile changes no older page
            if token is None:
                break
        assert paged == [f"job-{number}" for number in reversed(range(60))]

    def test_entries_are_capped(self, history: HistoryUnderTest) -> None:
        store = history.store(length=100)
        for number in range(0, 1_000, 10):
            write(store, history.source, *(row(each) for each in range(number, number + 10)))
            assert store.figures().entries <= 100
        assert jobs_in(find(store)) == [f"job-{number}" for number in reversed(range(900, 1_000))]
        figures = store.figures()
        assert figures.dropped == 0
        assert figures.complete_from_ms is not None
        assert figures.oldest_ms is not None
        assert figures.complete_from_ms <= figures.oldest_ms

    def test_many_items_in_one_call_are_capped(self, history: HistoryUnderTest) -> None:
        store = history.store(length=1_000)
        items = packed([(f"app-{number}", encode(row(number))) for number in range(1_000)], "pod:1")
        for _ in range(4):
            store.write(history.source, items, 0)
            assert store.figures().entries <= 1_000

    def test_history_within_its_caps_and_a_server_with_memory_is_left_as_it_is(self, history: HistoryUnderTest) -> None:
        store = history.store()
        write(store, history.source, row(1), row(2))
        assert not store.note(history.source)
        store.give_way(history.source)
        assert jobs_in(find(store)) == ["job-2", "job-1"]
        assert store.figures().complete_from_ms is None

    def test_bytes_are_capped(self, history: HistoryUnderTest) -> None:
        store = history.store(length=100)
        for number in range(200):
            write(store, history.source, row(number, events=["e", "c" * 255] * 20))
            assert store.figures().bytes <= 100 * ENTRY_BYTES
        assert 1 <= store.figures().entries < 20
        assert jobs_in(find(store))[0] == "job-199"

    def test_single_item_above_the_caps_is_removed_by_the_next_write(self, history: HistoryUnderTest) -> None:
        store = history.store(length=100)
        write(store, history.source, *(row(number) for number in range(500)))
        write(store, history.source, row(501))
        assert jobs_in(find(store)) == ["job-501"]
        assert store.figures().entries == 1

    def test_lowered_length_is_reached_gradually(self, history: HistoryUnderTest) -> None:
        large = history.store(length=10_000)
        for number in range(2_000):
            write(large, history.source, row(number))
        small = history.store(length=100)
        if find(small).entries:  # the same one, seen by another process
            for number in range(3):
                write(small, history.source, row(2_000 + number))
            assert small.figures().entries <= 100
            assert jobs_in(find(small))[0] == "job-2002"

    def test_lost_entries_are_counted(self, history: HistoryUnderTest) -> None:
        store = history.store()
        write(store, history.source, row(1), lost=3)
        write(store, history.source, lost=4)
        assert store.figures().dropped == 7

    def test_entries_of_an_app_are_removed_and_no_others(self, history: HistoryUnderTest) -> None:
        store = history.store()
        for number, app in enumerate(("shop", "shop2", "sho", '"shop"', "shop") * 60):
            write(store, history.source, row(number), app=app)
        assert store.figures().purged_ms is None
        assert store.purge("shop") == PurgeResult(120)
        assert store.purge("shop") == PurgeResult(0)
        page = find(store)
        assert {entry.app for entry in page.entries} == {"shop2", "sho", '"shop"'}
        figures = store.figures()
        assert (len(page.entries), figures.entries) == (180, 180)
        assert figures.purged_ms is not None
        assert sum(store.purge(app).entries for app in ("shop2", "sho", '"shop"')) == 180
        assert (store.figures().entries, store.figures().bytes) == (0, 0)

    def test_many_threads_write_and_search_at_the_same_time(self, history: HistoryUnderTest) -> None:
        store, ended = history.store(length=10_000), threading.Event()

        def search() -> None:
            while not ended.is_set():
                jobs = jobs_in(find(store))
                assert len(jobs) == len(set(jobs))

        def fill(first: int) -> None:
            for number in range(first, first + 50):
                write(store, history.source, row(number))

        with ThreadPoolExecutor(5) as pool:
            searching = pool.submit(search)
            writers = [pool.submit(fill, first) for first in (0, 1_000, 2_000, 3_000)]
            for each in writers:
                each.result(30)
            ended.set()
            searching.result(30)
        assert len(find(store).entries) == 200 == store.figures().entries
