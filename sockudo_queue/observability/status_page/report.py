"""The state of the daemon in figures, as the page and `/status.json` tell it; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from sockudo_queue.observability import invalid_webhooks
from sockudo_queue.observability.metrics import BREAKER_STATES, WebhookFigures
from sockudo_queue.observability.status_page import numbers
from sockudo_queue.observability.status_page.history import DeadLetterEvent, MinuteCounts, Sample, View

LATELY: Final = 62.5
"""Seconds of the last minute, of which "now" is made: one interval alone jumps. With half an interval of 5 s, since no
sample is on time."""


class Place(NamedTuple):
    """What is watched."""

    version: str
    driver: str
    queue: str


class WebhookRow(NamedTuple):
    """One webhook: all its attempts since the start, and those of the last minutes."""

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
        """Whether it was tried in the last minutes, and took nothing."""
        return self.recent_failed > 0 and self.recent_delivered == 0


class InvalidRow(NamedTuple):
    """One webhook that cannot be called as it is configured."""

    app: str
    webhook: str
    reason: str


class PausedRow(NamedTuple):
    """One webhook that is paused, and how many deliveries are held for it."""

    app: str
    webhook: str
    held: int


class LastMinute(NamedTuple):
    """The last minute: attempts a second (None before two looks), and seconds of an attempt (None where none ended)."""

    delivered_rate: float | None
    failed_rate: float | None
    median_seconds: float | None
    p95_seconds: float | None


class Report(NamedTuple):
    """Times are in seconds since 1970; `depth` is None while the queue has not answered."""

    place: Place
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


def report(place: Place, view: View, reasons: Mapping[str, str]) -> Report:
    """Put a view together; failing webhooks come first, dead letters the newest first."""
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
        view.now - view.mark.at if view.mark else 0.0,
        sorted((_row(figures, view.mark) for figures in view.figures.webhooks), key=_urgency),
        view.deaths[::-1],
        view.reasons,
        view.trimmed,
        view.samples,
        [InvalidRow(app, webhook.name, webhook.reason) for app, webhook in invalid_webhooks.first(view.invalid)],
        invalid_webhooks.count(view.invalid),
        view.refused,
        view.lost,
        [PausedRow(*webhook.shown(), held) for webhook, held in view.paused.items()],
    )


def as_json(told: Report) -> dict[str, object]:
    """Return what machines get: all of it but the samples."""
    return {
        "version": told.place.version,
        "driver": told.place.driver,
        "queue": told.place.queue,
        "now": told.now,
        "since": told.since,
        "ready": told.ready,
        "not_ready": told.reasons,
        "refused_sources": told.refused,
        "records_lost": told.lost,
        "sampled": told.sampled,
        "depth": told.depth,
        "oldest_age_seconds": told.oldest_age,
        "last_minute": told.lately._asdict(),
        "recent_seconds": told.recent_seconds,
        "webhooks": [row._asdict() for row in told.webhooks],
        "invalid_webhooks": {"count": told.invalid_count, "first": [row._asdict() for row in told.invalid]},
        "paused_webhooks": [row._asdict() for row in told.paused],
        "dead_letters": {
            "made": sum(told.death_reasons.values()),
            "by_reason": told.death_reasons,
            "trimmed": told.trimmed,
            "recent": [death._asdict() for death in told.deaths],
        },
    }


def _lately(samples: Sequence[Sample]) -> LastMinute:
    if len(samples) < 2:
        return LastMinute(None, None, None, None)
    # By their time, not their number: SQS is asked less often, and a server that hangs makes every look late.
    began = next(sample for sample in samples if samples[-1].at - sample.at <= LATELY)
    ends = (began if began is not samples[-1] else samples[-2], samples[-1])
    rates, latencies = numbers.rates(ends), numbers.latencies(ends)
    return LastMinute(rates.delivered[0], rates.failed[0], latencies.median[0], latencies.p95[0])


def _row(figures: WebhookFigures, mark: MinuteCounts | None) -> WebhookRow:
    delivered, failed = mark.counts.get((figures.app, figures.webhook), (0, 0)) if mark else (0, 0)
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
