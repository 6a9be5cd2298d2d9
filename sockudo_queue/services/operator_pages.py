"""The pages that query the queue and act on it; they require a login."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from werkzeug.wrappers import Request, Response

from sockudo_queue.config import Settings
from sockudo_queue.core.controls import WebhookKey
from sockudo_queue.drivers.base import Driver
from sockudo_queue.errors import AppUnreadable
from sockudo_queue.observability.metrics import Metrics
from sockudo_queue.observability.web.actions import ActionGuard, ActionHandler
from sockudo_queue.observability.web.form_tokens import FormTokens
from sockudo_queue.observability.web.login import Credentials
from sockudo_queue.operations.controls import Controls
from sockudo_queue.services.attempt_history import AttemptHistory

if TYPE_CHECKING:
    from sockudo_queue.operations.replay import FindApp
    from sockudo_queue.services.dead_letter_tools import DeadLetterTools

Page = Callable[[Request], Response]


class OperatorPages:
    """The pages for logged-in operators. A new action is one more entry of `actions`.

    The modules of the pages are imported only where a login is set: most daemons have none.
    """

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
        self._tools: DeadLetterTools | None = None
        self.by_path: dict[str, Page] = {}
        """The pages; each may block on the queue server."""
        self.actions: dict[str, ActionHandler] = {}
        self._links: dict[str, str] = {}
        if self.has_attempts and history is not None:
            self._add_attempts(history, settings.history.mode)
        if self.is_acting:
            self._tools = self._add_letters(driver, find_app, stopping, tokens)
            self._add_webhooks(controls, find_app, metrics, tokens)

    def _add_attempts(self, history: AttemptHistory, mode: str) -> None:
        from sockudo_queue.observability.status_page.attempts import PATH
        from sockudo_queue.observability.status_page.attempts_page import AttemptsPage

        self._links["Attempts"] = PATH
        self.by_path[PATH] = AttemptsPage(history, mode)

    def _add_letters(
        self, driver: Driver, find_app: FindApp, stopping: threading.Event, tokens: FormTokens
    ) -> DeadLetterTools:
        from sockudo_queue.observability.status_page.dead_letters_pages import DeadLetterPages
        from sockudo_queue.observability.status_page.dead_letters_view import PATH
        from sockudo_queue.services.dead_letter_tools import DeadLetterTools

        tools = DeadLetterTools(driver, find_app, stopping)
        pages = DeadLetterPages(tools, tokens)
        self._links["Dead letters"] = PATH
        self.by_path |= pages.by_path
        self.actions |= pages.actions
        return tools

    def _add_webhooks(self, controls: Controls, find_app: FindApp, metrics: Metrics, tokens: FormTokens) -> None:
        from sockudo_queue.observability.status_page.webhook_pages import WebhookPages

        pages = WebhookPages(controls, partial(_is_known, find_app), metrics, tokens, self._links)
        self.by_path |= pages.by_path
        self.actions |= pages.actions

    def finish(self, seconds: float) -> None:
        """At shutdown, wait for the running action, which ends after its current step."""
        if self._tools is not None:
            self._tools.finish(seconds)


def _is_known(find_app: FindApp, key: WebhookKey) -> bool:
    """Return whether an app has a webhook of this name, valid or not. Raises `AppStoreUnavailable`."""
    try:
        app = find_app(key.app)
    except AppUnreadable:
        return False
    return app is not None and (app.webhook(key.webhook) or app.invalid_webhook(key.webhook)) is not None
