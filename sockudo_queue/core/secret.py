"""A type for text that must never be shown; redaction is a matter of type, not of searching in output."""

from __future__ import annotations

from typing import Any, Final

MASK: Final = "***"


class Secret:
    """Bytes or text that no log, error, metric or `repr` may show.

    Every way of turning it into text gives a mask; `revealed` is the only way to the value, so that each use
    can be found by searching for that word. It cannot be pickled.
    """

    __slots__ = ("revealed",)

    def __init__(self, value: str) -> None:
        self.revealed = value

    def current(self) -> str:
        """Return the value as it is now, for a new login; another than `revealed` where it lies in a file."""
        return self.revealed

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.revealed == self.revealed

    def __hash__(self) -> int:
        return hash(self.revealed)

    def __bool__(self) -> bool:
        return bool(self.revealed)

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a Secret cannot be pickled")
