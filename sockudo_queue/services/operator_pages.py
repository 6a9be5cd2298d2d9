"""The pages that ask the queue and act on it; they are there with a login only."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from werkzeug.wrappers import Request, Response

from sockudo_queue.config import Settings
from sockudo_queue.drivers.base import Driver
from sockudo_queue.observability.status_page import attempts
from sockudo_queue.observability.status_page.attempts_page import AttemptsPage
from sockudo_queue.observability.status_page.letters_pages import DeadLetterPages
from sockudo_queue.observability.web.actions import ActionGuard, Actions
from sockudo_queue.observability.web.form_tokens import FormTokens
from sockudo_queue.observability.web.login import Credentials
from sockudo_queue.operations.replay import FindApp
from sockudo_queue.services.attempt_history import AttemptHistory
from sockudo_queue.services.dead_letter_tools import DeadLetterTools


class OperatorPages:
    """What is served to those who are logged in. A new action is one more entry of `actions`."""

    def __init__(
        self,
        settings: Settings,
        credentials: Credentials,
        driver: Driver,
        history: AttemptHistory | None,
        find_app: FindApp,
        stopping: threading.Event,
    ) -> None:
        is_shown = bool(credentials) and settings.metrics.status_page
        tokens = FormTokens(credentials.key_material)
        self.guard = ActionGuard(tokens, settings.metrics.action_hosts)
        has_attempts = is_shown and settings.history.mode != "off"
        self._attempts = AttemptsPage(history, settings.history.mode) if has_attempts and history is not None else None
        # Without a queue there is nothing to list.
        has_letters = is_shown and settings.driver != "none"
        self._tools = DeadLetterTools(driver, find_app, stopping) if has_letters else None
        self._letters = DeadLetterPages(self._tools, tokens) if self._tools is not None else None

    @property
    def has_attempts(self) -> bool:
        return self._attempts is not None

    @property
    def has_letters(self) -> bool:
        return self._letters is not None

    @property
    def by_path(self) -> Mapping[str, Callable[[Request], Response]]:
        """The pages; each may wait for the queue's server."""
        return {
            **({attempts.PATH: self._attempts} if self._attempts is not None else {}),
            **(self._letters.by_path if self._letters is not None else {}),
        }

    @property
    def actions(self) -> Actions:
        return self._letters.actions if self._letters is not None else {}

    def finish(self, seconds: float) -> None:
        """Wait at a stop for the action that runs, which ends after what it has in hand."""
        if self._tools is not None:
            self._tools.finish(seconds)
