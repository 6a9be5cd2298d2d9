"""The data of the status page: a ring of samples of the last minutes, and the latest dead letters.

The sampler adds a sample every few seconds, and a worker an event for each dead letter, so a delivered job costs
nothing here. Readers get copies; reading needs no lock of the driver and no network call.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from sockudo_queue.core.apps import InvalidByApp
from sockudo_queue.core.controls import WebhookKey
from sockudo_queue.observability.metrics import Figures, Metrics

SAMPLES: Final = 121
"""Ten minutes with a sample every five seconds."""
PERIOD: Final = 605.0
"""Maximum age of samples in seconds if they come less often: ten minutes plus one interval."""
MINUTE_SECONDS: Final = 60.0
MINUTES: Final = 11
"""Number of counts by webhook, one per minute: a hundred webhooks in each sample would use megabytes."""
RECENT_DEATHS: Final = 25
MAX_KEPT_LENGTH: Final = 255
"""Maximum stored characters of a name or an id; those of an unreadable job may have any length."""


class Sample(NamedTuple):
    """The queue and the counters at one time; `depth` is None if the queue could not be read.

    Times are in seconds since 1970. `oldest` is the creation time of the oldest ready job.
    """

    at: float
    depth: Mapping[str, int] | None
    oldest: float | None
    delivered: int
    failed: int
    durations: tuple[int, ...]


class DeadLetterEvent(NamedTuple):
    """One dead letter that this process created."""

    at: float
    app: str
    webhook: str
    job: str
    attempts: int
    reason: str
    last: str


class MinuteCounts(NamedTuple):
    """Delivered and failed attempts by app and webhook at one time."""

    at: float
    counts: Mapping[tuple[str, str], tuple[int, int]]


class StatusView(NamedTuple):
    """A copy of all data at one time."""

    now: float
    since: float
    samples: tuple[Sample, ...]
    counts_before: MinuteCounts | None
    figures: Figures
    deaths: tuple[DeadLetterEvent, ...]
    reasons: Mapping[str, int]
    trimmed: int
    invalid: InvalidByApp
    refused: Mapping[str, str]
    lost: int
    paused: Mapping[WebhookKey, int] = MappingProxyType({})
    controls_refused: str | None = None


class StatusHistory:
    """Collects samples and dead letters. Thread-safe."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._since = time.time()
        self._lock = threading.Lock()
        self._samples: deque[Sample] = deque(maxlen=SAMPLES)
        self._minutes: deque[MinuteCounts] = deque(maxlen=MINUTES)
        self._deaths: deque[DeadLetterEvent] = deque(maxlen=RECENT_DEATHS)
        self._reasons: Counter[str] = Counter()
        self._refused: dict[str, str] = {}
        self._controls_refused: str | None = None

    def sample(self, depth: Mapping[str, int] | None, oldest: float | None, now: float | None = None) -> None:
        """Add a sample. The sampler also calls this if the queue did not answer."""
        now = time.time() if now is None else now
        figures = self._metrics.figures()
        sample = Sample(now, depth, oldest, figures.delivered, figures.failed, figures.durations)
        with self._lock:
            self._samples.append(sample)
            while now - self._samples[0].at > PERIOD:
                self._samples.popleft()
            if not self._minutes or now - self._minutes[-1].at >= MINUTE_SECONDS:
                counts = {(row.app, row.webhook): (row.delivered, row.failed) for row in figures.webhooks}
                self._minutes.append(MinuteCounts(now, counts))

    def died(self, death: DeadLetterEvent) -> None:
        """Add a dead letter."""
        kept = death._replace(
            app=death.app[:MAX_KEPT_LENGTH],
            webhook=death.webhook[:MAX_KEPT_LENGTH],
            job=death.job[:MAX_KEPT_LENGTH],
            last=death.last[:MAX_KEPT_LENGTH],
        )
        with self._lock:
            self._deaths.append(kept)
            self._reasons[death.reason] += 1

    def source_refused(self, source: str, reason: str | None) -> None:
        """Record why the broker refuses a source; None means that it no longer refuses it."""
        with self._lock:
            if reason is None:
                self._refused.pop(source, None)
            else:
                self._refused[source] = reason

    def controls_refused(self, reason: str | None) -> None:
        """Record why the broker refuses to name the paused webhooks; None means that it no longer refuses it."""
        with self._lock:
            self._controls_refused = reason

    def view(self) -> StatusView:
        figures = self._metrics.figures()
        with self._lock:
            return StatusView(
                time.time(),
                self._since,
                tuple(self._samples),
                self._minutes[0] if self._minutes else None,
                figures,
                tuple(self._deaths),
                dict(self._reasons),
                self._metrics.trimmed_so_far,
                self._metrics.invalid_webhooks(),
                dict(self._refused),
                self._metrics.lost_so_far,
                self._metrics.paused_webhooks(),
                self._controls_refused,
            )
