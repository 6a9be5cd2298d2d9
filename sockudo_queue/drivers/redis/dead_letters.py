"""Dead letters on Redis, beside each source: receipts by the time of death, and the records that they name."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from sockudo_queue.drivers.base import DeadLetter
from sockudo_queue.drivers.redis.link import Link, Script

PAGE: Final = 200
"""Receipts that one look brings; they are small."""
BODIES: Final = 10
"""Bodies that one look brings, and letters that one call replays: a body may have a megabyte."""
PURGED_AT_ONCE: Final = 500
DROPPED_AT_ONCE: Final = 1_000

_PURGE: Final = Script("dead_purge")


class Cemetery(Protocol):
    """One source: the keys beside it that dead letters live in, and how one of them goes back to work."""

    @property
    def key(self) -> str:
        """The name of the source."""

    @property
    def dead(self) -> str: ...
    @property
    def records(self) -> str: ...

    def replay(self, letters: Sequence[DeadLetter], states: Sequence[bytes]) -> list[bool]: ...


class RedisDeadLetters:
    """The dead letters of several sources on one server. Safe from any thread."""

    def __init__(self, link: Link, sources: Sequence[Cemetery]) -> None:
        self._link = link
        self._sources = {source.key: source for source in sources}

    def letters(self) -> Iterator[DeadLetter]:
        return heapq.merge(*map(self._letters_of, self._sources.values()), key=lambda letter: letter.died_ms)

    def find(self, record_id: str) -> DeadLetter | None:
        for source in self._sources.values():
            # Receipts are found by their time of death, which nobody knows here; ids are found among all.
            for receipts in self._pages(source):
                named = [death for death in receipts if _id_of(death[0]) == record_id]
                for letter in self._with_bodies(source, named):
                    return letter
        return None

    def replay(self, letters: Sequence[DeadLetter], states: Sequence[bytes]) -> list[bool]:
        flags: list[bool] = []
        for run in _runs(letters, BODIES):
            source = self._sources[letters[run][0].source]
            flags += source.replay(letters[run], states[run])
        return flags

    def purge(self, letters: Sequence[DeadLetter]) -> list[bool]:
        flags: list[bool] = []
        for run in _runs(letters, PURGED_AT_ONCE):
            source = self._sources[letters[run][0].source]
            tokens = [letter.token for letter in letters[run]]
            flags += map(bool, self._link.run(_PURGE, [source.dead, source.records], ["named", *tokens]))
        return flags

    def drop_older(self, age_ms: int) -> int:
        return sum(
            self._link.run(_PURGE, [source.dead, source.records], ["older", age_ms, DROPPED_AT_ONCE])
            for source in self._sources.values()
        )

    def _letters_of(self, source: Cemetery) -> Iterator[DeadLetter]:
        for page in self._pages(source):
            for start in range(0, len(page), BODIES):
                yield from self._with_bodies(source, page[start : start + BODIES])

    def _pages(self, source: Cemetery) -> Iterator[list[tuple[str, int]]]:
        """Yield receipts with their time of death. What was seen stays behind us, whatever goes away meanwhile."""
        after, skipped = (-1, ""), 0
        while True:
            reply = self._link.call(
                "ZRANGEBYSCORE", source.dead, after[0], "+inf", "WITHSCORES", "LIMIT", skipped, PAGE
            )
            if not reply:
                return
            # Within one millisecond Redis sorts by the receipt's bytes, and so do we: receipts are ASCII.
            deaths = [(receipt.decode(), int(score)) for receipt, score in zip(reply[::2], reply[1::2], strict=True)]
            page = [death for death in deaths if (death[1], death[0]) > after]
            if not page:
                skipped += PAGE  # a page full of one millisecond that was seen already
                continue
            after, skipped = (page[-1][1], page[-1][0]), 0
            yield page

    def _with_bodies(self, source: Cemetery, deaths: Sequence[tuple[str, int]]) -> Iterator[DeadLetter]:
        if not deaths:
            return
        values = self._link.call("HMGET", source.records, *[_id_of(receipt) for receipt, _ in deaths])
        for (receipt, died_ms), value in zip(deaths, values, strict=True):
            if value is not None:  # else somebody has taken it meanwhile
                state, body = split_value(value)
                yield DeadLetter(_id_of(receipt), source.key, receipt, died_ms, body, state)


def split_value(value: bytes) -> tuple[bytes, bytes]:
    """Return the state and the body of a record's value, which is a body, or 0x01, state, LF, body."""
    if value[:1] != b"\x01":
        return b"", value
    state, _, body = value[1:].partition(b"\n")
    return state, body


def _id_of(receipt: str) -> str:
    return receipt.rpartition("/")[0]


def _runs(letters: Sequence[DeadLetter], most: int) -> Iterator[slice]:
    """Cut into runs of one source, none longer than `most`; the order stays."""
    start = 0
    while start < len(letters):
        end = start + 1
        while end < len(letters) and end - start < most and letters[end].source == letters[start].source:
            end += 1
        yield slice(start, end)
        start = end
