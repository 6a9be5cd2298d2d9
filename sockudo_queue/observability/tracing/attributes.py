"""The attributes of spans, by the semantic conventions for messaging and HTTP; pure.

A URL's user, password, path and query may be secrets, so only scheme, host and port of a URL are shown.
https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-client
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from sockudo_queue.core.apps import LambdaTarget, Webhook
from sockudo_queue.core.delivery_state import DeliveryState
from sockudo_queue.core.job import Job
from sockudo_queue.core.outcome import Outcome
from sockudo_queue.core.ports import bracketed, default_port
from sockudo_queue.observability.tracing.spans import ClaimView

SYSTEMS: Final = {"redis": "redis", "redis-cluster": "redis", "sqs": "aws_sqs", "memory": "memory"}
"""The value of `messaging.system` for each driver."""
MATCHED: Final = "job.matched"
"""The span event that marks the end of a job's decoding and matching."""
WEBHOOKS: Final = "sockudo_queue.webhooks"
OUTCOME: Final = "sockudo_queue.outcome"
REASON: Final = "sockudo_queue.reason"
ERROR: Final = "error.type"
MAX_INTEGER: Final = 2**53
"""Upper bound of integers: protobuf has 64 bits, and the SDK drops larger ones, such as the age of a job's bad time."""

Attributes = Mapping[str, str | int]


def of_claim(system: str, claim: ClaimView, job: Job, state: DeliveryState | None) -> Attributes:
    """Return the attributes of a claim. `state` is that of its first delivery, if there is one."""
    attributes: dict[str, str | int] = {
        "messaging.system": system,
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": claim.source,
        "messaging.message.body.size": len(claim.body),
        "sockudo_queue.app": job.app_id,
        "sockudo_queue.job.age_ms": min(max(claim.server_ms - job.time_ms, 0), MAX_INTEGER),
    }
    job_id = state.job if state is not None else job.job_id
    if job_id:
        attributes["messaging.message.id"] = job_id
    if claim.lapses:
        attributes["sockudo_queue.lease_expiries"] = claim.lapses
    return attributes


def of_attempt(webhook: Webhook, state: DeliveryState) -> Attributes:
    """Return the attributes of a starting attempt."""
    attributes = {
        **of_target(webhook),
        "sockudo_queue.app": state.app,
        "sockudo_queue.webhook": webhook.name,
        "sockudo_queue.attempt": state.attempts + 1,
        "messaging.message.id": state.job,
    }
    if state.attempts:
        attributes["http.request.resend_count"] = state.attempts
    return attributes


def of_outcome(outcome: Outcome) -> Attributes:
    """Return the attributes of an attempt's end."""
    attributes: dict[str, str | int] = {OUTCOME: str(outcome.verdict)}
    if outcome.status:
        attributes["http.response.status_code"] = outcome.status
    if not outcome.delivered:
        attributes[REASON] = outcome.reason
        attributes[ERROR] = str(outcome.status or outcome.failure or outcome.verdict)
    return attributes


def span_name(webhook: Webhook) -> str:
    """Return the name of an attempt's span: there are few such names, and none contains a URL."""
    return "POST" if webhook.url is not None else "Lambda/Invoke"


def of_target(webhook: Webhook) -> Attributes:
    """Return the attributes of a webhook's target."""
    if webhook.url is not None:
        return _of_url(webhook.url.revealed)
    assert webhook.lambda_target is not None
    return _of_function(webhook.lambda_target)


@lru_cache(maxsize=4096)
def _of_url(url: str) -> Attributes:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or default_port(parts.scheme)
    except ValueError:
        return {"http.request.method": "POST"}
    return {
        "http.request.method": "POST",
        "url.full": f"{parts.scheme}://{bracketed(host)}:{port}/REDACTED",
        "server.address": host,
        "server.port": port,
    }


def _of_function(function: LambdaTarget) -> Attributes:
    return {
        "rpc.system": "aws-api",
        "rpc.service": "Lambda",
        "rpc.method": "Invoke",
        "faas.invoked_provider": "aws",
        "faas.invoked_region": function.region,
        # The name without the account, if it is a whole ARN.
        "faas.invoked_name": re.sub(r"^arn:.*:function:", "", function.function_name),
    }
