"""`stats`: queue depth, dead letters with their reasons, and the state of each webhook.

Depth, oldest job and dead letters come from the queue server, counters from the daemon's `/status.json`. If one does
not answer, the other is still shown.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sockudo_queue.commands.context import EXIT_NO_BROKER, driver_of, load, page_address
from sockudo_queue.commands.daemon_pages import pages_at
from sockudo_queue.commands.terminal import moment, plural, print_error, print_json, print_line, span, states, table
from sockudo_queue.config import LoadedSettings
from sockudo_queue.core import job
from sockudo_queue.drivers.base import Driver
from sockudo_queue.errors import BrokerError
from sockudo_queue.operations.dead_letters import DeadLetterEntry

DEAD_LETTERS_SECONDS: Final = 3.0
"""Seconds for which dead letters are read to group them, about 100,000 on Redis. Their total comes from the queue
itself."""
GROUPS_SHOWN: Final = 20
INVALID_SHOWN: Final = 10
INDENT: Final = 10


@dataclass
class DeadLetterGroup:
    """Dead letters of one webhook with one reason and one last outcome."""

    app: str
    webhook: str
    reason: str
    last: str
    count: int = 0
    newest_ms: int = 0


@dataclass
class QueueFigures:
    """Figures of the queue server; None if it does not answer."""

    driver: str
    depth: Mapping[str, int] | None = None
    oldest_ms: int | None = None
    letters: list[DeadLetterGroup] = field(default_factory=list)
    dead_letters_read: int = 0
    fault: str | None = None


def stats(options: argparse.Namespace) -> int:
    """Ask both, and print what is known."""
    loaded, _ = load(options)
    urls = options.url or ([page_address(loaded)] if loaded.settings.metrics.enabled else [])
    pages = [pages_at(url, loaded.settings.metrics) for url in urls]
    queue = _ask_queue(loaded)
    daemons = [(each.shown, each.status()) for each in pages]
    if options.json:
        _print_json(queue, daemons)
    else:
        _print_text(queue, daemons)
    return EXIT_NO_BROKER if queue is not None and queue.fault else 0


def _ask_queue(loaded: LoadedSettings) -> QueueFigures | None:
    """Return the figures of the queue, or None for a driver whose queue is inside the daemon."""
    if loaded.settings.driver in ("memory", "none"):
        return None
    with driver_of(loaded) as driver:
        figures = QueueFigures(driver.name)
        try:
            _read_queue(driver, figures)
        except BrokerError as error:
            figures.fault = str(error)
    return figures


def _read_queue(driver: Driver, figures: QueueFigures) -> None:
    figures.depth = dict(driver.depth())
    figures.oldest_ms = job.oldest_ms(driver.peek())
    graves: dict[tuple[str, str, str, str], DeadLetterGroup] = {}
    give_up_at = time.monotonic() + DEAD_LETTERS_SECONDS
    for entry in map(DeadLetterEntry, driver.dead_letters.letters()):
        names = (entry.app, entry.webhook, entry.reason, entry.last)
        grave = graves.setdefault(names, DeadLetterGroup(*names))
        grave.count += 1
        grave.newest_ms = max(grave.newest_ms, entry.letter.died_ms)
        figures.dead_letters_read += 1
        if time.monotonic() > give_up_at:
            break
    figures.letters = sorted(graves.values(), key=lambda grave: -grave.count)


def _print_json(queue: QueueFigures | None, daemons: Sequence[tuple[str, dict[str, Any] | str]]) -> None:
    of_queue = None
    if queue is not None:
        of_queue = {
            "driver": queue.driver,
            "depth": queue.depth,
            "oldest_ms": queue.oldest_ms,
            "dead_letters_read": queue.dead_letters_read,
            "dead_letters": [vars(grave) for grave in queue.letters],
            "fault": queue.fault,
        }
    listed = [{"url": url} | ({"fault": status} if isinstance(status, str) else status) for url, status in daemons]
    print_json({"queue": of_queue, "daemons": listed})


def _print_text(queue: QueueFigures | None, daemons: Sequence[tuple[str, dict[str, Any] | str]]) -> None:
    if queue is not None:
        for line in _queue_lines(queue):
            print_line(line)
        if queue.fault:
            print_error(f"stats: the queue server: {queue.fault}")
    for url, status in daemons:
        if queue is not None or url != daemons[0][0]:
            print_line()
        for line in [f"daemon    {url}: {status}"] if isinstance(status, str) else _daemon_lines(url, status):
            print_line(line)


def _queue_lines(queue: QueueFigures) -> Iterator[str]:
    if queue.depth is None:
        yield f"queue     {queue.driver}: unknown"
        return
    ready, active, delayed, dead = (queue.depth.get(each, 0) for each in ("ready", "active", "delayed", "dead-letter"))
    held = f", {queue.depth['held']:,} held" if queue.depth.get("held") else ""
    yield f"queue     {queue.driver}: {ready:,} ready, {active:,} in flight, {delayed:,} delayed{held}"
    if queue.oldest_ms is not None:
        yield f"oldest    {span(time.time() - queue.oldest_ms / 1000)} old, of {moment(queue.oldest_ms)}"
    yield f"dead      {plural(dead, 'dead letter')}" + (
        f"; the table counts the oldest {queue.dead_letters_read:,}" if queue.dead_letters_read < dead else ""
    )
    rows = [
        (
            f"{grave.count:,}",
            grave.reason,
            grave.last or "-",
            grave.app or "-",
            grave.webhook or "(whole jobs)",
            f"{span(max(time.time() - grave.newest_ms / 1000, 0))} ago",
        )
        for grave in queue.letters[:GROUPS_SHOWN]
    ]
    if rows:
        yield from table(("COUNT", "REASON", "LAST", "APP", "WEBHOOK", "NEWEST"), rows, indent=INDENT)
    if len(queue.letters) > GROUPS_SHOWN:
        others = queue.letters[GROUPS_SHOWN:]
        yield f"          and {sum(grave.count for grave in others):,} more in {len(others)} other groups"


def _daemon_lines(url: str, status: Mapping[str, Any]) -> Iterator[str]:
    state = "ready" if status["ready"] else "not ready"
    yield f"daemon    {url}: {state}, {status['version']}, up {span(status['now'] - status['since'])}"
    for source, reason in status["not_ready"].items():
        yield f"          {source}: {reason}"
    if status["driver"] == "memory" and status["depth"]:
        yield "          " + states(status["depth"])
    invalid = status.get("invalid_webhooks", {"count": 0, "first": []})  # missing in an older daemon
    for row in invalid["first"][:INVALID_SHOWN]:
        yield f"          webhook {row['webhook']} of app {row['app']} is invalid: {row['reason']}"
    if refusal := status.get("controls_refused"):  # as above
        yield f"          cannot read the pauses, and applies those that it read before, if any: {refusal}"
    paused = status.get("paused_webhooks", [])  # as above
    for row in paused[:INVALID_SHOWN]:
        yield f"          webhook {row['webhook']} of app {row['app']} is paused; {row['held']:,} held"
    if len(paused) > INVALID_SHOWN:
        yield f"          {len(paused) - INVALID_SHOWN:,} more webhooks are paused"
    if invalid["count"] > INVALID_SHOWN:
        yield f"          {invalid['count'] - INVALID_SHOWN:,} more webhooks are invalid"
    trimmed = status["dead_letters"]["trimmed"]
    if trimmed:
        yield f"          {plural(trimmed, 'dead letter')} dropped by retention since the start"
    lately = status["last_minute"]
    yield f"          last minute: {_rates(lately)}{_times(lately)}"
    rows = [
        (
            row["app"],
            row["webhook"],
            row["breaker"],
            f"{row['delivered']:,}",
            f"{row['failed']:,}",
            f"{row['in_flight']:,}",
            f"{row['last_failure']}, {span(max(status['now'] - row['failed_at'], 0))} ago"
            if row["last_failure"]
            else "-",
        )
        for row in status["webhooks"]
    ]
    if rows:
        yield from table(
            ("APP", "WEBHOOK", "BREAKER", "DELIVERED", "FAILED", "IN FLIGHT", "LAST FAILURE"), rows, indent=INDENT
        )


def _rates(lately: Mapping[str, Any]) -> str:
    delivered, failed = lately["delivered_rate"], lately["failed_rate"]
    # A daemon that has just started has no rate yet, and 0 would say that nothing is delivered.
    return "no rate yet" if delivered is None else f"{delivered:.1f} delivered and {failed:.1f} failed attempts/s"


def _times(lately: Mapping[str, Any]) -> str:
    median, p95 = lately["median_seconds"], lately.get("p95_seconds")
    # Older daemons do not send this key.
    return "" if median is None or p95 is None else f"; median {median * 1000:,.0f} ms, p95 {p95 * 1000:,.0f} ms"
