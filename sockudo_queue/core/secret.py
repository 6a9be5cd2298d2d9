"""A type for text that must never be shown; redaction is a matter of type, not of searching in output."""

from __future__ import annotations

from typing import Any, Final

MASK: Final = "***"


class Secret:
    """Bytes or text that no log, error, metric or `repr` may show.

    Every way of turning it into text gives a mask; `reveal` is the only way to the value, so that each use
    can be found by searching for that word. It cannot be pickled.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value, for the one place that must send or compute with it."""
        return self._value

    def current(self) -> str:
        """Return the value as it is now, for a new login; another than `reveal` where it lies in a file."""
        return self._value

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a Secret cannot be pickled")
