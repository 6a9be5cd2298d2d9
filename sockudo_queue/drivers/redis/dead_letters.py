"""Dead letters on Redis, stored beside each source: receipts by time of death, and the records they name."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Final, Protocol
from urllib.parse import quote_from_bytes

from sockudo_queue.drivers.base import StoredDeadLetter
from sockudo_queue.drivers.redis import replies
from sockudo_queue.drivers.redis.link import Link, Script
from sockudo_queue.drivers.redis.lists import split_value
from sockudo_queue.drivers.redis.parser import Oversized
from sockudo_queue.drivers.redis.source import receipt_of

PAGE: Final = 200
"""Receipts per read; they are small."""
BODIES: Final = 10
"""Bodies per read, and letters per replay call: a body may have a megabyte."""
REPLAYED_BYTES: Final = 500_000
"""Bytes of bodies and states after which a replay call takes no further letter: some servers refuse large requests, and
one call should not occupy a server for long."""
PURGE_BATCH_SIZE: Final = 500
DROP_BATCH_SIZE: Final = 1_000

_PURGE: Final = Script("dead_purge")

_DatedReceipts = Sequence[tuple[bytes, float]]
"""Receipts with their time of death, as stored. Other programs can write to these keys, so any value must be expected.
"""


class WithheldDeadLetter(StoredDeadLetter, frozen=True):
    """A dead letter whose body is too large to read and is omitted."""


class DeadLetterKeys(Protocol):
    """One source: the keys of its dead letters, and how to replay them."""

    @property
    def key(self) -> str:
        """The name of the source."""

    @property
    def dead(self) -> str: ...
    @property
    def records(self) -> str: ...

    def replay(self, letters: Sequence[StoredDeadLetter], states: Sequence[bytes]) -> list[bool]: ...


class RedisDeadLetterStore:
    """The dead letters of several sources on one server. Safe from any thread."""

    def __init__(self, link: Link, sources: Sequence[DeadLetterKeys]) -> None:
        self._link = link
        self._sources = {source.key: source for source in sources}

    def letters(self) -> Iterator[StoredDeadLetter]:
        return heapq.merge(*map(self._letters_of, self._sources.values()), key=lambda letter: letter.died_ms)

    def newest(self, until_ms: int | None = None) -> Iterator[StoredDeadLetter]:
        walks = [self._newest_of(source, until_ms) for source in self._sources.values()]
        return heapq.merge(*walks, key=lambda letter: letter.died_ms, reverse=True)

    def find(self, record_id: str) -> StoredDeadLetter | None:
        for source in self._sources.values():
            # The time of death is unknown here, so the receipt cannot be looked up; all ids are scanned.
            for receipts in self._pages(source):
                named = [each for each in receipts if _shown(_id_of(each[0])) == record_id]
                for letter in self._with_bodies(source, named):
                    return letter
        return None

    def replay(self, letters: Sequence[StoredDeadLetter], states: Sequence[bytes]) -> list[bool]:
        flags: list[bool] = []
        for run in _runs(
            letters, BODIES, [len(each.body) + len(state) for each, state in zip(letters, states, strict=True)]
        ):
            source = self._sources[letters[run][0].source]
            flags += source.replay(letters[run], states[run])
        return flags

    def purge(self, letters: Sequence[StoredDeadLetter]) -> list[bool]:
        flags: list[bool] = []
        for run in _runs(letters, PURGE_BATCH_SIZE):
            source = self._sources[letters[run][0].source]
            named: list[str | bytes | int] = ["named", *map(receipt_of, letters[run])]
            keys = [source.dead, source.records]
            flags += self._link.run(_PURGE, keys, named, read=replies.flags(len(letters[run])))
        return flags

    def drop_older(self, age_ms: int) -> int:
        return sum(
            self._link.run(
                _PURGE, [source.dead, source.records], ["older", age_ms, DROP_BATCH_SIZE], read=replies.count
            )
            for source in self._sources.values()
        )

    def _letters_of(self, source: DeadLetterKeys) -> Iterator[StoredDeadLetter]:
        for page in self._pages(source):
            for start in range(0, len(page), BODIES):
                yield from self._with_bodies(source, page[start : start + BODIES])

    def _pages(self, source: DeadLetterKeys) -> Iterator[_DatedReceipts]:
        """Yield receipts with their time of death, oldest first. Concurrent removals make it skip none."""
        after, spelled, skipped = (float("-inf"), b""), b"-inf", 0
        while True:
            found = self._link.call(
                "ZRANGEBYSCORE",
                source.dead,
                spelled,
                "+inf",
                "WITHSCORES",
                "LIMIT",
                skipped,
                PAGE,
                read=replies.scored,
            )
            if not found:
                return
            # Within one millisecond Redis sorts by the receipt's bytes, and so does this comparison.
            page = [each for each in found if (each[2], _bytes_of(each[0])) > after]
            if not page:
                skipped += PAGE  # every entry of the page has the same millisecond and was seen already
                continue
            last, spelled, score = page[-1]
            after, skipped = (score, _bytes_of(last)), 0
            yield [(receipt, score) for receipt, _, score in page if isinstance(receipt, bytes)]

    def _newest_of(self, source: DeadLetterKeys, until_ms: int | None) -> Iterator[StoredDeadLetter]:
        for page in self._pages_from_the_end(source, until_ms):
            for start in range(0, len(page), BODIES):
                yield from self._with_bodies(source, page[start : start + BODIES])

    def _pages_from_the_end(self, source: DeadLetterKeys, until_ms: int | None) -> Iterator[_DatedReceipts]:
        """Yield receipts with their time of death, newest first.

        Pages are read by rank, because ACL rules of older deployments do not allow ZREVRANGEBYSCORE.
        """
        before: tuple[float, bytes] | None = None
        spelled = b"+inf" if until_ms is None else b"%d" % until_ms
        skipped = 0
        while True:
            newer = skipped + self._link.call("ZCOUNT", source.dead, b"(" + spelled, "+inf", read=replies.count)
            found = self._link.call(
                "ZRANGE", source.dead, -newer - PAGE, -newer - 1, "WITHSCORES", read=replies.scored
            )[::-1]
            if not found:
                return
            page = [each for each in found if before is None or (each[2], _bytes_of(each[0])) < before]
            if not page:
                skipped += PAGE  # every entry of the page has the same millisecond and was seen already
                continue
            last, spelled, score = page[-1]
            before, skipped = (score, _bytes_of(last)), 0
            yield [(receipt, score) for receipt, _, score in page if isinstance(receipt, bytes)]

    def _with_bodies(self, source: DeadLetterKeys, receipts: _DatedReceipts) -> Iterator[StoredDeadLetter]:
        if not receipts:
            return
        ids = [_id_of(receipt) for receipt, _ in receipts]
        values = self._link.call("HMGET", source.records, *ids, read=replies.values(len(ids)))
        for record, (receipt, score), value in zip(ids, receipts, values, strict=True):
            if isinstance(value, Oversized):  # it exceeded the size limit of the reply
                value = self._link.call("HGET", source.records, record, read=replies.optional)
            if value is not None:  # None: it was removed in the meantime
                yield _letter(source.key, receipt, score, value)


def _letter(source: str, receipt: bytes, score: float, value: bytes | Oversized) -> StoredDeadLetter:
    """Build a dead letter. If the value is too large to read, its state is kept and the body is omitted."""
    died_ms = round(min(max(score, 0.0), float(replies.MAX_TIME_MS))) if score == score else 0
    named = _shown(_id_of(receipt)), source, receipt.decode(errors="surrogateescape"), died_ms
    if isinstance(value, Oversized):
        return WithheldDeadLetter(*named, b"", split_value(value.head)[0])
    state, body = split_value(value)
    return StoredDeadLetter(*named, body, state)


def _bytes_of(receipt: bytes | Oversized) -> bytes:
    return receipt.head if isinstance(receipt, Oversized) else receipt


def _id_of(receipt: bytes) -> bytes:
    """Return the id in a receipt; a malformed receipt is its own id."""
    return receipt.rpartition(b"/")[0] or receipt


def _shown(record_id: bytes) -> str:
    """Return an id as text; in an id that is not UTF-8, special bytes become %XX."""
    try:
        return record_id.decode()
    except UnicodeDecodeError:
        return quote_from_bytes(record_id)


def _runs(letters: Sequence[StoredDeadLetter], max_count: int, sizes: Sequence[int] = ()) -> Iterator[slice]:
    """Split into runs of one source, of at most `max_count` letters and `REPLAYED_BYTES` bytes; keeps the order."""
    start, size = 0, 0
    for end, letter in enumerate(letters):
        more = sizes[end] if sizes else 0
        first = letters[start]
        if end > start and (end - start >= max_count or size + more > REPLAYED_BYTES or letter.source != first.source):
            yield slice(start, end)
            start, size = end, 0
        size += more
    if start < len(letters):
        yield slice(start, len(letters))
