"""The HTTP handlers of the status page and its JSON. They show the latest sample, so they never block the daemon."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from werkzeug.wrappers import Request, Response

from sockudo_queue import __version__
from sockudo_queue.observability.health import Health
from sockudo_queue.observability.status_page.history import StatusHistory
from sockudo_queue.observability.status_page.report import DaemonInfo, Report, as_json, report


class StatusPages:
    """Serves `/` and `/status.json`. Thread-safe.

    `has_attempts` adds links to the page of attempts, `is_for_operators` links to the pages of dead letters and of each
    webhook. The module of the page is imported when it is asked for, because most daemons never serve one; that of
    `/status.json`, which `stats` reads, is imported at the start and so works while the package is being replaced.
    """

    def __init__(
        self,
        history: StatusHistory,
        health: Health,
        driver: str,
        queue: str,
        *,
        has_attempts: bool = False,
        is_for_operators: bool = False,
    ) -> None:
        self._history, self._has_attempts, self._is_for_operators = history, has_attempts, is_for_operators
        self._health = health
        self._driver, self._queue = driver, queue

    @property
    def by_path(self) -> Mapping[str, Callable[[Request], Response]]:
        return {
            "/": lambda request: self.html(refresh=request.args.get("refresh") != "off"),
            "/status.json": lambda _request: self.json(),
        }

    def html(self, *, refresh: bool = True) -> Response:
        from sockudo_queue.observability.status_page import page

        text = page.render(
            self._report(), refresh=refresh, has_attempts=self._has_attempts, is_for_operators=self._is_for_operators
        )
        body = text.encode(errors="backslashreplace")
        return Response(body, headers=page.HEADERS, content_type="text/html; charset=utf-8")

    def json(self) -> Response:
        body = msgspec.json.encode(as_json(self._report())) + b"\n"
        return Response(body, content_type="application/json")

    def _report(self) -> Report:
        place = DaemonInfo(__version__, self._driver, self._queue)
        return report(place, self._history.view(), self._health.reasons)
