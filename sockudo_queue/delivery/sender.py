"""What carries a webhook to its target: HTTP, or the invocation of a function."""

from __future__ import annotations

from sockudo_queue.core.apps import Webhook
from sockudo_queue.core.outcome import Outcome
from sockudo_queue.delivery.aws_lambda import LambdaSender
from sockudo_queue.delivery.http import HttpSender
from sockudo_queue.runtime.python_gate import Turns


class Sender:
    """Makes attempts. Safe from any thread."""

    def __init__(self, http: HttpSender, functions: LambdaSender, turns: Turns) -> None:
        self._http = http
        self._functions = functions
        self._turns = turns

    def post(self, webhook: Webhook, body: bytes, own_headers: dict[str, str]) -> tuple[Outcome, bool]:
        """Make one attempt and return its outcome, and whether a kept connection was used. Never raises.

        Blocks for at most the webhook's `request_timeout_ms`. A function gets the body alone, as from Sockudo.
        """
        if webhook.url is None:
            # Looking for credentials may take AWS seconds.
            return self._turns.aside(self._functions.post, webhook, body)
        return self._http.post(webhook, body, own_headers)

    def pull_leashes(self) -> None:
        """End attempts that go on without end; to be called many times a second."""
        self._http.pull_leashes()  # the functions' attempts go through the same transport
