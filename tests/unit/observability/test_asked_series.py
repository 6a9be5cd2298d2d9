"""Alert rules, dashboard, scaling and pages name only series that the daemon exports."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from sockudo_queue.observability.metrics import BREAKER_STATES, Metrics
from tests.deploy import sources
from tests.unit.observability.test_golden_series import exported
from tests.unit.observability.test_renamed_names import CHANGELOG, SERIES, UPGRADING

SAMPLES_OF_HISTOGRAMS: Final = ("_bucket", "_sum", "_count")
SELECTOR: Final = re.compile(rf"({sources.SERIES.pattern})\{{([^}}]*)\}}")
MATCHER: Final = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
GROUPING: Final = re.compile(r"\b(?:by|without)\s*\(([^)]*)\)")
FROM_SCRAPING: Final = frozenset({"job", "instance", "le"})
# Series of other programs that pages may name.
OF_OTHERS: Final = frozenset({"process_cpu_seconds"})


@cache
def labels() -> dict[str, frozenset[str]]:
    """Return the labels of every sample that the daemon can export."""
    known: dict[str, frozenset[str]] = {}
    for series in exported():
        endings = SAMPLES_OF_HISTOGRAMS if series.kind == "histogram" else ("",)
        known |= {series.name + ending: series.labels for ending in endings}
    return known


@cache
def values() -> dict[tuple[str, str], set[str]]:
    """Return the label values that exist from the start, by sample and label."""
    found: dict[tuple[str, str], set[str]] = {}
    metrics = Metrics("redis", "webhooks")
    metrics.webhook("shop", "orders")
    for family in metrics.registry.collect():
        for sample in family.samples:
            for label, value in sample.labels.items():
                found.setdefault((sample.name, label), set()).add(value)
    return found


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in sources.alerts())
    yield from sources.dashboard_expressions()
    yield from sources.scaling_expressions()


def pages() -> Iterator[Path]:
    yield from sorted((sources.ROOT / "docs").glob("*.md"))
    yield from (sources.ROOT / "README.md", sources.ROOT / "CHANGELOG.md")
    yield from sorted((sources.ROOT / "deploy").rglob("*.*"))


@pytest.mark.parametrize("expression", list(expressions()))
def test_expression_uses_only_exported_series_and_labels(expression: str) -> None:
    names = sources.SERIES.findall(expression)
    assert names
    assert set(names) <= labels().keys()
    of_all = frozenset.union(*(labels()[name] for name in names), FROM_SCRAPING)
    for grouping in GROUPING.findall(expression):
        assert {label.strip() for label in grouping.split(",")} <= of_all
    for name, matchers in SELECTOR.findall(expression):
        for label, operator, value in MATCHER.findall(matchers):
            assert label in labels()[name] | FROM_SCRAPING, (name, label)
            if label in {"outcome", "state", "reason", "code_class", "reused"} and "~" not in operator:
                assert value in values()[name, label], (name, label, value)


@pytest.mark.parametrize("page", list(pages()), ids=lambda page: str(page.relative_to(sources.ROOT)))
def test_page_names_only_exported_series(page: Path) -> None:
    old = SERIES.keys() if page in {UPGRADING, CHANGELOG} else frozenset()
    named = set(sources.SERIES.findall(page.read_text())) - OF_OTHERS - old
    whole = labels().keys() | {series.name for series in exported()}
    assert {name for name in named if name not in whole and not name.endswith("_")} == set()


def test_breaker_states_equal_those_on_the_dashboard() -> None:
    assert BREAKER_STATES == {"closed": 0, "half-open": 1, "open": 2}
    assert "0 closed, 1 half-open, 2 open" in sources.DASHBOARD.read_text()
