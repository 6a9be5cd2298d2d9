"""Broken settings: each fault has its own line that says where and why, and no line ever shows a secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sockudo_queue.config.options import OPTIONS
from tests.helpers.settings import CANARY, CONFIGS, merged, read

SOUND: dict[str, Any] = json.loads((CONFIGS / "sockudo-2.9.json").read_bytes())
WEBHOOK = "app_manager.array.apps.0.webhooks.0"

# A value at a key of the file that was sound, and how the line about it begins and what else it holds. FILE stands for
# the path. The word CANARY stands where a value must not come back.
BROKEN_VALUES: list[tuple[str, Any, str]] = [
    (
        "queue.driver",
        "CANARY",
        "queue.driver in FILE: must be 'redis', 'redis-cluster', 'sqs', 'memory' or 'none'; for",
    ),
    ("queue.driver", 5, "queue.driver in FILE: must be 'redis'"),
    ("queue.workers", 0, "queue.workers in FILE: must be at least 1; for example 5"),
    ("queue.workers", 5000, "queue.workers in FILE: must be at most 1024"),
    ("queue.workers", "5_0", "queue.workers in FILE: must be a number written only with the digits 0 to 9"),
    ("queue.workers", "\uff15", "queue.workers in FILE: must be a number written only with the digits 0 to 9"),
    ("queue.workers", 2.5, "queue.workers in FILE: must be a whole number"),
    ("queue.workers", True, "queue.workers in FILE: must be a number, not true or false"),
    ("queue.workers", "CANARY", "queue.workers in FILE: must be a whole number"),
    ("queue.redis.concurrency", -1, "queue.redis.concurrency in FILE: must be at least 0; for example 5"),
    ("queue.redis.prefix", "CANARY*", "queue.redis.prefix in FILE: must not contain * ? [ or a backslash"),
    ("queue.redis.prefix", "CANARY[", "queue.redis.prefix in FILE: must not contain * ? ["),
    ("queue.redis.prefix", "CANARY\n", "queue.redis.prefix in FILE: must not contain control characters"),
    ("queue.redis.prefix", ["CANARY"], "queue.redis.prefix in FILE: must be text"),
    (
        "queue.redis.url_override",
        "http://CANARY@h",
        "queue.redis.url_override in FILE: must begin with redis:// or redi",
    ),
    ("queue.redis.url_override", "redis://:CANARY@h/CANARY", "queue.redis.url_override in FILE: must have a database"),
    ("queue.redis.url_override", "redis://:CANARY@CANARY@h", "queue.redis.url_override in FILE: has more than one @"),
    ("queue.redis.url_override", ["CANARY"], "queue.redis.url_override in FILE: must be text"),
    ("queue.redis.delivery", "exactly-once", "queue.redis.delivery in FILE: must be 'at-least-once' or 'at-most-once'"),
    ("queue.redis_cluster.nodes", ["a:1", "b:CANARY"], "queue.redis_cluster.nodes in FILE, item 2: has a port that is"),
    ("queue.redis_cluster.nodes", {"CANARY": 1}, "queue.redis_cluster.nodes in FILE: must be a list"),
    ("queue.redis_cluster.nodes", [5], "queue.redis_cluster.nodes in FILE, item 1: must be text"),
    ("queue.sqs.visibility_timeout", 50000, "queue.sqs.visibility_timeout in FILE: must be at most 43200"),
    ("queue.sqs.max_messages", 11, "queue.sqs.max_messages in FILE: must be at most 10; for example 10"),
    ("queue.sqs.wait_time_seconds", 21, "queue.sqs.wait_time_seconds in FILE: must be at most 20"),
    ("queue.sqs.fifo", "perhaps", "queue.sqs.fifo in FILE: must be true or false"),
    (
        "queue.sqs.endpoint_url",
        "http://CANARY:CANARY@h",
        "queue.sqs.endpoint_url in FILE: must not contain a user or pass",
    ),
    ("queue.sqs.queue_url_prefix", "CANARY", "queue.sqs.queue_url_prefix in FILE: must begin with http:// or https://"),
    ("queue.alerts.url", "ftp://CANARY/", "queue.alerts.url in FILE: must begin with http:// or https://"),
    ("queue.alerts.url", "https://CANARY CANARY/", "queue.alerts.url in FILE: contains white space"),
    ("queue.alerts.url", "https://h/CANARY", "queue.alerts.url in FILE: alerts are signed, so"),
    ("queue.alerts.secret", "CANARY", "queue.alerts.secret in FILE: must begin with whsec_; for example whsec_"),
    ("queue.alerts.secret", "whsec_CANARY!", "queue.alerts.secret in FILE: is not valid base64 after its prefix"),
    ("queue.alerts.secret", "whsec_Q0FOQVJZ", "queue.alerts.secret in FILE: must encode 24 to 64 bytes"),
    (
        "queue.alerts.secret",
        "whsec_Q0FOQVJZQ0FOQVJZQ0FOQVJZQ0FOQVJZ",
        "queue.alerts.secret in FILE: is no use without",
    ),
    ("queue.alerts.reminder_ms", 10, "queue.alerts.reminder_ms in FILE: must be at least 1000"),
    ("queue.delivery.private", "CANARY", "queue.delivery.private in FILE: must be 'allow' or 'deny'"),
    (
        "queue.delivery.denied_networks",
        ["10.0.0.0/8", "CANARY"],
        "queue.delivery.denied_networks in FILE, item 2: must",
    ),
    (
        "queue.delivery.allowed_networks",
        ["10.0.0.1/8"],
        "queue.delivery.allowed_networks in FILE, item 1: must not have host bits",
    ),
    ("queue.delivery.allowed_networks", "10.0.0.0/CANARY", "queue.delivery.allowed_networks in FILE, item 1: must be"),
    ("queue.delivery.allowed_ports", [0], "queue.delivery.allowed_ports in FILE, item 1: must be at least 1"),
    ("queue.delivery.denied_ports", ["CANARY"], "queue.delivery.denied_ports in FILE, item 1: must be a whole number"),
    (
        "queue.delivery.use_environment_proxy",
        True,
        "queue.delivery.use_environment_proxy in FILE: behind a proxy, the network guard cannot see the address",
    ),
    (
        "queue.delivery.client_key_file",
        "k.pem",
        "queue.delivery.client_key_file in FILE: has no effect without its certif",
    ),
    (f"{WEBHOOK}.paused", "CANARY", "FILE: app 'app1', webhook 1: paused must be true or false"),
    (f"{WEBHOOK}.max_in_flight", 0, "FILE: app 'app1', webhook 1: max_in_flight must be a whole number from 1 on"),
    (f"{WEBHOOK}.verify_tls", "CANARY", "FILE: app 'app1', webhook 1: verify_tls must be true or false"),
    (f"{WEBHOOK}.signing_secrets", "CANARY", "FILE: app 'app1', webhook 1: signing_secrets must be a list"),
    (
        f"{WEBHOOK}.signing_secrets",
        ["CANARY"],
        "FILE: app 'app1', webhook 1: signing_secrets, item 1: must begin with whsec_",
    ),
    (
        f"{WEBHOOK}.signing_secrets",
        ["whsec_CANARY!"],
        "FILE: app 'app1', webhook 1: signing_secrets, item 1: is not valid base64 after its prefix",
    ),
    (
        f"{WEBHOOK}.signing_secrets",
        ["whsec_Q0FOQVJZ"],
        "FILE: app 'app1', webhook 1: signing_secrets, item 1: must encode 24 to 64 bytes",
    ),
    ("queue.reliability.max_attempts", 0, "queue.reliability.max_attempts in FILE: must be at least 1"),
    (
        "queue.reliability.lease_duration_ms",
        5000,
        "QUEUE_LEASE_RENEW_INTERVAL_MS: must be shorter than queue.reliabilit",
    ),
    ("queue.reliability.retry_jitter", 2, "queue.reliability.retry_jitter in FILE: must be at most 1"),
    (
        "queue.delivery.slow_msec",
        5,
        "queue.delivery.slow_msec in FILE: no such setting; did you mean queue.delivery.slow",
    ),
    (
        "queue.delivery.breaker_open_ms",
        90000,
        "queue.delivery.breaker_open_ms in FILE: must not be longer than QUEUE_DEL",
    ),
    ("queue.metrics.port", 70000, "queue.metrics.port in FILE: must be at most 65535; for example 9602"),
    ("queue.metrics.host", "a..b", "queue.metrics.host in FILE: has a host with an empty part"),
    ("queue.logging.level", "loud", "queue.logging.level in FILE: must be 'debug', 'info', 'warning' or 'error'"),
    (
        "queue.redis",
        "CANARY",
        "queue.redis in FILE: must be a table of settings, for example with queue.redis.cluster_m",
    ),
    ("queue", ["CANARY"], "queue in FILE: must be a table of settings"),
    ("database.redis.host", "h@CANARY", "database.redis.host in FILE: must be only a host name; user and password"),
    ("database.redis.host", "CANARY:6379", "database.redis.host in FILE: must be only a host name; the port has"),
    ("database.redis.host", "redis://CANARY:6379", "database.redis.host in FILE: must be only a host name; the port"),
    ("database.redis.host", "http://CANARY", "database.redis.host in FILE: must be a host name without a scheme"),
    ("database.redis.port", "CANARY", "database.redis.port in FILE: must be a whole number; for example 6379"),
    ("database.redis.db", -1, "database.redis.db in FILE: must be at least 0"),
    ("database.redis.password", 12345, "database.redis.password in FILE: must be text; for example s3cret"),
    ("database.redis.username", " ", "database.redis.username in FILE: must be non-empty text"),
    ("database.redis.sentinels", [{"port": 1}], "database.redis.sentinels in FILE, item 1, host: is missing"),
    ("database.redis.sentinels", ["CANARY"], "database.redis.sentinels in FILE, item 1: must be a table of settings"),
    ("database.redis.sentinel_tls", "CANARY", "database.redis.sentinel_tls in FILE: must be a table of settings"),
    (
        "webhooks.retry.max_elapsed_time_ms",
        "CANARY",
        "webhooks.retry.max_elapsed_time_ms in FILE: must be a whole numb",
    ),
    ("webhooks.request_timeout_ms", 0, "webhooks.request_timeout_ms in FILE: must be at least 1; for example 10000"),
    ("app_manager.driver", "CANARY", "app_manager.driver in FILE: must be 'memory', 'mysql', 'pgsql', 'dynam"),
    ("app_manager.array.apps", "CANARY", "FILE: app_manager.array must be an object with a list"),
    ("app_manager.array.apps.0.id", "", "FILE: app 1: must be an object with an id"),
    ("app_manager.array.apps.0.secret", " ", "FILE: app 'app1': secret is empty"),
    ("app_manager.array.apps.0.policy", "CANARY", "FILE: app 'app1': policy must be an object"),
    ("app_manager.array.apps.0.webhooks", {"CANARY": 1}, "FILE: app 'app1': webhooks must be a list"),
    (WEBHOOK, "CANARY", "FILE: app 'app1', webhook 1: must be an object"),
    (f"{WEBHOOK}.url", "", "FILE: app 'app1', webhook 1: url must be non-empty text"),
    (f"{WEBHOOK}.url", "http://a..b/CANARY", "FILE: app 'app1', webhook 1: url has a host with an empty part between"),
    (f"{WEBHOOK}.url", f"http://{'a' * 64}/CANARY", "FILE: app 'app1', webhook 1: url has a host with a part longer"),
    (f"{WEBHOOK}.url", "http://.x/CANARY", "FILE: app 'app1', webhook 1: url has a host with an empty part"),
    (f"{WEBHOOK}.url", "ftp://x/CANARY", "FILE: app 'app1', webhook 1: url must begin with http:// or https://"),
    (f"{WEBHOOK}.url", "CANARY.com/p", "FILE: app 'app1', webhook 1: url must begin with http:// or https://"),
    (f"{WEBHOOK}.url", "http://[::1/CANARY", "FILE: app 'app1', webhook 1: url has a [ without a ]"),
    (f"{WEBHOOK}.url", "http://CANARY:99999/", "FILE: app 'app1', webhook 1: url has a port that is not a number"),
    (f"{WEBHOOK}.name", "a\nb", "FILE: app 'app1', webhook 1: name must be visible ASCII"),
    (f"{WEBHOOK}.event_types", None, "FILE: app 'app1', webhook 1: event_types must be a list of texts; for example"),
    (f"{WEBHOOK}.event_types", "channel_occupied", "FILE: app 'app1', webhook 1: event_types must be a list"),
    (f"{WEBHOOK}.filter", "CANARY", "FILE: app 'app1', webhook 1: filter must be an object"),
    (f"{WEBHOOK}.filter.channel_prefix", 5, "FILE: app 'app1', webhook 1: filter.channel_prefix must be text"),
    (f"{WEBHOOK}.filter.channel_namespaces", "a", "FILE: app 'app1', webhook 1: filter.channel_namespaces must be"),
    (f"{WEBHOOK}.filter.channel_pattern", "(", "FILE: app 'app1', webhook 1: filter.channel_pattern: "),
    (f"{WEBHOOK}.headers", ["CANARY"], "FILE: app 'app1', webhook 1: headers must be an object"),
    (f"{WEBHOOK}.headers.X-Token", "CANARY\x1b", "FILE: app 'app1', webhook 1: header 'X-Token' has a value with cont"),
    (f"{WEBHOOK}.headers.X-Token", "CANARY\n", "FILE: app 'app1', webhook 1: header 'X-Token' has a value with a lin"),
    (f"{WEBHOOK}.headers.X-Token", "CANARY\ud800", "FILE: app 'app1', webhook 1: header 'X-Token' has a value with c"),
    (f"{WEBHOOK}.headers.X-Token", 5, "FILE: app 'app1', webhook 1: header 'X-Token' has a value that is not text"),
    (f"{WEBHOOK}.headers.X Token", "CANARY", "FILE: app 'app1', webhook 1: header 'X Token' has a name with charact"),
    (f"{WEBHOOK}.headers.X\r\nY", "CANARY", r"FILE: app 'app1', webhook 1: header 'X\r\nY' has a name with charac"),
    (f"{WEBHOOK}.retry", 5, "FILE: app 'app1', webhook 1: retry must be an object"),
    (f"{WEBHOOK}.retry.max_attempts", "CANARY", "FILE: app 'app1', webhook 1: retry.max_attempts must be a whole numb"),
    (f"{WEBHOOK}.request_timeout_ms", -1, "FILE: app 'app1', webhook 1: request_timeout_ms must be at least 1"),
    (
        "app_manager.array.apps.0.webhooks.1.lambda",
        {"region": "x"},
        "FILE: app 'app1', webhook 2: lambda must have a fun",
    ),
]

# Files that are not settings files.
BROKEN_FILES: list[tuple[str, bytes, str]] = [
    ("c.json", b"", "FILE: line 1, column 1: is not valid JSON: Expecting value"),
    ("c.json", b'{"queue": {"driver": "CANARY",}}', "FILE: line 1, column 3"),
    ("c.json", b'{"a": 1\n "CANARY": 2}', "FILE: line 2, column 2: is not valid JSON: Expecting ',' delimiter"),
    ("c.json", b'{"a": "CANARY', "FILE: line 1, column 7: is not valid JSON: Unterminated string"),
    ("c.json", b'["CANARY"]', "FILE: must contain one object"),
    ("c.json", b'{"queue": {}, "queue": {"driver": "CANARY"}}', "FILE: has the key 'queue' twice in one object"),
    ("c.json", b'{"a": NaN}', "FILE: contains NaN, which is not valid JSON"),
    ("c.json", b'{"a": ' + b"9" * 5000 + b"}", "FILE: contains a number that is too long"),
    ("c.json", b"[" * 100_000, "FILE: is nested too deeply"),
    ("c.json", b'{"a":' + b"[" * 600 + b"]" * 600 + b"}", "FILE: is nested too deeply"),
    ("c.json", b'{"a":' * 101 + b"1" + b"}" * 101, "FILE: is nested too deeply"),
    ("c.toml", b"a = " + b"[" * 200 + b"]" * 200, "FILE: is nested too deeply"),
    ("c.json", b'{"a":\n "\xff CANARY"}', "FILE: line 2: is not UTF-8"),
    ("c.json", b'{\n  "a": "${ABSENT}"}', "FILE: line 2, column 9: the variable ABSENT is not set"),
    ("c.json", b'{"a": ${SET}, "b": [1 2]}', "FILE: line 1, column 23: is not valid JSON: Expecting ',' delimiter"),
    ("c.toml", b'[queue]\ndriver = CANARY"', "FILE: line 2, column 10: is not valid TOML: Invalid value"),
    ("c.toml", b"[queue]\n[queue]\n", "FILE: line 2, column 7: is not valid TOML: Cannot declare"),
    ("c.toml", b'# ${ABSENT}\na = "${ABSENT}"\n', "FILE: line 2, column 6: the variable ABSENT is not set"),
    ("c.toml", b'a = ${SET}\r\nb = "x" CANARY', "FILE: line 2, column 9: is not valid TOML: Expected newline"),
    ("c.toml", b'a = "CANARY', "FILE: line 1, column 12: is not valid TOML: Unterminated string"),
]


def test_table_has_at_least_sixty_faults() -> None:
    assert len(BROKEN_VALUES) + len(BROKEN_FILES) >= 60


@pytest.mark.parametrize(("path", "value", "line"), BROKEN_VALUES)
def test_a_broken_value_has_its_own_line(tmp_path: Path, path: str, value: Any, line: str) -> None:
    outcome = read(tmp_path, merged(SOUND, path, value), strict=True)
    (fault,) = outcome.faults
    assert fault.startswith(line.replace("FILE", str(tmp_path / "config.json")))
    assert "\n" not in fault
    assert CANARY not in outcome.output


@pytest.mark.parametrize(("name", "content", "line"), BROKEN_FILES)
def test_a_broken_file_has_its_own_line(tmp_path: Path, name: str, content: bytes, line: str) -> None:
    outcome = read(tmp_path, content, {"SET": "12345"}, name=name)
    (fault,) = outcome.faults
    assert fault.startswith(line.replace("FILE", str(tmp_path / name)))
    assert "\n" not in fault
    assert CANARY not in outcome.output


def test_all_faults_are_reported_together(tmp_path: Path) -> None:
    document = merged(merged(SOUND, "queue.metrics.port", 70_000), f"{WEBHOOK}.url", "ftp://x")
    outcome = read(tmp_path, document, {"QUEUE_WORKERS": "many", "QUEUE_LOG_LEVEL": "loud"}, strict=True)
    starts = [fault.split(":")[0].split(" in ")[0] for fault in outcome.faults]
    assert starts == [
        "QUEUE_WORKERS",
        "queue.metrics.port",
        "QUEUE_LOG_LEVEL",
        str(tmp_path / "config.json"),
    ]


def test_an_unreadable_file_is_one_fault_beside_those_of_the_environment(tmp_path: Path) -> None:
    outcome = read(tmp_path, "{", {"QUEUE_WORKERS": "many", "APP_MANAGER_DRIVER": "mysql"})
    assert len(outcome.faults) == 2


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("queue.redis.prefx", "queue.redis.prefix"),
        ("queue.concurrency", "queue.workers"),
        ("queue.redis.host", "database.redis.host"),
        ("queue.redis.url", "queue.redis.url_override"),
        ("webhooks.timeout_ms", "webhooks.request_timeout_ms"),
        ("webhooks.max_batch_size", "webhooks.batching.size"),
        ("webhooks.flush_interval_ms", "webhooks.batching.duration"),
        ("database.redis.passwort", "database.redis.password"),
        ("database.redi", "database.redis"),
        ("app_manager.apps", "app_manager.array.apps"),
        ("que", "queue"),
        ("webhook", "webhooks"),
    ],
)
def test_unknown_key_is_a_warning_and_a_fault_in_strict_mode(tmp_path: Path, path: str, meant: str) -> None:
    document = merged(SOUND, path, {"x": "CANARY"})
    line = f"{path} in {tmp_path / 'config.json'}: no such setting; did you mean {meant}?"
    assert read(tmp_path, document).warnings == (line,)
    outcome = read(tmp_path, document, strict=True)
    assert outcome.faults == (line,)
    assert CANARY not in outcome.output


def test_control_characters_of_a_key_are_escaped(tmp_path: Path) -> None:
    (warning,) = read(tmp_path, merged(SOUND, "queue.a\nb\x1b[31m", 1)).warnings
    assert r"queue.a\nb\x1b[31m in " in warning


def test_unused_sections_of_the_server_cause_no_warning(tmp_path: Path) -> None:
    assert read(tmp_path, merged(SOUND, "something_of_sockudo_6", {"x": 1}), strict=True).warnings == ()


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        (
            {"QUEUE_LEASE_DURATION_MS": "12000"},
            "QUEUE_LEASE_RENEW_INTERVAL_MS: with QUEUE_REDIS_RESPONSE_TIMEOUT_MS it is",
        ),
        (
            {"QUEUE_SHUTDOWN_TIMEOUT_MS": "1000"},
            "QUEUE_SHUTDOWN_TIMEOUT_MS: is not longer than the wait for a job (1000 ms)",
        ),
        (
            {"QUEUE_DRIVER": "sqs", "QUEUE_SHUTDOWN_TIMEOUT_MS": "20000", "QUEUE_SQS_WAIT_TIME_SECONDS": "20"},
            "QUEUE_SHUTDOWN_TIMEOUT_MS: is not longer than the wait for a job (20000 ms)",
        ),
        ({"QUEUE_REDIS_PREFIX": "a{b}"}, "QUEUE_REDIS_PREFIX: a Sockudo server from 5.0 on refuses a prefix"),
        ({"QUEUE_REDIS_PREFIX": ":"}, "QUEUE_REDIS_PREFIX: a Sockudo server from 5.0 on refuses a prefix"),
        ({"QUEUE_REDIS_PREFIX": " a"}, "QUEUE_REDIS_PREFIX: the white space around it is part"),
        (
            {"QUEUE_DRIVER": "redis-cluster", "REDIS_CLUSTER_QUEUE_PREFIX": "{a}"},
            "REDIS_CLUSTER_QUEUE_PREFIX: a Sockudo server from 5.0 on refuses a prefix",
        ),
        (
            {"QUEUE_DELIVERY_RETRY_INITIAL_BACKOFF_MS": "90000"},
            "QUEUE_DELIVERY_RETRY_INITIAL_BACKOFF_MS: is longer than",
        ),
    ],
)
def test_questionable_combination_causes_a_warning(tmp_path: Path, environment: dict[str, str], line: str) -> None:
    assert any(each.startswith(line) for each in read(tmp_path, environment=environment).warnings)


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        (
            {"QUEUE_LEASE_RENEW_INTERVAL_MS": "30000"},
            "QUEUE_LEASE_RENEW_INTERVAL_MS: must be shorter than QUEUE_LEASE_DUR",
        ),
        (
            {"QUEUE_DELIVERY_BREAKER_OPEN_MS": "60001"},
            "QUEUE_DELIVERY_BREAKER_OPEN_MS: must not be longer than QUEUE_DELIV",
        ),
    ],
)
def test_conflicting_settings_are_a_fault(tmp_path: Path, environment: dict[str, str], line: str) -> None:
    (fault,) = read(tmp_path, environment=environment).faults
    assert fault.startswith(line)
    assert "; for example " in fault


@pytest.mark.parametrize("name", ["sockudo-2.9.json", "sockudo-5.0.json", "sockudo-4.7.toml"])
def test_no_secret_of_a_whole_file_shows_when_anything_is_missing(tmp_path: Path, name: str) -> None:
    content = (CONFIGS / name).read_bytes()
    assert content.count(CANARY.encode()) >= 4
    for environment in ({"QUEUE_WORKERS": ""}, {"QUEUE_WORKERS": "x"}, {"QUEUE_DRIVER": "x", "REDIS_URL": "CANARY"}):
        outcome = read(tmp_path, content, environment, name=name)
        assert bool(outcome.faults) == ("x" in environment.values())
        assert CANARY not in outcome.output
    for cut in range(0, len(content), 97):
        assert CANARY not in read(tmp_path, content[:cut], name=name).output


@pytest.mark.parametrize("broken", [name for option in OPTIONS for name in option.variables])
def test_no_secret_shows_when_any_variable_is_broken(tmp_path: Path, broken: str) -> None:
    secrets = {name: f"redis://u:{CANARY}@h:1" for option in OPTIONS if option.secret for name in option.variables}
    shown = CANARY if broken in secrets else ""  # no secret stands in any other variable, and some take any text
    for rubbish in (f"{shown}\x07", f"-1{shown}", shown, f"[{shown}", f'"{shown}"'):
        assert CANARY not in read(tmp_path, SOUND, secrets | {broken: rubbish}).output
