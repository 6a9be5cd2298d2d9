"""The stored form of rows: an item holds rows of one app and one replica; pure.

Without its position an item is:

    ["<app>","<replica>"]            the owner
    [1751100000000,"<job>",…]        its rows, one per line, the oldest first

A text is several items, each preceded by its position `@<ms>-<number> `. Rows are lines of JSON, so a search looks for
the bytes of a name in a whole text and decodes only the lines that contain them. An item belongs to one app, so the
entries of an app can be removed without rewriting others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from sockudo_queue.core.decoding import DECODE_ERRORS
from sockudo_queue.history.entry import clean

MAX_ROWS: Final = 500
"""Maximum rows of one item."""
MAX_BYTES: Final = 64_000
"""Maximum bytes of the rows of one item; a single larger row gets an item of its own.

With its owner and Redis' overhead, an item takes less than 64 KB. jemalloc reserves 80 KB for anything larger.
"""

_POSITION: Final = re.compile(rb"@(\d{1,15})-(\d{1,20}) ")
_MOMENT: Final = re.compile(rb"\[(\d{1,15}),")
_JSON: Final = msgspec.json.Encoder()
_OWNER: Final = msgspec.json.Decoder(tuple[str, str])


class StoredItem(NamedTuple):
    """One stored item. `ms` is the time by the store's clock; `number` distinguishes items of the same millisecond."""

    ms: int
    number: int
    app: str
    replica: str
    rows: bytes


def packed(pending: Iterable[tuple[str, bytes]], replica: str) -> list[bytes]:
    """Pack the rows of each app into items and keep their order. `pending` has pairs of an app and a row."""
    by_app: dict[str, list[bytes]] = {}
    for app, row in pending:
        by_app.setdefault(app, []).append(row)
    return [item for app, rows in by_app.items() for item in _items(owner_of(app, replica), rows)]


def _items(owner: bytes, rows: list[bytes]) -> Iterator[bytes]:
    start, size = 0, 0
    for end, row in enumerate(rows):
        if end > start and (end - start >= MAX_ROWS or size + len(row) > MAX_BYTES):
            yield b"\n".join((owner, *rows[start:end]))
            start, size = end, 0
        size += len(row) + 1
    yield b"\n".join((owner, *rows[start:]))


def as_text(item: tuple[bytes, bytes]) -> bytes:
    """Return an item in the form that a text contains. `item` is its position (without `@`) and its bytes."""
    return b"@%b %b\n" % item


def owner_of(app: str, replica: str) -> bytes:
    """Return the stored form of an item's owner."""
    return _JSON.encode((clean(app), clean(replica)))


def owner_start(app: str) -> bytes:
    """Return the bytes with which the owner of every item of an app begins."""
    return b"[" + quoted(app) + b","


def quoted(text: str) -> bytes:
    """Return a string as rows and owners contain it, with its quotes."""
    return _JSON.encode(clean(text))


def split(text: bytes) -> Iterator[bytes]:
    """Yield the items of a text in order; each begins with its `@`."""
    start = 0
    while start < len(text):
        end = text.find(b"\n@", start)
        end = len(text) if end < 0 else end + 1
        yield text[start:end]
        start = end


def position_in(text: bytes, at: int = 0) -> tuple[int, int] | None:
    """Return the time and number of the item that begins at offset `at`, or None if no item begins there."""
    found = _POSITION.match(text, at)
    return (int(found[1]), int(found[2])) if found else None


def parsed(item: bytes) -> StoredItem | None:
    """Decode an item of a text. Returns None if this version cannot read it."""
    position = position_in(item)
    head, _, rows = item.partition(b"\n")
    try:
        app, replica = _OWNER.decode(head.partition(b" ")[2])
    except DECODE_ERRORS:
        return None
    return StoredItem(*position, app, replica, rows.rstrip(b"\n")) if position else None


def first_moment(rows: bytes) -> int:
    """Return the time of the first row; 0 if there is no row."""
    found = _MOMENT.match(rows)
    return int(found[1]) if found else 0


def lines_backwards(rows: bytes, end: int, needle: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield offset and bytes of each line before `end` that contains the needle, the last line first.

    An empty needle matches every line.
    """
    while end > 0:
        found = rows.rfind(needle, 0, end) if needle else end
        if found < 0:
            return
        start = rows.rfind(b"\n", 0, found) + 1
        stop = rows.find(b"\n", found, end)
        yield start, rows[start : end if stop < 0 else stop]
        end = start - 1
