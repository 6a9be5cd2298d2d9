"""Ages as people write them; pure."""

from __future__ import annotations

from typing import Final

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def age_seconds(text: str) -> float:
    """Read an age, for example 90s, 15m, 2h or 7d, into seconds. Raises `ValueError` with a line for the person."""
    number, unit = text[:-1], _UNITS.get(text[-1:].lower())
    if unit is None or not (number.isascii() and number.isdigit() and len(number) < 10):
        raise ValueError("must be a number with s, m, h, d or w; for example 15m")
    return float(int(number) * unit)
