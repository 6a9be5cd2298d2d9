"""Other targets and signatures, from the queue on: functions of AWS, Standard Webhooks, hosts that move."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook as StandardWebhook

from tests.faults.queue import daemon_on, log_tail, push, settled, waiting
from tests.helpers.certificates import Authority
from tests.helpers.configs import webhook
from tests.helpers.jobs import job, webhook_body
from tests.helpers.ports import free_port
from tests.helpers.receiver import Answer, Receiver, Request
from tests.helpers.redis_server import RedisServer
from tests.helpers.resolver import MISSING, MOVED, READY, preloaded
from tests.helpers.waiting import eventually

OLD = "whsec_" + base64.b64encode(b"the secret of yesterday, at least").decode()
NEW = "whsec_" + base64.b64encode(b"the secret of today and tomorrow").decode()
THROTTLED = 6  # fewer than open the breaker


def aws(receiver: Receiver) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "CANARYKEY",
        "AWS_SECRET_ACCESS_KEY": "CANARYSECRET",
        "AWS_ENDPOINT_URL_LAMBDA": receiver.url("").rstrip("/"),
        "QUEUE_DELIVERY_RETRY_INITIAL_BACKOFF_MS": "50",
    }


def test_throttled_function_is_retried_without_delaying_others(redis_server: RedisServer, receiver: Receiver) -> None:
    count = 20

    def throttle(request: Request, nth: int) -> Answer:
        return Answer(429, body=b'{"Reason":"CallerRateLimitExceeded"}') if nth <= THROTTLED else Answer(202)

    function: dict[str, Any] = webhook("") | {"lambda": {"function_name": "on-webhook:live", "region": "eu-west-1"}}
    del function["url"]
    with (
        Receiver(throttle) as functions,
        redis_server.client() as client,
        daemon_on(redis_server.url, function, receiver.url(), **aws(functions)) as daemon,
    ):
        push(client, [job(number) for number in range(1, count + 1)])
        receiver.wait_for(count)
        eventually(lambda: waiting(client) == 0, 20, log_tail(daemon))
        taken = sorted(request.body for request in functions.requests[THROTTLED:])
        assert settled(daemon, "dead-letter") == 0
        retried = [line for line in daemon.events("delivery.attempted") if line["reason"] == "status-429"]
        assert "CANARY" not in daemon.output()
    assert taken == sorted(webhook_body(number) for number in range(1, count + 1))
    assert len(retried) == THROTTLED
    assert {request.path for request in functions.requests} == {"/2015-03-31/functions/on-webhook%3Alive/invocations"}
    assert all(request.headers["x-amz-invocation-type"] == "Event" for request in functions.requests)


def test_standard_webhooks_beside_pushers_signature(redis_server: RedisServer, receiver: Receiver) -> None:
    """Each secret of the list signs; each attempt has a time of its own and the same id."""
    receiver.answer(lambda request, nth: Answer(500 if nth == 1 else 200))
    hook = webhook(receiver.url(), signing_secrets=[OLD, "${NEW_SECRET}"])
    environment = {"NEW_SECRET": NEW, "QUEUE_DELIVERY_RETRY_INITIAL_BACKOFF_MS": "1100", "QUEUE_RETRY_JITTER": "0"}
    with redis_server.client() as client, daemon_on(redis_server.url, hook, **environment) as daemon:
        push(client, [job(1)])
        first, second = receiver.wait_for(2)
        for secret in (OLD, NEW):
            assert secret.removeprefix("whsec_") not in daemon.output()
    for request in (first, second):
        for secret in (OLD, NEW):
            StandardWebhook(secret).verify(request.body, request.headers)
        assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 60
        assert "x-pusher-signature" in request.headers
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.headers["webhook-timestamp"] < second.headers["webhook-timestamp"]


@pytest.mark.parametrize(("host", "failure"), [(MISSING, "dns"), (MOVED, "refused")])
def test_a_retry_asks_dns_again_whatever_is_remembered(
    redis_server: RedisServer, receiver: Receiver, tmp_path: Path, host: str, failure: str
) -> None:
    """A blip of half a second costs one attempt, and not all of them."""
    ready = tmp_path / "ready"
    policy = {"initial_backoff_ms": 500, "max_backoff_ms": 500, "max_attempts": 3, "jitter": 0}
    hook = webhook(receiver.url().replace("127.0.0.1", host), name="hook", retry=policy)
    environment = preloaded() | {READY: str(ready)}
    with redis_server.client() as client, daemon_on(redis_server.url, hook, **environment) as daemon:
        push(client, [job(1)])
        eventually(lambda: daemon.events("delivery.attempted"), 10, log_tail(daemon))
        ready.touch()
        receiver.wait_for(1, 10)
        eventually(lambda: len(daemon.events("delivery.attempted")) == 2, 10, log_tail(daemon))
        lines = [(line["attempt"], line["reason"] or line["outcome"]) for line in daemon.events("delivery.attempted")]
    assert lines == [(1, failure), (2, "delivered")]


PROXIED = {"QUEUE_DELIVERY_GUARD": "false", "QUEUE_DELIVERY_USE_ENVIRONMENT_PROXY": "true"}


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_the_proxy_of_the_environment_gets_the_request(
    redis_server: RedisServer, receiver: Receiver, variable: str
) -> None:
    """A receiver stands for the proxy: it gets the URL of the webhook as the target of the request."""
    url = f"http://127.0.0.1:{free_port()}/hook"
    proxy = {variable: receiver.url("").rstrip("/")}
    with redis_server.client() as client, daemon_on(redis_server.url, url, **PROXIED, **proxy):
        push(client, [job(1)])
        [request] = receiver.wait_for(1, 10)
    assert request.path == url


def test_a_proxy_with_a_certificate_of_a_private_authority_is_trusted(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    authority, url = Authority(tmp_path), f"http://127.0.0.1:{free_port()}/hook"
    with (
        Receiver(tls=authority.server()) as proxy,
        redis_server.client() as client,
        daemon_on(
            redis_server.url,
            url,
            **PROXIED,
            QUEUE_DELIVERY_CA_FILE=str(authority.ca_file),
            http_proxy=proxy.url("").rstrip("/"),
        ),
    ):
        push(client, [job(1)])
        [request] = proxy.wait_for(1, 10)
    assert request.path == url


@pytest.mark.parametrize("value", ["http://user:CANARY@127.0.0.1:99999", "junk://user:CANARY@127.0.0.1"])
def test_an_unusable_proxy_ends_the_start_without_its_password(redis_server: RedisServer, value: str) -> None:
    with daemon_on(redis_server.url, "http://127.0.0.1:9/", **PROXIED, http_proxy=value) as daemon:
        assert daemon.wait() == 2
        assert "http_proxy: " in daemon.output()
        assert "CANARY" not in daemon.output()
