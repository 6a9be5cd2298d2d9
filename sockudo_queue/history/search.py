"""Searches the history, the newest entries first, a page at a time; pure.

A store gives its texts, each with some items, the newest item first. A text that lacks a name which is looked for is
passed over without a look at its rows, so a search costs little more than reading the texts.
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
    Stored,
    first_moment,
    lines_backwards,
    owner_start,
    parsed,
    position_in,
    quoted,
    split,
)

SLACK_MS: Final = 60_000
"""By how much an entry may be younger than the item that holds it, because of clocks. Items that are older than this
before `since` are not looked at."""
_END: Final = 10**15
"""A moment after every other."""
LARGEST_NUMBER: Final = 2**64 - 1
"""Redis refuses the id of an item with a larger number."""
_TOKEN: Final = re.compile(r"(\d{1,15})-(\d{1,20})-(\d{1,2})-(\d{1,9})", re.ASCII)


class Criteria(msgspec.Struct, frozen=True, dict=True):
    """Which entries are wanted. Everything that is given must hold. Times are in ms since 1970."""

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
        """The same with every text cut as it is in entries."""
        texts = {name: clean(text) for name in self.__struct_fields__ if isinstance(text := getattr(self, name), str)}
        return msgspec.structs.replace(self, **texts)

    @cached_property
    def needles(self) -> tuple[bytes, ...]:
        """What the bytes of an item must hold; the first is the rarest in rows."""
        rows = [quoted(text) for text in (self.job, self.channel, self.webhook, self.event, self.outcome) if text]
        if self.reason:
            rows.append(quoted(self.reason)[:-1])  # a class of failures is the beginning of its reasons
        if self.status is not None:
            rows.append(b",%d," % self.status)
        return tuple(rows)

    @cached_property
    def owner(self) -> bytes:
        """What the line with the owner of an item must hold; empty for every app."""
        return b"" if self.app is None else owner_start(self.app)

    def is_in(self, text: bytes) -> bool:
        """Tell whether a text may hold what is wanted."""
        return self.owner in text and all(needle in text for needle in self.needles)

    def takes(self, entry: Entry) -> bool:
        """Tell whether an entry is wanted."""
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
    """Tell whether a reason is the one that is wanted, or of that class: `status` is the class of `status-503`."""
    return reason == wanted or (reason.startswith(f"{wanted}-") and reason[len(wanted) + 1 :].isdigit())


class Position(msgspec.Struct, frozen=True, order=True):
    """Where an entry stands: its item, the rank of the item's source, and the entry's place among the rows."""

    ms: int
    number: int
    rank: int
    place: int

    @property
    def token(self) -> str:
        """The position as text, with which the next page is asked for."""
        return f"{self.ms}-{self.number}-{self.rank}-{self.place}"


def position_of(token: str) -> Position | None:
    """Read a token; None for what is none."""
    found = _TOKEN.fullmatch(token)
    position = Position(*map(int, found.groups())) if found else None
    return position if position is not None and position.number <= LARGEST_NUMBER else None


class Page(msgspec.Struct, frozen=True):
    """Some entries, the newest first. `next` asks for older ones; None: everything was looked at.

    `reached_ms` is how far back the search has looked so far; `unreadable` counts what this version could not read.
    `refused` has the reasons of sources that refused to be read, wholly or from some item on, so some may be missing.
    """

    entries: tuple[Entry, ...]
    next: str | None
    reached_ms: int | None = None
    unreadable: int = 0
    refused: tuple[str, ...] = ()


Hit = tuple[Position, Entry | None, int]
"""An entry that was found. Without one, the position is how far the search has come, and the number counts what could
not be read on the way."""

Texts = Callable[[Position | None], Iterable[bytes]]
"""Gives the texts of one source from a position on, that item included; None is the newest."""


def search(
    sources: Sequence[Texts], criteria: Criteria, limit: int, before: Position | None, is_over: Callable[[], bool]
) -> Page:
    """Return the newest entries that are wanted and stand before a position. May be cut short when `is_over` says so.

    A page that is cut short has fewer entries than `limit`, perhaps none, and `next`.
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
    """Yield what is wanted of one source, and how far the search has come after each text.

    Positions only go back: an item at any other place was not written by a version of this daemon.
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
        if latest.ms != _END and (before is None or latest < before):  # else a search cut short here would not get on
            yield latest, None, odd
        if oldest_ms is not None and latest.ms < oldest_ms:
            return


def _of_item(stored: Stored, rank: int, criteria: Criteria, before: Position | None) -> Iterator[Hit]:
    end = len(stored.rows)
    if before is not None:
        item, asked = (stored.ms, stored.number, rank), (before.ms, before.number, before.rank)
        if item > asked:
            return
        end = before.place - 1 if item == asked else end
    if criteria.until_ms is not None and first_moment(stored.rows) > criteria.until_ms + SLACK_MS:
        return  # rows are stored about in their order
    for place, line in lines_backwards(stored.rows, end, criteria.needles[0] if criteria.needles else b""):
        position = Position(stored.ms, stored.number, rank, place)
        entry = entry_of(stored, line)
        if entry is None:
            yield position, None, 1
        elif criteria.takes(entry):
            yield position, entry, 0


def entry_of(stored: Stored, line: bytes) -> Entry | None:
    """Read one line of an item; None for what this version cannot read."""
    try:
        return Entry(stored.app, stored.replica, decode(line))
    except DECODE_ERRORS:
        return None
