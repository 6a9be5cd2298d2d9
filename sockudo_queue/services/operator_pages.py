"""The pages that query the queue and act on it; they require a login."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial

from werkzeug.wrappers import Request, Response

from sockudo_queue.config import Settings
from sockudo_queue.core.controls import WebhookKey
from sockudo_queue.drivers.base import Driver
from sockudo_queue.errors import AppUnreadable
from sockudo_queue.observability.metrics import Metrics
from sockudo_queue.observability.status_page import attempts, letters_view
from sockudo_queue.observability.status_page.attempts_page import AttemptsPage
from sockudo_queue.observability.status_page.letters_pages import DeadLetterPages
from sockudo_queue.observability.status_page.webhook_pages import WebhookPages
from sockudo_queue.observability.web.actions import ActionGuard, Actions
from sockudo_queue.observability.web.form_tokens import FormTokens
from sockudo_queue.observability.web.login import Credentials
from sockudo_queue.operations.controls import Controls
from sockudo_queue.operations.replay import FindApp
from sockudo_queue.services.attempt_history import AttemptHistory
from sockudo_queue.services.dead_letter_tools import DeadLetterTools

Page = Callable[[Request], Response]


class OperatorPages:
    """The pages for logged-in operators. A new action is one more entry of `actions`."""

    def __init__(
        self,
        settings: Settings,
        credentials: Credentials,
        driver: Driver,
        history: AttemptHistory | None,
        controls: Controls,
        metrics: Metrics,
        find_app: FindApp,
        stopping: threading.Event,
    ) -> None:
        is_shown = bool(credentials) and settings.metrics.status_page
        tokens = FormTokens(credentials.key_material)
        self.guard = ActionGuard(tokens, settings.metrics.action_hosts)
        self.has_attempts = is_shown and history is not None and settings.history.mode != "off"
        # Without a queue no action is possible.
        self.is_acting = is_shown and settings.driver != "none"
        self._tools = DeadLetterTools(driver, find_app, stopping)
        pages: dict[str, Page] = {}
        self.actions: Actions = {}
        links = {"Attempts": attempts.PATH} if self.has_attempts else {}
        if self.has_attempts and history is not None:
            pages[attempts.PATH] = AttemptsPage(history, settings.history.mode)
        if self.is_acting:
            letters = DeadLetterPages(self._tools, tokens)
            webhooks = WebhookPages(
                controls, partial(_is_known, find_app), metrics, tokens, links | {"Dead letters": letters_view.PATH}
            )
            pages |= {**letters.by_path, **webhooks.by_path}
            self.actions = {**letters.actions, **webhooks.actions}
        self.by_path: Mapping[str, Page] = pages
        """The pages; each may block on the queue server."""

    def finish(self, seconds: float) -> None:
        """At shutdown, wait for the running action, which ends after its current step."""
        self._tools.finish(seconds)


def _is_known(find_app: FindApp, key: WebhookKey) -> bool:
    """Return whether an app has a webhook of this name, valid or not. Raises `AppStoreUnavailable`."""
    try:
        app = find_app(key.app)
    except AppUnreadable:
        return False
    return app is not None and (app.webhook(key.webhook) or app.invalid_webhook(key.webhook)) is not None
