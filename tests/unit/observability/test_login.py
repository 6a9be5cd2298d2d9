"""Credentials and the limit of failed logins, without a server."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import structlog.testing
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request, Response

from sockudo_queue.core.secret import Secret
from sockudo_queue.observability.health import Health
from sockudo_queue.observability.metrics import Metrics
from sockudo_queue.observability.web.application import Application, text
from sockudo_queue.observability.web.login import (
    ADDRESSES,
    FAILURES,
    PERIOD,
    Credentials,
    FailureLimit,
    LoginGate,
    network_of,
)

BOTH = Credentials("operator", Secret("p:ä"), Secret("t0k"))


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


RIGHT = basic("operator", "p:ä")


def status_of(credentials: Credentials, path: str, authorization: str | None = None, **options: Any) -> int:
    pages = {"/": lambda _request: text(200, "page")}
    application = Application(Metrics("redis", "webhooks").registry, Health(), pages, LoginGate(credentials), **options)
    headers = [] if authorization is None else [("Authorization", authorization)]
    request = EnvironBuilder(path, headers=headers).get_request()
    return Response.from_app(application, request.environ).status_code


@pytest.mark.parametrize("path", ["/", "/metrics", "//metrics"])
@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (RIGHT, 200),
        ("bearer t0k", 200),
        (None, 401),
        ("", 401),
        (basic("operator", "p:a"), 401),
        (basic("operato", "p:ä"), 401),
        (basic("", ""), 401),
        ("Bearer t0k0", 401),
        ("Bearer", 401),
        ("Bearer p:ä", 401),
        ("Basic !", 401),
        ("Basic \xff", 401),
        ("Digest username=operator", 401),
        ("Bearer \udcff", 401),
    ],
)
def test_pages_and_metrics_need_the_right_login(path: str, authorization: str | None, status: int) -> None:
    assert status_of(BOTH, path, authorization) == status


@pytest.mark.parametrize(
    ("credentials", "authorization"),
    [
        (Credentials("operator", Secret("p")), "Bearer p"),
        (Credentials("operator", Secret("p")), "Bearer "),
        (Credentials("operator", token=Secret("t")), basic("operator", "")),
        (Credentials("operator", token=Secret("t")), basic("operator", "t")),
    ],
)
def test_login_method_that_is_not_configured_is_refused(credentials: Credentials, authorization: str) -> None:
    assert status_of(credentials, "/", authorization) == 401


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/elsewhere"])
def test_probes_need_no_login(path: str) -> None:
    assert status_of(BOTH, path) in (200, 503, 404)


def test_metrics_may_be_open_while_pages_are_not() -> None:
    assert status_of(BOTH, "/metrics", open_metrics=True) == 200
    assert status_of(BOTH, "/", open_metrics=True) == 401


def test_a_browser_is_asked_for_each_way() -> None:
    refusal = LoginGate(BOTH).refusal(Request(EnvironBuilder().get_environ()))
    assert refusal is not None
    assert refusal.headers.getlist("WWW-Authenticate") == [
        'Basic realm="sockudo-queue", charset="UTF-8"',
        'Bearer realm="sockudo-queue"',
    ]


def request_from(address: str, authorization: str | None) -> Request:
    headers = [] if authorization is None else [("Authorization", authorization)]
    environ = EnvironBuilder("/", headers=headers).get_environ() | {"REMOTE_ADDR": address}
    return Request(environ)


def test_an_address_that_fails_too_often_has_to_wait() -> None:
    now = [0.0]
    gate = LoginGate(BOTH, lambda: now[0])

    def status(address: str, authorization: str | None) -> int:
        refusal = gate.refusal(request_from(address, authorization))
        return 200 if refusal is None else refusal.status_code

    for number in range(FAILURES):
        now[0] = float(number)
        assert status("192.0.2.1", "Bearer wrong") == 401
    assert status("192.0.2.1", RIGHT) == 429
    assert status("192.0.2.2", RIGHT) == 200
    now[0] = PERIOD - 0.1
    assert status("192.0.2.1", RIGHT) == 429
    now[0] = PERIOD
    assert status("192.0.2.1", RIGHT) == 200


def test_ipv6_addresses_of_one_network_count_together() -> None:
    gate = LoginGate(BOTH)
    for number in range(FAILURES):
        gate.refusal(request_from(f"2001:db8:1:2::{number:x}", "Bearer wrong"))
    for address, status in {"2001:db8:1:2:ffff::1": 429, "2001:db8:1:3::1": None}.items():
        refusal = gate.refusal(request_from(address, RIGHT))
        assert (refusal and refusal.status_code) == status


def test_ipv4_address_in_ipv6_form_is_that_address() -> None:
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1") == "192.0.2.1"
    assert network_of("::ffff:192.0.2.2") != network_of("192.0.2.1")
    assert network_of("") == ""


def test_token_beyond_ascii_is_accepted_as_the_bytes_that_were_set() -> None:
    credentials = Credentials(token=Secret("tökén"))
    assert status_of(credentials, "/", "Bearer " + "tökén".encode().decode("latin-1")) == 200
    assert status_of(credentials, "/", "Bearer tokén") == 401


@pytest.mark.parametrize("token", ["tok=en/+==", "abc=def", 'k="v"', " x ", "a,b"])
def test_token_of_any_characters_is_accepted(token: str) -> None:
    assert status_of(Credentials(token=Secret(token)), "/", f"Bearer {token}") == 200


def test_header_that_cannot_be_read_is_a_failure() -> None:
    gate = LoginGate(BOTH)
    statuses = [gate.refusal(request_from("192.0.2.1", "Basic \xff")) for _ in range(FAILURES + 1)]
    assert [each.status_code for each in statuses if each] == [401] * FAILURES + [429]


def test_address_that_is_blocked_is_logged_as_such() -> None:
    gate = LoginGate(BOTH, lambda: 0.0)
    with structlog.testing.capture_logs() as lines:
        for _ in range(FAILURES + 5):
            gate.refusal(request_from("192.0.2.1", "Bearer wrong"))
    assert [(line["failures"], line["blocked"]) for line in lines] == [(1, False), (FAILURES - 1, True)]


def test_a_request_without_a_login_is_no_failure() -> None:
    gate = LoginGate(BOTH)
    for _ in range(2 * FAILURES):
        assert gate.refusal(request_from("192.0.2.1", None)) is not None
    assert gate.refusal(request_from("192.0.2.1", RIGHT)) is None


def test_the_limit_remembers_a_bounded_number_of_addresses() -> None:
    limit = FailureLimit()
    for number in range(10 * ADDRESSES):
        limit.add(str(number), 0.0)
    assert len(limit._failures) == ADDRESSES
