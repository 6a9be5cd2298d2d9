"""Channel patterns in the dialect of Rust's `regex` crate. Only this module calls the engine.

Sockudo compiles `channel_pattern` with that crate. pydantic-core carries it too and calls it in the same way
(`Regex::new`, then `is_match`), so syntax, Unicode tables, size limit and linear time are the crate's own. Python's
`re` backtracks and interprets `$`, `&&` and `\\z` differently; RE2 is linear, but interprets `&&`, `\\d` and `\\w`
differently.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from pydantic_core import SchemaError, SchemaValidator, core_schema

from sockudo_queue.core.ceilings import DEFAULTS
from sockudo_queue.core.pattern_cost import estimate_kib
from sockudo_queue.errors import SockudoQueueError

Search = Callable[[str], bool]
"""Returns whether a pattern is found anywhere in a channel's name. Safe to call from any thread; never raises."""

_MARKS: Final = re.compile(r"[ ^]*?(\^+)$")  # the line below the pattern; of two marks the last is at the fault
_MAX_EXCERPT: Final = 20
_LITERAL: Final = re.compile(
    r"(?P<character>\\[-.:=@,;/|+*?()\[\]{}^$#&~\\]|[^\\.^$*+?()\[\]{}|])?(?P<repetition>\+\??(?![*+?{])|\+[*+?{]+|[*?{]?)",
    re.DOTALL,
)
"""One literal character of a pattern and the start of its repetition; empty where the next construct is no literal.

With `+` and `+?` the character must appear. With a further repetition, as in `a+*` and `a+??`, it may be absent."""
_ADVICE: Final = "repeat less, or write [A-Za-z0-9_] for \\w and [0-9] for \\d where names are ASCII"
_HARD_TO_COUNT: Final = re.compile(r"[\\\[]|\(\?(?!:)")


class PatternError(SockudoQueueError):
    """The crate refuses a pattern. The message is one line and shows only the refused construct."""


def compile_pattern(pattern: str, max_kib: int = DEFAULTS.pattern_kib) -> Search:
    """Return the search for a pattern. Raises `PatternError`; takes from 10 µs up to 120 ms near the ceiling."""
    if (size := estimate_kib(pattern)) > max_kib:
        raise PatternError(f"compiles to about {size} KiB, more than {max_kib} (queue.limits.pattern_kib); {_ADVICE}")
    if half := re.search("[\ud800-\udfff]", pattern):
        # pydantic-core would silently replace it with another character.
        raise PatternError(f"half a surrogate pair at character {half.start() + 1}, which is no character")
    try:
        validator = SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex", strict=True))
    except SchemaError as error:
        raise PatternError(_fault(pattern, str(error))) from None
    return validator.isinstance_python


def literal_beginning(pattern: str) -> str:
    """Return a prefix that every matching channel has; "" if none can be derived easily.

    Reads only the literals after a leading `^`, up to the first other construct.
    """
    if not pattern.startswith("^") or _may_have_alternatives(pattern):
        return ""
    read: list[str] = []
    for part in _LITERAL.finditer(pattern, 1):
        character, repetition = part["character"], part["repetition"]
        if not character or repetition not in ("", "+", "+?"):
            break
        read.append(character[-1])
        if repetition:
            break
    return "".join(read)


def _may_have_alternatives(pattern: str) -> bool:
    """Return whether a `|` may stand outside of all groups; True where parentheses cannot be counted reliably."""
    if "|" not in pattern:
        return False
    if _HARD_TO_COUNT.search(pattern):
        return True
    depth = 0
    for character in pattern:
        depth += (character == "(") - (character == ")")
        if character == "|" and depth < 1:
            return True
    return False


def _fault(pattern: str, report: str) -> str:
    lines = report.split("\n")
    if "size limit" in lines[-1]:
        return f"compiles to more than 10 MiB; {_ADVICE}"
    if not lines[-1].startswith("error: "):
        return "not a valid pattern"
    return lines[-1].removeprefix("error: ") + _place(pattern.split("\n"), lines)


def _place(pattern: list[str], report: list[str]) -> str:
    """Return the fault's position. The report shows the pattern's lines after a margin, with marks under the fault."""
    for shown, below in zip(report[-3::-1], report[-2::-1], strict=False):
        if marks := _MARKS.fullmatch(below):
            # A pattern of one line is indented by four spaces, several lines by their numbers: "2: ".
            number, margin = (int(shown.split(":")[0]), shown.index(":") + 2) if len(pattern) > 1 else (1, 4)
            start, end = marks.start(1) - margin, marks.end(1) - margin
            line = f"line {number}, " if len(pattern) > 1 else ""
            construct = pattern[number - 1][start:end]
            return f" at {line}character {start + 1}" + (f": {_excerpt(construct)}" if construct else "")
    return ""


def _excerpt(construct: str) -> str:
    shown = "".join(c if c.isprintable() else f"\\u{{{ord(c):x}}}" for c in construct[:_MAX_EXCERPT])
    return shown if len(construct) <= _MAX_EXCERPT else f"{shown}…"
