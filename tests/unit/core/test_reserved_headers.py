"""One list of headers that a webhook cannot set applies to settings and to requests."""

from __future__ import annotations

import pytest

from sockudo_queue.apps.parsing.headers import read_headers
from sockudo_queue.config.problems import ConfigProblems
from sockudo_queue.core.apps import Webhook
from sockudo_queue.core.hmac_keys import hmac_key
from sockudo_queue.core.reserved_headers import is_reserved
from sockudo_queue.core.secret import Secret
from sockudo_queue.core.signing import SigningRequest, headers_of
from sockudo_queue.delivery import sender

RESERVED = [
    "Content-Type",
    "Content-Length",
    "HOST",
    "accept-encoding",
    "Expect",
    "Connection",
    "Keep-Alive",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "x-pusher-key",
    "X-PUSHER-SIGNATURE",
    "Webhook-Id",
    "webhook-timestamp",
    "Webhook-Signature",
    "X-Sockudo-Job-Id",
    "x-sockudo-anything",
]
FREE = ["Authorization", "User-Agent", "Accept", "X-Tenant", "X-Pusher", "Webhook", "Sockudo-Job-Id", "TEE", "Cookie"]


@pytest.mark.parametrize("name", RESERVED)
def test_reserved_header_is_dropped_from_settings_and_from_the_request(name: str) -> None:
    problems = ConfigProblems(strict=False)

    assert is_reserved(name)
    assert read_headers({name: "theirs"}, "webhook 1", problems) == ()
    assert len(problems.warnings) == 1
    assert not any(b"theirs" in line for line in sender.configured_lines(((name, Secret("theirs")),)))


@pytest.mark.parametrize("name", FREE)
def test_other_header_is_kept_in_settings_and_in_the_request(name: str) -> None:
    problems = ConfigProblems(strict=False)

    assert not is_reserved(name)
    kept = read_headers({name: "theirs"}, "webhook 1", problems)
    assert [given for given, _ in kept] == [name]
    assert problems.warnings == []
    assert f"{name}: theirs".encode() in sender.configured_lines(kept)


def test_every_header_set_by_the_daemon_is_reserved() -> None:
    request = SigningRequest("key", hmac_key("secret"), "job", attempt=1, moment=1_700_000_000)
    secrets = (Secret("whsec_c2VjcmV0"),)
    signed = Webhook("a", frozenset(), Secret("https://a.example/"), signing_secrets=secrets)
    set_by_us = [
        *headers_of(request, signed, b"{}"),
        *(line.split(b":")[0].decode() for line in sender.configured_lines(())),
    ]

    assert len(set_by_us) == 11
    assert [name for name in set_by_us if not is_reserved(name)] == []
