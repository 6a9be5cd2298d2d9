"""`${VAR}` and `${VAR:-default}` in a settings file; pure.

Sockudo 5 replaces them in the text before it is read, so a quote in a value breaks the file. Here a value inside a
string is put in after reading, where nothing in it can end the string; only what stands outside strings is replaced
in the text. The text that goes to the reader keeps a map back, so that an error names the place in the file as it is
written.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

# One without its end is a token, too, and no reference: else what follows it would be searched once for each.
_REFERENCE: Final = r"\$\{[A-Za-z_][A-Za-z0-9_]*(?::-[^}]*(?:\}|\Z)|\})"
REFERENCE: Final = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")
# A string without its end goes to the end of the text, so that nothing is read twice: the time is linear.
_TOKENS: Final = {
    "json": rf'(?P<text>"(?:[^"\\]|\\.?)*(?:"|\Z))|(?P<reference>{_REFERENCE})',
    "toml": (
        r'(?P<comment>#[^\n]*)|(?P<text>"""(?:[^\\]|\\.)*?(?:"""|\\?\Z)|\'\'\'.*?(?:\'\'\'|\Z)'
        r'|"(?:[^"\\\n]|\\.?)*(?:"|(?=\n)|\Z)|\'[^\'\n]*\')'
        rf"|(?P<reference>{_REFERENCE})"
    ),
}
"""Patterns with DOTALL, compiled when a file is read: a start needs one of them at most."""
_BARE: Final = re.compile(r"true|false|-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Substituted:
    """A text with every reference outside strings replaced, and a map back to the original text."""

    text: str = field(repr=False)
    unresolved: tuple[tuple[int, str], ...]  # offset in the first text, and the variable that has no value
    _starts: tuple[int, ...] = (0,)  # offsets in `text` from which on a shift holds
    _shifts: tuple[int, ...] = (0,)

    def original_offset(self, offset: int) -> int:
        """Return the original offset of the character at an offset of `text`."""
        return offset + self._shifts[bisect_right(self._starts, offset) - 1]


def substitute_text(text: str, syntax: str, environment: Mapping[str, str]) -> Substituted:
    """Replace references outside strings, and find every reference without a value, also inside strings."""
    parts: list[str] = []
    unresolved: list[tuple[int, str]] = []
    starts, shifts, taken, length = [0], [0], 0, 0
    for token in re.finditer(_TOKENS[syntax], text, re.DOTALL):
        references = [] if token.lastgroup == "comment" else _references(text, *token.span())
        unresolved += [(each.start(), each["name"]) for each in references if _value_of(each, environment) is None]
        if token.lastgroup != "reference" or not references:
            continue
        inserted = _as_literal(_value_of(references[0], environment) or "")
        parts += [text[taken : token.start()], inserted]
        length += token.start() - taken + len(inserted)
        taken = token.end()
        starts.append(length)
        shifts.append(taken - length)
    return Substituted("".join([*parts, text[taken:]]), tuple(unresolved), tuple(starts), tuple(shifts))


def substitute_values(value: Any, environment: Mapping[str, str]) -> Any:
    """Replace references in every string of a document, keys included."""
    match value:
        case str():
            end = value.rfind("}") + 1
            return REFERENCE.sub(lambda found: _value_of(found, environment) or "", value[:end]) + value[end:]
        case list():
            return [substitute_values(each, environment) for each in value]
        case dict():
            return {
                substitute_values(key, environment): substitute_values(each, environment) for key, each in value.items()
            }
    return value


def _references(text: str, start: int, end: int) -> list[re.Match[str]]:
    return list(REFERENCE.finditer(text, start, text.rfind("}", start, end) + 1))


def _value_of(reference: re.Match[str], environment: Mapping[str, str]) -> str | None:
    # An empty variable counts as unset, as in Sockudo; an empty default does not: `${VAR:-}` is empty text.
    return environment.get(reference["name"]) or reference["default"]


def _as_literal(value: str) -> str:
    """Return text that can stand outside a string in JSON and TOML: a plain number or boolean, else a quoted string."""
    return value if _BARE.fullmatch(value) else json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
