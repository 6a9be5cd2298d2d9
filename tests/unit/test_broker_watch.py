"""Outages of the broker, of one of several servers, and refusals: what is logged and when the daemon is ready."""

from __future__ import annotations

from typing import Any

import pytest

from sockudo_queue import broker_watch
from sockudo_queue.broker_watch import BrokerWatch
from sockudo_queue.errors import BrokerRefused, BrokerUnavailable, SourceUnavailable


class Log:
    """Keeps what is logged, by event."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def error(self, event: str, **fields: Any) -> None:
        self.events.append(f"{event} {fields['reason']}")

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
    monkeypatch.setattr(broker_watch, "STRAGGLERS", 0.0)
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


def test_a_refusal_after_an_outage_is_told(watch: BrokerWatch, log: Log, readiness: list[str | None]) -> None:
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
