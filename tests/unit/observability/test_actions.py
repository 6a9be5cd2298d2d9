"""Tokens of forms, and which requests may act: tables without a server."""

from __future__ import annotations

from base64 import b64encode

import pytest
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from sockudo_queue.observability.web.actions import ActionGuard, actor_of, forms_for
from sockudo_queue.observability.web.form_tokens import HOUR, VALID_HOURS, FormTokens

NOW = 1_800_000_000.0
PURPOSE = "/dead-letters/replay"


def tokens(at: float = NOW, secret: bytes = b"secret") -> FormTokens:
    return FormTokens(lambda: secret, lambda: at)


@pytest.mark.parametrize(
    ("age", "is_valid"), [(0, True), (VALID_HOURS, True), (VALID_HOURS + 1, False), (-1, True), (-2, False)]
)
def test_a_token_is_valid_for_hours_and_for_a_clock_that_is_ahead(age: int, is_valid: bool) -> None:
    assert tokens().is_valid(tokens(NOW - age * HOUR).make(PURPOSE), PURPOSE) is is_valid


def test_a_token_is_for_one_purpose_and_one_secret() -> None:
    token = tokens().make(PURPOSE)
    assert not tokens().is_valid(token, "/dead-letters/purge")
    assert not tokens(secret=b"other").is_valid(token, PURPOSE)
    assert tokens().is_valid(token, PURPOSE)


@pytest.mark.parametrize("token", ["", ".", "x", "0", "500000.", "500000", "\u0665.x", "500000.\ud800", "1" * 10_000])
def test_text_that_is_no_token_is_refused(token: str) -> None:
    assert not tokens().is_valid(token, PURPOSE)


def test_a_changed_secret_ends_the_tokens() -> None:
    secrets = [b"old"]
    made = FormTokens(lambda: secrets[0], lambda: NOW)
    token = made.make(PURPOSE)
    secrets[0] = b"new"
    assert not made.is_valid(token, PURPOSE)
    assert made.is_valid(made.make(PURPOSE), PURPOSE)


def may_act(origin: str, host: str, *allowed: str) -> bool:
    refusal = ActionGuard(tokens(), allowed).refusal(form_request(origin, host), PURPOSE)
    assert refusal is None or refusal.status_code == 403
    return refusal is None


def form_request(origin: str, host: str, authorization: str = f"Basic {b64encode(b'ada:p').decode()}") -> Request:
    headers = [("Origin", origin), ("Host", host), ("Authorization", authorization)]
    return EnvironBuilder(PURPOSE, method="POST", data={"token": tokens().make(PURPOSE)}, headers=headers).get_request()


@pytest.mark.parametrize(
    ("origin", "host", "may"),
    [
        ("http://queue:9602", "queue:9602", True),
        ("https://queue.example", "queue.example", True),  # TLS ends at a proxy
        ("https://queue.example", "queue.example:443", True),
        ("HTTPS://Queue.Example", "queue.example", True),
        ("http://[::1]:9602", "[::1]:9602", True),
        ("https://queue.example", "queue.example:80", False),
        ("http://queue.example:9603", "queue.example:9602", False),
        ("http://evil.example", "queue.example", False),
        ("http://queue.example/", "queue.example", False),
        ("http://x@queue.example", "queue.example", False),
        ("file://queue.example", "queue.example", False),
        ("http://", "", False),
        ("null", "null", False),
        ("", "", False),
        ("http://[", "[", False),
    ],
)
def test_without_a_setting_origin_and_host_must_be_the_same(origin: str, host: str, may: bool) -> None:
    assert may_act(origin, host) is may


@pytest.mark.parametrize(
    ("origin", "host", "may"),
    [
        ("https://queue.example", "queue.example", True),
        ("https://queue.example:8443", "queue.example:8443", True),
        ("https://queue.example", "daemon:9602", True),
        ("https://queue.example", "daemon:9603", False),
        ("https://evil.example", "evil.example", False),
        ("https://queue.example", "evil.example", False),
        ("https://evil.example", "queue.example", False),
        ("http://[fd00::1]:9602", "[fd00::1]:9602", True),
    ],
)
def test_with_a_setting_both_must_be_in_it(origin: str, host: str, may: bool) -> None:
    assert may_act(origin, host, "queue.example", "daemon:9602", "[fd00::1]") is may


@pytest.mark.parametrize(
    ("origin", "host", "allowed", "may"),
    [
        ("https://queue.example", "queue.example", "queue.example:443", True),
        ("https://queue.example:443", "queue.example:443", "queue.example:443", True),
        ("https://queue.example", "queue.example:443", "queue.example:443", True),
        ("http://queue.example", "queue.example", "queue.example:80", True),
        ("http://[fd00::1]", "[fd00::1]", "[fd00::1]:80", True),
        ("http://queue.example", "queue.example", "queue.example:443", False),
        ("https://queue.example:8443", "queue.example:8443", "queue.example:443", False),
        ("https://queue.example", "queue.example:8443", "queue.example:443", False),
        ("https://evil.example", "queue.example", "queue.example:443", False),
        ("https://queue.example:443", "queue.example:443", "queue.example", True),
    ],
)
def test_default_port_in_the_setting_is_the_one_that_browsers_omit(
    origin: str, host: str, allowed: str, may: bool
) -> None:
    assert may_act(origin, host, allowed) is may


@pytest.mark.parametrize(("authorization", "count"), [(f"Basic {b64encode(b'ada:p').decode()}", 1), ("Bearer x", 0)])
def test_only_a_login_with_a_password_gets_forms(authorization: str, count: int) -> None:
    forms = forms_for(form_request("http://h", "h", authorization), tokens(), {"replay": PURPOSE})
    assert len(forms) == count
    assert all(tokens().is_valid(token, path) for path, token in forms.values())


@pytest.mark.parametrize("authorization", ["Bearer x", "bearer x", "Digest x", "", "Basic !"])
def test_only_a_login_with_a_password_acts(authorization: str) -> None:
    request = form_request("http://queue", "queue", authorization)
    refusal = ActionGuard(tokens()).refusal(request, PURPOSE)
    assert refusal is not None
    assert refusal.status_code == 403
    assert "QUEUE_METRICS_PASSWORD; nothing was done" in refusal.get_data(as_text=True)
    assert actor_of(form_request("http://queue", "queue")).user == "ada"
