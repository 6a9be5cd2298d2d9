"""The keys of an event, read from its bytes without building what they stand for; pure."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from sockudo_queue.core.decoding import DECODE_ERRORS

# Possessive, so that the engine keeps nothing for each character of a string.
_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"(?P<colon>[ \t\r\n]*:)?|[{}\[\]]', re.DOTALL)


def repeats_keys(event: bytes | msgspec.Raw) -> bool:
    """Return whether `name` or `channel` stands twice in an event, in whatever spelling.

    We match by the last one. A receiver that reads the first would get an event that its filter keeps from it.
    Takes time in proportion to the bytes, and hardly any memory: built, the values could take forty times as much.
    """
    depth, seen = 0, set[str]()
    for token in _TOKEN.finditer(bytes(event)):
        first = token[0][:1]
        if first in b"{[":
            depth += 1
        elif first in b"}]":
            depth -= 1
        elif depth == 1 and token["colon"]:
            key = _decoded(token[0][: -len(token["colon"])])
            if key in seen:
                return True
            if key in ("name", "channel"):
                seen.add(key)
    return False


def _decoded(key: bytes) -> str:
    try:
        return msgspec.json.decode(key, type=str)
    except DECODE_ERRORS:
        return ""  # the decoder of events refuses it, too
