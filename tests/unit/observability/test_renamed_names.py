"""Names that changed before 0.1.0: the old ones are gone, two pages list them, and none equals one of Sockudo's."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from sockudo_queue.drivers.base import CLOCKS
from sockudo_queue.observability.metrics import Metrics
from tests.unit.observability.test_golden_series import ROOT, documented, exported

# Series that a Sockudo server exports on its own port. A query without a job selector would add up both programs.
OF_SOCKUDO: Final = frozenset(
    {
        "sockudo_queue_enqueue_total",
        "sockudo_queue_enqueue_duration_seconds",
        "sockudo_queue_batch_enqueue_duration_seconds",
        "sockudo_queue_claimed_total",
        "sockudo_queue_settled_total",
        "sockudo_queue_processing_duration_seconds",
        "sockudo_queue_depth",
        "sockudo_queue_dead_letter_replayed_total",
    }
)
SERIES: Final = {
    "sockudo_queue_claimed_total": "sockudo_queue_claims_total",
    "sockudo_queue_settled_total": "sockudo_queue_settlements_total",
    "sockudo_queue_processing_duration_seconds": "sockudo_queue_claim_duration_seconds",
    "sockudo_queue_depth": "sockudo_queue_jobs",
    "sockudo_queue_rivals": "sockudo_queue_competing_consumers",
}
EVENTS: Final = {
    "worker.died": "thread.crashed",
    "worker.not_started": "thread.not_started",
    "letters.trimmed": "dead_letters.trimmed",
    "record.newer": "record.newer_version",
    "clock.off": "clock.skewed",
    "clock.right": "clock.synced",
    "queue.shared": "queue.competing_consumers",
    "claim.lost": "lease.lost",
}
THREADS: Final = {
    "bell": "notifier",
    "upkeep": "maintenance",
    "placement": "cpu-affinity",
    "surroundings": "peers",
    "apps": "apps-file",
}
VALUES: Final = {"endpoint": "webhook", "this host": "this-host", "Sockudo": "sockudo"}
KEYS: Final = {"last_minute.slow_seconds": "last_minute.p95_seconds"}
RENAMED: Final = SERIES | EVENTS | THREADS | VALUES | KEYS

UPGRADING: Final = ROOT / "docs" / "upgrading.md"
CHANGELOG: Final = ROOT / "CHANGELOG.md"
TEXTS: Final = frozenset({".py", ".css", ".lua", ".md", ".json", ".yaml", ".yml"})


def shown() -> Iterator[Path]:
    """Yield every file that shows names to operators or uses them, except the two pages about the renames."""
    for folder in ("sockudo_queue", "docs", "deploy", "soak"):
        yield from (path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in TEXTS and path != UPGRADING)
    yield from (ROOT / name for name in ("README.md", "CONTRIBUTING.md", "docker-compose.yml"))


def calls(name: str) -> Iterator[ast.Call]:
    """Yield the calls in the package of a function or method with this name."""
    for path in sorted((ROOT / "sockudo_queue").rglob("*.py")):
        text = path.read_text()
        if f"{name}(" not in text:  # a search costs far less than the parser
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and called(node) == name:
                yield node


def called(call: ast.Call) -> str:
    """Return the name of a function or method that is called; empty for what has none."""
    match call.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return str(name)
    return ""


def kinds(name: str) -> set[str]:
    """Return the first arguments of these calls, without the number that an f-string adds to a thread's name."""
    found = set()
    for call in (call for call in calls(name) if call.args):
        first = call.args[0].values[0] if isinstance(call.args[0], ast.JoinedStr) else call.args[0]
        if isinstance(first, ast.Constant):
            found.add(str(first.value).rstrip("-"))
    return found


def thread_kinds() -> set[str]:
    """Return the values of the label `thread`."""
    return kinds("_start") | kinds("_serve") | kinds("every") | kinds("Worker")


def names_in(text: str) -> set[str]:
    """Return the old names of series and events in a text."""
    old = "|".join(re.escape(name) for name in (*SERIES, *EVENTS))
    return set(re.findall(rf"(?<![\w.])({old})(?!\w)", text)) | set(re.findall(rf"\b({'|'.join(SERIES)})_", text))


def test_no_series_has_a_name_of_sockudos_own_series() -> None:
    assert SERIES.keys() - OF_SOCKUDO == {"sockudo_queue_rivals"}
    assert {series.name for series in exported()} & OF_SOCKUDO == set()


def test_label_values_have_no_blanks() -> None:
    threads = thread_kinds()
    assert {"worker", "notifier", "settler"} <= threads
    metrics = Metrics("redis", "webhooks")
    metrics.webhook("shop", "orders")
    for clock in CLOCKS:
        metrics.clock_skew(clock, 0)
    metrics.watch_heartbeats(lambda: dict.fromkeys(threads, 0.0))
    samples = [sample for family in metrics.registry.collect() for sample in family.samples]
    assert {sample.labels["thread"] for sample in samples if "thread" in sample.labels} == threads
    found = {(label, value) for sample in samples for label, value in sample.labels.items()}
    assert {(label, value) for label, value in found if not re.fullmatch(r"\S+", value)} == set()


def test_every_compared_clock_has_a_label() -> None:
    assert kinds("Skew") == CLOCKS.keys()


def test_threads_have_new_names_and_are_documented() -> None:
    threads = thread_kinds()
    assert threads & THREADS.keys() == set()
    assert set(THREADS.values()) <= threads
    table = (ROOT / "docs" / "architecture.md").read_text().partition("## Threads")[2].partition("\n\n**")[0]
    listed = {line.split("|")[1].strip() for line in table.splitlines() if line.startswith("|")}
    assert threads - listed == set()


@pytest.mark.parametrize("path", list(shown()), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_uses_an_old_name(path: Path) -> None:
    assert names_in(path.read_text()) == set()


def test_search_finds_old_names_but_not_new_ones() -> None:
    assert names_in('log.warning("letters.trimmed")') == {"letters.trimmed"}
    assert names_in("rate(sockudo_queue_processing_duration_seconds_bucket[1m])") == {
        "sockudo_queue_processing_duration_seconds"
    }
    assert names_in(" ".join((*SERIES.values(), *EVENTS.values()))) == set()


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_operator_pages_list_each_rename(old: str, new: str) -> None:
    rows = [[cell.strip() for cell in line.split("|")] for line in UPGRADING.read_text().splitlines()]
    assert any((f"`{old}`", f"`{new}`") in pairwise(row) for row in rows)
    assert f"`{old}` → `{new}`" in " ".join(CHANGELOG.read_text().split())


def test_new_names_are_exported_and_documented() -> None:
    assert set(SERIES.values()) <= {series.name for series in exported()}
    assert set(EVENTS.values()) <= {row[0].strip("`") for row in documented("logs.md", 4)}
