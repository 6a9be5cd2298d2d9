"""The four tiles of the status page: a current value and a chart of the last ten minutes; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from sockudo_queue.observability.status_page import numbers
from sockudo_queue.observability.status_page.charts import Chart, ChartLine, chart, counts, scale, times
from sockudo_queue.observability.status_page.report import Report
from sockudo_queue.observability.status_page.wording import count, rate, seconds

_MINUTE = "in the last minute"


class LegendKey(NamedTuple):
    """The legend of one line of a chart; `kind` is its class in the stylesheet."""

    kind: str
    name: str
    value: str


class Tile(NamedTuple):
    """One tile; `top` is the value at the upper edge of the chart."""

    label: str
    figure: str
    period: str
    beside: str
    keys: Sequence[LegendKey]
    top: str
    chart: Chart


def tiles(report: Report) -> Iterator[Tile]:
    """Yield the tiles in their order."""
    samples, depth, lately = report.samples, report.depth, report.lately
    at, ends = [sample.at for sample in samples], [sample.at for sample in samples[1:]]
    rates, latencies = numbers.rates(samples), numbers.latencies(samples)
    waiting = "-" if depth is None else count(sum(depth.get(state, 0) for state in numbers.WAITING))
    top, drawn = _chart("Waiting jobs", at, report.now, [numbers.waiting(samples)], counts(5), count)
    yield Tile("Waiting jobs", waiting, "", _depth_words(depth), (), top, drawn)

    ages = [numbers.oldest_ages(samples)]
    top, drawn = _chart("Age of the oldest ready job", at, report.now, ages, times(1), seconds)
    yield Tile("Oldest ready job", seconds(report.oldest_age), "", "time since its events", (), top, drawn)

    label = "Attempts per second, delivered and failed"
    top, drawn = _chart(label, ends, report.now, [rates.delivered, rates.failed], counts(1), rate)
    total = rate(_sum(lately.delivered_rate, lately.failed_rate))
    keys = _keys(("delivered", rate(lately.delivered_rate)), ("failed", rate(lately.failed_rate)))
    yield Tile("Attempts per second", total, _MINUTE, "", keys, top, drawn)

    label = "Attempt duration, median and 95th percentile"
    top, drawn = _chart(label, ends, report.now, [latencies.median, latencies.p95], times(0.01), seconds)
    keys = _keys(("median", seconds(lately.median_seconds)), ("p95", seconds(lately.p95_seconds)))
    yield Tile("Attempt duration", seconds(lately.median_seconds), _MINUTE, "", keys, top, drawn)


def _chart(
    label: str,
    at: Sequence[float],
    now: float,
    values: Sequence[numbers.Values],
    steps: Iterable[float],
    unit: Callable[[float], str],
) -> tuple[str, Chart]:
    lines = [ChartLine(kind, each) for kind, each in zip(("main", "second"), values, strict=False)]
    top = scale(lines, steps)
    return unit(top), chart(label, at, now, lines, top)


def _keys(*keys: tuple[str, str]) -> list[LegendKey]:
    return [LegendKey(kind, name, value) for kind, (name, value) in zip(("main", "second"), keys, strict=True)]


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _depth_words(depth: Mapping[str, int] | None) -> str:
    if depth is None:
        return "unknown"
    ready, delayed, active = (count(depth.get(state, 0)) for state in ("ready", "delayed", "active"))
    return f"{ready} ready, {delayed} delayed, {active} in flight"
