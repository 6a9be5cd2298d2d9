"""Samples of the queue: gauges, the page's data, and old dead letters."""

from __future__ import annotations

import time
from typing import Any, Final

import pytest

from sockudo_queue.drivers.base import DeadLetter, RecordAudit, Settlement
from sockudo_queue.drivers.memory import MemoryDriver
from sockudo_queue.errors import BrokerUnavailable
from sockudo_queue.observability.metrics import Metrics
from sockudo_queue.observability.status_page.history import StatusHistory
from sockudo_queue.services.sampler import AUDIT_INTERVAL, Sampler
from tests.helpers.jobs import TIME_MS, job, jobs

HOUR_MS: Final = 3_600_000


class World:
    """A memory driver with a clock that the test sets, and its sampler."""

    def __init__(self, max_age_ms: int = 0, retention: int = 100) -> None:
        self.now_ms = TIME_MS
        self.driver = MemoryDriver(
            capacity=100,
            max_bytes=1_000_000_000,
            lease_ms=60_000,
            dead_retention=retention,
            now_ms=lambda: self.now_ms,
        )
        self.metrics = Metrics("memory", "webhooks")
        self.history = StatusHistory(self.metrics)
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.alerts: list[tuple[str, int]] = []
        self.sampler = self.sampler_over(self.driver, max_age_ms)

    def sampler_over(self, driver: MemoryDriver, max_age_ms: int = 0) -> Sampler:
        return Sampler(
            driver,
            self.metrics,
            self.history,
            self,
            max_age_ms=max_age_ms,
            raise_alert=lambda alert: self.alerts.append((alert.type, alert.count)),
        )

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    error = warning

    def kill(self, count: int) -> None:
        for body in jobs(count):
            self.driver.put(body)
            claim = self.driver.next(None).claim
            assert claim is not None
            self.driver.settle([Settlement(claim, (DeadLetter(b"", "refused"),))])

    def dead(self) -> int:
        return self.driver.depth()["dead-letter"]

    def trimmed(self) -> float:
        return self.metrics.registry.get_sample_value("sockudo_webhook_dead_letters_trimmed_total") or 0.0


def test_sample_updates_the_gauges_and_the_page() -> None:
    world = World()
    world.driver.put(job(1))
    world.sampler.sample()
    [sample] = world.history.view().samples
    assert sample.depth == {"ready": 1, "active": 0, "delayed": 0, "held": 0, "dead-letter": 0}
    assert sample.oldest == (TIME_MS + 1) / 1000
    labels = {"backend": "memory", "queue": "webhooks"}
    value = world.metrics.registry.get_sample_value
    assert value("sockudo_queue_jobs", labels | {"state": "ready"}) == 1
    assert value("sockudo_queue_oldest_job_timestamp_seconds", labels) == sample.oldest


def test_unreadable_oldest_job_has_no_time() -> None:
    world = World()
    world.driver.put(b"rubbish")
    world.sampler.sample()
    assert world.history.view().samples[0].oldest is None


def test_sample_without_an_answer_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    def fail() -> None:
        raise BrokerUnavailable("away")

    monkeypatch.setattr(world.driver, "depth", fail)
    with pytest.raises(BrokerUnavailable):
        world.sampler.sample()
    [sample] = world.history.view().samples
    assert (sample.depth, sample.oldest) == (None, None)


def test_old_dead_letters_are_dropped_counted_and_logged() -> None:
    world = World(max_age_ms=HOUR_MS)
    world.kill(3)
    world.sampler.sample()
    assert (world.dead(), world.trimmed(), world.lines) == (3, 0, [])
    world.now_ms += HOUR_MS + 1
    world.kill(1)
    world.sampler.sample()
    world.sampler.sample()
    assert (world.dead(), world.trimmed()) == (1, 3)
    assert world.lines == [("dead_letters.trimmed", {"count": 3})]
    assert world.history.view().trimmed == 3


def test_dead_letters_stay_without_a_maximum_age() -> None:
    world = World()
    world.kill(3)
    world.now_ms += 1000 * HOUR_MS
    world.sampler.sample()
    assert (world.dead(), world.lines) == (3, [])


def test_dead_letters_dropped_by_number_are_logged() -> None:
    world = World()
    world.metrics.trimmed(2)
    world.sampler.sample()
    world.metrics.trimmed(5)
    world.sampler.sample()
    assert [fields["count"] for _, fields in world.lines] == [2, 5]


class AuditedMemory(MemoryDriver):
    """A memory driver whose audits return the given findings in order, then none."""

    def __init__(self) -> None:
        super().__init__(capacity=1, max_bytes=1_000_000, lease_ms=60_000, dead_retention=1)
        self.findings: list[RecordAudit] = []

    def audit(self) -> RecordAudit:
        return self.findings.pop(0) if self.findings else RecordAudit(0, 0, 0)


class Audited(World):
    """A world with audited records and its own clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *findings: RecordAudit) -> None:
        super().__init__()
        self.seconds = 1_000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.seconds)
        self.memory = AuditedMemory()
        self.memory.findings += findings
        self.sampler = self.sampler_over(self.memory)

    def value(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"sockudo_queue_records_{name}")


def test_records_are_audited_at_the_start_and_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Audited(monkeypatch, RecordAudit(2, 0, 0), RecordAudit(1, 0, 0))
    world.sampler.sample()
    world.seconds += AUDIT_INTERVAL - 1
    world.sampler.sample()
    assert world.value("lost_total") == 2
    world.seconds += 1
    world.sampler.sample()
    assert world.value("lost_total") == 3
    assert world.lines == [("records.lost", {"count": 2}), ("records.lost", {"count": 1})]
    assert world.alerts == [("queue.records_lost", 2), ("queue.records_lost", 1)]
    assert world.history.view().lost == 3


def test_audit_that_restored_records_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Audited(monkeypatch, RecordAudit(0, 5, 0), RecordAudit(0, 1, 0))
    for _ in range(3):
        world.sampler.sample()
    assert world.value("restored_total") == 6
    assert world.lines == [("records.restored", {"count": 5}), ("records.restored", {"count": 1})]


def test_unreachable_records_are_logged_once_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Audited(monkeypatch, *[RecordAudit(0, 0, 7)] * 62)
    for _ in range(62):
        world.sampler.sample()
        world.seconds += AUDIT_INTERVAL
    assert world.lines == [("records.unreachable", {"count": 7})] * 2
    assert world.value("unreachable") == 7
    world.sampler.sample()
    assert world.value("unreachable") == 0


def test_records_found_lost_by_a_claim_are_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Audited(monkeypatch)
    world.metrics.records_lost(4)
    world.sampler.sample()
    world.sampler.sample()
    assert world.lines == [("records.lost", {"count": 4})]


def test_jobs_that_a_full_memory_driver_drops_raise_an_alert() -> None:
    world = World()
    for body in jobs(103):
        world.driver.put(body)
    world.sampler.sample()
    world.sampler.sample()
    world.driver.put(job(104))
    world.sampler.sample()
    assert world.alerts == [("queue.jobs_evicted", 3), ("queue.jobs_evicted", 1)]


def test_trimmed_dead_letters_raise_an_alert() -> None:
    world = World()
    world.metrics.trimmed(4)
    world.sampler.sample()
    world.sampler.sample()
    assert world.alerts == [("queue.dead_letters_trimmed", 4)]
