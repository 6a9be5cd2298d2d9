"""The outcome of one attempt as a pure value: delivered, retryable or permanent, with its reason."""

from __future__ import annotations

from enum import StrEnum
from functools import cached_property
from typing import Final

import msgspec


class Verdict(StrEnum):
    """What an outcome means for the delivery."""

    DELIVERED = "delivered"
    RETRYABLE = "retryable"
    PERMANENT = "permanent"


class Failure(StrEnum):
    """The failure classes, as logs, metrics and dead letters name them."""

    DNS = "dns"
    REFUSED = "refused"
    RESET = "reset"
    CONNECT_TIMEOUT = "connect-timeout"
    READ_TIMEOUT = "read-timeout"
    DEADLINE = "deadline"
    TLS = "tls"
    GUARD = "guard"
    REDIRECT = "redirect"
    STATUS = "status"
    PROTOCOL = "protocol"
    TOO_MANY_BYTES = "too-many-bytes"
    INTERNAL = "internal"


RETRYABLE_STATUSES: Final = frozenset({408, 409, 425, 429})
"""Statuses below 500 that are retried; the same list as Sockudo's since 4.0.0."""

HOLDING_STATUSES: Final = frozenset({429, 503})
"""Statuses whose `Retry-After` applies to the whole endpoint, not to one request."""

_TRANSPORT: Final = frozenset(Failure) - {Failure.STATUS, Failure.REDIRECT, Failure.GUARD, Failure.INTERNAL}


class Outcome(msgspec.Struct, frozen=True, dict=True):
    """The result of one attempt. `retry_after` is in seconds from the end of the attempt.

    Most attempts share one instance, so derived values are cached.
    """

    verdict: Verdict
    failure: Failure | None = None
    status: int | None = None
    retry_after: float | None = None
    detail: str = ""

    @cached_property
    def delivered(self) -> bool:
        """Return whether the receiver accepted the webhook."""
        return self.verdict is Verdict.DELIVERED

    @cached_property
    def is_transport_failure(self) -> bool:
        """Return whether there was no HTTP response: a network failure, or the daemon is stopping."""
        return self.failure in _TRANSPORT

    @cached_property
    def blames_endpoint(self) -> bool:
        """Return whether the endpoint is at fault, not this request: transport failures, timeouts, 5xx and 429."""
        return self.is_transport_failure or (self.status is not None and (self.status >= 500 or self.status == 429))

    @cached_property
    def reason(self) -> str:
        """Return one word for logs and dead letters, for example `status-503` or `refused`."""
        if self.failure is None:
            return self.verdict
        return f"{self.failure}-{self.status}" if self.status else str(self.failure)


def from_status(status: int, *, retry_after: float | None = None, detail: str = "", retry_all: bool = False) -> Outcome:
    """Classify an HTTP status. `retry_all` is Pusher's rule: every status other than 2xx is retried."""
    if 200 <= status < 300:
        return Outcome(Verdict.DELIVERED, status=status)
    failure = Failure.REDIRECT if 300 <= status < 400 else Failure.STATUS
    worth = retry_all or status >= 500 or status in RETRYABLE_STATUSES
    return Outcome(Verdict.RETRYABLE if worth else Verdict.PERMANENT, failure, status, retry_after, detail)


def from_failure(failure: Failure, detail: str = "") -> Outcome:
    """Classify an attempt without an HTTP response. Only a refusal by the network guard is permanent."""
    verdict = Verdict.PERMANENT if failure is Failure.GUARD else Verdict.RETRYABLE
    return Outcome(verdict, failure, detail=detail)
