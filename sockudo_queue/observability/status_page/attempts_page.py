"""The page that searches the attempt history; it requires a login.

It reads the history store, so it may block for seconds; the daemon's own work never waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from werkzeug.wrappers import Request, Response

from sockudo_queue.errors import BrokerError
from sockudo_queue.history.figures import HistoryFigures
from sockudo_queue.history.search import Criteria, Page, Position, position_of
from sockudo_queue.observability.status_page.attempts import FIELDS, AttemptsView, criteria_of, fields_of, view_of

ROWS: Final = 50
SEARCH_SECONDS: Final = 2.0
"""Maximum time of one search; a page of an unfinished search has a link to continue."""
MAX_INPUT_LENGTH: Final = 255


class SearchableHistory(Protocol):
    """The history that the page reads. Both methods may block and raise `BrokerError`."""

    def search(self, criteria: Criteria, limit: int, before: Position | None, is_over: Callable[[], bool]) -> Page: ...

    def figures(self) -> HistoryFigures: ...


class AttemptsPage:
    """Renders the page. Thread-safe."""

    def __init__(self, history: SearchableHistory, configured_mode: str) -> None:
        self._history, self._configured_mode = history, configured_mode

    def __call__(self, request: Request) -> Response:
        """Answer a request for the page."""
        from sockudo_queue.observability.status_page import (
            page,  # imported here, because most daemons never serve a page
        )

        given = {name: request.args.get(name, "").strip()[:MAX_INPUT_LENGTH] for name in FIELDS}
        view, status = self._view(given, position_of(request.args.get("before", "")))
        body = page.render_attempts(view).encode(errors="backslashreplace")
        return Response(body, status, headers=page.SEARCH_HEADERS, content_type="text/html; charset=utf-8")

    def _view(self, given: Mapping[str, str], before: Position | None) -> tuple[AttemptsView, int]:
        try:
            criteria = criteria_of(given)
        except ValueError as fault:
            return AttemptsView(fields_of(given), (), (), str(fault), ""), 400
        give_up_at = time.monotonic() + SEARCH_SECONDS
        try:
            figures = self._history.figures()
            found = self._history.search(criteria, ROWS, before, lambda: time.monotonic() > give_up_at)
        except BrokerError as error:
            return AttemptsView(fields_of(given), (), (), f"The history cannot be read now: {error}", ""), 503
        return view_of(given, criteria, figures, self._configured_mode, found, time.time()), 200
