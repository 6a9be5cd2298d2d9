"""The attempt history on Redis: a capped stream beside each source, in the same slot, shared by all replicas.

It uses a link of its own, so a write that waits for an answer delays nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import msgspec

from sockudo_queue.drivers.redis import replies
from sockudo_queue.drivers.redis.errors import ServerRefused, SlotBusy
from sockudo_queue.drivers.redis.inspection import HISTORY_SCRIPTS, commands_of, refused_commands
from sockudo_queue.drivers.redis.link import Link, Script
from sockudo_queue.drivers.redis.parser import Oversized
from sockudo_queue.drivers.redis.server_info import fields, memory_over
from sockudo_queue.drivers.redis.source import own_key
from sockudo_queue.errors import BrokerRefused, BrokerUnavailable
from sockudo_queue.history import search
from sockudo_queue.history.entry import MAX_TIME_MS
from sockudo_queue.history.figures import MODE_GAP_SECONDS, HistoryFigures, Mode, ModePeriod, merged
from sockudo_queue.history.items import as_text, owner_start
from sockudo_queue.history.search import MAX_NUMBER, Criteria, Page, Position
from sockudo_queue.history.store import ENTRY_BYTES, ITEM_BYTES, OutOfMemory, PurgeResult

READ_BYTES: Final = 1_000_000
"""Bytes that one read requests, estimated from the size of earlier items. The server needs less than a millisecond for
it."""
SMALL_ITEM: Final = 400
SMALL_READ_BYTES: Final = 12_000
"""The same for small items: a reply that arrives in one piece is parsed in C, which saves more than the extra calls
cost."""
FIRST_ITEMS: Final = 4
MAX_ITEMS: Final = 128
"""Maximum number of items per read: all of them may have the maximum size, which gives 8 MB."""
FOLLOWED_ITEMS: Final = 50
"""Items per read of new ones."""
DROPPED_ITEMS: Final = 64
DROPPED_BYTES: Final = 10_000_000
"""Items that one call inspects for those of an app, and bytes that it drops."""
ROOM_BYTES: Final = 4_000_000
ROOM_ITEMS: Final = 1_000
ROOM_CALLS: Final = 5
"""Bytes that are dropped at a time when the server is short of memory, items per call, and calls. A call blocks the
server for some milliseconds."""
NO_ITEM: Final = "0-0"
"""An id before that of every item."""

UNLIMITED: Final = 10**12
_FIGURES: Final = (
    *("entries", "bytes", "lost", "gone", "purged"),
    *(f"{figure}-{mode}" for mode in Mode for figure in ("since", "seen")),
)

_ID: Final = re.compile(rb"\d{1,20}-\d{1,20}")
_OF_MEMORY: Final = re.compile(r"maxmemory|out of memory|\bOOM\b", re.IGNORECASE)
_APPEND: Final = Script("history_shared", "history_append")
_DROP: Final = Script("history_shared", "history_drop")


class RedisHistory:
    """See `history.store.SharedHistory`. Works on Redis 6.0."""

    def __init__(self, link: Link, sources: Sequence[str], *, length: int, mode: str) -> None:
        """Keep at most `length` entries per source; `mode` is recorded on every write."""
        self._link = link
        self.sources = tuple(sources)
        self._length = UNLIMITED if mode == Mode.OFF else length  # a daemon that records nothing removes nothing either
        self._mode = mode

    def write(self, source: str, items: Sequence[bytes], lost: int) -> bool:
        """See `HistoryStore`. A server that takes no writes for now is treated as unavailable."""
        arguments: list[str | bytes | int] = [self._length, self._length * ENTRY_BYTES, ITEM_BYTES]
        arguments += [self._mode, MODE_GAP_SECONDS, lost, *items]
        with _sorting_refusals():
            return self._link.run(_APPEND, _keys(source), arguments, read=_is_more)

    def note(self, source: str) -> bool:
        """See `HistoryStore`. Items over the caps are removed in steps of a few milliseconds each."""
        return self.write(source, (), 0)

    def make_room(self, source: str) -> None:
        """See `HistoryStore`. Dropping needs no memory, so it also works on a full server."""
        self._make_room(source, ROOM_BYTES)

    def give_way(self, source: str) -> None:
        """See `HistoryStore`."""
        with _sorting_refusals():
            info = self._link.call("INFO", "memory", near=_keys(source)[0], read=replies.text)
        over = memory_over(fields(info))
        if over:
            self._make_room(source, min(over, ROOM_BYTES))

    def _make_room(self, source: str, max_bytes: int) -> None:
        item_id = "-"
        for _ in range(ROOM_CALLS):
            arguments: list[str | bytes | int] = ["", ITEM_BYTES, item_id, ROOM_ITEMS, max_bytes]
            with _sorting_refusals():
                _, item_id, max_bytes = self._link.run(_DROP, _keys(source), arguments, read=_dropped)
            if not (item_id and max_bytes):
                return

    def search(
        self,
        criteria: Criteria,
        limit: int,
        before: Position | None,
        is_over: Callable[[], bool],
        up_to: Mapping[str, str] = MappingProxyType({}),
    ) -> Page:
        """See `SharedHistory`. The page names each source that refused to be read."""
        refused: list[str] = []
        texts = [partial(self._texts, source, up_to.get(source, "+"), refused) for source in self.sources]
        page = search.search(texts, criteria, limit, before, is_over)
        return msgspec.structs.replace(page, refused=tuple(refused))

    def newest(self, source: str) -> str:
        """See `SharedHistory`."""
        return self._read(source, "XREVRANGE", "+", "-", 1)[0] or NO_ITEM

    def after(self, source: str, item_id: str) -> Iterator[tuple[str, bytes]]:
        """Yield the items of a source after an id, oldest first, as texts, each with the id of its last item."""
        while True:
            last, text, items = self._read(source, "XRANGE", _neighbour(item_id, 1), "+", FOLLOWED_ITEMS)
            if not items:
                return
            yield last, text
            item_id = last

    def figures(self) -> HistoryFigures:
        found, refused = [], []
        for source in self.sources:
            try:
                found.append(self._figures_of(source))
            except BrokerRefused as refusal:
                refused.append(_refused(source, refusal))
        return merged(found, refused)

    def purge(self, app: str) -> PurgeResult:
        removed, refused = 0, []
        for source in self.sources:
            try:
                for entries in self._purge(source, app):
                    removed += entries
            except BrokerRefused as refusal:
                refused.append(_refused(source, refusal))
        return PurgeResult(removed, tuple(refused))

    def refused_commands(self) -> list[str]:
        """See `SharedHistory`. A source whose keys are forbidden is ignored if another one can be used."""
        needed = {*commands_of(HISTORY_SCRIPTS), "HMGET", "XRANGE", "XREVRANGE"}
        refusals = []
        for source in self.sources:
            try:
                return [command for command, _ in refused_commands(self._link, source, needed)]
            except BrokerRefused as refusal:
                refusals.append(f"every command ({refusal})")
        return refusals[:1]

    def close(self) -> None:
        self._link.close()

    def _purge(self, source: str, app: str) -> Iterator[int]:
        """Remove the entries of an app from one source; yield the number removed by each call."""
        item_id = "-"
        while item_id:
            arguments: list[str | bytes | int] = [owner_start(app), ITEM_BYTES, item_id, DROPPED_ITEMS, DROPPED_BYTES]
            entries, item_id, _ = self._link.run(_DROP, _keys(source), arguments, read=_dropped)
            yield entries

    def _figures_of(self, source: str) -> HistoryFigures:
        values = self._link.call("HMGET", _keys(source)[1], *_FIGURES, read=replies.values(len(_FIGURES)))
        oldest, _, _ = self._read(source, "XRANGE", "-", "+", 1)
        return figures_of(dict(zip(_FIGURES, values, strict=True)), int(oldest.partition("-")[0]) if oldest else None)

    def _texts(self, source: str, up_to: str, refused: list[str], before: Position | None) -> Iterator[bytes]:
        """Yield the items of a source from a position on, newest first. A refusal ends them and is recorded."""
        try:
            yield from self._all_texts(source, up_to if before is None else f"{before.ms}-{before.number}")
        except BrokerRefused as refusal:
            refused.append(_refused(source, refusal))

    def _all_texts(self, source: str, end: str) -> Iterator[bytes]:
        count = FIRST_ITEMS
        while True:
            last, text, items = self._read(source, "XREVRANGE", end, "-", count)
            if items:
                yield text
            if items < count:
                return
            end = _neighbour(last, -1)
            size = len(text) // items + 1
            wanted = READ_BYTES if size > SMALL_ITEM else SMALL_READ_BYTES
            count = max(min(wanted // size, MAX_ITEMS), 1)

    def _read(self, source: str, command: str, first: str, last: str, count: int) -> tuple[str, bytes, int]:
        return self._link.call(command, _keys(source)[0], first, last, "COUNT", count, read=_items)


@contextmanager
def _sorting_refusals() -> Iterator[None]:
    """Translate a temporary refusal into `BrokerUnavailable` and one for lack of memory into `OutOfMemory`."""
    try:
        yield
    except (ServerRefused, SlotBusy) as refusal:
        raise BrokerUnavailable(str(refusal)) from None
    except BrokerRefused as refusal:
        raise OutOfMemory(str(refusal)) if _OF_MEMORY.search(str(refusal)) else refusal from None


def _keys(source: str) -> list[str]:
    return [own_key(source, "attempts"), own_key(source, "attempts-figures")]


def _refused(source: str, refusal: BrokerRefused) -> str:
    return f"{source}: {refusal}"


def _neighbour(item_id: str, step: int) -> str:
    """Return the next or previous id of a stream; Redis 6.0 does not support exclusive ranges."""
    ms, _, number = item_id.partition("-")
    if step < 0 and number == "0":
        return f"{max(int(ms) - 1, 0)}-{MAX_NUMBER}"
    return f"{ms}-{min(int(number) + step, MAX_NUMBER)}"


def _items(reply: Any) -> tuple[str, bytes, int]:
    """Return the id of the last item that was read, the text of all items, and their number."""
    items = [_item(item) for item in replies.listed(reply)]
    return _item_id(items[-1][0]) if items else "", b"".join(map(as_text, items)), len(items)


def _item(item: Any) -> tuple[bytes, bytes]:
    """Return id and value of an item. Other programs can write to the key, so fields may differ or be too large."""
    item_id, fields = replies.listed(item)
    value = replies.listed(fields)[1]
    return replies.text(item_id), value.head if isinstance(value, Oversized) else replies.text(value)


def _dropped(reply: Any) -> tuple[int, str, int]:
    entries, following, bytes_left = replies.listed(reply)
    return replies.integer(entries), _item_id(following), replies.integer(bytes_left)


def _item_id(reply: Any) -> str:
    word = replies.text(reply)
    if word and not _ID.fullmatch(word):
        raise replies.UnexpectedReply
    return word.decode("ascii")


def _is_more(reply: Any) -> bool:
    entries, size, is_more = replies.listed(reply)
    replies.digits(entries)
    replies.digits(size)
    return replies.integer(is_more) > 0


def figures_of(values: Mapping[str, object], oldest_ms: int | None) -> HistoryFigures:
    """Return the figures of one source from its hash and the time of its oldest item."""
    modes = [
        ModePeriod(mode, since * 1000, seen * 1000)
        for mode in Mode
        if (since := _seconds(values[f"since-{mode}"])) and (seen := _seconds(values[f"seen-{mode}"]))
    ]
    entries, gone = _number(values["entries"]), values["gone"]
    complete_from = _number(gone) or None
    if oldest_ms is None and entries:  # the items were removed by another program
        complete_from = max((period.until_ms for period in modes), default=complete_from)
    elif gone is None:  # the figures were removed, or the items were stored by an earlier version
        complete_from = oldest_ms
    return HistoryFigures(
        tuple(modes),
        entries if oldest_ms is not None else 0,
        _number(values["bytes"]),
        oldest_ms,
        _number(values["lost"]),
        complete_from,
        _seconds(values["purged"]) * 1000 or None,
    )


def _number(value: object) -> int:
    """Return a figure, or None: other programs can write any value to the key."""
    return int(value) if isinstance(value, bytes) and value.isdigit() and len(value) < 16 else 0


def _seconds(value: object) -> int:
    return min(_number(value), MAX_TIME_MS // 1000)
