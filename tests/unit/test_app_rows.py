"""What a store holds about one app becomes an app, in every form that Sockudo has written; a bad part costs no more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sockudo_queue.app_stores.base import Row
from sockudo_queue.app_stores.rows import read_row
from sockudo_queue.apps import App
from sockudo_queue.errors import AppUnreadable
from sockudo_queue.settings import RetrySettings
from sockudo_queue.webhook_documents import Defaults
from tests.helpers.settings import CANARY

DEFAULTS = Defaults(RetrySettings(), 10_000)


def hook(path: str = "hooks", **keys: Any) -> dict[str, Any]:
    return {"url": f"https://api.example.test/{path}", "event_types": ["channel_occupied"], **keys}


def read(policy: Any = None, webhooks: Any = None) -> tuple[App, tuple[str, ...]]:
    return read_row(Row("shop", policy, webhooks), DEFAULTS)


def urls(app: App) -> list[str]:
    return [webhook.url.reveal() for webhook in app.webhooks if webhook.url is not None]


@pytest.mark.parametrize(
    ("policy", "webhooks", "count"),
    [
        (None, None, 0),
        (None, "null", 0),
        (None, "[]", 0),
        ("null", "null", 0),
        ("{}", json.dumps([hook()]), 0),
        ('{"webhooks":null}', json.dumps([hook()]), 0),
        ("null", json.dumps([hook()]), 1),
        (None, json.dumps([hook(), hook("b")]), 2),
        (json.dumps({"webhooks": [hook()]}), json.dumps([hook(), hook("b")]), 1),
        (json.dumps({"webhooks": [hook()]}).encode(), b"not looked at", 1),
    ],
)
def test_the_policy_wins_entirely(policy: Any, webhooks: Any, count: int) -> None:
    app, faults = read(policy, webhooks)
    assert (app.id, len(app.webhooks), faults) == ("shop", count, ())


@pytest.mark.parametrize("headers", [{"X-A": "b"}, {"headers": {"X-A": "b"}}])
def test_both_shapes_of_headers(headers: dict[str, Any]) -> None:
    app, _ = read(None, json.dumps([hook(headers=headers)]))
    assert [(name, value.reveal()) for name, value in app.webhooks[0].headers] == [("X-A", "b")]


@pytest.mark.parametrize(
    ("policy", "webhooks", "reason"),
    [
        ("{CANARY", None, "policy is no valid JSON"),
        (b'"\xff"', None, "policy is no valid JSON"),
        ('"CANARY"', None, "policy must be a JSON object"),
        ("[" * 100_000, None, "policy is no valid JSON"),
        (None, "CANARY", "webhooks is no valid JSON"),
        (None, '{"a":"CANARY"}', "webhooks must be a list"),
        ('{"webhooks":"CANARY"}', None, "webhooks must be a list"),
        (None, json.dumps([hook(name="CANARY"), hook("b", name="CANARY")]), "is taken by another webhook"),
    ],
)
def test_what_cannot_be_told_is_no_app(policy: Any, webhooks: Any, reason: str) -> None:
    with pytest.raises(AppUnreadable) as caught:
        read(policy, webhooks)
    assert str(caught.value).startswith("app 'shop'")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    if "taken" not in reason:  # a name is there to be shown
        assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "broken",
    [
        "CANARY",
        None,
        hook(url="CANARY"),
        hook(event_types="CANARY"),
        hook(filter={"channel_pattern": "(CANARY"}),
        hook(filter={"channel_prefix": 5}),
        hook(headers={"X-A": "CANARY\nX-B: c"}),
        hook(retry={"max_attempts": "CANARY"}),
        hook(request_timeout_ms=-1),
    ],
)
def test_a_broken_webhook_is_left_out_and_its_neighbours_stay(broken: Any) -> None:
    app, faults = read(None, json.dumps([hook("a"), broken, hook("c")]))
    assert urls(app) == ["https://api.example.test/a", "https://api.example.test/c"]
    assert faults
    assert all("app 'shop', webhook 2" in fault and CANARY not in fault.replace("'CANARY'", "") for fault in faults)


def test_an_odd_webhook_is_served_as_it_is() -> None:
    app, faults = read(None, json.dumps([hook(channel_prefix="x", event_types=["no_such_event"])]))
    assert (len(app.webhooks), faults) == (1, ())


def test_a_row_shows_nothing_of_its_content() -> None:
    assert CANARY not in repr(Row("shop", CANARY, CANARY))
