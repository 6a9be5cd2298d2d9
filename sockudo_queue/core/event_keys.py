"""Reads the keys of an event from its bytes without building the values; pure."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from sockudo_queue.core.decoding import DECODE_ERRORS

# Possessive, so that the engine keeps no backtracking state for each character of a string.
_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"(?P<colon>[ \t\r\n]*:)?|[{}\[\]]', re.DOTALL)


def repeats_keys(event: bytes | msgspec.Raw) -> bool:
    """Return whether `name` or `channel` appears twice in an event, in any spelling.

    We match by the last one, so a receiver that reads the first would get an event that its filter excludes.
    Time is proportional to the bytes and memory is constant; building the values could take forty times the bytes.
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
        return ""  # the decoder of events also refuses it
