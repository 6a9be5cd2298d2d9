"""Two threads report the broker's status at the same moment: the later report counts."""

from __future__ import annotations

import threading
from typing import Any

from sockudo_queue.errors import BrokerUnavailable
from sockudo_queue.pipeline.broker_status import BrokerWatch


class SlowLog:
    """While it logs an outage, another thread gets an answer from the broker."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.watch: BrokerWatch | None = None
        self.other: threading.Thread | None = None

    def error(self, event: str, **_: Any) -> None:
        self.events.append(event)
        assert self.watch is not None
        self.other = threading.Thread(target=self.watch.worked, args=[self.watch.losses])
        self.other.start()
        self.other.join(0.2)  # it ends within, or waits for us

    def info(self, event: str, **_: Any) -> None:
        self.events.append(event)


def test_outage_that_ends_while_it_is_logged_does_not_persist() -> None:
    log, readiness = SlowLog(), list[str | None]()
    log.watch = BrokerWatch(log, readiness.append)

    log.watch.failed(BrokerUnavailable("gone"))
    assert log.other is not None
    log.other.join(5)

    assert readiness == ["gone", None]
    assert log.events == ["broker.lost", "broker.resumed"]
    assert not log.watch.is_lost
