"""Attempts that a command makes, with the same transport, headers and signatures as the daemon."""

from __future__ import annotations

import time
from collections.abc import Iterable

from sockudo_queue.commands.apps import AppCredentials
from sockudo_queue.config import Settings
from sockudo_queue.core import signing
from sockudo_queue.core.apps import Webhook
from sockudo_queue.core.hmac_keys import hmac_key
from sockudo_queue.core.job import Event
from sockudo_queue.core.outcome import Outcome
from sockudo_queue.delivery.factory import DeliveryStack
from sockudo_queue.delivery.own_services import pages
from sockudo_queue.runtime.interpreter_lock import PythonGate


class WebhookCaller:
    """Calls webhooks. Safe from any thread."""

    def __init__(self, settings: Settings) -> None:
        """Raises `SettingsError` for certificates that cannot be used. Blocks while our own services are looked up."""
        stack = DeliveryStack(settings, PythonGate())
        for service in pages(settings):
            stack.protect(service)
        for keep in stack.upkeep:
            keep(time.monotonic())
        self._stack = stack

    def post(
        self, webhook: Webhook, credentials: AppCredentials, job_id: str, events: Iterable[Event]
    ) -> tuple[Outcome, float]:
        """Post some events; return the outcome, and the seconds that it took."""
        now = time.time()
        request = signing.SigningRequest(credentials.key, hmac_key(credentials.secret.revealed), job_id, 1, round(now))
        body, headers = signing.signed(request, webhook, round(now * 1000), events)
        started = time.monotonic()
        outcome, _ = self._stack.session_sender().post(webhook, body, headers)
        return outcome, time.monotonic() - started
