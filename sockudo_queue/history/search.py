"""Searches the history page by page, the newest entries first; pure.

A store supplies texts of several items each, the newest item first. A text that does not contain a wanted name is
skipped without decoding its rows, so a search costs little more than reading the texts.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Final

import msgspec

from sockudo_queue.core.decoding import DECODE_ERRORS
from sockudo_queue.history.entry import Entry, clean, decode
from sockudo_queue.history.items import (
    StoredItem,
    first_moment,
    lines_backwards,
    owner_start,
    parsed,
    position_in,
    quoted,
    split,
)

SLACK_MS: Final = 60_000
"""Clocks differ, so an entry may be this much younger than its item. The search ends at items that are older than
`since` by more than this."""
_END: Final = 10**15
"""A time later than any real one."""
MAX_NUMBER: Final = 2**64 - 1
"""Redis refuses the id of an item with a larger number."""
_TOKEN: Final = re.compile(r"(\d{1,15})-(\d{1,20})-(\d{1,2})-(\d{1,9})", re.ASCII)


class Criteria(msgspec.Struct, frozen=True, dict=True):
    """The filters of a search. An entry must match all that are given. Times are in ms since 1970."""

    app: str | None = None
    webhook: str | None = None
    job: str | None = None
    channel: str | None = None
    event: str | None = None
    outcome: str | None = None
    reason: str | None = None
    status: int | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    @cached_property
    def wanted(self) -> Criteria:
        """The same filters with every text cut to the length that entries store."""
        texts = {name: clean(text) for name in self.__struct_fields__ if isinstance(text := getattr(self, name), str)}
        return msgspec.structs.replace(self, **texts)

    @cached_property
    def needles(self) -> tuple[bytes, ...]:
        """Byte strings that a matching item must contain, ordered by how rare they usually are in rows.

        Every row that contains the first one is decoded.
        """
        rows = [quoted(text) for text in (self.job, self.channel) if text]
        if self.reason:
            rows.append(quoted(self.reason)[:-1])  # a class of failures is a prefix of its reasons
        if self.status is not None:
            rows.append(b",%d," % self.status)
        rows += [quoted(text) for text in (self.outcome, self.webhook, self.event) if text]
        return tuple(rows)

    @cached_property
    def owner(self) -> bytes:
        """Bytes that the owner line of an item must contain; empty for every app."""
        return b"" if self.app is None else owner_start(self.app)

    def is_in(self, text: bytes) -> bool:
        """Return whether a text may contain a matching entry."""
        return self.owner in text and all(needle in text for needle in self.needles)

    def takes(self, entry: Entry) -> bool:
        """Return whether an entry matches all filters."""
        row, wanted = entry.row, self.wanted
        return (
            (wanted.app is None or entry.app == wanted.app)
            and (wanted.webhook is None or row.webhook == wanted.webhook)
            and (wanted.job is None or row.job == wanted.job)
            and (wanted.outcome is None or row.outcome == wanted.outcome)
            and (wanted.status is None or row.status == wanted.status)
            and (wanted.since_ms is None or row.at >= wanted.since_ms)
            and (wanted.until_ms is None or row.at <= wanted.until_ms)
            and (wanted.reason is None or _is_of_class(row.reason or "", wanted.reason))
            and (wanted.channel is None or wanted.channel in row.events[1::2])
            and (wanted.event is None or wanted.event in row.events[::2])
        )


def _is_of_class(reason: str, wanted: str) -> bool:
    """Return whether a reason equals the wanted one or belongs to that class: `status` is the class of `status-503`."""
    return reason == wanted or (reason.startswith(f"{wanted}-") and reason[len(wanted) + 1 :].isdigit())


class Position(msgspec.Struct, frozen=True, order=True):
    """The position of an entry: its item, the rank of the item's source, and the entry's byte offset among the rows."""

    ms: int
    number: int
    rank: int
    place: int

    @property
    def token(self) -> str:
        """The position as text. The caller passes it to get the next page."""
        return f"{self.ms}-{self.number}-{self.rank}-{self.place}"


def position_of(token: str) -> Position | None:
    """Parse a token. Returns None if it is not valid."""
    found = _TOKEN.fullmatch(token)
    position = Position(*map(int, found.groups())) if found else None
    return position if position is not None and position.number <= MAX_NUMBER else None


class Page(msgspec.Struct, frozen=True):
    """One page of entries, the newest first. `next` is the token for older ones; None if the search is complete.

    `reached_ms` is the time back to which the search has looked so far. `unreadable` counts rows and items that this
    version could not read. `refused` lists the reasons of sources that could not be read, or not to the end, so entries
    of them may be missing.
    """

    entries: tuple[Entry, ...]
    next: str | None
    reached_ms: int | None = None
    unreadable: int = 0
    refused: tuple[str, ...] = ()


Hit = tuple[Position, Entry | None, int]
"""An entry that was found. Without an entry, the position is how far the search has come, and the number counts
unreadable rows and items on the way."""

Texts = Callable[[Position | None], Iterable[bytes]]
"""Yields the texts of one source, from the newest or from the item at a position (inclusive)."""


def search(
    sources: Sequence[Texts], criteria: Criteria, limit: int, before: Position | None, is_over: Callable[[], bool]
) -> Page:
    """Return the newest entries that match and come before a position.

    The search stops early if `is_over` returns true. Its page then has `next`, and may have fewer
    entries than `limit`, even none.
    """
    found: list[Entry] = []
    unreadable, reached = 0, before
    by_source = [_hits(texts, rank, criteria, before) for rank, texts in enumerate(sources)]
    for position, entry, odd in heapq.merge(*by_source, key=lambda hit: hit[0], reverse=True):
        reached = position
        unreadable += odd
        if entry is not None:
            found.append(entry)
        if len(found) >= limit or is_over():
            return Page(tuple(found), position.token, position.ms, unreadable)
    return Page(tuple(found), None, None if reached is None else reached.ms, unreadable)


def _hits(texts: Texts, rank: int, criteria: Criteria, before: Position | None) -> Iterator[Hit]:
    """Yield the matching entries of one source, and the position of the search after each text.

    Positions only decrease. An item that breaks this order was not written by this daemon and counts as unreadable.
    """
    oldest_ms = None if criteria.since_ms is None else criteria.since_ms - SLACK_MS
    latest = Position(_END, 0, rank, 0)
    for text in texts(before):
        odd = 0
        if criteria.is_in(text):
            for item in filter(criteria.is_in, split(text)):
                stored = parsed(item)
                if stored is None or (stored.ms, stored.number) >= (latest.ms, latest.number):
                    odd += 1
                    continue
                latest = Position(stored.ms, stored.number, rank, 0)
                yield from _of_item(stored, rank, criteria, before)
        last = position_in(text, text.rfind(b"\n@") + 1)
        if last is not None and last <= (latest.ms, latest.number):
            latest = Position(*last, rank, 0)
        if latest.ms != _END and (before is None or latest < before):  # else no progress
            yield latest, None, odd
        if oldest_ms is not None and latest.ms < oldest_ms:
            return


def _of_item(stored: StoredItem, rank: int, criteria: Criteria, before: Position | None) -> Iterator[Hit]:
    end = len(stored.rows)
    if before is not None:
        item, asked = (stored.ms, stored.number, rank), (before.ms, before.number, before.rank)
        if item > asked:
            return
        end = before.place - 1 if item == asked else end
    if criteria.until_ms is not None and first_moment(stored.rows) > criteria.until_ms + SLACK_MS:
        return  # rows are stored roughly in order of time
    for place, line in lines_backwards(stored.rows, end, criteria.needles[0] if criteria.needles else b""):
        position = Position(stored.ms, stored.number, rank, place)
        entry = entry_of(stored, line)
        if entry is None:
            yield position, None, 1
        elif criteria.takes(entry):
            yield position, entry, 0


def entry_of(stored: StoredItem, line: bytes) -> Entry | None:
    """Decode one row of an item. Returns None if this version cannot read it."""
    try:
        return Entry(stored.app, stored.replica, decode(line))
    except DECODE_ERRORS:
        return None
