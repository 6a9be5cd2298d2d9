"""Formats numbers, times and names for the pages; pure."""

from __future__ import annotations

import time


def visible(value: object) -> str:
    """Return a value as text on one line, with invisible characters escaped."""
    return "".join(map(_visible, str(value)))


def count(value: float) -> str:
    """Format a number as 7, 1,234, 56k or 7.8M."""
    if value < 10_000:
        return f"{value:,.0f}"
    return f"{value / 1000:,.0f}k" if value < 1_000_000 else f"{value / 1_000_000:,.1f}M"


def rate(value: float | None) -> str:
    """Format a rate with a sensible number of digits."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    if value < 0.1:
        return f"{value:.2f}"
    return _short(value) if value < 100 else count(value)


def seconds(value: float | None) -> str:
    """Format a duration: 3 ms, 1.2 s, 45 s, 12 min, 3 h, 5 d."""
    if value is None:
        return "-"
    if value == 0:
        return "0 s"
    if value < 0.9995:
        return f"{max(value * 1000, 1):.0f} ms"
    if value < 9.95:
        return f"{_short(value)} s"
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if value >= 2 * length:
            return f"{value / length:.0f} {unit}"
    return f"{value:.0f} s"


def ago(at: float, now: float) -> str:
    """Return how long ago a time was."""
    age = max(round(now - at), 1)
    return f"{age} s ago" if age < 10 else f"{seconds(age)} ago"


def moment(at: float) -> str:
    """Format a time in UTC; a number that is not a valid time is returned as seconds."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))
    except (OverflowError, ValueError, OSError):
        return f"{at:.0f} s"


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _visible(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]
