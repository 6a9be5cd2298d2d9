"""The page of one webhook: its state, and pause, resume and "try now"; it requires a login."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Request, Response

from sockudo_queue.core.controls import Pause, WebhookKey
from sockudo_queue.errors import AppStoreUnavailable, BrokerError, ControlsNotShared
from sockudo_queue.observability.metrics import Metrics, WebhookFigures
from sockudo_queue.observability.status_page.webhook_view import (
    PATH,
    PAUSE,
    RESUME,
    TRY_NOW,
    webhook_link,
    webhook_view,
)
from sockudo_queue.observability.web.actions import ActionHandler, Actions, Actor, forms_for, see_other
from sockudo_queue.observability.web.form_tokens import FormTokens

if TYPE_CHECKING:
    from sockudo_queue.observability.web.application import Handler

MAX_NAME_LENGTH: Final = 255


class WebhookControls(Protocol):
    """The actions of operators. Every method may block and raise `BrokerError` or `ControlsNotShared`."""

    def pause(self, app: str, webhook: str, by: str) -> bool: ...

    def resume(self, app: str, webhook: str, by: str) -> bool: ...

    def try_now(self, app: str, webhook: str, by: str) -> None: ...

    def pauses(self) -> Mapping[WebhookKey, Pause]: ...


class WebhookPages:
    """Handles requests for the page. Thread-safe."""

    def __init__(
        self,
        controls: WebhookControls,
        is_known: Callable[[WebhookKey], bool],
        metrics: Metrics,
        tokens: FormTokens,
        links: Mapping[str, str],
    ) -> None:
        """`is_known` returns whether an app has a webhook; it may raise `AppStoreUnavailable`.

        `links` are the paths of other pages by their names; these pages take app and webhook as filters.
        """
        self._controls, self._is_known, self._metrics = controls, is_known, metrics
        self._tokens, self._links = tokens, links

    @property
    def by_path(self) -> Mapping[str, Handler]:
        return {PATH: self._show}

    @property
    def actions(self) -> Actions:
        controls = self._controls
        return {
            PAUSE: self._action(controls.pause),
            RESUME: self._action(controls.resume, is_for_removed=True),
            TRY_NOW: self._action(controls.try_now),
        }

    def _show(self, request: Request) -> Response:
        key = _key_of(request.args)
        try:
            pauses = self._pauses()
        except BrokerError as error:
            return self._message(request, 503, f"What is paused cannot be read now: {error}")
        held = self._metrics.paused_webhooks()
        view = webhook_view(key, self._figures(key), pauses, held, self._links, time.time())
        return self._page(request, "webhook.html.jinja", 200, view=view)

    def _action(self, act: Callable[[str, str, str], object], *, is_for_removed: bool = False) -> ActionHandler:
        def handle(request: Request, actor: Actor) -> Response:
            key = _key_of(request.form)
            try:
                if not (self._is_known(key) or (is_for_removed and key in (self._pauses() or ()))):
                    return self._message(request, 404, "Nothing was done: there is no such webhook.")
                act(*key, str(actor))
            except ControlsNotShared as error:
                return self._message(request, 409, f"Nothing was done: {error}")
            except (BrokerError, AppStoreUnavailable) as error:
                return self._message(request, 503, f"It is not known whether anything was done: {error}")
            return see_other(webhook_link(*key))

        return handle

    def _pauses(self) -> Mapping[WebhookKey, Pause] | None:
        try:
            return self._controls.pauses()
        except ControlsNotShared:
            return None

    def _figures(self, key: WebhookKey) -> WebhookFigures | None:
        return next((each for each in self._metrics.figures().webhooks if (each.app, each.webhook) == key), None)

    def _message(self, request: Request, status: int, text: str) -> Response:
        return self._page(
            request, "message.html.jinja", status, title="Webhook", text=text, back=PATH, back_text="Webhooks"
        )

    def _page(self, request: Request, template: str, status: int, **values: object) -> Response:
        from sockudo_queue.observability.status_page import (
            page,  # imported here, because most daemons never serve a page
        )

        paths = {"pause": PAUSE, "resume": RESUME, "try_now": TRY_NOW}
        actions = forms_for(request, self._tokens, paths)
        body = page.render_template(template, actions=actions, **values).encode(errors="backslashreplace")
        return Response(body, status, headers=page.ACTION_HEADERS, content_type="text/html; charset=utf-8")


def _key_of(fields: MultiDict[str, str]) -> WebhookKey:
    return WebhookKey(fields.get("app", "")[:MAX_NAME_LENGTH], fields.get("webhook", "")[:MAX_NAME_LENGTH])
