"""Series count exactly, exist from the start, and stay within their limits whatever the names."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from sockudo_queue.core.apps import InvalidWebhook
from sockudo_queue.core.outcome import Verdict
from sockudo_queue.observability.metrics import NAMES_LIMIT, OTHER, Metrics, NameCap

Page = dict[tuple[str, frozenset[tuple[str, str]]], float]
COST_OF_COLLECTING: Final = 0.5
"""Maximum extra time for collecting, as a share of the time that prometheus-client takes to write the same samples; it
was 0.2 when this was written. A share instead of a time, because some machines are temporarily twice as slow."""


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("redis", "webhooks")


def page(metrics: Metrics) -> Page:
    families = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    samples = (sample for family in families for sample in family.samples)
    return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return page(metrics).get((name, frozenset(labels.items())))


QUEUE: Final = {"backend": "redis", "queue": "webhooks"}


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("sockudo_queue_claims_total", QUEUE),
        ("sockudo_queue_settlements_total", {**QUEUE, "outcome": "lease-lost"}),
        ("sockudo_queue_claim_duration_seconds_count", QUEUE),
        ("sockudo_queue_jobs", {**QUEUE, "state": "dead-letter"}),
        ("sockudo_webhook_dead_letters_total", {"reason": "exhausted"}),
        ("sockudo_webhook_dead_letters_trimmed_total", {}),
        ("sockudo_webhook_connections_total", {"reused": "true"}),
        ("sockudo_queue_log_lines_dropped_total", {}),
        ("sockudo_queue_broker_up", {}),
    ],
)
def test_known_series_exist_with_0_from_the_start(metrics: Metrics, name: str, labels: dict[str, str]) -> None:
    assert value(metrics, name, **labels) == 0


def test_named_webhook_has_series_with_0(metrics: Metrics) -> None:
    metrics.webhook("shop", "orders")
    for verdict in Verdict:
        labels = {"app": "shop", "webhook": "orders", "outcome": str(verdict)}
        assert value(metrics, "sockudo_webhook_attempts_total", **labels) == 0
    assert value(metrics, "sockudo_webhook_responses_total", webhook="orders", code_class="5xx") == 0
    assert value(metrics, "sockudo_webhook_deferrals_total", webhook="orders") == 0


def test_attempt_is_counted_in_all_series(metrics: Metrics) -> None:
    orders = metrics.webhook("shop", "orders")
    orders.started()
    assert value(metrics, "sockudo_webhook_in_flight", webhook="orders") == 1
    orders.ended(Verdict.DELIVERED, 0.03, status=204, age=61, reused=True)
    found = page(metrics)

    def of(name: str, **labels: str) -> float:
        return found[f"sockudo_webhook_{name}", frozenset(({"webhook": "orders"} | labels).items())]

    assert of("in_flight") == 0
    assert of("attempts_total", app="shop", outcome="delivered") == 1
    assert of("responses_total", code_class="2xx") == 1
    assert of("attempt_duration_seconds_sum") == 0.03
    assert of("attempt_duration_seconds_bucket", le="0.025") == 0
    assert of("attempt_duration_seconds_bucket", le="0.05") == 1
    assert of("attempt_duration_seconds_bucket", le="+Inf") == of("attempt_duration_seconds_count") == 1
    assert of("delivery_age_seconds_bucket", le="60.0") == 0
    assert of("delivery_age_seconds_bucket", le="120.0") == 1
    assert found["sockudo_webhook_connections_total", frozenset({("reused", "true")})] == 1


@pytest.mark.parametrize("status", [None, 0, 199, 600, 999])
def test_attempt_without_a_valid_status_has_no_code_class(metrics: Metrics, status: int | None) -> None:
    orders = metrics.webhook("shop", "orders")
    orders.started()
    orders.ended(Verdict.RETRYABLE, 10.0, status=status)
    counts = [count for (name, _), count in page(metrics).items() if name == "sockudo_webhook_responses_total"]
    assert counts == [0, 0, 0, 0]


def test_attempt_in_flight_is_counted_until_it_ends(metrics: Metrics) -> None:
    orders = metrics.webhook("shop", "orders")
    orders.started()
    assert value(metrics, "sockudo_webhook_in_flight", webhook="orders") == 1
    orders.ended(Verdict.PERMANENT, 0.5)
    assert value(metrics, "sockudo_webhook_in_flight", webhook="orders") == 0
    labels = {"app": "shop", "webhook": "orders", "outcome": "permanent"}
    assert value(metrics, "sockudo_webhook_attempts_total", **labels) == 1


def test_webhooks_of_two_apps_with_one_name_share_their_series(metrics: Metrics) -> None:
    shop, bank = metrics.webhook("shop", "orders"), metrics.webhook("bank", "orders")
    shop.started()
    bank.started()
    assert value(metrics, "sockudo_webhook_in_flight", webhook="orders") == 2
    bank.ended(Verdict.DELIVERED, 0.5)
    assert value(metrics, "sockudo_webhook_in_flight", webhook="orders") == 1
    labels = {"app": "shop", "webhook": "orders", "outcome": "delivered"}
    assert value(metrics, "sockudo_webhook_attempts_total", **labels) == 0


def test_10_000_webhooks_stay_within_the_cap_and_a_scrape_stays_short(metrics: Metrics) -> None:
    def attempt(app: int, hook: int) -> None:
        counts = metrics.webhook(f"app-{app}", f"hook-{hook}")
        counts.started()
        counts.ended(Verdict.DELIVERED, 0.01, status=200, age=0.1, reused=True)
        metrics.breaker(f"app-{app}", f"hook-{hook}", "open")

    for number in range(10_000):
        attempt(number // 10, number)
    for number in range(10_000):  # the same few names in every app, so that only the pairs are many
        attempt(number // 100, number % 100)
    found = page(metrics)
    labels = [dict(items) for _, items in found]
    for name in ("app", "webhook"):
        assert len({series[name] for series in labels if name in series}) == NAMES_LIMIT + 1
    assert len([1 for series in labels if "app" in series]) <= (2 * NAMES_LIMIT + 1) * len(Verdict)
    attempts = [count for (name, _), count in found.items() if name == "sockudo_webhook_attempts_total"]
    assert sum(attempts) == 20_000
    assert len(found) < 6_000
    collected = Collected(metrics)
    rounds = [
        (seconds(lambda: generate_latest(metrics.registry)), seconds(lambda: generate_latest(collected)))
        for _ in range(25)
    ]
    whole, writing = (min(each) for each in zip(*rounds, strict=True))
    assert whole / writing < 1 + COST_OF_COLLECTING


class Collected(CollectorRegistry):
    """The families that a registry collected once, for repeated writing."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__()
        self._families = list(metrics.registry.collect())

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def seconds(work: Callable[[], object]) -> float:
    """Return the CPU seconds that this thread used for the work."""
    began = time.thread_time()
    work()
    return time.thread_time() - began


def test_webhook_past_the_limit_keeps_its_app_label() -> None:
    cap = NameCap(2)
    assert [cap.webhook("a", "1"), cap.webhook("a", "2"), cap.webhook("b", "1")] == [
        ("a", "1"),
        ("a", "2"),
        ("b", "other"),
    ]
    assert cap.webhook("c", "1") == ("other", "other")
    assert cap.webhook("a", "1") == ("a", "1")


def test_name_that_cannot_be_encoded_is_escaped(metrics: Metrics) -> None:
    odd = metrics.webhook("a\ud800", 'quote" \\ \n')
    assert odd is metrics.webhook("a\ud800", 'quote" \\ \n')
    labels = {"app": "a\\ud800", "webhook": 'quote" \\ \n', "outcome": "delivered"}
    assert value(metrics, "sockudo_webhook_attempts_total", **labels) == 0


def test_worst_breaker_state_of_a_name_is_shown(metrics: Metrics) -> None:
    def shown() -> float | None:
        return value(metrics, "sockudo_webhook_breaker_state", webhook="orders")

    metrics.breaker("one", "orders", "half-open")
    metrics.breaker("two", "orders", "open")
    assert shown() == 2
    metrics.breaker("two", "orders", "closed")
    assert shown() == 1
    metrics.breaker("one", "orders", "closed")
    assert shown() == 0


def test_reasons_of_dead_letters_are_capped(metrics: Metrics) -> None:
    for status in range(400, 600):
        metrics.dead_letter(f"status-{status}")
        metrics.dead_letter(f"text-{status}-x")
    reasons = {dict(labels)["reason"] for name, labels in page(metrics) if name == "sockudo_webhook_dead_letters_total"}
    assert value(metrics, "sockudo_webhook_dead_letters_total", reason="status") == 200
    assert "other" in reasons
    assert len(reasons) < 2 * NAMES_LIMIT


def test_oldest_job_series_is_absent_without_a_job(metrics: Metrics) -> None:
    name = "sockudo_queue_oldest_job_timestamp_seconds"
    assert value(metrics, name, **QUEUE) is None
    metrics.oldest_job(1_700_000_000)
    assert value(metrics, name, **QUEUE) == 1_700_000_000
    metrics.oldest_job(None)
    assert value(metrics, name, **QUEUE) is None


def test_watched_values_are_read_at_each_scrape(metrics: Metrics) -> None:
    busy = [3]
    metrics.watch_slots(5, lambda: busy[0], lambda: 2)
    metrics.watch_heartbeats(lambda: {"worker": 1.5})
    metrics.watch_log_drops(lambda: 7)
    assert value(metrics, "sockudo_queue_slots") == 5
    assert value(metrics, "sockudo_queue_slots_in_use") == 3
    busy[0] = 4
    assert value(metrics, "sockudo_queue_slots_in_use") == 4
    assert value(metrics, "sockudo_queue_spare_workers") == 2
    assert value(metrics, "sockudo_queue_heartbeat_age_seconds", thread="worker") == 1.5
    assert value(metrics, "sockudo_queue_log_lines_dropped_total") == 7


def test_invalid_webhooks_have_series_while_they_are_invalid(metrics: Metrics) -> None:
    def invalid(*names: str) -> tuple[InvalidWebhook, ...]:
        return tuple(InvalidWebhook(name, None, None, "", "") for name in names)

    now: dict[str, tuple[InvalidWebhook, ...]] = {"shop": invalid("a", "b"), "\ud800": invalid("a")}
    metrics.watch_invalid_webhooks(lambda: now)
    name = "sockudo_webhook_invalid"
    assert value(metrics, name, app="shop", webhook="b") == 1
    assert value(metrics, name, app="\\ud800", webhook="a") == 1
    now.clear()
    assert value(metrics, name, app="shop", webhook="b") is None
    now["shop"] = invalid(*map(str, range(1_000)))
    generate_latest(metrics.registry)
    assert value(metrics, name, app="shop", webhook="99") == 1
    assert value(metrics, name, app="shop", webhook="100") is None
    assert value(metrics, name, app=OTHER, webhook=OTHER) == 900


def test_counts_of_concurrent_threads_are_exact_during_scrapes(metrics: Metrics) -> None:
    def work(number: int) -> None:
        for _ in range(2_000):
            orders = metrics.webhook(f"app-{number % 2}", "orders")
            orders.started()
            orders.ended(Verdict.DELIVERED, 0.01, status=200, age=1.0, reused=False)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        generate_latest(metrics.registry)
    found = page(metrics)
    assert found["sockudo_webhook_in_flight", frozenset({("webhook", "orders")})] == 0
    assert found["sockudo_webhook_delivery_age_seconds_count", frozenset({("webhook", "orders")})] == 8_000
    assert found["sockudo_webhook_connections_total", frozenset({("reused", "false")})] == 8_000


def test_two_daemons_in_one_process_do_not_share_counts(metrics: Metrics) -> None:
    metrics.claimed()
    assert value(Metrics("redis", "webhooks"), "sockudo_queue_claims_total", **QUEUE) == 0


def test_invalid_webhook_named_other_causes_no_duplicate_series() -> None:
    metrics = Metrics("redis", "webhooks")
    names = ["other", *(f"hook-{number}" for number in range(NAMES_LIMIT))]
    invalid = tuple(InvalidWebhook(name, None, None, "place", "reason") for name in names)
    metrics.watch_invalid_webhooks(lambda: {"other": invalid})
    lines = [
        line
        for line in generate_latest(metrics.registry).decode().splitlines()
        if line.startswith("sockudo_webhook_invalid{")
    ]
    assert len(lines) == NAMES_LIMIT
    assert [line for line in lines if 'webhook="other"' in line] == [
        'sockudo_webhook_invalid{app="other",webhook="other"} 2.0'
    ]
