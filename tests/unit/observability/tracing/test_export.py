"""The count of spans between their end and the collector."""

from __future__ import annotations

from sockudo_queue.observability.tracing.export import ExportCounter
from sockudo_queue.observability.tracing.spans import SpanCounts


def test_spans_above_the_queue_size_are_dropped_and_counted() -> None:
    counter = ExportCounter(2)
    assert [counter.admit() for _ in range(4)] == [True, True, False, False]
    assert counter.counts() == SpanCounts(queue_full=2)
    assert counter.unfinished() == 2


def test_batch_in_export_frees_the_queue_and_is_unfinished() -> None:
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
