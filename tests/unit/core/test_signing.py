"""Signatures and exact bytes, checked by the official client."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from pusher import Pusher
from standardwebhooks import Webhook as StandardWebhook
from standardwebhooks import WebhookVerificationError

from sockudo_queue.core import job as jobs
from sockudo_queue.core import signing
from sockudo_queue.core.hmac_keys import hmac_key
from sockudo_queue.core.secret import Secret
from tests.helpers.data import JobFile, job_files
from tests.helpers.jobs import event, job, webhook_body

EVENTS = [
    event(data="emoji 😀, \u2028, \u2029 and ü"),
    b'{"name":"e","data":"a\\/b/c","big":123456789012345678901234567890}',
    b'{"name":"e","data":[1.0,-0.0,1e22,0.1000]}',
    b'{"name":"e","data":1,"data":2}',
    b'{ "name": "e" }',
]


def accepted(key: str, secret: str, body: bytes, signature: str) -> Any:
    client = Pusher(app_id="1", key=key, secret=secret, cluster="eu")
    return client.validate_webhook(key, signature, body.decode())


@pytest.mark.parametrize(("age", "is_accepted"), [(290, True), (310, False)])
def test_pusher_client_refuses_a_signed_body_after_300_s(age: int, is_accepted: bool) -> None:
    """The signature alone can still be checked, as `docs/commands.md` says about replays."""
    read = jobs.decode(job(secret="secret", time_ms=round((time.time() - age) * 1000)))
    body = signing.body_of(read.time_ms, read.events)
    signature = signing.sign(read.signing_key, body)

    assert (accepted("key", "secret", body, signature) is not None) is is_accepted
    assert hmac.compare_digest(signature, hmac.new(b"secret", body, hashlib.sha256).hexdigest())


@pytest.mark.parametrize("raw", EVENTS)
@pytest.mark.parametrize("secret", ["shop-secret", "sécret 😀"])
def test_pusher_client_accepts_the_signature(raw: bytes, secret: str) -> None:
    now_ms = round(time.time() * 1000)  # the client refuses bodies older than five minutes
    read = jobs.decode(job(secret=secret, time_ms=now_ms, events=[raw, raw]))
    body = signing.body_of(read.time_ms, read.events)

    parsed = accepted("key", secret, body, signing.sign(read.signing_key, body))

    assert body == webhook_body(events=[raw, raw], time_ms=now_ms)
    assert parsed["time_ms"] == now_ms
    assert len(parsed["events"]) == 2


def test_pusher_client_refuses_a_changed_body_or_secret() -> None:
    body = signing.body_of(round(time.time() * 1000), jobs.decode(job()).events)
    signature = signing.sign(hmac_key("right"), body)

    assert accepted("key", "right", body, signature)
    assert accepted("key", "wrong", body, signature) is None
    assert accepted("key", "right", body + b" ", signature) is None


@pytest.mark.parametrize("file", job_files(), ids=str)
def test_bodies_and_signatures_equal_those_of_every_sockudo_version(file: JobFile) -> None:
    read = jobs.decode(file.body)
    body = signing.body_of(read.time_ms, read.events)

    assert body == file.webhook_body
    expected = hmac.new(json.loads(file.body)["app_secret"].encode(), file.webhook_body, hashlib.sha256).hexdigest()
    assert signing.sign(read.signing_key, body) == expected


def test_empty_body_and_signature_have_the_documented_form() -> None:
    assert signing.body_of(-5, []) == b'{"time_ms":-5,"events":[]}'
    signature = signing.sign(hmac_key("k"), b"")
    assert len(signature) == 64
    assert signature == signature.lower()


def standard_secret(byte: int) -> Secret:
    return Secret("whsec_" + base64.b64encode(bytes([byte]) * 32).decode())


@pytest.mark.parametrize("raw", EVENTS)
def test_standard_webhooks_library_accepts_the_signature_of_each_secret(raw: bytes) -> None:
    """A receiver can therefore change to the next secret at any time."""
    body = signing.body_of(1, jobs.decode(job(events=[raw])).events)
    secrets = [standard_secret(1), standard_secret(2)]
    headers = signing.standard_headers(secrets, signing.message_id("job", "orders"), round(time.time()), body)

    for secret in secrets:
        StandardWebhook(secret.revealed).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        StandardWebhook(standard_secret(3).revealed).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        StandardWebhook(secrets[0].revealed).verify(body.replace(b"events", b"Events"), headers)
    for name, value in (("Webhook-Id", "msg_other"), ("Webhook-Timestamp", str(round(time.time()) - 2))):
        with pytest.raises(WebhookVerificationError):
            StandardWebhook(secrets[0].revealed).verify(body, headers | {name: value})


def test_message_id_is_unique_for_each_job_and_webhook() -> None:
    """Receivers recognise repeated attempts by the id, so it must be the same for each attempt."""
    assert signing.message_id("job", "orders") == signing.message_id("job", "orders")
    assert len({signing.message_id(job, hook) for job in ("a", "b", "\ud800") for hook in ("a", "b")}) == 6
    assert signing.message_id("a", "b").removeprefix("msg_").isalnum()
