"""Parsing of stored apps in every form that Sockudo has written; a bad part affects nothing else."""

from __future__ import annotations

import gc
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockudo_queue.apps.parsing.webhooks import UNKNOWN_SHOWN, Defaults, read_app
from sockudo_queue.apps.stores.base import Row
from sockudo_queue.apps.stores.rows import read_row
from sockudo_queue.config import ConfigProblems, RetrySettings
from sockudo_queue.core.apps import App
from sockudo_queue.core.ceilings import Ceilings
from sockudo_queue.core.outcome import from_status
from sockudo_queue.errors import AppUnreadable
from tests.helpers.settings import CANARY

DEFAULTS = Defaults(RetrySettings(), 10_000)


def hook(path: str = "hooks", **keys: Any) -> dict[str, Any]:
    return {"url": f"https://api.example.test/{path}", "event_types": ["channel_occupied"], **keys}


def read(policy: Any = None, webhooks: Any = None) -> App:
    return read_row(Row("shop", policy, webhooks), DEFAULTS)


def urls(app: App) -> list[str]:
    return [webhook.url.revealed for webhook in app.webhooks if webhook.url is not None]


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
def test_policy_column_overrides_the_flat_column(policy: Any, webhooks: Any, count: int) -> None:
    app = read(policy, webhooks)
    assert (app.id, len(app.webhooks), app.invalid) == ("shop", count, ())


@pytest.mark.parametrize("headers", [{"X-A": "b"}, {"headers": {"X-A": "b"}}])
def test_both_shapes_of_headers_are_read(headers: dict[str, Any]) -> None:
    app = read(None, json.dumps([hook(headers=headers)]))
    assert [(name, value.revealed) for name, value in app.webhooks[0].headers] == [("X-A", "b")]


@pytest.mark.parametrize(
    ("policy", "webhooks", "reason"),
    [
        ("{CANARY", None, "policy is not valid JSON"),
        (b'"\xff"', None, "policy is not valid JSON"),
        ('"CANARY"', None, "policy must be a JSON object"),
        ("[" * 100_000, None, "policy is not valid JSON"),
        (None, "CANARY", "webhooks is not valid JSON"),
        (None, '{"a":"CANARY"}', "webhooks must be a list"),
        ('{"webhooks":"CANARY"}', None, "webhooks must be a list"),
    ],
)
def test_row_without_readable_webhooks_raises(policy: Any, webhooks: Any, reason: str) -> None:
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
def test_broken_webhook_is_invalid_and_the_others_stay_valid(broken: Any) -> None:
    app = read(None, json.dumps([hook("a", name="first"), broken, hook("c")]))
    assert urls(app) == ["https://api.example.test/a", "https://api.example.test/c"]
    (invalid,) = app.invalid
    given = f" ({broken['name']})" if isinstance(broken, dict) and broken.get("name") == "first" else ""
    assert invalid.place == f"app 'shop', webhook 2{given}"
    assert invalid.reason
    assert CANARY not in invalid.reason.replace("'CANARY'", "")


def test_suspicious_webhook_is_served() -> None:
    app = read(None, json.dumps([hook(channel_prefix="x", event_types=["no_such_event"])]))
    assert (len(app.webhooks), app.invalid) == (1, ())


def test_repr_of_a_row_shows_no_content() -> None:
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
        "paused": VALUES,
        "max_in_flight": VALUES,
    },
)


@settings(max_examples=100, deadline=None)
@given(st.lists(WEBHOOKS | VALUES, max_size=3) | VALUES, st.booleans())
def test_any_row_becomes_an_app_or_raises_app_unreadable(webhooks: Any, in_policy: bool) -> None:
    text = json.dumps({"webhooks": webhooks} if in_policy else webhooks)
    try:
        app = read(text, None) if in_policy else read(None, text)
    except AppUnreadable as error:
        fault = str(error)
    else:
        fault = ""
    if fault:
        assert "not valid JSON" in fault or not isinstance(webhooks, list)
        assert "\n" not in fault
        return
    names = [webhook.name for webhook in app.webhooks] + [webhook.name for webhook in app.invalid]
    assert len(names) == len(set(names)) == len(webhooks or [])
    assert all(name.isascii() and name.isprintable() for name in names)
    assert all((webhook.place + webhook.reason).isprintable() for webhook in app.invalid)


@pytest.mark.parametrize("first", [True, False])
def test_invalid_webhook_takes_no_name_from_a_valid_one(first: bool) -> None:
    bad, good = hook(name="orders") | {"url": "ftp://api.example.test/"}, hook(name="orders")
    app = read(webhooks=json.dumps([bad, good] if first else [good, bad]))
    assert [webhook.name for webhook in app.webhooks] == ["orders"]
    assert [webhook.name for webhook in app.invalid] == ["orders-2"]


@pytest.mark.parametrize("first", [True, False])
def test_invalid_webhook_changes_no_default_name(first: bool) -> None:
    bad, good = hook(retry="bad"), hook()
    [alone] = read(webhooks=json.dumps([good])).webhooks
    app = read(webhooks=json.dumps([bad, good] if first else [good, bad]))
    assert [webhook.name for webhook in app.webhooks] == [alone.name]
    assert [webhook.name for webhook in app.invalid] == [f"{alone.name}-2"]


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"request_timeout_ms": 60_001}, "request_timeout_ms must be at most 60000"),
        ({"retry": {"max_elapsed_time_ms": 10**15}}, "retry.max_elapsed_time_ms must be at most 86400000"),
        ({"headers": {f"X-{number}": "a" for number in range(101)}}, "headers must be at most 100"),
        ({"headers": {"X-A": "a" * 16_384}}, "16384 bytes together"),
        ({"filter": {"channel_pattern": r"\w{300}"}}, "channel_pattern: compiles to about"),
        ({"filter": {"channel_namespaces": ["n"] * 1_001}}, "filter.channel_namespaces must be at most 1000"),
        ({"event_types": [f"e{number}" for number in range(101)]}, "event_types must be at most 100"),
    ],
)
def test_webhook_over_a_ceiling_is_invalid_alone(keys: dict[str, Any], reason: str) -> None:
    app = read(None, json.dumps([hook("a", name="over", **keys), hook("b", name="sound")]))
    assert [webhook.name for webhook in app.webhooks] == ["sound"]
    assert reason in app.invalid[0].reason


def test_webhook_at_its_ceilings_is_valid() -> None:
    keys: dict[str, Any] = {"request_timeout_ms": 60_000, "retry": {"max_elapsed_time_ms": 86_400_000}}
    assert not read(None, json.dumps([hook(headers={f"X-{n}": "a" * 100 for n in range(100)}, **keys)])).invalid


def test_webhook_may_use_the_daemons_own_larger_limits() -> None:
    defaults = Defaults(RetrySettings(max_elapsed_time_ms=10**9), 120_000)
    keys: dict[str, Any] = {"request_timeout_ms": 120_000, "retry": {"max_elapsed_time_ms": 10**9}}
    assert not read_row(Row("shop", None, json.dumps([hook(**keys)])), defaults).invalid


def test_zero_backoff_is_raised_to_the_minimum() -> None:
    retry = {"initial_backoff_ms": 0, "max_backoff_ms": 0, "jitter": 1}
    policy = read(None, json.dumps([hook(retry=retry)])).webhooks[0].retry
    conflict = from_status(409)
    assert min(policy.delay_ms(number, 0, conflict, 0.0) or 0 for number in range(1, 100)) == 50
    assert (policy.initial_backoff_ms, policy.max_backoff_ms) == (100, 100)


def test_row_with_thousands_of_webhooks_is_read_in_linear_time() -> None:
    defaults = Defaults(RetrySettings(), 10_000, Ceilings(webhooks_per_app=20_000, app_bytes=4_000_000))

    def seconds(count: int) -> float:
        text = json.dumps([{"url": "http://a/", "event_types": []}] * count)
        gc.disable()  # its time depends on all other objects of the test process
        try:
            began = time.process_time()
            assert len(read_row(Row("shop", None, text), defaults).webhooks) == count
            return time.process_time() - began
        finally:
            gc.enable()

    seconds(500)
    assert seconds(8_000) < 16 * 3 * seconds(500)


def test_each_webhook_above_the_limit_of_an_app_is_invalid() -> None:
    app = read(webhooks=json.dumps([hook(name=f"w{number}") for number in range(1_002)]))
    assert (len(app.webhooks), app.is_over_ceiling) == (1_000, False)
    assert [webhook.name for webhook in app.invalid] == ["w1000", "w1001"]
    assert "queue.limits.webhooks_per_app" in app.invalid[0].reason


OVER_CEILINGS: list[dict[str, Any]] = [
    {"request_timeout_ms": 120_000},
    {"retry": {"max_elapsed_time_ms": 10**15}},
    {"headers": {"X-A": "a" * 16_384}},
    {"filter": {"channel_pattern": r"\w{300}"}},
    {"filter": {"channel_namespaces": ["n"] * 1_001}},
    {"event_types": ["channel_occupied"] * 101},
]


@pytest.mark.parametrize("keys", OVER_CEILINGS)
def test_webhook_over_a_ceiling_changes_no_default_name(keys: dict[str, Any]) -> None:
    before = [webhook.name for webhook in read(webhooks=json.dumps([hook(), hook()])).webhooks]
    app = read(webhooks=json.dumps([hook(**keys), hook()]))
    assert [*(webhook.name for webhook in app.invalid), *(webhook.name for webhook in app.webhooks)] == before


def test_webhook_over_a_ceiling_keeps_its_configured_name() -> None:
    app = read(webhooks=json.dumps([hook(name="a", request_timeout_ms=120_000), hook("b", name="a"), hook(name="c")]))
    assert [webhook.name for webhook in app.invalid] == ["a", "a-2"]
    assert [webhook.name for webhook in app.webhooks] == ["c"]


@pytest.mark.parametrize("keys", [{"request_timeout_ms": 0}, {"request_timeout_ms": 0, **OVER_CEILINGS[1]}])
def test_faulty_webhook_takes_no_default_name_from_a_valid_one(keys: dict[str, Any]) -> None:
    [sound] = read(webhooks=json.dumps([hook()])).webhooks
    app = read(webhooks=json.dumps([hook(**keys), hook()]))
    assert [webhook.name for webhook in app.webhooks] == [sound.name]
    assert [webhook.name for webhook in app.invalid] == [f"{sound.name}-2"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (json.dumps([{"url": "http://a/", "event_types": []}] * 20_000), "has 20000 webhooks; the limit is 1000"),
        ("[" + "1," * 400_000 + "1]", "webhooks; the limit is 1000"),
        (json.dumps([hook(headers={"X-A": "a" * 1_000_000})]), "bytes in the database; the limit is 1000000"),
        ("[" * 1_000_001, "bytes in the database"),
    ],
)
def test_app_far_above_a_ceiling_is_not_read(text: str, reason: str) -> None:
    began = time.process_time()
    app = read(webhooks=text)
    assert (app.webhooks, app.is_over_ceiling) == ((), True)
    assert [webhook.name for webhook in app.invalid] == ["all"]
    assert reason in app.invalid[0].reason
    assert time.process_time() - began < 0.5


def test_patterns_above_their_total_limit_are_refused_before_compilation() -> None:
    patterns = [rf"\w{{31}}{number}" for number in range(500)]
    hooks = [hook(name=f"w{number}", filter={"channel_pattern": text}) for number, text in enumerate(patterns)]
    began = time.process_time()
    app = read(webhooks=json.dumps([*hooks, hook(name="known", filter={"channel_pattern": patterns[0]})]))
    assert time.process_time() - began < 3  # compiling all of them takes 7 s
    assert [webhook.name for webhook in app.webhooks] == [*(f"w{number}" for number in range(16)), "known"]
    assert "queue.limits.app_patterns_kib" in app.invalid[0].reason


def test_unknown_names_are_reported_up_to_a_limit_per_app() -> None:
    misspelt: dict[str, Any] = {f"key{each}": 1 for each in range(19)}
    hooks = [hook(name=f"w{number}", **misspelt) for number in range(50)]
    problems = ConfigProblems()
    read_app("shop", hooks, "app shop", DEFAULTS, problems)
    assert sum("no such key: key" in line for line in problems.warnings) == UNKNOWN_SHOWN
    assert "app shop, webhook 50 (w49): 19 more unknown names" in problems.warnings


@pytest.mark.parametrize(
    "keys",
    [
        {f"k{number}": 1 for number in range(70_000)},
        {"event_types": [f"channel_{number}" for number in range(50_000)]},
        {"filter": {f"channel_{number}": 1 for number in range(40_000)}},
        {"retry": {f"max_{number}": 1 for number in range(50_000)}},
        {"filter": {"channel_namespaces": [f"n{number}" for number in range(60_000)], "channel_prefix": "z"}},
        {"headers": {f"X {number}": "a" for number in range(50_000)}},
        {"signing_secrets": [f"a{number}" for number in range(70_000)]},
    ],
    ids=["keys", "event types", "filter", "retry", "namespaces", "headers", "secrets"],
)
def test_thousands_of_names_are_read_in_bounded_time(keys: dict[str, Any]) -> None:
    text = json.dumps([hook(**keys)])
    began = time.process_time()
    app = read(webhooks=text)
    assert len(app.webhooks) + len(app.invalid) == 1
    assert not app.is_over_ceiling
    assert time.process_time() - began < 2.5


def test_database_pauses_no_webhook() -> None:
    app = read(None, json.dumps([{"url": "http://h/", "event_types": [], "paused": True, "max_in_flight": 2}]))
    assert [(webhook.paused, webhook.max_in_flight) for webhook in app.webhooks] == [(False, 2)]
