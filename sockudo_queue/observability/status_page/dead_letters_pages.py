"""The pages of dead letters: a list, one letter, and the actions on them; they require a login.

They call the queue server, so they may block for seconds; the daemon's own work never waits for them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Request, Response

from sockudo_queue.errors import BrokerError
from sockudo_queue.observability.status_page.dead_letters import (
    MAX_ID_LENGTH,
    DeadLetterFilter,
    DeadLetterOperations,
    dead_letter_position_of,
    filter_of,
)
from sockudo_queue.observability.status_page.dead_letters_view import (
    FIELDS,
    PATH,
    PURGE,
    REPLAY,
    SHOW,
    DeadLetterListView,
    details_view,
    fault_view,
    list_link,
    list_view,
)
from sockudo_queue.observability.web.actions import Actions, Actor, forms_for, see_other
from sockudo_queue.observability.web.form_tokens import FormTokens

if TYPE_CHECKING:
    from sockudo_queue.observability.web.application import Handler

ROWS: Final = 50
SEARCH_SECONDS: Final = 2.0
"""Maximum time of one search; a page of an unfinished search has a link to continue."""
MAX_INPUT_LENGTH: Final = 255


class DeadLetterPages:
    """Handles requests for the pages. Thread-safe."""

    def __init__(self, tools: DeadLetterOperations, tokens: FormTokens) -> None:
        self._tools, self._tokens = tools, tokens

    @property
    def by_path(self) -> Mapping[str, Handler]:
        return {PATH: self._list, SHOW: self._show}

    @property
    def actions(self) -> Actions:
        return {REPLAY: self._replay, PURGE: self._purge}

    def _list(self, request: Request) -> Response:
        view, status = self._list_view(_given(request.args), request.args.get("before", ""))
        return self._page(request, "dead-letters.html.jinja", status, view=view)

    def _list_view(self, given: Mapping[str, str], before: str) -> tuple[DeadLetterListView, int]:
        work, now = self._tools.work(), time.time()
        try:
            wanted = filter_of(given)
        except ValueError as fault:
            return fault_view(given, str(fault), work, now), 400
        give_up_at = time.monotonic() + SEARCH_SECONDS
        try:
            found = self._tools.search(
                wanted, dead_letter_position_of(before), ROWS, lambda: time.monotonic() > give_up_at
            )
            return list_view(given, found, self._tools.total(), work, now), 200
        except BrokerError as error:
            return fault_view(given, f"The dead letters cannot be read now: {error}", work, now), 503

    def _show(self, request: Request) -> Response:
        record_id = request.args.get("id", "")[:MAX_ID_LENGTH]
        try:
            details = self._tools.find(record_id)
        except BrokerError as error:
            return self._message(request, 503, f"The dead letter cannot be read now: {error}")
        if details is None:
            text = "There is no dead letter with this id; it may have been replayed or purged."
            return self._message(request, 404, text)
        return self._page(request, "dead-letter.html.jinja", 200, view=details_view(details, time.time()))

    def _replay(self, request: Request, actor: Actor) -> Response:
        return self._act(REPLAY, request, actor)

    def _purge(self, request: Request, actor: Actor) -> Response:
        if request.form.get("sure") != "yes":
            text = "Nothing was purged: tick the box that says so, since it cannot be undone."
            return self._message(request, 400, text)
        return self._act(PURGE, request, actor)

    def _act(self, action: str, request: Request, actor: Actor) -> Response:
        given = _given(request.form)
        try:
            wanted = _chosen(request.form, given)
            refusal = self._tools.start(action, wanted, actor)
        except ValueError as fault:
            return self._message(request, 400, f"Nothing was done: {fault}")
        except BrokerError as error:
            return self._message(request, 503, f"Nothing was done: {error}")
        if refusal is not None:
            return self._message(request, 409, f"Nothing was done: {refusal}")
        return see_other(list_link(given))

    def _message(self, request: Request, status: int, text: str) -> Response:
        return self._page(
            request,
            "message.html.jinja",
            status,
            title="Dead letters",
            text=text,
            back=PATH,
            back_text="Back to the list",
        )

    def _page(self, request: Request, template: str, status: int, **values: object) -> Response:
        from sockudo_queue.observability.status_page import (
            page,  # imported here, because most daemons never serve a page
        )

        actions = forms_for(request, self._tokens, {"replay": REPLAY, "purge": PURGE})
        body = page.render_template(template, actions=actions, **values).encode(errors="backslashreplace")
        return Response(body, status, headers=page.ACTION_HEADERS, content_type="text/html; charset=utf-8")


def _given(fields: MultiDict[str, str]) -> dict[str, str]:
    return {name: fields.get(name, "").strip()[:MAX_INPUT_LENGTH] for name in FIELDS}


def _chosen(form: MultiDict[str, str], given: Mapping[str, str]) -> DeadLetterFilter:
    """Return the dead letters that a form selects.

    Raises `ValueError` if the form has neither an id nor a matching scope: a form that lost its filter must not select
    all.
    """
    record_id, scope = form.get("id", "")[:MAX_ID_LENGTH], form.get("scope", "")
    if record_id:
        return DeadLetterFilter(id=record_id)
    wanted = filter_of(given)
    if scope == ("all" if wanted.is_everything else "matching"):
        return wanted
    raise ValueError("the form does not say which dead letters it means.")
