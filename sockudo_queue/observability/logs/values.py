"""Redacts and encodes the values of a log line.

The type of a value decides: plain values are shown as they are, a `Secret` as a mask, bytes as their length, an error
of this package as its text, and any other error or object as the name of its type.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from pathlib import PurePath
from traceback import walk_tb
from typing import Any, Final
from uuid import UUID

import msgspec

from sockudo_queue.core.secret import MASK, Secret
from sockudo_queue.errors import SockudoQueueError
from sockudo_queue.runtime.streams import json_escape

LINE_LIMIT: Final = 8_192  # bytes; container runtimes split lines at 16 KiB
SHORT_TEXT: Final = 256  # characters of one text if the line was too long
DEPTH_LIMIT: Final = 3
ITEMS_LIMIT: Final = 32
STACK_LIMIT: Final = 20

_SHOWN_AS_TEXT: Final = (date, time, timedelta, UUID, PurePath, Decimal, IPv4Address, IPv6Address)
encode: Final = msgspec.json.Encoder().encode
DELETE: Final = b"\x7f"  # the only ASCII control character that JSON does not escape


def encode_carefully(line: Mapping[str, Any]) -> bytes:
    """Encode plain values as JSON without characters that a terminal or a line reader would interpret."""
    try:
        encoded = _spell_out(encode(line))
        return encoded if len(encoded) <= LINE_LIMIT else _encode_shortened(line)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - for example a lone surrogate
        return _encode_shortened(line)


def _spell_out(encoded: bytes) -> bytes:
    text = encoded.decode()
    return encoded if text.isprintable() else "".join(map(_escaped, text)).encode()


def _escaped(character: str) -> str:
    return character if character.isprintable() else json_escape(character)


def plain(value: Any, depth: int = 0) -> Any:
    """Convert a value to JSON types. Never calls a foreign `repr`: it may raise, or show a secret."""
    try:
        match value:
            case str():  # first, for members of a StrEnum, which are frequent
                return str.__str__(value)
            case None | bool():
                return value
            case Secret():
                return MASK
            case Enum():
                return plain(value.value, depth)
            case int() | float():
                return value + 0
            case bytes() | bytearray() | memoryview():
                return f"<{len(value)} bytes>"
            case BaseException():
                return _describe(value)
            case Mapping() | list() | tuple() | set() | frozenset() | deque():
                return _plain_items(value, depth + 1) if depth < DEPTH_LIMIT else "…"
            case _:
                return str(value) if isinstance(value, _SHOWN_AS_TEXT) else f"<{type(value).__name__}>"
    except Exception:  # noqa: BLE001 - methods of foreign objects can raise anything
        return f"<{type(value).__name__}>"


def _plain_items(value: Any, depth: int) -> Any:
    kept = [item for item, _ in zip(value, range(ITEMS_LIMIT), strict=False)]
    if isinstance(value, Mapping):
        shown = {str(plain(key, depth)): plain(value[key], depth) for key in kept}
        return shown if len(kept) == len(value) else shown | {"…": len(value) - len(kept)}
    items = [plain(item, depth) for item in kept]
    return items if len(kept) == len(value) else [*items, "…"]


def shortened(line: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each name and value with long texts cut."""
    return ((_short(name), _short(value)) for name, value in line.items())


def _encode_shortened(line: Mapping[str, Any]) -> bytes:
    """Encode a line that was too long or could not be encoded unchanged."""
    try:
        encoded = _spell_out(encode(dict(shortened(line))))
        if len(encoded) <= LINE_LIMIT:
            return encoded
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001, S110 - the line below cannot fail
        pass
    known = {name: _short(line[name]) for name in ("timestamp", "level", "event")}
    return _spell_out(encode(known | {"truncated": True}))


def _short(value: Any) -> Any:
    match value:
        case str():
            text = value.encode(errors="backslashreplace").decode()
            return text if len(text) <= SHORT_TEXT else text[:SHORT_TEXT] + "…"
        case dict():
            return {_short(name): _short(item) for name, item in value.items()}
        case list():
            return [_short(item) for item in value]
        case int() if value.bit_length() > 64:
            return "<int>"  # Python refuses to format very large ones
        case _:
            return value


def _describe(error: BaseException) -> str:
    """Return an error's type, with its message only if it is this package's: those contain no secrets."""
    name = type(error).__name__
    return f"{name}: {error}" if isinstance(error, SockudoQueueError) else name


def stack_of(error: BaseException) -> list[str]:
    """Return the files and lines of an error's traceback, outermost first, without values or source text."""
    stack = [f"{place(frame.f_code.co_filename)}:{line}" for frame, line in walk_tb(error.__traceback__)]
    return stack[-STACK_LIMIT:]


def place(filename: str) -> str:
    return "/".join(PurePath(filename).parts[-2:])
