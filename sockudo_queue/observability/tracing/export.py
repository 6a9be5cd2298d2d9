"""Exports ended spans to the collector: a bounded queue, a thread of the SDK, and counts of lost spans."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from sockudo_queue.observability.reminder import Reminder
from sockudo_queue.observability.tracing.spans import SpanCounts

LOG_INTERVAL: Final = 60.0
"""Minimum seconds between two log lines about a collector that does not accept spans."""

ANSWER_LIMIT: Final = 65_536
"""Maximum bytes read of a collector's response, which only reports refused spans."""


class ExportCounter:
    """Counts spans from their end to the collector. Safe from any thread."""

    def __init__(self, queue_size: int) -> None:
        self._queue_size = queue_size
        self._lock = threading.Lock()
        self._waiting = self._exporting = self._exported = self._queue_full = self._failed = 0

    def admit(self) -> bool:
        """Count an ended span; False if the queue is full and the span is lost."""
        with self._lock:
            if self._waiting >= self._queue_size:
                self._queue_full += 1
                return False
            self._waiting += 1
            return True

    def begin_export(self, count: int) -> None:
        with self._lock:
            self._waiting -= count
            self._exporting += count

    def end_export(self, count: int, *, succeeded: bool) -> None:
        with self._lock:
            self._exporting -= count
            if succeeded:
                self._exported += count
            else:
                self._failed += count

    def counts(self) -> SpanCounts:
        with self._lock:
            return SpanCounts(self._exported, self._queue_full, self._failed)

    def unfinished(self) -> int:
        """Return the number of ended spans that are neither exported nor lost."""
        with self._lock:
            return self._waiting + self._exporting


class CountingExporter(SpanExporter):
    """Exports over HTTP, counts, and logs when exporting starts to fail and when it works again. For one thread."""

    def __init__(self, counter: ExportCounter, log: Any, collector: str) -> None:
        self._counter = counter
        self._log = log
        self._collector = collector
        self._status = 0
        self._failing = False
        self._reminder = Reminder(LOG_INTERVAL)
        session = requests.Session()
        session.hooks["response"].append(self._bounded)
        self._exporter = OTLPSpanExporter(session=session)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._status = 0
        self._counter.begin_export(len(spans))
        succeeded = False
        try:
            # The SDK treats a redirect as success, without following it.
            succeeded = self._exporter.export(spans) is SpanExportResult.SUCCESS and self._status < 300
        finally:
            self._counter.end_export(len(spans), succeeded=succeeded)
            self._log_change(succeeded=succeeded)
        return SpanExportResult.SUCCESS if succeeded else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _bounded(self, response: requests.Response, *_: object, **__: object) -> requests.Response:
        """Return the response without its body, because requests would read all of it, whatever its length."""
        self._status = response.status_code
        response.raw.read(ANSWER_LIMIT)  # reading to the end lets the connection be reused
        response.close()
        kept = requests.Response()
        kept.status_code, kept.reason, kept.headers = response.status_code, response.reason, response.headers
        return kept

    def _log_change(self, *, succeeded: bool) -> None:
        changed, self._failing = self._failing is succeeded, not succeeded
        if succeeded and changed:
            self._log.info("tracing.export_resumed", collector=self._collector)
        elif not succeeded and self._reminder.is_due(time.monotonic(), changed=changed):
            reason = f"status-{self._status}" if self._status else "no-answer"
            lost = self._counter.counts()
            self._log.warning(
                "tracing.export_failed",
                collector=self._collector,
                reason=reason,
                lost=lost.queue_full + lost.export_failed,
            )


class BoundedProcessor(BatchSpanProcessor):
    """The SDK's processor behind our own count: the SDK does not report the spans that a full queue drops."""

    def __init__(self, exporter: SpanExporter, counter: ExportCounter, queue_size: int, batch_size: int) -> None:
        super().__init__(exporter, max_queue_size=queue_size, max_export_batch_size=batch_size)
        self._counter = counter

    def on_end(self, span: ReadableSpan) -> None:
        if self._counter.admit():
            super().on_end(span)


def silence_sdk() -> None:
    """Suppress the SDK's log lines: it would log every failed export, which `CountingExporter` already limits."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
