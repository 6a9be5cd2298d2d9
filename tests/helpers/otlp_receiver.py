"""A receiver of spans: the subset of an OpenTelemetry collector (OTLP over HTTP) that the tests need."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.helpers.waiting import eventually

PATH: Final = "/v1/traces"
KINDS: Final = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
_ERROR: Final = 2


@dataclass(frozen=True)
class Span:
    """One span as it arrived; ids are in hexadecimal, `parent` is empty for a root, times are in nanoseconds."""

    service: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    start: int
    end: int
    failed: bool
    attributes: dict[str, Any]
    links: tuple[tuple[str, str], ...]
    events: tuple[str, ...]
    state: str


class OtlpReceiver:
    """Receives spans on a port of its own. `respond` is called before anything is stored.

    It answers with `status` and no body, or with an endless body if `endless` is set.
    """

    def __init__(self, port: int = 0) -> None:
        self.requests = self.unreadable = 0
        self.raw = b""
        self.headers: dict[str, str] = {}
        self.status = 200
        self.endless = False
        self.respond: Callable[[], object] = lambda: None
        self._spans: list[Span] = []
        self._server = _Server(("127.0.0.1", port), self._handler())
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def spans(self) -> list[Span]:
        """The received spans, ordered by their start."""
        return sorted(self._spans, key=lambda span: span.start)

    def of(self, kind: str, name: str = "") -> list[Span]:
        return [span for span in self.spans if span.kind == kind and span.name.startswith(name)]

    def wait_for(self, count: int, timeout: float = 20.0, kind: str = "") -> list[Span]:
        """Wait for `count` spans of a kind; return all of that kind."""
        eventually(lambda: len([each for each in self._spans if kind in ("", each.kind)]) >= count, timeout, self._text)
        return [span for span in self.spans if kind in ("", span.kind)]

    def environment(self, **more: str) -> dict[str, str]:
        """Return the variables that make a program send its spans here soon after they end."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "100"} | more

    def take(self, body: bytes) -> None:
        self.raw += body
        try:
            request = ExportTraceServiceRequest.FromString(body)
        except DecodeError:
            self.unreadable += 1
            return
        for group in request.resource_spans:
            service = str(_values(group.resource.attributes).get("service.name"))
            for scope in group.scope_spans:
                self._spans += [_span(service, span) for span in scope.spans]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _text(self) -> str:
        return "\n".join(map(str, self.spans)) or "no spans"

    def _handler(receiver) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the handler's
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests += 1
                receiver.headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.respond()
                status = receiver.status if self.path == PATH else 404
                if status == 200:
                    receiver.take(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
                self.send_response(status)
                self.send_header(*(("Connection", "close") if receiver.endless else ("Content-Length", "0")))
                self.end_headers()
                while receiver.endless:
                    self.wfile.write(bytes(65_536))

            def log_message(self, *_: object) -> None:
                """Suppress the log."""

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Ignore errors: some tests kill the client while it sends."""


def _span(service: str, span: Any) -> Span:
    return Span(
        service,
        span.name,
        KINDS[span.kind],
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == _ERROR,
        _values(span.attributes),
        tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        tuple(event.name for event in span.events),
        span.trace_state,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
