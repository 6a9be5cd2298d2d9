"""The count of spans between their end and the collector."""

from __future__ import annotations

from sockudo_queue.observability.tracing.export import ExportLedger
from sockudo_queue.observability.tracing.spans import SpanCounts


def test_no_more_spans_wait_than_the_queue_holds_and_the_rest_is_counted() -> None:
    ledger = ExportLedger(2)
    assert [ledger.admit() for _ in range(4)] == [True, True, False, False]
    assert ledger.counts() == SpanCounts(queue_full=2)
    assert ledger.unfinished() == 2


def test_a_batch_that_is_being_exported_leaves_its_room_and_is_unfinished_until_it_ends() -> None:
    ledger = ExportLedger(2)
    assert ledger.admit()
    assert ledger.admit()
    ledger.begin_export(2)
    assert ledger.unfinished() == 2
    assert ledger.admit()
    ledger.end_export(2, succeeded=True)
    ledger.begin_export(1)
    ledger.end_export(1, succeeded=False)
    assert ledger.counts() == SpanCounts(exported=2, export_failed=1)
    assert ledger.unfinished() == 0
