"""Outages of the broker, of one of several servers, and refusals: what is logged and when the daemon is ready."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from sockudo_queue.errors import BrokerRefused, BrokerUnavailable, SettlementRefused, SourceRefused, SourceUnavailable
from sockudo_queue.pipeline import broker_status
from sockudo_queue.pipeline.broker_status import BrokerWatch


class Log:
    """Keeps what is logged, by event."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def error(self, event: str, **fields: Any) -> None:
        self.events.append(f"{event} {fields['reason']}")

    def warning(self, event: str, **fields: Any) -> None:
        self.events.append(f"{event} {fields['source']}")

    def info(self, event: str, **_: Any) -> None:
        self.events.append(event)


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def readiness() -> list[str | None]:
    """Every change of the readiness; None is ready."""
    return []


@pytest.fixture
def watch(log: Log, readiness: list[str | None], monkeypatch: pytest.MonkeyPatch) -> BrokerWatch:
    monkeypatch.setattr(broker_status, "STRAGGLER_SECONDS", 0.0)
    started = BrokerWatch(log, readiness.append)
    started.worked(0)
    return started


def test_one_outage_is_one_line_each_way(watch: BrokerWatch, log: Log, readiness: list[str | None]) -> None:
    for _ in range(5):
        watch.failed(BrokerUnavailable("gone"))
    assert watch.is_lost
    for _ in range(5):
        watch.worked(watch.losses)

    assert log.events == ["broker.lost gone", "broker.resumed"]
    assert readiness == [None, "gone", None]


def test_one_server_of_several_is_lost_until_it_answers_itself(
    watch: BrokerWatch, log: Log, readiness: list[str | None]
) -> None:
    watch.failed(SourceUnavailable("a", "gone"))
    watch.worked(watch.losses)
    watch.source_worked(watch.losses, "b")
    assert watch.is_lost
    watch.failed(SourceUnavailable("b", "gone"))
    watch.source_worked(watch.losses, "a")
    assert watch.is_lost
    watch.source_worked(watch.losses, "b")

    assert log.events == ["broker.lost a: gone", "broker.resumed"]
    assert readiness == [None, "a: gone", None]


def test_refusal_after_an_outage_is_logged(watch: BrokerWatch, log: Log, readiness: list[str | None]) -> None:
    watch.failed(BrokerUnavailable("gone"))
    for _ in range(3):
        watch.failed(BrokerRefused("wrong password"))
        watch.failed(BrokerUnavailable("gone"))

    assert log.events[:2] == ["broker.lost gone", "broker.lost wrong password"]
    assert readiness[:3] == [None, "gone", "wrong password"]


def test_an_answer_that_was_on_its_way_before_an_outage_does_not_end_it(
    watch: BrokerWatch, log: Log, readiness: list[str | None]
) -> None:
    before = watch.losses
    watch.failed(SourceUnavailable("a", "gone"))
    between = watch.losses
    watch.source_worked(before, "a")
    watch.failed(SourceUnavailable("b", "gone"))
    watch.source_worked(between, "b")
    assert watch.is_lost
    for source in ("a", "b"):
        watch.source_worked(watch.losses, source)

    assert log.events == ["broker.lost a: gone", "broker.resumed"]
    assert readiness == [None, "a: gone", None]


def test_outage_of_one_server_does_not_outdate_answers_of_another(watch: BrokerWatch) -> None:
    watch.failed(SourceUnavailable("a", "gone"))
    before = watch.losses
    watch.failed(SourceUnavailable("b", "gone"))
    watch.source_worked(watch.losses, "b")
    assert watch.is_lost
    watch.source_worked(before, "a")  # b may come and go for as long as it likes
    assert not watch.is_lost


def test_an_answer_that_was_on_its_way_before_a_refusal_does_not_end_it(watch: BrokerWatch, log: Log) -> None:
    before = watch.losses
    watch.failed(SourceRefused("a", "no rights"))
    watch.source_worked(before, "a")
    watch.failed(SourceRefused("a", "no rights"))
    assert log.events == ["source.refused a"]
    watch.source_worked(watch.losses, "a")
    assert log.events == ["source.refused a", "source.resumed"]


def test_server_that_refuses_after_an_outage_is_no_longer_lost(
    watch: BrokerWatch, log: Log, readiness: list[str | None]
) -> None:
    before = watch.losses
    watch.failed(SourceUnavailable("a", "gone"))
    watch.source_refused(before, SourceRefused("a", "no rights"))
    assert watch.is_lost, "it refused before it was gone"
    watch.source_refused(watch.losses, SourceRefused("b", "no rights"))
    assert watch.is_lost, "that is another server"
    watch.source_refused(watch.losses, SourceRefused("a", "no rights"))

    assert log.events == ["broker.lost a: gone", "source.refused a", "source.refused b", "broker.resumed"]
    assert readiness == [None, "a: gone", None]


def test_a_refusal_of_one_source_does_not_end_an_outage_of_all(watch: BrokerWatch) -> None:
    watch.failed(BrokerRefused("all of them are refused"))
    watch.source_refused(watch.losses, SourceRefused("a", "no rights"))
    assert watch.is_lost


class Overtaken:
    """A lock that another thread holds once before it is acquired."""

    def __init__(self, other: Callable[[], None]) -> None:
        self._others = [other]

    def __enter__(self) -> None:
        if self._others:
            self._others.pop()()

    def __exit__(self, *_: object) -> None:
        pass


def test_failure_reported_after_the_end_of_its_outage_begins_no_new_outage(log: Log) -> None:
    watch = BrokerWatch(log, lambda _: None)
    watch.worked(0)
    watch.failed(BrokerUnavailable("gone"))
    watch._lock = Overtaken(lambda: watch.worked(watch.losses))  # type: ignore[assignment]
    watch.failed(BrokerUnavailable("gone"))

    assert log.events == ["broker.lost gone", "broker.resumed"]
    assert not watch.is_lost


def test_a_refusal_of_one_source_is_reported_as_it_begins_and_ends_and_is_logged_again(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: list[tuple[str, str | None]] = []
    watch = BrokerWatch(log, lambda _: None, lambda source, reason: changes.append((source, reason)))
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for _ in range(3):
        watch.failed(SourceRefused("a", "no rights"))
        now += broker_status.REFUSAL_REMIND_AFTER / 2 + 1
    watch.source_worked(watch.losses, "a")
    watch.failed(SourceRefused("a", "no rights"))

    assert log.events == ["source.refused a", "source.refused a", "source.resumed", "source.refused a"]
    assert changes == [("a", "no rights"), ("a", None), ("a", "no rights")]


def test_refused_settlement_does_not_mark_its_source_as_refused(
    watch: BrokerWatch, log: Log, readiness: list[str | None]
) -> None:
    watch.failed(SettlementRefused("a", "too large"))
    assert not watch.is_lost
    assert (log.events, readiness) == ([], [None])
