"""The pages about metrics and logs name exactly what the daemon exports and logs."""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from sockudo_queue.core.apps import InvalidWebhook
from sockudo_queue.core.controls import WebhookKey
from sockudo_queue.observability.metrics import Metrics

ROOT: Final = Path(__file__).parents[3]
LOG_CALL: Final = re.compile(r"log(?:ger\(\))?\.(debug|info|warning|error|critical)\b")
LEVEL_CALL: Final = re.compile(r"\.(debug|info|warning|error|critical)\b")
EVENT: Final = re.compile(r"[a-z_]+(\.[a-z_]+)+")
OF_ERRORS: Final = frozenset({"error", "cause", "stack"})
# The writer renders this line without the log methods.
MADE_BY_WRITER: Final = frozenset({"logs.dropped"})


class Series(NamedTuple):
    name: str
    kind: str
    labels: frozenset[str]


class Event(NamedTuple):
    name: str
    levels: frozenset[str]
    fields: frozenset[str]


def documented(page: str, columns: int) -> Iterator[list[str]]:
    """Yield the rows of a page's tables that start with one name in backquotes and have `columns` columns."""
    for line in (ROOT / "docs" / page).read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == columns and re.fullmatch(r"`[^`]+`", cells[0]):
            yield cells


def names(cell: str) -> frozenset[str]:
    return frozenset(re.findall(r"`([^`]+)`", cell))


def exported() -> set[Series]:
    metrics = Metrics("redis", "webhooks")
    metrics.webhook("shop", "orders")
    metrics.oldest_job(1.0)
    metrics.source_jobs("lists", 0)
    metrics.source_refused("lists", refused=False)
    metrics.clock_skew("this-host", 0)
    metrics.watch_invalid_webhooks(lambda: {"shop": (InvalidWebhook("orders", None, None, "", ""),)})
    metrics.watch_paused_webhooks(lambda: {WebhookKey("shop", "orders"): 3})
    metrics.watch_heartbeats(lambda: {"worker": 0.0})
    found = set()
    for metric in metrics.registry.collect():
        suffix = {"counter": "_total", "info": "_info"}.get(metric.type, "")
        kind = "gauge" if metric.type == "info" else metric.type
        labels = {label for sample in metric.samples for label in sample.labels} - {"le"}
        found.add(Series(metric.name + suffix, kind, frozenset(labels)))
    return found


@functools.cache
def logged() -> dict[str, Event]:
    found: dict[str, Event] = {}
    for path in sorted((ROOT / "sockudo_queue").rglob("*.py")):
        text = path.read_text()
        if not LEVEL_CALL.search(text):  # a search costs far less than the parser
            continue
        calls = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
        for event in chain.from_iterable(map(events_of, calls)):
            known = found.get(event.name, event)
            found[event.name] = Event(event.name, known.levels | event.levels, known.fields | event.fields)
    return found


def events_of(call: ast.Call) -> Iterator[Event]:
    """Yield the events that a call logs: two if its first argument chooses between them."""
    levels = frozenset(LOG_CALL.findall(ast.unparse(call.func))) if not isinstance(call.func, ast.Name) else frozenset()
    fields = frozenset(keyword.arg or "**" for keyword in call.keywords)
    if "exc_info" in fields:
        fields = fields - {"exc_info"} | OF_ERRORS
    for node in ast.walk(call.args[0]) if levels and call.args else ():
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and EVENT.fullmatch(node.value):
            yield Event(node.value, levels, fields)


EVENTS: Final = list(documented("logs.md", 4))


def test_documented_series_equal_the_exported_ones() -> None:
    page = {Series(row[0].strip("`"), row[1], names(row[2])) for row in documented("metrics.md", 4)}
    ours = exported()
    if sys.platform != "linux":  # The series of the process come from /proc.
        page = {series for series in page if not series.name.startswith("process_")}
    assert ours == page


def test_every_logged_event_is_documented_with_levels_and_fields() -> None:
    page = {row[0].strip("`"): Event(row[0].strip("`"), frozenset(row[1].split(", ")), names(row[2])) for row in EVENTS}
    ours = logged()
    assert {name: event for name, event in ours.items() if event != page.get(name)} == {}


def test_every_documented_event_is_logged() -> None:
    page = {row[0].strip("`") for row in EVENTS}
    assert page - logged().keys() - MADE_BY_WRITER == set()


@pytest.mark.parametrize("page", ["metrics.md", "logs.md"])
def test_documented_names_are_unique(page: str) -> None:
    rows = [row[0] for row in documented(page, 4)]
    assert sorted(rows) == sorted(set(rows))
    assert rows
