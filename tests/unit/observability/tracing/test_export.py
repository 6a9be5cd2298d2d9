"""The count of spans between their end and the collector."""

from __future__ import annotations

from sockudo_queue.observability.tracing.export import ExportCounter
from sockudo_queue.observability.tracing.spans import SpanCounts


def test_no_more_spans_wait_than_the_queue_holds_and_the_rest_is_counted() -> None:
    counter = ExportCounter(2)
    assert [counter.admit() for _ in range(4)] == [True, True, False, False]
    assert counter.counts() == SpanCounts(queue_full=2)
    assert counter.unfinished() == 2


def test_a_batch_that_is_being_exported_leaves_its_room_and_is_unfinished_until_it_ends() -> None:
    counter = ExportCounter(2)
    assert counter.admit()
    assert counter.admit()
    counter.begin_export(2)
    assert counter.unfinished() == 2
    assert counter.admit()
    counter.end_export(2, succeeded=True)
    counter.begin_export(1)
    counter.end_export(1, succeeded=False)
    assert counter.counts() == SpanCounts(exported=2, export_failed=1)
    assert counter.unfinished() == 0
