"""Collects errors and warnings of settings, so that they can be reported together; each line is for a person."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from sockudo_queue.errors import SettingsError


class ConfigProblems:
    """Faults stop the start, warnings do not, notes are for information. No line contains a value."""

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict
        self.faults: list[str] = []
        self.warnings: list[str] = []
        self.notes: list[str] = []
        self.ceilings = 0  # faults that are nothing but a ceiling, which an operator may move
        self.unusable: set[str] = set()  # attributes whose value is a fault; their defaults stand in

    def unknown(self, line: str, *, ours: bool = False) -> None:
        """Add an unknown name: an error if strict, or if it can only be meant for this daemon."""
        (self.faults if self.strict or ours else self.warnings).append(line)

    def above_ceiling(self, line: str) -> None:
        """Add an error about a value that is invalid only because of a limit."""
        self.faults.append(line)
        self.ceilings += 1

    def raise_faults(self) -> None:
        """Raise SettingsError if there is any fault."""
        if self.faults:
            raise SettingsError(printable_lines(self.faults))


def printable_lines(lines: Sequence[str]) -> tuple[str, ...]:
    """Return lines for output: each once, with control characters of keys and names escaped."""
    return tuple(dict.fromkeys("".join(map(_visible, line)) for line in lines))


def _visible(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.75) -> str:
    """Return `; did you mean X?` for the nearest known name, or nothing; `cutoff` is 1 for equal names only."""
    nearest = difflib.get_close_matches(name, sorted(known), n=1, cutoff=cutoff)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def secret_looks_odd(value: str) -> str | None:
    """Return a warning about white space or quotes around a secret, without its value."""
    if value != value.strip():
        return "is surrounded by white space, which counts as part of it"
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return "is in quotes, which count as part of it; docker's --env-file, for example, keeps quotes"
    return None
