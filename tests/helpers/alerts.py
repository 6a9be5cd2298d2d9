"""A receiver of alerts as an operator would write it: the Standard Webhooks library verifies each signature."""

from __future__ import annotations

from typing import Any, Final

from standardwebhooks import Webhook

from tests.helpers.receiver import Receiver, Request

SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def verified(request: Request, secret: str = SECRET) -> dict[str, Any]:
    """Return the payload of a request. Raises for a wrong signature or timestamp."""
    payload = Webhook(secret).verify(request.body, request.headers)
    assert isinstance(payload, dict)
    return payload


def alerts_at(receiver: Receiver, type_: str | None = None) -> list[dict[str, Any]]:
    """Return the payloads received so far, of one type or of all."""
    payloads = [verified(request) for request in list(receiver.requests)]
    return [payload for payload in payloads if type_ in (None, payload["type"])]


def alert_settings(receiver: Receiver, path: str = "/alerts?token=CANARY") -> dict[str, str]:
    return {"QUEUE_ALERT_URL": receiver.url(path), "QUEUE_ALERT_SECRET": SECRET}
