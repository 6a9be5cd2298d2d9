"""One attempt at an HTTP endpoint: a signed POST of exact bytes, and what it came to."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

import requests

from sockudo_queue.apps import Webhook
from sockudo_queue.delivery.transport import CurlAdapter, Post, TransportFault
from sockudo_queue.outcome import Failure, Outcome, from_failure, from_status
from sockudo_queue.redaction import Secret

OUR_HEADERS: Final = frozenset(
    {
        "content-type",
        "content-length",
        "transfer-encoding",
        "connection",
        "expect",
        "host",
        "user-agent",
        "x-pusher-key",
        "x-pusher-signature",
        "x-sockudo-job-id",
        "x-sockudo-attempt",
        "x-sockudo-webhook",
    }
)
"""Names, in lower case, that a configured header can never take."""


class HttpSender:
    """Posts webhooks. Safe from any thread."""

    def __init__(self, adapter: CurlAdapter, *, retry_every_status: bool = False) -> None:
        self._adapter = adapter
        self._retry_every_status = retry_every_status
        self._configured: dict[tuple[tuple[str, Secret], ...], dict[str, str]] = {}

    def post(self, webhook: Webhook, body: bytes, own_headers: dict[str, str]) -> tuple[Outcome, bool]:
        """Post a body and return the outcome, and whether a kept connection was used.

        Blocks for at most the webhook's `request_timeout_ms`. Never raises: whatever goes wrong is an outcome.
        """
        assert webhook.url is not None
        headers = self._headers_of(webhook) | own_headers
        post = Post(webhook.url.reveal(), headers, body)
        try:
            answer = self._adapter.send(post, timeout=webhook.request_timeout_ms / 1000)
        except TransportFault as fault:
            return from_failure(fault.failure, str(fault)), False
        except (requests.RequestException, ValueError, TypeError, UnicodeError) as error:
            # A URL or a header that slipped through the checks at start must cost one webhook, not a thread.
            return from_failure(Failure.INTERNAL, type(error).__name__), False
        outcome = from_status(
            answer.status_code,
            retry_after=_seconds(answer.headers.get("Retry-After")),
            detail=_redirect(answer.redirect_to),
            retry_all=self._retry_every_status,
        )
        return outcome, answer.connection_reused

    def _headers_of(self, webhook: Webhook) -> dict[str, str]:
        known = self._configured.get(webhook.headers)
        if known is None:
            known = {name: value.reveal() for name, value in webhook.headers if name.lower() not in OUR_HEADERS}
            known |= {"Content-Type": "application/json", "Expect": ""}
            self._configured[webhook.headers] = known
        return known


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after else None


def _redirect(target: str | None) -> str:
    return f"redirects to {urlsplit(target).hostname}, which is not followed" if target else ""
