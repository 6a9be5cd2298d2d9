"""Content negotiation by the `Accept` header."""

from __future__ import annotations

from collections.abc import Collection


def preferred(accept: str, offered: Collection[str]) -> str:
    """Return the part of the header that ranks highest among the offered types; an empty text if none does.

    Of equal parts the first wins. A weight of 0 excludes a type, and an invalid weight counts as 1.
    """
    parts = sorted(map(str.strip, accept.split(",")), key=_weight, reverse=True)
    wanted = (part for part in parts if _weight(part) > 0 and _type(part) in (*offered, "text/*", "*/*"))
    return next(wanted, "")


def _type(part: str) -> str:
    return part.partition(";")[0].strip().lower()


def _weight(part: str) -> float:
    for parameter in part.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                weight = float(value)
            except ValueError:
                return 1.0
            return weight if 0 <= weight <= 1 else 1.0
    return 1.0
