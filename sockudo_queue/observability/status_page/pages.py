"""The pages that people look at, for the HTTP server: they read what the sampler has left, and ask nobody."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from sockudo_queue import __version__
from sockudo_queue.observability.health import Health
from sockudo_queue.observability.http_server import Answer
from sockudo_queue.observability.status_page.board import Board
from sockudo_queue.observability.status_page.report import Place, Report, as_json, report


class StatusPages:
    """`/` and `/status.json`. Safe from any thread."""

    def __init__(self, board: Board, health: Health, driver: str, queue: str) -> None:
        self._board = board
        self._health = health
        self._place = Place(__version__, driver, queue)

    @property
    def by_path(self) -> Mapping[str, Callable[[], Answer]]:
        return {"/": self.html, "/status.json": self.json}

    def html(self) -> Answer:
        from sockudo_queue.observability.status_page import page  # here, since most daemons are never looked at

        body = page.render(self._report()).encode(errors="backslashreplace")
        return Answer(200, body, "text/html; charset=utf-8", page.HEADERS)

    def json(self) -> Answer:
        return Answer(200, msgspec.json.encode(as_json(self._report())) + b"\n", "application/json")

    def _report(self) -> Report:
        return report(self._place, self._board.view(), self._health.reasons)
