"""Lambda functions as webhook targets: an asynchronous invocation, with the same limits as every other attempt.

AWS's library finds credentials and endpoint and signs the request. Our own transport sends it, with one deadline and a
bounded response. The library is imported when the first function is called, not before.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any, Final
from urllib.parse import quote

from sockudo_queue.core.apps import LambdaTarget, Webhook
from sockudo_queue.core.outcome import Failure, Outcome, from_failure, from_status
from sockudo_queue.delivery.errors import TransportFault
from sockudo_queue.delivery.transport import BoundedResponse, CurlTransport

API: Final = "2015-03-31"
NOT_ALLOWED: Final = "the function is not among QUEUE_DELIVERY_ALLOWED_FUNCTIONS"
_STALE: Final = (b"expired", b"security token")
"""In AWS's refusal of outdated credentials: they are read again from their source."""
_PASSING: Final = (*_STALE, b"not yet current", b"being throttled")
"""In AWS's refusal of a request that may succeed later: with fresh credentials, a corrected clock or fewer calls."""


def may_invoke(function_name: str, allowed: Iterable[str]) -> bool:
    """Return whether a function, as its webhook names it, may be invoked; `*` in `allowed` matches any text."""
    return any(fnmatchcase(function_name, each) for each in allowed)


class LambdaSender:
    """Invokes functions with AWS's default chain of credentials. Safe from any thread."""

    def __init__(
        self, transport: CurlTransport, *, retry_every_status: bool = False, allowed: Iterable[str] = ("*",)
    ) -> None:
        """`allowed`: the functions that may be invoked, as webhooks name them; `*` matches any text."""
        self._transport = transport
        self._allowed = tuple(allowed)
        self._retry_every_status = retry_every_status
        self._lock = threading.Lock()
        self._session: Any = None
        self._credentials: Any = None
        self._endpoints: dict[str, str] = {}

    def post(self, webhook: Webhook, body: bytes) -> tuple[Outcome, bool]:
        """Invoke the webhook's function; return the outcome, and whether a kept connection was used.

        Blocks for at most the webhook's `request_timeout_ms`; sometimes longer, while AWS's library renews its
        credentials. Never raises: every error is an outcome.
        """
        assert webhook.lambda_target is not None
        if not may_invoke(webhook.lambda_target.function_name, self._allowed):
            return from_failure(Failure.GUARD, NOT_ALLOWED), False
        try:
            url, headers, credentials = self._signed(webhook.lambda_target, body)
            timeout = webhook.request_timeout_ms / 1000
            answer = self._transport.post(url, (b"Expect:",), headers, body, timeout=timeout, guarded=False)
        except TransportFault as fault:
            return from_failure(fault.failure, str(fault)), False
        except Exception as error:  # noqa: BLE001 - AWS's library raises many errors, mostly about credentials
            return from_failure(Failure.INTERNAL, f"AWS: {type(error).__name__}"), False
        if _is_refusal_with(answer, _STALE):
            self._forget(credentials)
        return self._outcome_of(answer), answer.connection_reused

    def _outcome_of(self, answer: BoundedResponse) -> Outcome:
        status, passing = answer.status_code, _is_refusal_with(answer, _PASSING)
        return from_status(
            status,
            retry_after=answer.retry_after or None,
            detail="AWS refuses our credentials or our clock" if passing else "",
            retry_all=passing or self._retry_every_status,
        )

    def _forget(self, credentials: Any) -> None:
        """Read credentials and endpoints again at the next attempt; AWS's library reads a file of them only once."""
        with self._lock:
            if self._credentials is credentials:  # else another thread has already done so
                self._session = self._credentials = None
                self._endpoints = {}

    def _signed(self, target: LambdaTarget, body: bytes) -> tuple[str, dict[str, str], Any]:
        """Return the URL of a function, the request headers, and the credentials that signed them."""
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        endpoint, credentials = self._endpoint_of(target.region)
        url = f"{endpoint}/{API}/functions/{quote(target.function_name, safe='')}/invocations"
        headers = {"Content-Type": "application/json", "X-Amz-Invocation-Type": "Event"}
        request = AWSRequest(method="POST", url=url, data=body, headers=headers)
        SigV4Auth(credentials.get_frozen_credentials(), "lambda", target.region).add_auth(request)
        return url, dict(request.headers.items()), credentials

    def _endpoint_of(self, region: str) -> tuple[str, Any]:
        """Return the endpoint of a region, and the credentials, as AWS's variables and files define them."""
        with self._lock:
            if self._session is None:
                import botocore.session
                from botocore.config import Config

                self._session = botocore.session.get_session()
                # For the library's own requests, such as STS for credentials: by default they wait for minutes.
                self._session.set_default_client_config(
                    Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2})
                )
            if self._credentials is None:
                self._credentials = self._session.get_credentials()
            if self._credentials is None:
                raise LookupError("no credentials")
            if region not in self._endpoints:
                client = self._session.create_client("lambda", region_name=region)
                self._endpoints[region] = client.meta.endpoint_url.rstrip("/")
                client.close()
            return self._endpoints[region], self._credentials


def _is_refusal_with(answer: BoundedResponse, texts: Iterable[bytes]) -> bool:
    """Return whether a response is a refusal whose body contains one of the texts, which are in lower case."""
    return answer.status_code in (400, 403) and any(text in answer.content.lower() for text in texts)
