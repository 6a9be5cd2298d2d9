"""An entry of the history: bounded, readable by later and earlier versions, and without a body or a secret."""

from __future__ import annotations

import json

import msgspec
import pytest

from sockudo_queue.core.decoding import DECODE_ERRORS
from sockudo_queue.core.job import Event
from sockudo_queue.history.entry import (
    EVENTS_TEXT,
    LONGEST_TEXT,
    MOST_EVENTS,
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
    assert decode(json.dumps([*json.loads(encode(FULL)), {"new": 1}]).encode()) == FULL


def test_row_of_the_first_elements_is_read() -> None:
    assert decode(b'[1,"j","orders",1,"delivered"]') == EntryRow(1, "j", "orders", 1, "delivered")


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
    assert (len(names), more) == (2 * MOST_EVENTS, 100 - MOST_EVENTS)


def test_long_names_are_cut_and_one_event_is_always_named() -> None:
    names, more = names_of([event("n" * 5_000, "😀" * 5_000)] * 5, channels=True)
    assert all(len(name) == LONGEST_TEXT for name in names)
    assert sum(map(len, names)) <= EVENTS_TEXT
    assert len(names) // 2 + more == 5
    assert len(names_of([event("n" * 5_000, "c" * 5_000)], channels=True)[0]) == 2
