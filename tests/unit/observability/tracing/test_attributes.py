"""The attributes of spans, and the values that they must not contain."""

from __future__ import annotations

import pytest

from sockudo_queue.core import job as jobs
from sockudo_queue.core.apps import LambdaTarget, Webhook
from sockudo_queue.core.delivery_state import DeliveryState
from sockudo_queue.core.outcome import Failure, from_failure, from_status
from sockudo_queue.core.secret import Secret
from sockudo_queue.drivers.base import Claim
from sockudo_queue.observability.tracing import attributes
from tests.helpers.jobs import job

STATE = DeliveryState("job-1", "shop", "orders")


def webhook(url: str) -> Webhook:
    return Webhook("orders", frozenset(), Secret(url))


@pytest.mark.parametrize(
    ("url", "shown", "host", "port"),
    [
        ("https://a.example/", "https://a.example:443/REDACTED", "a.example", 443),
        ("http://us%40er:pa@b.example:81/secret?secret#secret", "http://b.example:81/REDACTED", "b.example", 81),
        ("http://[2001:db8::1]:8080", "http://[2001:db8::1]:8080/REDACTED", "2001:db8::1", 8080),
    ],
)
def test_url_shows_only_scheme_host_and_port(url: str, shown: str, host: str, port: int) -> None:
    given = attributes.of_attempt(webhook(url), STATE)
    assert (given["url.full"], given["server.address"], given["server.port"]) == (shown, host, port)
    assert not [value for value in given.values() if "secret" in str(value) or "pa@" in str(value)]


def test_invalid_url_omits_only_its_attributes() -> None:
    given = attributes.of_attempt(webhook("http://[broken"), STATE)
    assert given["http.request.method"] == "POST"
    assert "server.address" not in given


def test_function_name_omits_the_account() -> None:
    target = LambdaTarget("arn:aws:lambda:eu-west-1:123456789012:function:hook:live", "eu-west-1")
    called = Webhook("orders", frozenset(), lambda_target=target)
    assert attributes.span_name(called) == "Lambda/Invoke"
    given = attributes.of_attempt(called, STATE)
    assert (given["faas.invoked_name"], given["faas.invoked_region"]) == ("hook:live", "eu-west-1")
    assert not [value for value in given.values() if "123456789012" in str(value)]


def test_job_age_of_an_impossible_time_is_bounded() -> None:
    claim = Claim("list", "id/1", b"{}", b"", 0, 1_751_100_000_000)
    for time_ms, age in ((-(2**63), 2**53), (2**63 - 1, 0)):
        old = jobs.decode(job(time_ms=time_ms))
        assert attributes.of_claim("redis", claim, old, None)["sockudo_queue.job.age_ms"] == age


def test_later_attempt_has_its_number() -> None:
    assert "http.request.resend_count" not in attributes.of_attempt(webhook("http://a/"), STATE)
    later = attributes.of_attempt(webhook("http://a/"), DeliveryState("job-1", "shop", "orders", attempts=2))
    assert (later["sockudo_queue.attempt"], later["http.request.resend_count"]) == (3, 2)


def test_outcome_has_its_reason_but_no_text_of_the_receiver() -> None:
    assert attributes.of_outcome(from_status(204)) == {
        "sockudo_queue.outcome": "delivered",
        "http.response.status_code": 204,
    }
    assert attributes.of_outcome(from_status(503, detail="words")) == {
        "sockudo_queue.outcome": "retryable",
        "http.response.status_code": 503,
        "sockudo_queue.reason": "status-503",
        "error.type": "503",
    }
    assert attributes.of_outcome(from_failure(Failure.REFUSED, "words")) == {
        "sockudo_queue.outcome": "retryable",
        "sockudo_queue.reason": "refused",
        "error.type": "refused",
    }
