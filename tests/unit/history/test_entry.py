"""An entry of the history: bounded, readable by later and earlier versions, and without a body or a secret."""

from __future__ import annotations

import json

import msgspec
import pytest

from sockudo_queue.core.decoding import DECODE_ERRORS
from sockudo_queue.core.job import Event
from sockudo_queue.history.entry import (
    EVENTS_TEXT,
    MAX_EVENTS,
    MAX_TEXT_LENGTH,
    Entry,
    EntryRow,
    decode,
    encode,
    names_of,
)

FULL = EntryRow(
    1_751_100_000_000, "j1", "orders", 2, "retryable", "status-503", 503, 12, ["channel_occupied", "room-1"], 3
)


def event(name: str = "channel_occupied", channel: str = "room-1") -> Event:
    return Event(name, channel, msgspec.Raw(b'{"secret":"CANARY"}'))


@pytest.mark.parametrize(
    "row", [FULL, EntryRow(0, "", "", 0, "dead-letter"), EntryRow(1, "j", "\n\u2028😀", 1, "delivered")]
)
def test_row_that_is_encoded_can_be_decoded(row: EntryRow) -> None:
    line = encode(row)
    assert b"\n" not in line
    assert decode(line) == row


def test_row_of_a_later_version_with_more_elements_is_read() -> None:
    assert decode(json.dumps([*json.loads(encode(FULL)), None, None, {"new": 1}]).encode()) == FULL


def test_row_of_the_first_elements_is_read() -> None:
    assert decode(b'[1,"j","orders",1,"delivered"]') == EntryRow(1, "j", "orders", 1, "delivered")


class RowBeforeTraces(msgspec.Struct, array_like=True):
    """The row of the version before, which still runs beside this one during an upgrade."""

    at: int
    job: str
    webhook: str
    attempt: int
    outcome: str
    reason: str | None = None
    status: int | None = None
    took_ms: int = 0
    events: list[str] = []
    more: int = 0


def test_row_with_a_trace_is_read_by_the_version_before_and_the_other_way_round() -> None:
    traced = msgspec.structs.replace(FULL, trace_id="4bf92f3577b34da6a3ce929d0e0e4736", span_id="00f067aa0ba902b7")
    assert decode(encode(traced)) == traced
    before = msgspec.json.decode(encode(traced), type=RowBeforeTraces)
    assert msgspec.structs.astuple(before) == msgspec.structs.astuple(FULL)[:10]
    assert decode(msgspec.json.encode(before)) == FULL


def test_row_without_a_trace_takes_no_more_bytes_than_before() -> None:
    assert encode(FULL) == msgspec.json.encode(RowBeforeTraces(*msgspec.structs.astuple(FULL)[:10]))


@pytest.mark.parametrize("place", [0, 3, 6, 7, 9])
@pytest.mark.parametrize("number", ["-1", "9" * 400, "9" * 5_000])
def test_row_with_a_number_that_cannot_be_shown_raises_a_decode_error(place: int, number: str) -> None:
    values = ["1", '"j"', '"w"', "1", '"delivered"', "null", "200", "1", "[]", "0"]
    values[place] = number
    with pytest.raises(DECODE_ERRORS):
        decode(f"[{','.join(values)}]".encode())


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b"[" * 10_000, b'["1"]', b"\xff", b'[1,"j","w",1,5]'])
def test_row_of_another_form_raises_a_decode_error(line: bytes) -> None:
    with pytest.raises(DECODE_ERRORS):
        decode(line)


def test_name_with_half_a_surrogate_pair_is_stored_with_a_question_mark() -> None:
    row = decode(encode(msgspec.structs.replace(FULL, webhook="a\ud800", events=["\udfff", "c"])))
    assert (row.webhook, row.events) == ("a?", ["?", "c"])


def test_events_are_named_without_their_bytes() -> None:
    names, more = names_of([event(), event("member_added", "presence-a")], channels=True)
    assert (names, more) == (["channel_occupied", "room-1", "member_added", "presence-a"], 0)
    assert b"CANARY" not in encode(msgspec.structs.replace(FULL, events=names))
    assert Entry("shop", "pod:1", FULL).events == [("channel_occupied", "room-1")]


def test_channels_are_left_out_where_they_are_not_wanted() -> None:
    assert names_of([event()], channels=False) == (["channel_occupied", ""], 0)


def test_events_beyond_the_limit_are_counted() -> None:
    names, more = names_of([event()] * 100, channels=True)
    assert (len(names), more) == (2 * MAX_EVENTS, 100 - MAX_EVENTS)


def test_long_names_are_cut_and_one_event_is_always_named() -> None:
    names, more = names_of([event("n" * 5_000, "😀" * 5_000)] * 5, channels=True)
    assert all(len(name) == MAX_TEXT_LENGTH for name in names)
    assert sum(map(len, names)) <= EVENTS_TEXT
    assert len(names) // 2 + more == 5
    assert len(names_of([event("n" * 5_000, "c" * 5_000)], channels=True)[0]) == 2
