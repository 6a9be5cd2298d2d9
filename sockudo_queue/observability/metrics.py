"""The Prometheus series of the daemon; the only module that knows their names and labels.

`Metrics` has its own registry, so that two daemons in one test process do not share counters. Its methods are cheap and
safe from any thread. Labels come from a closed set or from the configuration. The latter are limited: after
`NAMES_LIMIT` names, all others share the name `other`. `docs/metrics.md` lists every series.
"""

from __future__ import annotations

import platform
import threading
import time
from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Info, ProcessCollector
from prometheus_client import disable_created_metrics as disable_created_series
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from sockudo_queue import __version__
from sockudo_queue.core.apps import InvalidByApp
from sockudo_queue.core.controls import WebhookKey
from sockudo_queue.core.outcome import Failure, Verdict
from sockudo_queue.core.trace_context import FIELDS as TRACE_FIELDS
from sockudo_queue.observability import invalid_webhooks
from sockudo_queue.observability.tracing.spans import SpanCounts

ALERT_OUTCOMES: Final = ("sent", "failed", "dropped")
SETTLED_OUTCOMES: Final = ("completed", "retry", "held", "dead-letter", "put-back", "lease-lost", "unconfirmed")
HISTORY_LOSSES: Final = ("full", "unavailable", "refused", "memory")
DEPTH_STATES: Final = ("ready", "active", "delayed", "held", "dead-letter")
DEAD_LETTER_REASONS: Final = (
    "exhausted",
    "refused",
    "endpoint-down",
    "worker-lost",
    "webhook-removed",
    "webhook-invalid",
    "unknown-app",
    "unreadable-app",
    "unreadable",
    "internal-error",
)
CODE_CLASSES: Final = ("2xx", "3xx", "4xx", "5xx")
APP_STORE_OUTCOMES: Final = {True: "answered", False: "failed"}
BREAKER_STATES: Final = {"closed": 0, "half-open": 1, "open": 2}
NAMES_LIMIT: Final = 100
OTHER: Final = "other"

CLAIM_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
ATTEMPT_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
AGE_SECONDS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class WebhookFigures(NamedTuple):
    """The figures of one webhook. `last_failure` is a reason of `outcome.Outcome`, `failed_at` in seconds since 1970.

    If several webhooks share a name, `in_flight` is the sum of all of them.
    """

    app: str
    webhook: str
    delivered: int
    failed: int
    in_flight: int
    breaker: str
    last_failure: str
    failed_at: float


class Figures(NamedTuple):
    """The totals over all webhooks; `durations` counts attempts by the buckets of `ATTEMPT_SECONDS`."""

    delivered: int
    failed: int
    durations: tuple[int, ...]
    webhooks: tuple[WebhookFigures, ...]


class NameCap:
    """Keeps the first `limit` names of each kind and replaces the rest by `other`."""

    def __init__(self, limit: int = NAMES_LIMIT) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._known: dict[str, set[object]] = {}

    def name(self, kind: str, name: str) -> str:
        name = name.encode(errors="backslashreplace").decode()  # a lone surrogate would break every later scrape
        return name if self._admit(kind, name) else OTHER

    def webhook(self, app: str, webhook: str) -> tuple[str, str]:
        """Return a webhook's labels; past the limit only its app, since pairs of known names could still be 10,000."""
        app, webhook = self.name("app", app), self.name("webhook", webhook)
        return (app, webhook) if self._admit("pair", (app, webhook)) else (app, OTHER)

    def _admit(self, kind: str, name: object) -> bool:
        with self._lock:
            known = self._known.setdefault(kind, set())
            if len(known) < self._limit:
                known.add(name)
            return name in known


class _Buckets:
    """The counts of a histogram. Callers hold the owner's lock."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._edges = (*map(str, bounds), "+Inf")
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    @property
    def counts(self) -> tuple[int, ...]:
        return tuple(self._counts)

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_to(self, family: Metric, labels: dict[str, str]) -> None:
        """Add the samples. The library's `add_metric` takes four times as long, and a scrape has thousands of them."""
        name, add, total = f"{family.name}_bucket", family.samples.append, 0
        for edge, count in zip(self._edges, self._counts, strict=True):
            total += count
            add(Sample(name, {**labels, "le": edge}, total))
        add(Sample(f"{family.name}_count", labels, total))
        add(Sample(f"{family.name}_sum", labels, self._sum))


class _LabelCounts:
    """The counts of one value of the label `webhook`, with one lock: a lock per series costs four times as much."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.in_flight = 0
        self.deferrals = 0
        self.connections = {True: 0, False: 0}
        self.responses = dict.fromkeys(CODE_CLASSES, 0)
        self.failures = dict.fromkeys(Failure, 0)
        self.durations = _Buckets(ATTEMPT_SECONDS)
        self.ages = _Buckets(AGE_SECONDS)
        self.troubled: dict[tuple[str, str], int] = {}  # states of breakers that are not closed, by app and webhook


class WebhookMetrics:
    """The counts of one webhook. Callers may keep the object or call `Metrics.webhook` again.

    `shared` holds the counts of all webhooks with this name in any app.
    """

    def __init__(self, shared: _LabelCounts) -> None:
        self.shared = shared
        self.attempts: dict[str, int] = {str(verdict): 0 for verdict in Verdict}
        self.last_failure, self.failed_at = "", 0.0

    def started(self) -> None:
        shared = self.shared
        with shared.lock:
            shared.in_flight += 1

    def ended(
        self,
        outcome: str,
        seconds: float,
        *,
        status: int | None = None,
        age: float | None = None,
        reused: bool | None = None,
        reason: str | None = None,
        failure: Failure | None = None,
    ) -> None:
        """Count one attempt by its verdict. `age` is the time from the events until now, for a delivery; `reused` is
        whether the connection had served before; `reason` names a failure.
        """
        shared = self.shared
        with shared.lock:
            shared.in_flight -= 1
            self.attempts[outcome] += 1
            shared.durations.observe(seconds)
            if status is not None and 200 <= status < 600:
                shared.responses[CODE_CLASSES[status // 100 - 2]] += 1
            if failure is not None:
                shared.failures[failure] += 1
            if age is not None:
                shared.ages.observe(age)
            if reused is not None:
                shared.connections[reused] += 1
            if reason is not None:
                self.last_failure, self.failed_at = reason, time.time()

    def deferred(self) -> None:
        """Count a delivery that was deferred without an attempt."""
        with self.shared.lock:
            self.shared.deferrals += 1


class _WebhookCounters(Collector):
    """The counts of all webhooks, as a collector for the registry."""

    def __init__(self) -> None:
        self._cap = NameCap()
        self._lock = threading.Lock()
        self._shared: dict[str, _LabelCounts] = {}
        self._webhooks: dict[tuple[str, str], WebhookMetrics] = {}

    def webhook(self, app: str, webhook: str) -> WebhookMetrics:
        found = self._webhooks.get((app, webhook))
        return found or self._make_webhook(*self._cap.webhook(app, webhook))

    def _make_webhook(self, app: str, webhook: str) -> WebhookMetrics:
        with self._lock:
            if (app, webhook) not in self._webhooks:
                shared = self._shared.setdefault(webhook, _LabelCounts())
                self._webhooks[app, webhook] = WebhookMetrics(shared)
            return self._webhooks[app, webhook]

    def figures(self) -> Figures:
        with self._lock:
            webhooks, shared = list(self._webhooks.items()), list(self._shared.values())
        rows = tuple(_figures_of(*names, counts) for names, counts in webhooks)
        durations = [sum(column) for column in zip(*(each.durations.counts for each in shared), strict=True)]
        return Figures(sum(row.delivered for row in rows), sum(row.failed for row in rows), tuple(durations), rows)

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            webhooks, shared = list(self._webhooks.items()), list(self._shared.items())
        yield _attempts(webhooks)
        yield from _by_name(shared)


def _figures_of(app: str, webhook: str, counts: WebhookMetrics) -> WebhookFigures:
    shared = counts.shared
    with shared.lock:
        delivered = counts.attempts[Verdict.DELIVERED]
        value = max((value for (of, _), value in shared.troubled.items() if of == app), default=0)
        return WebhookFigures(
            app,
            webhook,
            delivered,
            sum(counts.attempts.values()) - delivered,
            shared.in_flight,
            next(state for state, number in BREAKER_STATES.items() if number == value),
            counts.last_failure,
            counts.failed_at,
        )


def _attempts(webhooks: Iterable[tuple[tuple[str, str], WebhookMetrics]]) -> Metric:
    labels = ("app", "webhook", "outcome")
    family = CounterMetricFamily("sockudo_webhook_attempts", "Attempts at endpoints.", labels=labels)
    name, add = f"{family.name}_total", family.samples.append
    for (app, webhook), counts in webhooks:
        for outcome, count in counts.attempts.items():
            add(Sample(name, {"app": app, "webhook": webhook, "outcome": outcome}, count))
    return family


def _by_name(webhooks: Iterable[tuple[str, _LabelCounts]]) -> Iterable[Metric]:
    one = ("webhook",)
    durations = HistogramMetricFamily("sockudo_webhook_attempt_duration_seconds", "Time of one attempt.", labels=one)
    ages = HistogramMetricFamily("sockudo_webhook_delivery_age_seconds", "From event to delivery.", labels=one)
    classes = ("webhook", "code_class")
    failures = CounterMetricFamily("sockudo_webhook_failures", "Failed attempts.", labels=("webhook", "class"))
    responses = CounterMetricFamily("sockudo_webhook_responses", "Answers of endpoints.", labels=classes)
    deferrals = CounterMetricFamily("sockudo_webhook_deferrals", "Deliveries put off without an attempt.", labels=one)
    in_flight = GaugeMetricFamily("sockudo_webhook_in_flight", "Attempts in flight.", labels=one)
    breakers = GaugeMetricFamily("sockudo_webhook_breaker_state", "0 closed, 1 half-open, 2 open.", labels=one)
    connections = CounterMetricFamily("sockudo_webhook_connections", "Connections used.", labels=("reused",))
    response, add_response = f"{responses.name}_total", responses.samples.append
    failed, add_failure = f"{failures.name}_total", failures.samples.append
    reused = {True: 0, False: 0}
    for name, counts in webhooks:
        labels = {"webhook": name}
        with counts.lock:
            counts.durations.add_to(durations, labels)
            counts.ages.add_to(ages, labels)
            for code_class, count in counts.responses.items():
                add_response(Sample(response, {"webhook": name, "code_class": code_class}, count))
            for failure, count in counts.failures.items():
                add_failure(Sample(failed, {"webhook": name, "class": failure}, count))
            deferrals.add_metric((name,), counts.deferrals)
            in_flight.add_metric((name,), counts.in_flight)
            breakers.add_metric((name,), max(counts.troubled.values(), default=0))
            for key, count in counts.connections.items():
                reused[key] += count
    for key, count in reused.items():
        connections.add_metric((str(key).lower(),), count)
    return durations, ages, responses, failures, deferrals, in_flight, breakers, connections


class _ClaimCounters(Collector):
    """Claims and their outcomes, with one lock for all."""

    def __init__(self, backend: str, queue: str) -> None:
        self.lock = threading.Lock()
        self.claimed = 0
        self.ended = dict.fromkeys(SETTLED_OUTCOMES, 0)
        self.durations = _Buckets(CLAIM_SECONDS)
        self.by_source: dict[str, int] = {}
        self._labels = (backend, queue)

    def collect(self) -> Iterable[Metric]:
        both = ("backend", "queue")
        claims = CounterMetricFamily("sockudo_queue_claims", "Claims of records.", labels=both)
        settlements = CounterMetricFamily("sockudo_queue_settlements", "Claims that ended.", labels=(*both, "outcome"))
        durations = HistogramMetricFamily(
            "sockudo_queue_claim_duration_seconds", "Time from a claim to its settlement.", labels=both
        )
        sources = CounterMetricFamily("sockudo_queue_source_jobs", "Jobs by source.", labels=("source",))
        with self.lock:
            claims.add_metric(self._labels, self.claimed)
            for outcome, count in self.ended.items():
                settlements.add_metric((*self._labels, outcome), count)
            self.durations.add_to(durations, dict(zip(both, self._labels, strict=True)))
            for source, count in self.by_source.items():
                sources.add_metric((source,), count)
        return claims, settlements, durations, sources


class _Watched(Collector):
    """Values of other parts, read at each scrape. The functions must not block."""

    def __init__(self) -> None:
        self.slots_in_use: Callable[[], float] = lambda: 0
        self.spare_workers: Callable[[], float] = lambda: 0
        self.log_drops: Callable[[], float] = lambda: 0
        self.evictions: Callable[[], float] = lambda: 0
        self.heartbeats: Callable[[], Mapping[str, float]] = dict
        self.apps_cached: Callable[[], float] = lambda: 0
        self.app_store_up: Callable[[], float | None] = lambda: None
        self.history_written: Callable[[], float] = lambda: 0
        self.history_dropped: Callable[[], Mapping[str, float]] = lambda: dict.fromkeys(HISTORY_LOSSES, 0)
        self.history_up: Callable[[], float | None] = lambda: None
        self.crash_duplicates: float | None = None
        self.spans: Callable[[], SpanCounts] = SpanCounts
        self.invalid_webhooks: Callable[[], InvalidByApp] = dict
        self.alerts: Callable[[], Mapping[str, float]] = lambda: dict.fromkeys(ALERT_OUTCOMES, 0)
        self.paused_webhooks: Callable[[], Mapping[WebhookKey, int]] = dict

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily("sockudo_queue_slots_in_use", "Slots that are taken.", self.slots_in_use())
        yield GaugeMetricFamily("sockudo_queue_spare_workers", "Workers beyond the slots.", self.spare_workers())
        yield CounterMetricFamily("sockudo_queue_log_lines_dropped", "Log lines lost.", self.log_drops())
        spans = self.spans()
        yield CounterMetricFamily("sockudo_queue_spans_exported", "Spans that a collector took.", spans.exported)
        dropped = CounterMetricFamily("sockudo_queue_spans_dropped", "Spans lost.", labels=("reason",))
        dropped.add_metric(("queue-full",), spans.queue_full)
        dropped.add_metric(("export-failed",), spans.export_failed)
        yield dropped
        yield CounterMetricFamily("sockudo_queue_evicted", "Jobs dropped by a full memory driver.", self.evictions())
        yield from self._history()
        alerts = CounterMetricFamily("sockudo_queue_alerts", "Alerts to the operator's URL.", labels=("outcome",))
        for outcome, count in self.alerts().items():
            alerts.add_metric((outcome,), count)
        yield alerts
        duplicates = GaugeMetricFamily(
            "sockudo_queue_crash_duplicates_limit", "Most jobs delivered twice after a kill.", labels=()
        )
        if self.crash_duplicates is not None:
            duplicates.add_metric((), self.crash_duplicates)
        yield duplicates
        up = GaugeMetricFamily("sockudo_queue_app_store_up", "1 while the app database answers.", labels=())
        if (answers := self.app_store_up()) is not None:
            up.add_metric((), answers)
        yield up
        yield GaugeMetricFamily("sockudo_queue_apps_cached", "Apps of a database in memory.", self.apps_cached())
        beats = GaugeMetricFamily(
            "sockudo_queue_heartbeat_age_seconds",
            "Time since the last sign of life, by kind of thread.",
            labels=("thread",),
        )
        for kind, age in self.heartbeats().items():
            beats.add_metric((kind,), age)
        yield beats
        yield _invalid(self.invalid_webhooks())
        yield from _paused(self.paused_webhooks())

    def _history(self) -> Iterable[Metric]:
        yield CounterMetricFamily(
            "sockudo_queue_history_entries_written", "Entries stored in the attempt history.", self.history_written()
        )
        dropped = CounterMetricFamily(
            "sockudo_queue_history_entries_dropped", "Entries that were not stored.", labels=("reason",)
        )
        for reason, count in self.history_dropped().items():
            dropped.add_metric((reason,), count)
        yield dropped
        up = GaugeMetricFamily("sockudo_queue_history_up", "1 while the attempt history is stored.", labels=())
        if (stored := self.history_up()) is not None:
            up.add_metric((), stored)
        yield up


def _invalid(by_app: InvalidByApp) -> Metric:
    """Return the webhooks that are invalid now; series appear and disappear with them."""
    labels = ("app", "webhook")
    family = GaugeMetricFamily("sockudo_webhook_invalid", "Webhooks that cannot be called.", labels=labels)
    # Summed first: Prometheus refuses a scrape that contains a series twice.
    counts = Counts((app, webhook.name) for app, webhook in invalid_webhooks.first(by_app, NAMES_LIMIT))
    counts[OTHER, OTHER] += max(invalid_webhooks.count(by_app) - NAMES_LIMIT, 0)
    for names, number in counts.items():
        if number:
            family.add_metric(names, number)
    return family


def _paused(held: Mapping[WebhookKey, int]) -> Iterable[Metric]:
    """Return the webhooks that are paused now, with their held deliveries; those past the limit as one series."""
    labels = ("app", "webhook")
    paused = GaugeMetricFamily("sockudo_webhook_paused", "Webhooks that operators have paused.", labels=labels)
    waiting = GaugeMetricFamily("sockudo_webhook_held", "Deliveries held for a paused webhook.", labels=labels)
    numbers, counts = Counts[tuple[str, str]](), Counts[tuple[str, str]]()
    for place, (webhook, count) in enumerate(held.items()):
        shown = webhook.shown() if place < NAMES_LIMIT else (OTHER, OTHER)
        numbers[shown] += 1
        counts[shown] += count
    for names, number in numbers.items():
        paused.add_metric(names, number)
        waiting.add_metric(names, counts[names])
    return paused, waiting


class Metrics:
    """Every series of one daemon."""

    def __init__(self, backend: str, queue: str) -> None:
        # Otherwise each counter and histogram would have an extra `_created` series that is not used.
        disable_created_series()  # type: ignore[no-untyped-call] # the library has no types there
        self.registry = r = CollectorRegistry(auto_describe=True)  # so that `name[]` also finds the collectors below
        both, values = ("backend", "queue"), (backend, queue)
        jobs = Gauge("sockudo_queue_jobs", "Records by state.", (*both, "state"), registry=r)
        self._jobs = {state: jobs.labels(*values, state) for state in DEPTH_STATES}
        self._oldest = Gauge(
            "sockudo_queue_oldest_job_timestamp_seconds", "Time of the oldest ready job.", both, registry=r
        )
        self._oldest_labels = values
        self._skew = Gauge("sockudo_queue_clock_skew_seconds", "Clocks ahead of the broker's.", ("clock",), registry=r)
        self._competing = Gauge(
            "sockudo_queue_competing_consumers", "1 with signs of Sockudo's own workers.", registry=r
        )
        self._broker = Gauge("sockudo_queue_broker_up", "1 while the broker answers.", registry=r)
        self._app_store_up = 0.0
        queries = Counter("sockudo_queue_app_store_queries", "Queries for apps.", ("outcome",), registry=r)
        self._queries = {answered: queries.labels(outcome) for answered, outcome in APP_STORE_OUTCOMES.items()}
        self._slots = Gauge("sockudo_queue_slots", "Slots for fresh jobs.", registry=r)
        self._dead = Counter("sockudo_webhook_dead_letters", "Dead letters made.", ("reason",), registry=r)
        for reason in DEAD_LETTER_REASONS:
            self._dead.labels(reason)
        self._trace_rejected = Counter(
            "sockudo_webhook_trace_fields_rejected", "Fields of a trace context left out.", ("field",), registry=r
        )
        for field in TRACE_FIELDS:
            self._trace_rejected.labels(field)
        self._trimmed = Counter(
            "sockudo_webhook_dead_letters_trimmed", "Dead letters dropped by retention.", registry=r
        )
        self.trimmed_so_far = self.lost_so_far = 0
        self._lost = Counter("sockudo_queue_records_lost", "Records found without their body.", registry=r)
        self._restored = Counter("sockudo_queue_records_restored", "Records put back into the queue.", registry=r)
        self._unreachable = Gauge("sockudo_queue_records_unreachable", "Records that are in no set.", registry=r)
        self._refused = Gauge(
            "sockudo_queue_source_refused", "1 while the broker refuses a source.", ("source",), registry=r
        )
        self._controls_refused = Gauge(
            "sockudo_queue_controls_refused", "1 while the broker refuses to name the paused webhooks.", registry=r
        )
        self._trimmed_lock = threading.Lock()
        Info("sockudo_queue_build", "What runs.", registry=r).info(
            {"version": __version__, "python": platform.python_version()}
        )
        self._cap = NameCap()
        self._claims, self._webhooks, self._watched = _ClaimCounters(backend, queue), _WebhookCounters(), _Watched()
        r.register(self._claims)
        r.register(self._webhooks)
        r.register(self._watched)
        ProcessCollector(registry=r)

    def claimed(self, source: str | None = None) -> None:
        """Count one claim. `source` is its source if it is a fresh job."""
        claims = self._claims
        with claims.lock:
            claims.claimed += 1
            if source in claims.by_source:
                claims.by_source[source] += 1
                return
        if source is not None:
            self.source_jobs(source)

    def settled(self, outcome: str, seconds: float) -> None:
        """Count one claim that ended with an outcome in `SETTLED_OUTCOMES`, `seconds` after it was made."""
        claims = self._claims
        with claims.lock:
            claims.ended[outcome] += 1
            claims.durations.observe(seconds)

    def webhook(self, app: str, webhook: str) -> WebhookMetrics:
        """Return the counts of the webhook with this name; they are exported from now on."""
        return self._webhooks.webhook(app, webhook)

    def attempt_started(self, app: str, webhook: str) -> WebhookMetrics:
        """Count the start of an attempt; return the counts of its webhook, on which `ended` has to follow."""
        counts = self._webhooks.webhook(app, webhook)
        counts.started()
        return counts

    def breaker(self, app: str, webhook: str, state: str) -> None:
        """Set the state of a webhook's breaker, from `BREAKER_STATES`. Webhooks with the same label show the worst."""
        shared = self._webhooks.webhook(app, webhook).shared
        value = BREAKER_STATES[state]
        with shared.lock:
            shared.troubled.pop((app, webhook), None)
            if value:
                shared.troubled[app, webhook] = value

    def dead_letter(self, reason: str) -> None:
        """Count a dead letter by its reason, without a status: `status-404` counts as `status`."""
        self._dead.labels(self._cap.name("reason", reason.rstrip("0123456789").rstrip("-"))).inc()

    def trace_field_rejected(self, field: str) -> None:
        """Count an attempt that was made without an invalid field, from `TRACE_FIELDS`, of its job's trace context."""
        self._trace_rejected.labels(field).inc()

    def trimmed(self, count: int) -> None:
        """Count dead letters that retention has removed."""
        self._trimmed.inc(count)
        with self._trimmed_lock:
            self.trimmed_so_far += count

    def records_lost(self, count: int) -> None:
        """Count records that were found without a body, which something else has removed."""
        self._lost.inc(count)
        with self._trimmed_lock:
            self.lost_so_far += count

    def records_restored(self, count: int) -> None:
        """Count records that were found in no set and were put back."""
        self._restored.inc(count)

    def records_unreachable(self, count: int) -> None:
        """Set the number of records that are in no set and were not changed."""
        self._unreachable.set(count)

    def source_refused(self, source: str, *, refused: bool) -> None:
        """Set whether the broker refuses a source."""
        self._refused.labels(self._cap.name("source", source)).set(refused)

    def controls_refused(self, *, refused: bool) -> None:
        """Set whether the broker refuses to name the paused webhooks."""
        self._controls_refused.set(refused)

    def figures(self) -> Figures:
        """Return the current figures for the status page; takes only locks that attempts hold briefly."""
        return self._webhooks.figures()

    def depth(self, by_state: Mapping[str, int]) -> None:
        for state, count in by_state.items():
            self._jobs[state].set(count)

    def oldest_job(self, timestamp: float | None) -> None:
        """Set the creation time of the oldest ready job, in seconds since 1970; with None the series is absent."""
        if timestamp is None:
            self._oldest.clear()
        else:
            self._oldest.labels(*self._oldest_labels).set(timestamp)

    def source_jobs(self, source: str, count: int = 1) -> None:
        """Count jobs that came from a source; a count of 0 makes a watched source visible."""
        name = self._cap.name("source", source)
        with self._claims.lock:
            self._claims.by_source[name] = self._claims.by_source.get(name, 0) + count

    def clock_skew(self, clock: str, seconds: float) -> None:
        """Set how far a clock is ahead of the broker's; `clock` is a key of `drivers.base.CLOCKS`."""
        self._skew.labels(clock).set(seconds)

    def competing_consumers(self, seen: bool) -> None:
        """Set whether there are signs of Sockudo's own workers on the queue."""
        self._competing.set(seen)

    def broker_up(self, up: bool) -> None:
        self._broker.set(up)

    def watch_slots(self, total: int, in_use: Callable[[], float], spare_workers: Callable[[], float]) -> None:
        self._slots.set(total)
        self._watched.slots_in_use, self._watched.spare_workers = in_use, spare_workers

    def crash_duplicates(self, limit: int) -> None:
        """Export how many jobs are delivered twice at most after this process was killed."""
        self._watched.crash_duplicates = limit

    def watch_heartbeats(self, ages: Callable[[], Mapping[str, float]]) -> None:
        self._watched.heartbeats = ages

    def watch_app_store(self, cached: Callable[[], float]) -> None:
        """Export whether the app database is reachable, and how many of its apps are cached."""
        self._watched.apps_cached, self._watched.app_store_up = cached, lambda: self._app_store_up

    def app_store_asked(self, *, answered: bool) -> None:
        """Count one query for apps, and update whether their store is reachable."""
        self._queries[answered].inc()
        self._app_store_up = float(answered)

    def watch_invalid_webhooks(self, by_app: Callable[[], InvalidByApp]) -> None:
        """Export the invalid webhooks."""
        self._watched.invalid_webhooks = by_app

    def invalid_webhooks(self) -> InvalidByApp:
        """Return the webhooks that are invalid now."""
        return self._watched.invalid_webhooks()

    def watch_paused_webhooks(self, held: Callable[[], Mapping[WebhookKey, int]]) -> None:
        """Export which webhooks are paused, and how many deliveries are held for each."""
        self._watched.paused_webhooks = held

    def paused_webhooks(self) -> Mapping[WebhookKey, int]:
        """Return the webhooks that are paused now, with the deliveries that are held for each."""
        return self._watched.paused_webhooks()

    def watch_log_drops(self, count: Callable[[], float]) -> None:
        self._watched.log_drops = count

    def watch_history(
        self, written: Callable[[], float], dropped: Callable[[], Mapping[str, float]], up: Callable[[], float]
    ) -> None:
        """Export how many entries of the attempt history were written or dropped, and whether it is available."""
        watched = self._watched
        watched.history_written, watched.history_dropped, watched.history_up = written, dropped, up

    def watch_alerts(self, counts: Callable[[], Mapping[str, float]]) -> None:
        """Export what became of alerts, by `ALERT_OUTCOMES`."""
        self._watched.alerts = counts

    def watch_spans(self, counts: Callable[[], SpanCounts]) -> None:
        """Export the counts of ended spans."""
        self._watched.spans = counts

    def watch_evictions(self, count: Callable[[], float]) -> None:
        self._watched.evictions = count
