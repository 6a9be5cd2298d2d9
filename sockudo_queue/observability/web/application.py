"""The WSGI application of the daemon's port: probes, metrics and the pages.

A probe only reads values that other parts have stored, so it never waits for a network call or a driver.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, make_wsgi_app
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request, Response

from sockudo_queue.core.hosts import is_own_name
from sockudo_queue.observability.accept import preferred
from sockudo_queue.observability.health import Health
from sockudo_queue.observability.logs import get_logger
from sockudo_queue.observability.reminder import Reminder
from sockudo_queue.observability.web.actions import Actions, actor_of

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from sockudo_queue.observability.web.actions import ActionGuard
    from sockudo_queue.observability.web.login import LoginGate

Handler = Callable[[Request], Response]
LIVE: Final = "/livez"
READY: Final = "/readyz"
METRICS: Final = "/metrics"
_LOG_INTERVAL: Final = 60.0
PROBES: Final = frozenset({LIVE, READY})
ASKING_REQUESTS: Final = 2
"""Maximum concurrent requests for pages that call the queue server. If it does not answer they block, and further
ones must not take the places of metrics and the other pages."""
_FORMATS: Final = ("application/openmetrics-text", "text/plain")
_ODD_VERSION: Final = re.compile(
    r";\s*version=(?!\d{1,4}(\.\d{1,4}){0,3}\s*(;|$))[^;]*"
)  # prometheus-client fails on these


class Application:
    """Routes requests to probes, metrics, pages and actions. Thread-safe."""

    def __init__(
        self,
        registry: CollectorRegistry,
        health: Health,
        pages: Mapping[str, Handler] | None = None,
        gate: LoginGate | None = None,
        *,
        asking: Mapping[str, Handler] | None = None,
        actions: Actions | None = None,
        guard: ActionGuard | None = None,
        open_metrics: bool = False,
        own_names_only: bool = False,
    ) -> None:
        """`pages` and `asking` map paths to handlers; those of `asking` may wait for the queue server.

        With a `gate` all of them require a login, and so do metrics unless `open_metrics`. With `own_names_only` the
        host of a request must be an address or `localhost`; probes accept any host. `actions` are available only with a
        `gate` and a `guard`.
        """
        self._own_names_only = own_names_only
        self._failures = Reminder(_LOG_INTERVAL)
        self._metrics = make_wsgi_app(registry)
        self._handlers: dict[str, Handler] = {
            METRICS: self._show_metrics,
            LIVE: lambda _request: text(*health.live_page()),
            READY: lambda _request: text(*health.ready_page()),
            **(pages or {}),
            **(asking or {}),
        }
        self._gate = gate
        self._asking, self._asking_in_turn = frozenset(asking or ()), threading.Lock()
        self._asking_slots = threading.BoundedSemaphore(ASKING_REQUESTS)
        self._in_turn = threading.Lock()  # concurrent scrapes would use all of the CPU
        self._open = PROBES | ({METRICS} if open_metrics else set())
        self._guard = guard
        self._actions = dict(actions or {}) if gate is not None and guard is not None else {}
        rules = [Rule(path, endpoint=path, methods=["GET"]) for path in self._handlers]
        rules += [Rule(path, endpoint=path, methods=["POST"]) for path in self._actions]
        self._routes = Map(rules, merge_slashes=False).bind("")

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """See WSGI (PEP 3333)."""
        request = Request(environ)
        response = self._answer(request)
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("X-Frame-Options", "DENY")
        response.headers["Server"] = "sockudo-queue"
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        try:
            path, _ = self._routes.match(request.path, request.method)
            if self._own_names_only and path not in PROBES and not is_own_name(request.host):
                # DNS rebinding: a page whose name resolves to the loopback address could read these pages through its
                # visitor's browser.
                return text(421, "on a loopback address, the host must be localhost or an IP address")
            if self._gate is not None and path not in self._open:
                refusal = self._gate.refusal(request)
                if refusal is not None:
                    return refusal
            if path in PROBES:
                return self._handlers[path](request)
            if path in self._actions:
                return self._act(path, request)
            if path in self._asking:
                return self._ask(lambda: self._handlers[path](request))
            with self._in_turn:
                return self._handlers[path](request)
        except MethodNotAllowed as error:
            methods = sorted(error.valid_methods or ())
            return text(405, f"only {' and '.join(methods)} can be used here", Allow=", ".join(methods))
        except HTTPException:
            return text(404, f"try {', '.join(self._handlers)}")
        except Exception as error:  # noqa: BLE001 - an error in one value must not end the server
            if self._failures.is_due(time.monotonic()):
                get_logger().error("metrics.failed", exc_info=error)
            return text(500, "the page could not be made")

    def _act(self, path: str, request: Request) -> Response:
        assert self._guard is not None
        refusal = self._guard.refusal(request, path)
        if refusal is not None:
            return refusal
        return self._ask(lambda: self._actions[path](request, actor_of(request)))

    def _ask(self, answer: Callable[[], Response]) -> Response:
        if not self._asking_slots.acquire(blocking=False):
            return text(503, "other requests wait for the queue server; try again", **{"Retry-After": "2"})
        try:
            with self._asking_in_turn:
                return answer()
        finally:
            self._asking_slots.release()

    def _show_metrics(self, request: Request) -> Response:
        """Let prometheus-client respond. It uses the first format that it supports; clients rank formats by `q`."""
        environ: dict[str, Any] = request.environ | {
            "REQUEST_METHOD": "GET",  # for HEAD, the server omits the body
            "HTTP_ACCEPT": _ODD_VERSION.sub("", preferred(request.headers.get("Accept", ""), _FORMATS)),
            "HTTP_ACCEPT_ENCODING": "gzip" if request.accept_encodings["gzip"] > 0 else "",
        }
        response: Response = Response.from_app(self._metrics, environ, buffered=True)
        response.headers["Vary"] = "Accept, Accept-Encoding"
        return response


def text(status: int, line: str, **headers: str) -> Response:
    """Return a line of plain text."""
    return Response(f"{line}\n", status, headers, content_type="text/plain; charset=utf-8")
