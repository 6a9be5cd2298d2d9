"""Parsing of Sockudo's apps and webhooks in every form that it has written, with faults and warnings."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from sockudo_queue.apps.parsing.urls import normalised
from sockudo_queue.core.apps import Filter, LambdaTarget, StaticApps, Webhook
from sockudo_queue.core.controls import WebhookKey
from sockudo_queue.core.retry import RetryPolicy
from tests.helpers.configs import app, config
from tests.helpers.settings import CANARY, Read, merged, read

URL = "https://api.example.test/hooks"
DEFAULT_NAME = "api.example.test-fd5c59f2"
MANY_WEBHOOKS = {"limits": {"webhooks_per_app": 10_000}}
WANTED = frozenset({"channel_occupied"})


def hook(**keys: Any) -> dict[str, Any]:
    return {"url": URL, "event_types": ["channel_occupied"], **keys}


def pattern(text: str) -> dict[str, str]:
    return {"channel_prefix": "a-", "channel_pattern": text}


def read_hooks(directory: Path, *hooks: Any, **options: Any) -> Read:
    return read(directory, config(app(*hooks, app_id="shop")), **options)


def webhooks(directory: Path, *hooks: Any, **sections: Any) -> tuple[Webhook, ...]:
    return read(directory, config(app(*hooks, app_id="shop"), **sections)).apps[0].webhooks


@pytest.mark.parametrize(
    ("form", "count"),
    [
        ({"webhooks": [hook()]}, 1),
        ({"policy": {"webhooks": [hook()]}}, 1),
        ({"webhooks": [hook(), hook()], "policy": {"webhooks": [hook()]}}, 1),
        ({"webhooks": [hook()], "policy": {}}, 0),
        ({"webhooks": [hook()], "policy": None}, 1),
        ({"webhooks": None}, 0),
        ({"policy": {"webhooks": None}}, 0),
        ({}, 0),
    ],
)
def test_policy_overrides_the_flat_form(tmp_path: Path, form: dict[str, Any], count: int) -> None:
    (parsed,) = read(tmp_path, config({"id": "shop", **form})).apps
    assert len(parsed.webhooks) == count


def test_webhooks_beside_a_policy_cause_a_warning(tmp_path: Path) -> None:
    warnings = read(tmp_path, config({"id": "shop", "webhooks": [hook()], "policy": {}})).warnings
    assert any("app 'shop': webhooks beside policy are ignored" in line for line in warnings)


def test_equal_webhooks_in_both_forms_cause_no_warning(tmp_path: Path) -> None:
    both = {"id": "shop", "webhooks": [hook()], "policy": {"webhooks": [hook()]}}
    assert read(tmp_path, config(both)).warnings == ()


@pytest.mark.parametrize("headers", [{"X-A": "b"}, {"headers": {"X-A": "b"}}])
def test_both_shapes_of_headers_are_read(tmp_path: Path, headers: dict[str, Any]) -> None:
    (webhook,) = webhooks(tmp_path, hook(headers=headers))
    assert [(name, value.revealed) for name, value in webhook.headers] == [("X-A", "b")]


def test_null_means_unset_for_every_key(tmp_path: Path) -> None:
    nothing = {"filter": None, "headers": None, "retry": None, "request_timeout_ms": None, "lambda": None, "name": None}
    outcome = read_hooks(tmp_path, hook(**nothing), strict=True)
    assert outcome.warnings == ()
    assert outcome.apps == read_hooks(tmp_path, hook()).apps
    empty: list[dict[str, Any] | None] = [None, {"apps": None}, {"apps": []}]
    for apps in empty:
        assert read(tmp_path, {"app_manager": {"array": apps}}).apps == ()


def test_every_key_of_a_filter_is_read(tmp_path: Path) -> None:
    rules = {
        "channel_prefix": "presence-",
        "channel_suffix": "-x",
        "channel_pattern": "^presence-[a-z]+:",
        "channel_namespace": "chat",
        "channel_namespaces": ["chat", "news"],
    }
    (webhook,) = webhooks(tmp_path, hook(filter=rules))
    assert webhook.filter == Filter("presence-", "-x", "^presence-[a-z]+:", "chat", ("chat", "news"))


def test_filter_that_can_never_match_causes_a_warning(tmp_path: Path) -> None:
    warnings = read_hooks(tmp_path, hook(filter={"channel_namespaces": []})).warnings
    assert "app 'shop', webhook 1: filter.channel_namespaces: the list is empty" in warnings[0]


def test_each_missing_retry_key_and_timeout_gets_its_default(tmp_path: Path) -> None:
    document = merged(
        config(app(hook(), hook(retry={"max_attempts": 4, "initial_backoff_ms": None}, request_timeout_ms=3_000))),
        "webhooks",
        {"retry": {"initial_backoff_ms": 500, "max_attempts": 7}, "request_timeout_ms": 8_000},
    )
    plain, special = read(tmp_path, document).apps[0].webhooks
    assert plain.retry == RetryPolicy(max_attempts=7, initial_backoff_ms=500)
    assert plain.request_timeout_ms == 8_000
    assert special.retry == RetryPolicy(max_attempts=4, initial_backoff_ms=500)
    assert special.request_timeout_ms == 3_000


@pytest.mark.parametrize(
    ("keys", "target"),
    [
        ({"lambda": {"function_name": "f", "region": "eu-west-1"}}, LambdaTarget("f", "eu-west-1")),
        ({"lambda_function": "f"}, LambdaTarget("f", "us-east-1")),
        ({"lambda_function": "g", "lambda": {"function_name": "f", "region": "r"}}, LambdaTarget("f", "r")),
    ],
)
def test_lambda_target_is_read_from_both_forms(tmp_path: Path, keys: dict[str, Any], target: LambdaTarget) -> None:
    (webhook,) = webhooks(tmp_path, {"event_types": ["cache_miss"], **keys})
    assert (webhook.url, webhook.lambda_target) == (None, target)


def test_url_overrides_a_function(tmp_path: Path) -> None:
    outcome = read_hooks(tmp_path, hook(lambda_function="f"))
    assert outcome.apps[0].webhooks[0].lambda_target is None
    assert "has both a url and a Lambda function; the url is used" in outcome.warnings[0]


# An entry, the reason, the event types and the filter that can be read, and the start of its name.
INVALID: list[tuple[Any, str, frozenset[str] | None, Filter | None, str]] = [
    (hook(url="ftp://CANARY/"), "url must begin with", WANTED, None, "invalid-"),
    (hook(url="http://CANARY:0/"), "url has a port", WANTED, None, "invalid-"),
    (hook(url=5), "url must be non-empty text", WANTED, None, "invalid"),
    (hook(url="http://h/\ud800"), "url contains half a surrogate pair", WANTED, None, "invalid-"),
    ({"event_types": ["cache_miss"]}, "has neither a url nor a lambda", frozenset({"cache_miss"}), None, "invalid"),
    ({"lambda": {}, "event_types": ["cache_miss"]}, "lambda must have", frozenset({"cache_miss"}), None, "invalid"),
    (hook(request_timeout_ms=0), "request_timeout_ms must be at least 1", WANTED, None, DEFAULT_NAME),
    (hook(request_timeout_ms=604_800_000), "request_timeout_ms must be at most", WANTED, None, DEFAULT_NAME),
    (hook(headers={"X-A": "CANARY\nX-B: c"}), "header 'X-A' has a value with a line", WANTED, None, DEFAULT_NAME),
    (hook(headers={"X A": "CANARY"}), "header 'X A' has a name", WANTED, None, DEFAULT_NAME),
    (hook(retry={"max_attempts": "CANARY"}), "retry.max_attempts must be", WANTED, None, DEFAULT_NAME),
    (hook(verify_tls="CANARY"), "verify_tls must be", WANTED, None, DEFAULT_NAME),
    (hook(paused="CANARY"), "paused must be", WANTED, None, DEFAULT_NAME),
    (hook(max_in_flight=0), "max_in_flight must be a whole number from 1 on", WANTED, None, DEFAULT_NAME),
    (hook(max_in_flight=True), "max_in_flight must be a whole number", WANTED, None, DEFAULT_NAME),
    (hook(max_in_flight="4"), "max_in_flight must be a whole number", WANTED, None, DEFAULT_NAME),
    (hook(signing_secrets=["CANARY"]), "signing_secrets, item 1", WANTED, None, DEFAULT_NAME),
    (hook(name="x" * 101), "name must not be longer", WANTED, None, DEFAULT_NAME),
    (hook(name="sound"), "name 'sound' is used", WANTED, None, "sound-2"),
    (hook(event_types="CANARY"), "event_types must be a list", None, None, DEFAULT_NAME),
    (hook(event_types=["cache_miss", 5]), "event_types must be a list", None, None, DEFAULT_NAME),
    (hook(filter="CANARY"), "filter must be an object", WANTED, None, DEFAULT_NAME),
    (hook(filter=pattern("(?=a)")), "filter.channel_pattern: look-around", WANTED, Filter("a-"), DEFAULT_NAME),
    (hook(filter=pattern(r"(a)\1")), "filter.channel_pattern: backref", WANTED, Filter("a-"), DEFAULT_NAME),
    (hook(filter=pattern(r"\w{9999}")), "filter.channel_pattern: compiles to", WANTED, Filter("a-"), DEFAULT_NAME),
    (hook(filter={"channel_prefix": 5, "channel_suffix": "z"}), "filter.", WANTED, Filter(None, "z"), DEFAULT_NAME),
    (hook(filter={"channel_namespaces": 5}), "filter.channel_namespaces", WANTED, Filter(), DEFAULT_NAME),
    ("CANARY", "must be an object", None, None, "invalid"),
    (None, "must be an object", None, None, "invalid"),
]


@pytest.mark.parametrize(("entry", "reason", "event_types", "rules", "name"), INVALID)
def test_faulty_webhook_becomes_invalid_and_the_others_are_served(
    tmp_path: Path, entry: Any, reason: str, event_types: frozenset[str] | None, rules: Filter | None, name: str
) -> None:
    document = config(app(hook(name="sound"), entry, app_id="shop"), app(hook(), app_id="other"))
    outcome = read(tmp_path, document)
    shop, other = outcome.apps
    (invalid,) = shop.invalid
    assert [webhook.name for webhook in shop.webhooks] == ["sound"]
    assert (len(other.webhooks), other.invalid) == (1, ())
    assert reason in invalid.reason
    assert (invalid.event_types, invalid.filter) == (event_types, rules)
    assert invalid.name.startswith(name)
    given = " (sound)" if isinstance(entry, dict) and entry.get("name") == "sound" else ""
    assert invalid.place == f"{tmp_path / 'config.json'}: app 'shop', webhook 2{given}"
    assert CANARY not in outcome.output
    strict = read(tmp_path, document, strict=True)
    assert strict.faults
    assert all(fault.startswith(f"{invalid.place}: ") for fault in strict.faults)


def test_invalid_webhook_keeps_its_configured_name(tmp_path: Path) -> None:
    (parsed,) = read_hooks(tmp_path, hook(name="orders", url="ftp://x", request_timeout_ms=0)).apps
    (invalid,) = parsed.invalid
    assert (invalid.name, parsed.invalid_webhook("orders")) == ("orders", invalid)
    assert invalid.place.endswith("webhook 1 (orders)")
    assert invalid.reason.count("; for example") == 2  # every fault


def test_default_name_does_not_change_when_another_fault_is_corrected(tmp_path: Path) -> None:
    (before,) = read_hooks(tmp_path, hook(request_timeout_ms=0)).apps[0].invalid
    (after,) = webhooks(tmp_path, hook())
    assert before.name == after.name


def test_names_of_valid_and_invalid_webhooks_are_unique(tmp_path: Path) -> None:
    entries = [hook(), hook(request_timeout_ms=0), hook(), None, None, hook(name="a"), hook(name="a"), hook(name="a-2")]
    (parsed,) = read_hooks(tmp_path, *entries).apps
    names = [each.name for each in parsed.webhooks] + [each.name for each in parsed.invalid]
    assert len(set(names)) == len(entries)
    assert [each.name for each in parsed.invalid] == [f"{DEFAULT_NAME}-3", "invalid", "invalid-2", "a-3"]


def test_reason_of_an_invalid_webhook_is_limited(tmp_path: Path) -> None:
    headers = {f"X {'a' * 1000}{number}": "" for number in range(100)}
    (invalid,) = read_hooks(tmp_path, hook(headers=headers)).apps[0].invalid
    assert len(invalid.reason) < 600


def test_app_with_only_invalid_webhooks_causes_no_warning(tmp_path: Path) -> None:
    assert read_hooks(tmp_path, hook(url="ftp://x")).warnings == ()


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (URL, "api.example.test-fd5c59f2"),
        ("https://API.example.test:443/hooks", "api.example.test-"),
        ("http://h:8080/", "h:8080-"),
        ("https://h:80/", "h:80-"),
        ("https://CANARY:CANARY@h/CANARY?CANARY#CANARY", "h-"),
        ("http://[::1]:81/", "[::1]:81-"),
    ],
)
def test_default_name_shows_the_host_but_no_secret(tmp_path: Path, url: str, name: str) -> None:
    outcome = read_hooks(tmp_path, hook(url=url))
    (webhook,) = outcome.apps[0].webhooks
    assert webhook.name.startswith(name)
    assert len(webhook.name.rpartition("-")[2]) == 8
    assert CANARY not in outcome.output
    assert webhook.url is not None
    assert webhook.url.revealed == normalised(url)


def test_default_name_of_a_function_omits_the_account(tmp_path: Path) -> None:
    arn = "arn:aws:lambda:eu-west-1:123456789012:function:on-webhook"
    (webhook,) = webhooks(tmp_path, {"lambda": {"function_name": arn, "region": "r"}, "event_types": ["cache_miss"]})
    assert webhook.name.startswith("on-webhook-")


def test_equal_targets_get_ordinals_and_configured_names_are_kept(tmp_path: Path) -> None:
    base = webhooks(tmp_path, hook())[0].name
    names = [
        each.name for each in webhooks(tmp_path, hook(), hook(name="mine"), hook(), hook(name=f"{base}-2"), hook())
    ]
    assert names == [base, "mine", f"{base}-3", f"{base}-2", f"{base}-4"]


def test_name_does_not_depend_on_other_webhooks(tmp_path: Path) -> None:
    other = hook(url="https://other.example.test/")
    before = webhooks(tmp_path, hook(), other)
    after = webhooks(tmp_path, other)
    assert before[1].name == after[0].name


@pytest.mark.parametrize("name", ["", "  ", " a", "a\n", "ü", "x" * 101, 5, ["a"]])
def test_invalid_name_is_refused(tmp_path: Path, name: Any) -> None:
    (fault,) = read_hooks(tmp_path, hook(name=name), strict=True).faults
    assert "app 'shop', webhook 1: name must " in fault


def test_name_must_be_unique_in_its_app(tmp_path: Path) -> None:
    (fault,) = read_hooks(tmp_path, hook(name="a"), hook(name="a"), strict=True).faults
    assert "app 'shop', webhook 2 (a): name 'a' is used by another webhook" in fault
    two = config(app(hook(name="a"), app_id="one"), app(hook(name="a"), app_id="two"))
    assert len(read(tmp_path, two).apps) == 2


@pytest.mark.parametrize(
    "name",
    [
        "content-type",
        "Content-Length",
        "HOST",
        "transfer-encoding",
        "connection",
        "X-PUSHER-KEY",
        "x-pusher-signature",
        "X-Sockudo-Anything",
    ],
)
def test_reserved_headers_are_dropped_with_a_warning(tmp_path: Path, name: str) -> None:
    outcome = read_hooks(tmp_path, hook(name="orders", headers={name: CANARY, "X-Kept": "yes"}))
    assert [kept for kept, _ in outcome.apps[0].webhooks[0].headers] == ["X-Kept"]
    assert f"app 'shop', webhook 1 (orders): header {name!r} is ignored" in outcome.warnings[0]
    assert CANARY not in outcome.output


def test_header_values_outside_ascii_are_kept(tmp_path: Path) -> None:
    outcome = read_hooks(tmp_path, hook(headers={"X-A": "Zürich\t\xff 日本", "X-Empty": "", "User-Agent": "shop"}))
    (webhook,) = outcome.apps[0].webhooks
    assert [value.revealed for _, value in webhook.headers] == ["Zürich\t\xff 日本", "", "shop"]
    assert outcome.warnings == ()


def test_blanks_around_a_header_value_are_removed_with_a_warning(tmp_path: Path) -> None:
    outcome = read_hooks(tmp_path, hook(headers={"X-A": " CANARY\t"}))
    (webhook,) = outcome.apps[0].webhooks
    assert [value.revealed for _, value in webhook.headers] == ["CANARY"]
    assert "header 'X-A' has a value with spaces or tabs around it" in outcome.warnings[0]
    assert CANARY not in outcome.output


def test_header_given_twice_in_different_case_uses_the_later_one(tmp_path: Path) -> None:
    outcome = read_hooks(tmp_path, hook(headers={"X-A": "1", "x-a": "2"}))
    assert [(name, value.revealed) for name, value in outcome.apps[0].webhooks[0].headers] == [("x-a", "2")]
    assert "header 'x-a' is given twice" in outcome.warnings[0]


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (
            {"event_types": ["chanel_occupied"]},
            "no server sends the event type chanel_occupied; did you mean channel_occ",
        ),
        (
            {"event_types": ["*"]},
            "no server sends the event type *; there are no wildcards; the event types are ai_cancel_requested, ",
        ),
        ({"event_types": ["quark"]}, "no server sends the event type quark; the event types are ai_cancel_"),
        ({"event_types": []}, "event_types is empty, so the webhook is never called"),
        (
            {"channel_prefix": "presence-"},
            "no such key: channel_prefix; it belongs inside filter, as filter.channel_prefix",
        ),
        (
            {"channel_name_starts_with": "a"},
            "no such key: channel_name_starts_with; it belongs inside filter, as filter.ch",
        ),
        ({"header": {}}, "no such key: header; did you mean headers?"),
        ({"filter": {"prefix": "a"}}, "no such key in filter: prefix; did you mean channel_prefix?"),
        (
            {"filter": {"channel_name_ends_with": "a"}},
            "no such key in filter: channel_name_ends_with; did you mean channe",
        ),
        ({"filter": {"chanel_prefix": "a"}}, "no such key in filter: chanel_prefix; did you mean channel_prefix?"),
        ({"retry": {"max_atempts": 1}}, "no such key in retry: max_atempts; did you mean max_attempts?"),
    ],
)
def test_suspicious_entry_causes_a_warning(tmp_path: Path, keys: dict[str, Any], line: str) -> None:
    (warning,) = read_hooks(tmp_path, hook(**keys)).warnings
    assert f"app 'shop', webhook 1: {line}" in warning


def test_unknown_key_of_a_webhook_is_refused_in_strict_mode(tmp_path: Path) -> None:
    (fault,) = read_hooks(tmp_path, hook(channel_prefix="a"), strict=True).faults
    assert "no such key: channel_prefix" in fault


def test_misspelt_key_of_an_app_causes_a_warning(tmp_path: Path) -> None:
    warnings = read(tmp_path, config({"id": "shop", "webhook": [hook()]})).warnings
    assert "app 'shop': no such key: webhook; did you mean webhooks?" in warnings[0]


@pytest.mark.parametrize("secret", [f" {CANARY}", f"{CANARY}\n", f'"{CANARY}"'])
def test_suspicious_app_secret_causes_a_warning(tmp_path: Path, secret: str) -> None:
    outcome = read(tmp_path, config(app(hook(), app_id="shop", secret=secret)))
    assert "app 'shop': the secret " in outcome.warnings[0]
    assert CANARY not in outcome.output


def test_later_of_two_apps_with_one_id_is_used(tmp_path: Path) -> None:
    outcome = read(tmp_path, config(app(hook(), hook(), app_id="shop"), app(hook(), app_id="shop")))
    assert [len(each.webhooks) for each in outcome.apps] == [1]
    assert "app 'shop' is defined twice" in outcome.warnings[0]


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"SOCKUDO_DEFAULT_APP_ID": "a"}, "SOCKUDO_DEFAULT_APP_ID"),
        ({"SOCKUDO_DEFAULT_APP_SECRET": "s"}, "SOCKUDO_DEFAULT_APP_SECRET"),
        ({"SOCKUDO_DEFAULT_APP_ENABLED": "false"}, "SOCKUDO_DEFAULT_APP_ENABLED"),
        ({"SOCKUDO_SKIP_INLINE_APPS": "yes"}, "SOCKUDO_SKIP_INLINE_APPS"),
        ({"APP_MANAGER_REGISTER_INLINE_APPS": "off"}, "APP_MANAGER_REGISTER_INLINE_APPS"),
    ],
)
def test_environment_can_disable_the_apps_of_the_file(tmp_path: Path, environment: dict[str, str], named: str) -> None:
    outcome = read_hooks(tmp_path, hook(), environment=environment)
    assert outcome.apps == ()
    assert outcome.warnings[0].startswith(f"{named}: because of this variable the apps in ")
    assert any("nothing will be delivered" in line for line in outcome.warnings)


@pytest.mark.parametrize(
    "environment",
    [
        {"SOCKUDO_DEFAULT_APP_ENABLED": "true"},
        {"SOCKUDO_DEFAULT_APP_ENABLED": "perhaps"},
        {"SOCKUDO_SKIP_INLINE_APPS": "no"},
        {"APP_MANAGER_REGISTER_INLINE_APPS": "1"},
        {"SOCKUDO_DEFAULT_APP_MAX_CONNECTIONS": "5"},
    ],
)
def test_environment_without_such_a_variable_keeps_the_apps_of_the_file(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    assert len(read_hooks(tmp_path, hook(), environment=environment).apps) == 1


def test_default_app_has_no_webhooks(tmp_path: Path) -> None:
    environment = {f"SOCKUDO_DEFAULT_APP_{part}": "x" for part in ("ID", "KEY", "SECRET")}
    (parsed,) = read_hooks(tmp_path, hook(), environment=environment).apps
    assert (parsed.id, parsed.webhooks) == ("x", ())


@pytest.mark.parametrize(
    ("driver", "store"),
    [
        ("mysql", "mysql"),
        ("pgsql", "pgsql"),
        ("postgres", "pgsql"),
        ("PostgreSQL", "pgsql"),
        ("dynamodb", "dynamodb"),
    ],
)
def test_store_needs_no_apps_in_the_file(tmp_path: Path, driver: str, store: str) -> None:
    settings = {"database": {"postgres": {"port": 5432}}}
    outcome = read(tmp_path, {"app_manager": {"driver": driver}, **settings}, strict=True)
    assert (outcome.good.settings.apps.driver, outcome.apps, outcome.warnings) == (store, (), ())
    assert read(tmp_path, settings, {"APP_MANAGER_DRIVER": driver}).good.settings.apps.driver == store


def test_default_app_is_not_added_if_there_is_a_store(tmp_path: Path) -> None:
    environment = {f"SOCKUDO_DEFAULT_APP_{part}": "x" for part in ("ID", "KEY", "SECRET")}
    assert read(tmp_path, None, environment | {"APP_MANAGER_DRIVER": "mysql"}).apps == ()


@pytest.mark.parametrize("driver", ["scylladb", "scylla", "surrealdb", "surreal"])
def test_unsupported_store_without_apps_in_the_file_is_a_fault(tmp_path: Path, driver: str) -> None:
    (fault,) = read(tmp_path, {"app_manager": {"driver": driver}}).faults
    assert "this version cannot read apps in " in fault
    assert "; put the apps with their webhooks under app_manager.array.apps" in fault
    (fault,) = read(tmp_path, None, {"APP_MANAGER_DRIVER": driver}).faults
    assert fault.startswith("APP_MANAGER_DRIVER: this version cannot read apps in ")


def test_unsupported_store_beside_apps_in_the_file_causes_a_warning(tmp_path: Path) -> None:
    outcome = read_hooks(tmp_path, hook(), environment={"APP_MANAGER_DRIVER": "scylla"})
    assert len(outcome.apps) == 1
    assert outcome.warnings == (
        "APP_MANAGER_DRIVER: apps that are only in scylladb are ignored; those under app_manager.array.apps are used",
    )


def test_ten_thousand_webhooks_have_unique_names(tmp_path: Path) -> None:
    hooks = [hook(url=f"{URL}/{number}") for number in range(10_000)]
    names = {webhook.name for webhook in webhooks(tmp_path, *hooks, queue=MANY_WEBHOOKS)}
    assert len(names) == 10_000


def test_ten_thousand_webhooks_with_one_url_are_named_in_linear_time(tmp_path: Path) -> None:
    began = time.process_time()
    names = {webhook.name for webhook in webhooks(tmp_path, *[hook()] * 10_000, queue=MANY_WEBHOOKS)}
    assert len(names) == 10_000
    assert time.process_time() - began < 3  # it was above 7 s where each name was tried from the first ordinal on


@pytest.mark.parametrize(
    "function",
    [
        {"function_name": "../CANARY", "region": "eu-west-1"},
        {"function_name": "a b", "region": "eu-west-1"},
        {"function_name": "f" * 171, "region": "eu-west-1"},
        {"function_name": "f", "region": "CANARY.example/"},
        {"function_name": "f", "region": "eu-west-1@CANARY"},
    ],
)
def test_function_that_would_change_the_url_is_invalid(tmp_path: Path, function: dict[str, str]) -> None:
    outcome = read_hooks(tmp_path, {"lambda": function, "event_types": ["cache_miss"]})
    assert "lambda must name a function" in outcome.apps[0].invalid[0].reason
    assert CANARY not in outcome.output


def test_headers_of_a_function_cause_a_warning(tmp_path: Path) -> None:
    entry = {"lambda": {"function_name": "f", "region": "r"}, "event_types": ["cache_miss"], "headers": {"X-A": "b"}}
    assert any("a Lambda function receives only the body" in line for line in read_hooks(tmp_path, entry).warnings)


def test_pause_and_the_limit_of_attempts_in_flight(tmp_path: Path) -> None:
    outcome = read_hooks(
        tmp_path,
        hook(name="a", paused=True, max_in_flight=4),
        hook(name="b", paused=False),
        hook(name="c", paused=None, max_in_flight=None),
        hook(name="d", paused=True, request_timeout_ms=0),
    )
    found = outcome.apps[0]
    assert [(webhook.paused, webhook.max_in_flight) for webhook in found.webhooks] == [
        (True, 4),
        (False, None),
        (False, None),
    ]
    assert found.paused == ["a", "d"], "an invalid webhook can be paused until it is corrected"
    assert StaticApps(outcome.apps).paused_webhooks() == {WebhookKey("shop", "a"), WebhookKey("shop", "d")}
    assert sum("paused is true, so its deliveries are held" in line for line in outcome.warnings) == 2


def test_signing_secrets_and_verify_tls_are_read(tmp_path: Path) -> None:
    secrets = ["whsec_" + "QUFB" * 8, " whsec_" + "QkJC" * 8 + " "]
    outcome = read_hooks(tmp_path, hook(signing_secrets=secrets, verify_tls=False))
    (webhook,) = outcome.apps[0].webhooks
    assert [secret.revealed for secret in webhook.signing_secrets] == [secret.strip() for secret in secrets]
    assert not webhook.verify_tls
    assert any("verify_tls is false" in line for line in outcome.warnings)
    assert "QUFB" not in outcome.output
    (plain,) = webhooks(tmp_path, hook(signing_secrets=None, verify_tls=None))
    assert (plain.signing_secrets, plain.verify_tls) == ((), True)


def test_app_over_a_ceiling_affects_only_that_app(tmp_path: Path) -> None:
    file = config(
        app(*[hook()] * 3, app_id="large"), app(hook(), app_id="shop"), queue={"limits": {"webhooks_per_app": 1}}
    )
    large, shop = read(tmp_path, file).apps
    assert (large.is_over_ceiling, [webhook.name for webhook in large.invalid]) == (True, ["all"])
    assert (shop.is_over_ceiling, len(shop.webhooks)) == (False, 1)
    assert any("has 3 webhooks; the limit is 1" in fault for fault in read(tmp_path, file, strict=True).faults)
