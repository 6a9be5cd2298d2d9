"""A type for text that must never be shown. Redaction works by type, not by searching the output."""

from __future__ import annotations

from typing import Any, Final

MASK: Final = "***"


class Secret:
    """Text that no log, error, metric or `repr` may show.

    Every conversion to text gives a mask. Only `revealed` gives the value, so a search for that word finds every use.
    It cannot be pickled.
    """

    __slots__ = ("revealed",)

    def __init__(self, value: str) -> None:
        self.revealed = value

    def current(self) -> str:
        """Return the value for a new login. It differs from `revealed` if it comes from a file that has changed."""
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
