"""The content of the status page, in the order of display, without HTML; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from sockudo_queue.observability.status_page.history import DeadLetterEvent
from sockudo_queue.observability.status_page.report import Report, WebhookRow
from sockudo_queue.observability.status_page.tiles import Tile, tiles
from sockudo_queue.observability.status_page.wording import ago, count, moment, seconds

RELOAD_SECONDS: Final = 10
SHOWN_WEBHOOKS: Final = 100
SHOWN_INVALID: Final = 10
SHOWN_PAUSED: Final = 10


class Badge(NamedTuple):
    """A state as a word, a symbol and a class of the stylesheet; color alone is not accessible to all users."""

    kind: str
    mark: str
    word: str


_READY: Final = {True: Badge("good", "✓", "ready"), False: Badge("bad", "✕", "not ready")}
_BREAKERS: Final = {
    "closed": Badge("good", "✓", "ok"),
    "half-open": Badge("warn", "▲", "half-open (probing)"),
    "open": Badge("bad", "✕", "circuit open"),
}
_FAILING: Final = Badge("bad", "✕", "failing")
_PAUSED: Final = Badge("quiet", "‖", "paused")
_PARTLY_FAILING: Final = Badge("quiet", "◐", "partly failing")


class WebhookDisplay(NamedTuple):
    """One row: figures of the last minutes, and totals since the start."""

    app: str
    webhook: str
    state: Badge
    delivered: str
    delivered_total: str
    failed: str
    failed_total: str
    is_failing: bool
    in_flight: str
    last_failure: str
    failed_ago: str


class Reason(NamedTuple):
    """The number of dead letters with one reason; `width` is the width of its bar in percent."""

    name: str
    number: str
    width: str


class DeadLetterDisplay(NamedTuple):
    """One dead letter. `webhook` is empty for a whole job; `app` is empty if unknown."""

    ago: str
    moment: str
    app: str
    webhook: str
    job: str
    attempts: str
    reason: str
    last: str


class Overview(NamedTuple):
    """The content of the page, from top to bottom."""

    title: str
    refresh: bool
    reload_seconds: int
    ready: Badge
    version: str
    driver: str
    queue: str
    up: str
    notices: Sequence[str]
    tiles: Sequence[Tile]
    recent: str
    webhooks: Sequence[WebhookDisplay]
    stored: str
    has_dead_letter_commands: bool
    reasons: Sequence[Reason]
    deaths: Sequence[DeadLetterDisplay]
    moment: str
    sampled: str


def overview(report: Report, *, refresh: bool) -> Overview:
    """Format a report for display."""
    return Overview(
        _title(report),
        refresh,
        RELOAD_SECONDS,
        _READY[report.ready],
        report.place.version,
        report.place.driver,
        report.place.queue,
        seconds(max(report.now - report.since, 1)),
        tuple(_notices(report)),
        tuple(tiles(report)),
        seconds(report.recent_seconds),
        [_webhook(row, report.now, _paused_in(report)) for row in report.webhooks[:SHOWN_WEBHOOKS]],
        "-" if report.depth is None else count(report.depth.get("dead-letter", 0)),
        report.place.driver != "memory",
        _reasons(report.death_reasons),
        [_dead_letter(death, report.now) for death in report.deaths],
        moment(report.now),
        f"Queue sampled {ago(report.sampled, report.now)}." if report.sampled else "Queue not sampled yet.",
    )


def _title(report: Report) -> str:
    paused = _paused_in(report)
    unhealthy = sum(_state_of(row, paused).kind in ("warn", "bad") for row in report.webhooks)
    return "not ready" if not report.ready else f"{unhealthy} unhealthy" if unhealthy else "ready"


def _notices(report: Report) -> Iterator[str]:
    yield from (f"{source}: {reason}" for source, reason in report.reasons.items())
    if report.depth is None and report.sampled is not None:
        yield "The queue does not answer; its depth is unknown."
    for source, reason in report.refused.items():
        yield f"{source}: refused by the queue server, so its jobs are not taken: {reason}"
    if report.controls_refused is not None:
        yield (
            "The queue server refuses to name the paused webhooks. "
            f"This daemon applies the pauses that it read before, if any: {report.controls_refused}"
        )
    if report.lost:
        records = "record has lost its body" if report.lost == 1 else "records have lost their body"
        yield f"{count(report.lost)} {records} since the start; something else removes the queue's keys."
    if report.trimmed:
        letters = "dead letter was" if report.trimmed == 1 else "dead letters were"
        yield f"{count(report.trimmed)} {letters} dropped by retention since the start."
    for paused in report.paused[:SHOWN_PAUSED]:
        held = "1 delivery is held" if paused.held == 1 else f"{count(paused.held)} deliveries are held"
        yield f"Webhook {paused.webhook} of app {paused.app} is paused; {held}."
    if len(report.paused) > SHOWN_PAUSED:
        yield f"{count(len(report.paused) - SHOWN_PAUSED)} more webhooks are paused; see /status.json."
    for row in report.invalid[:SHOWN_INVALID]:
        yield (f"Webhook {row.webhook} of app {row.app} is invalid, so its events become dead letters: {row.reason}")
    if report.invalid_count > SHOWN_INVALID:
        yield f"{count(report.invalid_count - SHOWN_INVALID)} more webhooks are invalid; see /status.json."


def _paused_in(report: Report) -> frozenset[tuple[str, str]]:
    return frozenset((row.app, row.webhook) for row in report.paused)


def _webhook(row: WebhookRow, now: float, paused: frozenset[tuple[str, str]]) -> WebhookDisplay:
    return WebhookDisplay(
        row.app,
        row.webhook,
        _state_of(row, paused),
        count(row.recent_delivered),
        count(row.delivered),
        count(row.recent_failed),
        count(row.failed),
        row.recent_failed > 0,
        count(row.in_flight),
        row.last_failure,
        ago(row.failed_at, now),
    )


def _state_of(row: WebhookRow, paused: frozenset[tuple[str, str]]) -> Badge:
    """Return the state of a webhook. A webhook that answers every attempt with 404 opens no breaker, but is failing."""
    if (row.app, row.webhook) in paused:
        return _PAUSED
    if row.breaker == "closed" and row.recent_failed:
        return _FAILING if row.only_fails else _PARTLY_FAILING
    return _BREAKERS[row.breaker]


def _reasons(counts: Mapping[str, int]) -> list[Reason]:
    highest = max(counts.values(), default=1)
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return [Reason(name, count(number), f"{max(100 * number / highest, 1):.1f}") for name, number in ordered]


def _dead_letter(death: DeadLetterEvent, now: float) -> DeadLetterDisplay:
    return DeadLetterDisplay(
        ago(death.at, now),
        moment(death.at),
        death.app,
        death.webhook,
        death.job,
        count(death.attempts),
        death.reason,
        death.last,
    )
