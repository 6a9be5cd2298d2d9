"""What a store holds about one app becomes an app, in every form that Sockudo has written; a bad part costs no more."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockudo_queue.apps.parsing.webhooks import Defaults
from sockudo_queue.apps.stores.base import Row
from sockudo_queue.apps.stores.rows import read_row
from sockudo_queue.config import RetrySettings
from sockudo_queue.core.apps import App
from sockudo_queue.errors import AppUnreadable
from tests.helpers.settings import CANARY

DEFAULTS = Defaults(RetrySettings(), 10_000)


def hook(path: str = "hooks", **keys: Any) -> dict[str, Any]:
    return {"url": f"https://api.example.test/{path}", "event_types": ["channel_occupied"], **keys}


def read(policy: Any = None, webhooks: Any = None) -> App:
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
    app = read(policy, webhooks)
    assert (app.id, len(app.webhooks), app.invalid) == ("shop", count, ())


@pytest.mark.parametrize("headers", [{"X-A": "b"}, {"headers": {"X-A": "b"}}])
def test_both_shapes_of_headers(headers: dict[str, Any]) -> None:
    app = read(None, json.dumps([hook(headers=headers)]))
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
    ],
)
def test_what_cannot_be_told_is_no_app(policy: Any, webhooks: Any, reason: str) -> None:
    with pytest.raises(AppUnreadable) as caught:
        read(policy, webhooks)
    assert str(caught.value).startswith("app 'shop'")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
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
        hook("b", name="first"),
    ],
)
def test_a_broken_webhook_is_invalid_and_its_neighbours_stay(broken: Any) -> None:
    app = read(None, json.dumps([hook("a", name="first"), broken, hook("c")]))
    assert urls(app) == ["https://api.example.test/a", "https://api.example.test/c"]
    (invalid,) = app.invalid
    given = f" ({broken['name']})" if isinstance(broken, dict) and broken.get("name") == "first" else ""
    assert invalid.place == f"app 'shop', webhook 2{given}"
    assert invalid.reason
    assert CANARY not in invalid.reason.replace("'CANARY'", "")


def test_an_odd_webhook_is_served_as_it_is() -> None:
    app = read(None, json.dumps([hook(channel_prefix="x", event_types=["no_such_event"])]))
    assert (len(app.webhooks), app.invalid) == (1, ())


def test_a_row_shows_nothing_of_its_content() -> None:
    assert CANARY not in repr(Row("shop", CANARY, CANARY))


TEXTS = st.text(max_size=20) | st.sampled_from(
    ["url", "http://h/", "event_types", "filter", "headers", "retry", "lambda", "\ud800", "a\nb", "name", "http://ü/"]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=20
)
WEBHOOKS = st.fixed_dictionaries(
    {},
    optional={
        "url": TEXTS | VALUES,
        "event_types": st.lists(TEXTS, max_size=3) | VALUES,
        "filter": st.dictionaries(st.sampled_from(["channel_prefix", "channel_pattern", "channel_namespaces"]), VALUES),
        "headers": st.dictionaries(TEXTS, TEXTS | VALUES, max_size=3) | VALUES,
        "retry": st.dictionaries(st.sampled_from(["enabled", "max_attempts", "initial_backoff_ms"]), VALUES) | VALUES,
        "request_timeout_ms": VALUES,
        "name": TEXTS | VALUES,
        "lambda": st.dictionaries(st.sampled_from(["function_name", "region"]), TEXTS) | VALUES,
        "lambda_function": TEXTS,
        "signing_secrets": VALUES,
        "verify_tls": VALUES,
    },
)


@settings(max_examples=100, deadline=None)
@given(st.lists(WEBHOOKS | VALUES, max_size=3) | VALUES, st.booleans())
def test_whatever_is_in_a_row_becomes_an_app_or_a_reason(webhooks: Any, in_policy: bool) -> None:
    text = json.dumps({"webhooks": webhooks} if in_policy else webhooks)
    try:
        app = read(text, None) if in_policy else read(None, text)
    except AppUnreadable as error:
        fault = str(error)
    else:
        fault = ""
    if fault:
        assert "no valid JSON" in fault or not isinstance(webhooks, list)
        assert "\n" not in fault
        return
    names = [webhook.name for webhook in app.webhooks] + [webhook.name for webhook in app.invalid]
    assert len(names) == len(set(names)) == len(webhooks or [])
    assert all(name.isascii() and name.isprintable() for name in names)
    assert all((webhook.place + webhook.reason).isprintable() for webhook in app.invalid)


@pytest.mark.parametrize("first", [True, False])
def test_an_invalid_webhook_takes_no_name_from_a_sound_one(first: bool) -> None:
    bad, good = hook(name="orders") | {"url": "ftp://api.example.test/"}, hook(name="orders")
    app = read(webhooks=json.dumps([bad, good] if first else [good, bad]))
    assert [webhook.name for webhook in app.webhooks] == ["orders"]
    assert [webhook.name for webhook in app.invalid] == ["orders-2"]


@pytest.mark.parametrize("first", [True, False])
def test_an_invalid_webhook_changes_no_default_name(first: bool) -> None:
    bad, good = hook(retry="bad"), hook()
    [alone] = read(webhooks=json.dumps([good])).webhooks
    app = read(webhooks=json.dumps([bad, good] if first else [good, bad]))
    assert [webhook.name for webhook in app.webhooks] == [alone.name]
    assert [webhook.name for webhook in app.invalid] == [f"{alone.name}-2"]
