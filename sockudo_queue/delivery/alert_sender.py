"""Posts alerts to the operator's URL, signed by Standard Webhooks, over the same transport as deliveries.

The URL is the operator's own choice, so the network guard, whose rules are for the owners of apps, is not asked.
"""

from __future__ import annotations

import time
from typing import Final

from sockudo_queue.config import ascii_url
from sockudo_queue.core.outcome import Failure, Outcome, from_failure
from sockudo_queue.core.secret import Secret
from sockudo_queue.core.signing import standard_headers
from sockudo_queue.core.signing_secrets import signing_secret_fault
from sockudo_queue.delivery.errors import TransportFault
from sockudo_queue.delivery.sender import configured_lines, outcome_of
from sockudo_queue.delivery.transport import CurlTransport

TIMEOUT: Final = 5.0
"""Seconds for one request."""


class AlertSender:
    """Posts from any thread."""

    def __init__(self, transport: CurlTransport, url: Secret, secret: Secret) -> None:
        self._transport = transport
        self._url = ascii_url(url.revealed.strip())
        self._secret = secret
        self._last_secret = Secret(secret.revealed.strip())

    def post(self, message: str, body: bytes) -> Outcome:
        """Post a body under the id of its message, and return the outcome. Blocks for `TIMEOUT` at most.

        Never raises: whatever goes wrong is an outcome.
        """
        try:
            headers = standard_headers((self._current_secret(),), message, int(time.time()), body)
            lines = configured_lines(())
            answer = self._transport.post(self._url, lines, headers, body, timeout=TIMEOUT, guarded=False)
        except TransportFault as fault:
            return from_failure(fault.failure, str(fault))
        except Exception as error:  # noqa: BLE001 - an alert must not end the thread that sends it
            return from_failure(Failure.INTERNAL, type(error).__name__)
        return outcome_of(answer)

    def _current_secret(self) -> Secret:
        """Return the secret. One in a file may be changed while the daemon runs; one that is no secret is not used."""
        current = self._secret.current().strip()
        if current != self._last_secret.revealed and signing_secret_fault(current) is None:
            self._last_secret = Secret(current)
        return self._last_secret
