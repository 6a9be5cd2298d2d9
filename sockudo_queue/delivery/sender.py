"""One attempt: a signed POST of exact bytes, or the invocation of a function, and its outcome."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from sockudo_queue.core.apps import Webhook
from sockudo_queue.core.outcome import Failure, Outcome, from_failure, from_status
from sockudo_queue.core.reserved_headers import is_reserved
from sockudo_queue.core.secret import Secret
from sockudo_queue.core.trace_context import BAGGAGE, TRACEPARENT, TRACESTATE
from sockudo_queue.delivery.errors import TransportFault
from sockudo_queue.delivery.transport import BoundedResponse, CurlTransport, header_lines

if TYPE_CHECKING:
    from sockudo_queue.delivery.session import SessionTransport

_TRACE: Final = frozenset({TRACEPARENT, TRACESTATE})
_TRACE_AND_BAGGAGE: Final = _TRACE | {BAGGAGE}
_NOTHING: Final[frozenset[str]] = frozenset()

_HOST: Final = re.compile(r"[0-9A-Za-z._:-]{1,253}")


Invoke = Callable[[Webhook, bytes], tuple[Outcome, bool]]
"""Invokes a webhook's function with a body; returns what `Sender.post` returns, and never raises."""


def _cannot_invoke(_webhook: Webhook, _body: bytes) -> tuple[Outcome, bool]:
    return from_failure(Failure.INTERNAL, "functions cannot be invoked here"), False


class Sender:
    """Makes attempts. Safe from any thread."""

    def __init__(
        self,
        transport: CurlTransport | SessionTransport,
        invoke: Invoke = _cannot_invoke,
        *,
        retry_every_status: bool = False,
    ) -> None:
        self._transport = transport
        self._invoke = invoke
        self._retry_every_status = retry_every_status

    def post(self, webhook: Webhook, body: bytes, own_headers: dict[str, str]) -> tuple[Outcome, bool]:
        """Post a body; return the outcome, and whether a kept connection was used.

        Blocks for at most the webhook's `request_timeout_ms`. A function gets only the body, as from Sockudo. Never
        raises: every error is an outcome.
        """
        if webhook.url is None:
            return self._invoke(webhook, body)
        try:
            # Not through a `requests.Session`, which costs some 0.2 ms per request.
            answer = self._transport.post(
                webhook.url.revealed,
                configured_lines(webhook.headers, _replaced_by(own_headers)),
                own_headers,
                body,
                timeout=webhook.request_timeout_ms / 1000,
                verify=webhook.verify_tls,
            )
        except TransportFault as fault:
            return from_failure(fault.failure, str(fault)), False
        except Exception as error:  # noqa: BLE001 - a missed configuration error must affect one webhook, not a thread
            return from_failure(Failure.INTERNAL, type(error).__name__), False
        return outcome_of(answer, retry_all=self._retry_every_status), answer.connection_reused

    def enforce_deadlines(self) -> None:
        """End attempts past their deadline; call it many times a second."""
        self._transport.enforce_deadlines()


def outcome_of(answer: BoundedResponse, *, retry_all: bool = False) -> Outcome:
    """Return the outcome of a response; `retry_all` as for `from_status`."""
    if 200 <= answer.status_code < 300:
        return _delivered(answer.status_code)
    return from_status(
        answer.status_code,
        retry_after=answer.retry_after or None,
        detail=_redirect(answer.redirect_to),
        retry_all=retry_all,
    )


_delivered: Final = lru_cache(maxsize=100)(from_status)


@lru_cache(maxsize=4096)
def configured_lines(headers: tuple[tuple[str, Secret], ...], replaced: frozenset[str] = _NOTHING) -> tuple[bytes, ...]:
    """Return the header lines of a request, without the headers in `replaced`, which is in lower case."""
    known = {name: value.revealed for name, value in headers if not is_reserved(name) and name.lower() not in replaced}
    ours = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    # An empty Expect header keeps libcurl from asking before it sends a large body.
    return (*header_lines(known | ours), b"Expect:")


def _replaced_by(own_headers: dict[str, str]) -> frozenset[str]:
    """Return the names, in lower case, of configured headers to drop: a job's trace context replaces all of them."""
    if TRACEPARENT not in own_headers:
        return _NOTHING
    return _TRACE_AND_BAGGAGE if BAGGAGE in own_headers else _TRACE


def _redirect(target: str | None) -> str:
    """Return a text with the redirect's host, or without it if the host is not plain text."""
    if not target:
        return ""
    try:
        host = urlsplit(target).hostname or ""
    except ValueError:
        host = ""
    return f"redirects to {host if _HOST.fullmatch(host) else 'another place'}, which is not followed"
