"""Small line charts as SVG paths; pure. The templates draw them; the stylesheet sets the colors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

WIDTH: Final = 300
HEIGHT: Final = 72
SECONDS: Final = 600.0
"""The time span of a chart. If the data is younger, the line starts in the middle of the chart."""


_CLOCK: Final = (30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 18_000, 36_000, 86_400)


class ChartLine(NamedTuple):
    """One line: its class in the stylesheet, and a value for each time (None is a gap)."""

    kind: str
    values: Sequence[float | None]


class Path(NamedTuple):
    """One line as an SVG path."""

    kind: str
    path: str


class Chart(NamedTuple):
    """A chart of `width` by `height`; `area` is the path of the area below the first line."""

    label: str
    width: int
    height: int
    lines: Sequence[Path]
    area: str


def chart(label: str, at: Sequence[float], now: float, lines: Sequence[ChartLine], top: float) -> Chart:
    """Return a chart of lines over the last `SECONDS`, from 0 to `top`.

    `at` are times in seconds since 1970, one for each value of each line.
    """
    points = [[_point(then, now, value, top) for then, value in zip(at, line.values, strict=True)] for line in lines]
    paths = [Path(line.kind, "".join(map(_path, _runs(of)))) for line, of in zip(lines, points, strict=True)]
    return Chart(label, WIDTH, HEIGHT, paths, "".join(map(_area, _runs(points[0]))))


def scale(lines: Sequence[ChartLine], steps: Iterable[float]) -> float:
    """Return the top of a chart: the first of the increasing steps that is at least the highest value."""
    highest = max((value for line in lines for value in line.values if value is not None), default=0.0)
    return next(step for step in steps if step >= highest)


def counts(minimum: float) -> Iterator[float]:
    """Yield tops for numbers without end: 1, 2 and 5 times the powers of ten, from `minimum` on."""
    for power in itertools.count(math.floor(math.log10(minimum))):
        yield from (digit * 10.0**power for digit in (1, 2, 5) if digit * 10.0**power >= minimum * 0.99)


def times(minimum: float) -> Iterator[float]:
    """Yield tops for durations in seconds without end, in round units of time, from `minimum` on."""
    small = itertools.takewhile(lambda step: step < 20, counts(minimum))
    days = (86_400 * step for step in counts(1))
    yield from itertools.chain(small, _CLOCK, days)


_Point = tuple[float, float] | None


def _point(at: float, now: float, value: float | None, top: float) -> _Point:
    if value is None or now - at > SECONDS:
        return None
    return round(WIDTH * (1 - (now - at) / SECONDS), 1), round((HEIGHT - 2) * (1 - value / top) + 1, 1)


def _runs(points: Sequence[_Point]) -> Iterator[list[tuple[float, float]]]:
    """Yield the parts of a line without gaps."""
    for known, run in itertools.groupby(points, key=lambda point: point is not None):
        if known:
            yield [point for point in run if point is not None]


def _path(run: Sequence[tuple[float, float]]) -> str:
    (x, y), *rest = run
    # SVG does not draw a line of length zero, so a single point becomes a very short line.
    return f"M{x:g} {y:g}" + ("".join(f"L{x:g} {y:g}" for x, y in rest) or "h.1")


def _area(run: Sequence[tuple[float, float]]) -> str:
    return f"{_path(run)}L{run[-1][0]:g} {HEIGHT}L{run[0][0]:g} {HEIGHT}Z"
