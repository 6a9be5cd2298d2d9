"""Estimates the compiled size of a channel pattern from its text alone; pure.

The crate itself refuses only patterns above 10 MiB. Compiling one of that size takes 100 ms, and searching takes up to
100 ms for each channel. The estimate is made before compiling. It is rough: `\\w` takes 96 KiB of memory, and most
other parts take less than estimated.
"""

from __future__ import annotations

import re
from typing import Final

_UNICODE_CLASS: Final = 64
_ESCAPES: Final = {"d": 16, "s": 4, **dict.fromkeys("wWDSpP", _UNICODE_CLASS)}
_ANY_CHARACTER: Final = 4
_MAX_LENGTH: Final = 16_384
"""Characters of the longest pattern that is estimated part by part."""
_REPETITION: Final = re.compile(r"\{\s*+(\d*+)\s*+(?:,\s*+(\d*+)\s*+)?\}")  # possessive: linear
_VERBOSE: Final = re.compile(r"\(\?[A-Za-z-]*x")
_CLASS_ESCAPE: Final = re.compile(r"\\([dswWDSpP])")
_CODE_POINT: Final = re.compile(r"\\[xuU]")
_LONG_ESCAPE: Final = re.compile(r"\\(?:[pPxuUb]\{[^}]{0,99}\}|[pP].)", re.DOTALL)
_GROUP_HEAD: Final = re.compile(r"\(\?(?:P?<[^>]{0,99}>|[A-Za-z-]*:?)")


def estimate_kib(pattern: str) -> int:
    """Return the estimated KiB of the compiled pattern; a character counts 1, and `\\w` 64."""
    # With the flag x, blanks and comments may separate a part from its repetition.
    if len(pattern) > _MAX_LENGTH or _VERBOSE.search(pattern):
        return _upper_bound(pattern)
    groups, total, last, at = list[int](), 0, 0, 0
    while at < len(pattern):
        character = pattern[at]
        if (found := _REPETITION.match(pattern, at)) is not None and character == "{":
            last, at = last * _times(found), found.end()
        elif character == "(":
            groups.append(total + last)
            total, last = 0, 0
            head = _GROUP_HEAD.match(pattern, at)
            at = at + 1 if head is None else head.end()
        elif character == ")":
            total, last, at = groups.pop() if groups else 0, max(total + last, 1), at + 1
        elif character in "*+?":
            at += 1
        else:
            total += last
            last, at = _part(pattern, at)
    return total + last + sum(groups)


def _times(repetition: re.Match[str]) -> int:
    return max([1, *(int(number[:9]) for number in repetition.groups() if number)])


def _part(pattern: str, at: int) -> tuple[int, int]:
    """Return the cost of one character, escape or class, and where it ends."""
    if pattern[at] == "\\":
        long = _LONG_ESCAPE.match(pattern, at)
        return _ESCAPES.get(pattern[at + 1 : at + 2], 1), at + 2 if long is None else long.end()
    if pattern[at] == "[":
        end = _end_of_class(pattern, at)
        return _class(pattern[at:end]), end
    return _ANY_CHARACTER if pattern[at] == "." else 1, at + 1


def _end_of_class(pattern: str, at: int) -> int:
    """Return where a class ends. Classes may be nested, and a `]` in first position is a literal."""
    depth = 0
    while at < len(pattern):
        if pattern[at] == "\\":
            at += 2
            continue
        if pattern[at] == "[":
            depth += 1
            at += pattern[at + 1 : at + 2] == "^"
            at += pattern[at + 1 : at + 2] == "]"
        elif pattern[at] == "]":
            depth -= 1
        at += 1
        if not depth:
            break
    return at


def _class(text: str) -> int:
    named = sum(_ESCAPES[each] for each in _CLASS_ESCAPE.findall(text))
    is_wide = "^" in text or "&&" in text or "--" in text or "~~" in text or not text.isascii() or "\\" in text
    # An escape may be one end of a range, which takes up to 0.7 KiB.
    listed = len(_CODE_POINT.findall(text)) + sum(not character.isascii() for character in text)
    return max(named + listed, 8 if is_wide else 1)


def _upper_bound(pattern: str) -> int:
    parts = len(pattern) * _ANY_CHARACTER + sum(_ESCAPES[each] for each in _CLASS_ESCAPE.findall(pattern))
    for repetition in _REPETITION.finditer(pattern):
        parts = min(parts * _times(repetition), 10**9)
    return parts
