"""The state of the daemon in figures, for the page and `/status.json`; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from sockudo_queue.observability import invalid_webhooks
from sockudo_queue.observability.metrics import BREAKER_STATES, WebhookFigures
from sockudo_queue.observability.status_page import numbers
from sockudo_queue.observability.status_page.history import DeadLetterEvent, MinuteCounts, Sample, StatusView

LAST_MINUTE_SECONDS: Final = 62.5
"""Seconds over which current values are averaged: one interval alone varies too much. It is a minute plus half an
interval of 5 s, because samples are never exactly on time."""


class DaemonInfo(NamedTuple):
    """The daemon and its queue."""

    version: str
    driver: str
    queue: str


class WebhookRow(NamedTuple):
    """One webhook: its attempts since the start and in the last minutes."""

    app: str
    webhook: str
    breaker: str
    delivered: int
    failed: int
    recent_delivered: int
    recent_failed: int
    in_flight: int
    last_failure: str
    failed_at: float

    @property
    def only_fails(self) -> bool:
        """Whether it had attempts in the last minutes and all of them failed."""
        return self.recent_failed > 0 and self.recent_delivered == 0


class InvalidRow(NamedTuple):
    """One webhook with an invalid configuration."""

    app: str
    webhook: str
    reason: str


class PausedRow(NamedTuple):
    """One paused webhook with the number of its held deliveries."""

    app: str
    webhook: str
    held: int


class LastMinute(NamedTuple):
    """Attempts of the last minute.

    Rates are per second, None before the second sample. Durations are in seconds, None if no attempt ended.
    """

    delivered_rate: float | None
    failed_rate: float | None
    median_seconds: float | None
    p95_seconds: float | None


class Report(NamedTuple):
    """The state of the daemon. Times are in seconds since 1970; `depth` is None if the queue has not answered."""

    place: DaemonInfo
    now: float
    since: float
    ready: bool
    reasons: Mapping[str, str]
    sampled: float | None
    depth: Mapping[str, int] | None
    oldest_age: float | None
    lately: LastMinute
    recent_seconds: float
    webhooks: Sequence[WebhookRow]
    deaths: Sequence[DeadLetterEvent]
    death_reasons: Mapping[str, int]
    trimmed: int
    samples: Sequence[Sample]
    invalid: Sequence[InvalidRow]
    invalid_count: int
    refused: Mapping[str, str]
    lost: int
    paused: Sequence[PausedRow] = ()
    controls_refused: str | None = None


def report(place: DaemonInfo, view: StatusView, reasons: Mapping[str, str]) -> Report:
    """Build a report. Failing webhooks come first, and the newest dead letters come first."""
    last = view.samples[-1] if view.samples else None
    return Report(
        place,
        view.now,
        view.since,
        not reasons,
        reasons,
        last.at if last else None,
        last.depth if last else None,
        numbers.oldest_ages(view.samples[-1:])[0] if last else None,
        _lately(view.samples),
        view.now - view.counts_before.at if view.counts_before else 0.0,
        sorted((_row(figures, view.counts_before) for figures in view.figures.webhooks), key=_urgency),
        view.deaths[::-1],
        view.reasons,
        view.trimmed,
        view.samples,
        [InvalidRow(app, webhook.name, webhook.reason) for app, webhook in invalid_webhooks.first(view.invalid)],
        invalid_webhooks.count(view.invalid),
        view.refused,
        view.lost,
        [PausedRow(*webhook.shown(), held) for webhook, held in view.paused.items()],
        view.controls_refused,
    )


def as_json(report: Report) -> dict[str, object]:
    """Return the content of `/status.json`: everything except the samples."""
    return {
        "version": report.place.version,
        "driver": report.place.driver,
        "queue": report.place.queue,
        "now": report.now,
        "since": report.since,
        "ready": report.ready,
        "not_ready": report.reasons,
        "refused_sources": report.refused,
        "controls_refused": report.controls_refused,
        "records_lost": report.lost,
        "sampled": report.sampled,
        "depth": report.depth,
        "oldest_age_seconds": report.oldest_age,
        "last_minute": report.lately._asdict(),
        "recent_seconds": report.recent_seconds,
        "webhooks": [row._asdict() for row in report.webhooks],
        "invalid_webhooks": {"count": report.invalid_count, "first": [row._asdict() for row in report.invalid]},
        "paused_webhooks": [row._asdict() for row in report.paused],
        "dead_letters": {
            "made": sum(report.death_reasons.values()),
            "by_reason": report.death_reasons,
            "trimmed": report.trimmed,
            "recent": [death._asdict() for death in report.deaths],
        },
    }


def _lately(samples: Sequence[Sample]) -> LastMinute:
    if len(samples) < 2:
        return LastMinute(None, None, None, None)
    # Selected by time, not by number: SQS is sampled less often, and a hanging server delays samples.
    began = next(sample for sample in samples if samples[-1].at - sample.at <= LAST_MINUTE_SECONDS)
    ends = (began if began is not samples[-1] else samples[-2], samples[-1])
    rates, latencies = numbers.rates(ends), numbers.latencies(ends)
    return LastMinute(rates.delivered[0], rates.failed[0], latencies.median[0], latencies.p95[0])


def _row(figures: WebhookFigures, before: MinuteCounts | None) -> WebhookRow:
    delivered, failed = before.counts.get((figures.app, figures.webhook), (0, 0)) if before else (0, 0)
    return WebhookRow(
        figures.app,
        figures.webhook,
        figures.breaker,
        figures.delivered,
        figures.failed,
        figures.delivered - delivered,
        figures.failed - failed,
        figures.in_flight,
        figures.last_failure,
        figures.failed_at,
    )


def _urgency(row: WebhookRow) -> tuple[int, bool, int, str, str]:
    return (-BREAKER_STATES[row.breaker], not row.only_fails, -row.recent_failed, row.app, row.webhook)
