"""What is logged of a claim that could not be settled."""

from __future__ import annotations

from typing import Any, cast

import pytest

from sockudo_queue.drivers.base import Claim, Driver, Settlement
from sockudo_queue.errors import SettlementRefused
from sockudo_queue.observability.metrics import Metrics
from sockudo_queue.observability.status_page.history import StatusHistory
from sockudo_queue.pipeline.in_flight import ClaimsInFlight
from sockudo_queue.pipeline.settlements import SettlementRecorder


class Log:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def error(self, event: str, **fields: Any) -> None:
        self.lines.append(("error", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append(("warning", event, fields))


@pytest.mark.parametrize(
    ("leased", "level", "event"), [(True, "warning", "settlement.refused"), (False, "error", "job.lost")]
)
def test_a_claim_without_a_lease_that_is_given_up_is_lost(leased: bool, level: str, event: str) -> None:
    log, metrics = Log(), Metrics("redis", "webhooks")
    recorder = SettlementRecorder(cast(Driver, None), ClaimsInFlight(), metrics, StatusHistory(metrics), log)
    claim = Claim("list", "id/0", b"{}", b"", 0, 0, leased=leased)

    recorder.give_up(Settlement(claim), SettlementRefused("list", "max request size exceeded"))

    assert log.lines == [(level, event, {"record": "id", "reason": "list: max request size exceeded"})]
