"""The search: every filter, pages that neither lose nor repeat an entry, and whatever stands in the store."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator

import pytest

from sockudo_queue.history.entry import Entry, EntryRow, encode
from sockudo_queue.history.items import MAX_BYTES, MAX_ROWS, as_text, owner_start, packed, split
from sockudo_queue.history.search import SLACK_MS, Criteria, Page, Position, Texts, position_of, search

NOW = 1_751_100_000_000


def row(number: int = 1, **fields: object) -> EntryRow:
    given = {"events": ["channel_occupied", f"room-{number}"], "status": 503, "reason": "status-503"} | fields
    return EntryRow(NOW + number, f"job-{number}", "orders", 1, "retryable", took_ms=5, **given)  # type: ignore[arg-type]


def item(*rows: EntryRow, app: str = "shop", replica: str = "pod:1") -> bytes:
    [packed_item] = packed([(app, encode(each)) for each in rows], replica)
    return packed_item


def source(*items: tuple[int, bytes]) -> Texts:
    """Return a source with items at moments after `NOW`, given the oldest first; a text holds two of them."""
    stored = [
        (NOW + ms, number, as_text((b"%d-%d" % (NOW + ms, number), each))) for number, (ms, each) in enumerate(items)
    ]

    def texts(before: Position | None) -> Iterator[bytes]:
        end = (before.ms, before.number) if before else (NOW * 2, 0)
        wanted = [text for ms, number, text in reversed(stored) if (ms, number) <= end]
        yield from (b"".join(wanted[start : start + 2]) for start in range(0, len(wanted), 2))

    return texts


def find(criteria: Criteria, *sources: Texts, limit: int = 100, before: Position | None = None) -> Page:
    return search(sources, criteria, limit, before, lambda: False)


def jobs_in(page: Page) -> list[str]:
    return [entry.row.job for entry in page.entries]


def test_newest_entry_comes_first() -> None:
    stored = source((1, item(row(1), row(2))), (2, item(row(3))), (3, item(row(4), row(5))))
    assert jobs_in(find(Criteria(), stored)) == ["job-5", "job-4", "job-3", "job-2", "job-1"]


def test_entries_of_several_sources_are_merged_by_their_items() -> None:
    one, two = source((1, item(row(1))), (5, item(row(5)))), source((3, item(row(3))), (9, item(row(9))))
    assert jobs_in(find(Criteria(), one, two)) == ["job-9", "job-5", "job-3", "job-1"]


@pytest.mark.parametrize(
    "criteria",
    [
        Criteria(app="other"),
        Criteria(webhook="chat log"),
        Criteria(job="job-2"),
        Criteria(channel='odd "channel"\n'),
        Criteria(event="member_added"),
        Criteria(outcome="delivered"),
        Criteria(reason="read-timeout"),
        Criteria(status=404),
        Criteria(since_ms=NOW + 500_000),
        Criteria(until_ms=NOW - 500_000),
    ],
)
def test_each_filter_finds_its_entry_alone(criteria: Criteria) -> None:
    special = {
        "app": item(row(1), app="other"),
        "webhook": item(row(1), EntryRow(NOW, "j", "chat log", 1, "retryable"), row(3)),
        "job": item(row(1), row(2), row(3)),
        "channel": item(row(1), row(2, events=["channel_occupied", 'odd "channel"\n']), row(3)),
        "event": item(row(1), row(2, events=["x", "y", "member_added", "z"]), row(3)),
        "outcome": item(row(1), EntryRow(NOW, "j", "orders", 2, "delivered", None, 200), row(3)),
        "reason": item(row(1), row(2, reason="read-timeout", status=None), row(3)),
        "status": item(row(1), row(2, reason="status-404", status=404), row(3)),
        "since_ms": item(row(1), row(600_000)),
        "until_ms": item(row(-600_000), row(1)),
    }
    [wanted] = [name for name in special if getattr(criteria, name) is not None]
    page = find(criteria, source((1, item(row(11), row(13))), (2, special[wanted]), (3, item(row(15)))))
    assert len(page.entries) == 1
    assert page.next is None


def test_reason_may_be_a_class() -> None:
    stored = source((1, item(row(1), row(2, reason="status-404", status=404), row(3, reason="refused", status=None))))
    assert jobs_in(find(Criteria(reason="status"), stored)) == ["job-2", "job-1"]
    assert jobs_in(find(Criteria(reason="status-50"), stored)) == []


@pytest.mark.parametrize("app", ["a" * 255, "é\u202e\x1b[31m" * 60, '"quoted\\', "@1-1 [", "😀" * 300, "\ud800"])
def test_odd_and_long_app_is_found_by_its_name(app: str) -> None:
    stored = source((1, item(row(1), app="shop")), (2, item(row(2), app=app)))
    assert jobs_in(find(Criteria(app=app), stored)) == ["job-2"]
    assert item(row(2), app=app).startswith(owner_start(app))


def test_name_that_is_longer_than_an_entry_keeps_is_found() -> None:
    stored = source((1, item(row(1, events=["channel_occupied", "c" * 255]))))
    assert jobs_in(find(Criteria(channel="c" * 400), stored)) == ["job-1"]


def test_name_that_another_name_contains_is_not_found() -> None:
    assert not find(Criteria(channel="room"), source((1, item(row(1))))).entries
    assert not find(Criteria(event="room-1"), source((1, item(row(1))))).entries


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 1_000])
@pytest.mark.parametrize("criteria", [Criteria(), Criteria(channel="room-1"), Criteria(webhook="orders", status=404)])
def test_pages_hold_every_entry_once(limit: int, criteria: Criteria) -> None:
    chance = random.Random(limit)
    numbers = itertools.count()

    def some() -> list[tuple[int, bytes]]:
        def one() -> EntryRow:
            status = chance.choice([404, 503])
            events = ["channel_occupied", f"room-{chance.randrange(3)}"]
            return EntryRow(
                NOW, f"job-{next(numbers)}", "orders", 1, "retryable", f"status-{status}", status, 0, events
            )

        return [(ms, item(*(one() for _ in range(chance.randrange(1, 5))))) for ms in range(0, 60, 3)]

    sources = [source(*some()), source(*some()), source()]
    everything = [entry.row.job for entry in find(Criteria(), *sources, limit=10_000).entries if criteria.takes(entry)]
    paged, before = list[str](), None
    for _ in range(len(everything) + 3):
        page = find(criteria, *sources, limit=limit, before=before)
        paged += jobs_in(page)
        if page.next is None:
            break
        before = position_of(page.next)
    assert paged == everything


def test_search_that_is_cut_short_goes_on_where_it_stopped() -> None:
    stored = source(*((ms, item(row(ms))) for ms in range(20)))
    found, before, pages = list[str](), None, 0
    while True:
        page = search([stored], Criteria(channel="room-3"), 10, before, lambda: True)
        found += jobs_in(page)
        pages += 1
        if page.next is None:
            break
        before = position_of(page.next)
    assert found == ["job-3"]
    assert pages > 5


def test_search_ends_at_items_older_than_the_requested_time() -> None:
    read = list[bytes]()

    def texts(before: Position | None) -> Iterator[bytes]:
        for ms in (3 * SLACK_MS, 2 * SLACK_MS, SLACK_MS, 0):
            read.append(text := as_text((b"%d-0" % (NOW + ms), item(row(ms)))))
            yield text

    page = find(Criteria(since_ms=NOW + 3 * SLACK_MS), texts)
    assert jobs_in(page) == [f"job-{3 * SLACK_MS}"]
    assert len(read) == 3


@pytest.mark.parametrize(
    "odd",
    [
        b"",
        b"rubbish",
        b"[1]\n[2]",
        b'["shop","pod"]\nrubbish\n{}\n[1,2]',
        b'["shop"]\n' + encode(row(1)),
        b"\xff" * 10,
        b'["shop","pod"]\n@9999999999999-0 ["shop","pod"]\n' + encode(row(1)),
        b"[" * 5_000,
    ],
)
def test_item_that_no_version_wrote_ends_no_search(odd: bytes) -> None:
    stored = source((1, item(row(1))), (2, odd), (3, item(row(3))))
    page = find(Criteria(), stored)
    assert [job for job in jobs_in(page) if job in ("job-1", "job-3")][:1] == ["job-3"]
    assert "job-1" in jobs_in(page)
    assert page.next is None
    before, seen = None, 0
    while seen < 20:
        page = find(Criteria(), stored, limit=1, before=before)
        seen += 1
        if page.next is None:
            break
        before = position_of(page.next)
    assert seen < 20


def test_row_of_another_version_is_counted() -> None:
    stored = source((1, b'["shop","pod"]\n{"new":"form"}\n' + encode(row(1))))
    page = find(Criteria(), stored)
    assert (jobs_in(page), page.unreadable) == (["job-1"], 1)


@pytest.mark.parametrize(
    "token",
    ["", "x", "1-2-3", "1-2-3-4-5", "-1-0-0-0", "1" * 30 + "-0-0-0", f"1-{2**64}-0-0", "1-0-0-0\n", "\uff11-0-0-0"],
)
def test_text_that_is_no_token_is_refused(token: str) -> None:
    assert position_of(token) is None


def test_rows_are_packed_by_app_and_within_bounds() -> None:
    rows = [(f"app-{number % 2}", b"[%d]" % number) for number in range(2 * MAX_ROWS + 100)]
    items = packed(rows, "pod")
    assert [each.count(b"\n") for each in items] == [MAX_ROWS, 50, MAX_ROWS, 50]
    large = packed([("a", b"x" * (MAX_BYTES // 2 - 10))] * 3 + [("a", b"x" * (2 * MAX_BYTES))], "pod")
    assert [each.count(b"\n") for each in large] == [2, 1, 1]


def test_text_is_split_into_its_items() -> None:
    texts = [as_text((b"%d-0" % number, item(row(number)))) for number in range(3)]
    assert list(split(b"".join(texts))) == texts
    assert list(split(b"")) == []


def test_items_without_the_searched_text_are_skipped_without_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: Callable[..., Entry] | None = None
    monkeypatch.setattr("sockudo_queue.history.search.entry_of", decoded)
    assert not find(Criteria(channel="nowhere"), source((1, item(*(row(n) for n in range(500)))))).entries


def test_rows_are_searched_for_the_rarest_filter() -> None:
    """Every row that contains the first needle is decoded."""
    texts = {"job": "j", "channel": "c", "reason": "r", "status": 503, "outcome": "o", "webhook": "w", "event": "e"}
    needles = Criteria(**texts).needles  # type: ignore[arg-type]
    assert needles == (b'"j"', b'"c"', b'"r', b",503,", b'"o"', b'"w"', b'"e"')


def test_item_fits_into_the_64_kb_size_class_of_an_allocator() -> None:
    rows = [("a" * 255, b"x" * 300)] * 1_000
    assert all(60_000 < len(each) < 65_536 - 500 for each in packed(rows, "pod:1" * 50)[:-1])
