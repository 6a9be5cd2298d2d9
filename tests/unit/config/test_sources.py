"""Where settings come from, and which place wins."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from sockudo_queue.config import Settings, dump, load
from sockudo_queue.config.options import BY_ATTRIBUTE, OPTIONS
from sockudo_queue.config.wording import attribute_of
from sockudo_queue.core.secret import Secret
from sockudo_queue.errors import SettingsError
from tests.helpers.settings import CANARY, CONFIGS, read


def test_no_settings_give_the_defaults(tmp_path: Path) -> None:
    loaded = read(tmp_path).good
    assert loaded.settings == Settings()
    assert loaded.sources == ("defaults",)


def test_environment_wins_over_file_over_defaults(tmp_path: Path) -> None:
    file = {"queue": {"metrics": {"port": 1001, "host": "127.0.0.1"}, "logging": {"level": "debug"}}}
    environment = {"QUEUE_METRICS_PORT": "1002", "QUEUE_METRICS_HOST": "::1"}
    loaded = read(tmp_path, file, environment).good
    assert loaded.settings.metrics.port == 1002
    assert loaded.settings.metrics.host == "::1"
    assert loaded.settings.logging.level == "debug"
    assert loaded.settings.logging.format == "auto"
    variables = "environment (QUEUE_METRICS_HOST, QUEUE_METRICS_PORT)"
    assert loaded.sources == ("defaults", str(tmp_path / "config.json"), variables)


@pytest.mark.parametrize(
    ("present", "found"),
    [
        ({"config/config.toml", "config/config.json", "config.json"}, "config/config.toml"),
        ({"config/config.json", "config.json"}, "config/config.json"),
        ({"config.json"}, "config.json"),
    ],
)
def test_file_is_searched_where_sockudo_searches(tmp_path: Path, present: set[str], found: str) -> None:
    (tmp_path / "config").mkdir()
    for name in present:
        (tmp_path / name).write_text("" if name.endswith("toml") else "{}")
    assert str(tmp_path / found) in read(tmp_path).good.sources


def test_a_named_file_wins_over_the_variable_and_that_over_the_search(tmp_path: Path) -> None:
    for name, workers in (("config.json", 1), ("variable.json", 2), ("flag.json", 3)):
        (tmp_path / name).write_text(f'{{"queue": {{"workers": {workers}}}}}')
    environment = {"QUEUE_CONFIG_FILE": "variable.json"}
    assert load(None, {}, tmp_path, False).settings.workers == 1
    assert load(None, environment, tmp_path, False).settings.workers == 2
    assert load("flag.json", environment, tmp_path, False).settings.workers == 3


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.json: cannot be read: No such file or directory"):
        load("absent.json", {}, tmp_path, False)


def test_the_later_of_two_variables_wins(tmp_path: Path) -> None:
    environment = {"REDIS_CLUSTER_NODES": "redis://a:1", "DATABASE_REDIS_CLUSTER_NODES": "redis://b:2,c:3"}
    nodes = read(tmp_path, environment=environment).good.settings.redis_cluster.nodes
    assert [node.revealed for node in nodes] == ["redis://b:2", "redis://c:3"]


@pytest.mark.parametrize("text", ["redis://a:1,redis://b:2", '["redis://a:1", "redis://b:2"]', " redis://a:1 , b:2 ,"])
def test_lists_are_commas_or_json(tmp_path: Path, text: str) -> None:
    nodes = read(tmp_path, environment={"REDIS_CLUSTER_NODES": text}).good.settings.redis_cluster.nodes
    assert [node.revealed for node in nodes] == ["redis://a:1", "redis://b:2"]


@pytest.mark.parametrize("text", ["true", "1", "yes", "on", "TRUE", " On "])
def test_true_as_sockudo_writes_it(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, environment={"QUEUE_SQS_FIFO": text}).good.settings.sqs.fifo is True


@pytest.mark.parametrize("text", ["false", "0", "no", "off", "OFF"])
def test_false_as_sockudo_writes_it(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, environment={"QUEUE_METRICS_ENABLED": text}).good.settings.metrics.enabled is False


@pytest.mark.parametrize(
    ("environment", "workers"),
    [
        ({}, 5),
        ({"QUEUE_REDIS_CONCURRENCY": "7"}, 7),
        ({"QUEUE_REDIS_CONCURRENCY": "7", "QUEUE_WORKERS": "9"}, 9),
        ({"QUEUE_REDIS_CONCURRENCY": "0"}, 5),
        ({"QUEUE_REDIS_CONCURRENCY": "0", "QUEUE_WORKERS": "9"}, 9),
        ({"QUEUE_DRIVER": "sqs", "QUEUE_SQS_CONCURRENCY": "3", "QUEUE_REDIS_CONCURRENCY": "7"}, 3),
        ({"QUEUE_DRIVER": "redis-cluster", "REDIS_CLUSTER_QUEUE_CONCURRENCY": "4"}, 4),
        ({"QUEUE_DRIVER": "none", "QUEUE_REDIS_CONCURRENCY": "7"}, 5),
    ],
)
def test_workers_follow_sockudos_concurrency_of_the_driver(
    tmp_path: Path, environment: dict[str, str], workers: int
) -> None:
    assert read(tmp_path, environment=environment).good.settings.workers == workers


def test_workers_in_the_file_win_over_sockudos_variable(tmp_path: Path) -> None:
    loaded = read(tmp_path, {"queue": {"workers": 9}}, {"QUEUE_REDIS_CONCURRENCY": "7"}).good
    assert loaded.settings.workers == 9


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"QUEUE_REDIS_CONCURRENCY": "0"}, "QUEUE_REDIS_CONCURRENCY"),
        ({"QUEUE_REDIS_CONCURRENCY": "0", "QUEUE_WORKERS": "9"}, "QUEUE_REDIS_CONCURRENCY"),
        (
            {"QUEUE_DRIVER": "redis-cluster", "REDIS_CLUSTER_QUEUE_CONCURRENCY": "0"},
            "REDIS_CLUSTER_QUEUE_CONCURRENCY",
        ),
    ],
)
def test_concurrency_of_zero_on_redis_causes_a_warning(tmp_path: Path, environment: dict[str, str], name: str) -> None:
    loaded = read(tmp_path, environment=environment).good
    (warning,) = [line for line in loaded.warnings if "CONCURRENCY" in line]
    assert warning.startswith(f"{name}: 0 is correct only for a Sockudo server up to 4.7")
    assert "with 0, a server from 5.0 on has no queue and sends no webhooks" in warning
    assert "sockudo-queue check --acl" in warning
    assert loaded.notes == ()


def test_concurrency_of_zero_in_the_file_causes_a_warning(tmp_path: Path) -> None:
    loaded = read(tmp_path, {"queue": {"redis": {"concurrency": 0}}}).good
    assert any(line.startswith("queue.redis.concurrency in ") for line in loaded.warnings)


def test_concurrency_of_zero_on_sqs_is_a_note(tmp_path: Path) -> None:
    loaded = read(tmp_path, environment={"QUEUE_DRIVER": "sqs", "QUEUE_SQS_CONCURRENCY": "0"}).good
    (note,) = loaded.notes
    assert note.startswith("QUEUE_SQS_CONCURRENCY: with 0, a Sockudo server only produces jobs")
    assert not [line for line in loaded.warnings if "CONCURRENCY" in line]


def test_shutdown_timeout_of_the_servers_file_causes_a_warning(tmp_path: Path) -> None:
    file = {"queue": {"reliability": {"shutdown_timeout_ms": 30_000}}}
    loaded = read(tmp_path, file).good
    (warning,) = [line for line in loaded.warnings if "shutdown" in line]
    assert warning.startswith("queue.reliability.shutdown_timeout_ms in ")
    assert "QUEUE_SHUTDOWN_TIMEOUT_MS=25000" in warning
    assert "grace period to 35 s" in warning
    assert loaded.settings.reliability.shutdown_timeout_ms == 30_000

    for environment in ({"QUEUE_SHUTDOWN_TIMEOUT_MS": "25000"}, {"QUEUE_SHUTDOWN_TIMEOUT_MS": "30000"}):
        assert not [line for line in read(tmp_path, file, environment).warnings if "shutdown" in line.lower()]
    file = {"queue": {"reliability": {"shutdown_timeout_ms": 25_000}}}
    assert not [line for line in read(tmp_path, file).warnings if "shutdown" in line]


def test_no_deadline_is_read_as_the_default(tmp_path: Path) -> None:
    loaded = read(tmp_path, {"queue": {"redis": {"response_timeout_ms": 0}}}).good
    assert loaded.settings.redis.response_timeout_ms == 5_000
    assert "every wait is limited" in loaded.notes[0]


@pytest.mark.parametrize(
    ("host", "plain", "tls"),
    [
        ("redis.example.test", "redis.example.test", False),
        ("redis://redis.example.test", "redis.example.test", False),
        ("rediss://redis.example.test/", "redis.example.test", True),
        ("[::1]", "::1", False),
        ("::1", "::1", False),
        ("10.0.0.5", "10.0.0.5", False),
    ],
)
def test_the_host_may_carry_a_scheme(tmp_path: Path, host: str, plain: str, tls: bool) -> None:
    settings = read(tmp_path, environment={"DATABASE_REDIS_HOST": host}).good.settings
    assert (settings.redis.host, settings.master_tls.enabled) == (plain, tls)


def test_a_scheme_counts_only_with_the_host_that_wins_and_below_the_setting_itself(tmp_path: Path) -> None:
    file = {"database": {"redis": {"host": "rediss://one"}}}
    assert read(tmp_path, file).good.settings.master_tls.enabled
    assert not read(tmp_path, file, {"DATABASE_REDIS_HOST": "two"}).good.settings.master_tls.enabled
    off = {"DATABASE_REDIS_MASTER_TLS_ENABLED": "false"}
    assert not read(tmp_path, file, off).good.settings.master_tls.enabled


def test_empty_text_in_a_file_is_unset_where_a_setting_may_be(tmp_path: Path) -> None:
    file = {
        "database": {"redis": {"username": "", "password": "", "master_tls": {"ca_path": ""}}},
        "queue": {"redis": {"url_override": "", "prefix": ""}, "sqs": {"endpoint_url": ""}},
    }
    settings = read(tmp_path, file).good.settings
    assert settings.redis.prefix == ""  # a prefix of its own: up to Sockudo 4.7 the list is `:queue:webhooks`
    assert settings.model_copy(update={"redis": Settings().redis}) == Settings()


def test_memory_driver_in_a_file_means_the_memory_of_the_server(tmp_path: Path) -> None:
    file = {"queue": {"driver": "memory"}}
    assert any("no jobs arrive here" in line for line in read(tmp_path, file).warnings)
    assert not any("no jobs arrive" in line for line in read(tmp_path, None, {"QUEUE_DRIVER": "memory"}).warnings)


@pytest.mark.parametrize(
    ("name", "warned_of"),
    [
        ("sockudo-2.9.json", []),
        ("sockudo-4.7.toml", ["queue.redis.concurrency"]),
        ("sockudo-5.0.json", ["queue.reliability.shutdown_timeout_ms"]),
    ],
)
def test_sockudos_own_files_load_with_warnings_only_for_differences(
    tmp_path: Path, name: str, warned_of: list[str]
) -> None:
    outcome = read(tmp_path, (CONFIGS / name).read_bytes(), name=name, strict=True)
    assert [line.partition(" in ")[0] for line in outcome.warnings] == warned_of
    assert outcome.apps
    assert CANARY not in outcome.output


def test_the_2_9_file_is_read_as_meant(tmp_path: Path) -> None:
    outcome = read(tmp_path, (CONFIGS / "sockudo-2.9.json").read_bytes())
    settings = outcome.good.settings
    assert (settings.driver, settings.workers, settings.redis.host) == ("redis", 5, "redis.example.test")
    assert settings.redis.password is not None
    assert settings.redis.password.revealed == "CANARY-redis"
    assert [len(app.webhooks) for app in outcome.apps] == [2, 0]


def test_the_4_7_file_is_read_as_meant(tmp_path: Path) -> None:
    outcome = read(tmp_path, (CONFIGS / "sockudo-4.7.toml").read_bytes(), name="config.toml")
    settings = outcome.good.settings
    assert (settings.workers, settings.redis.port, settings.redis.db) == (5, 6380, 2)
    assert [node.host for node in settings.sentinel.nodes] == ["sentinel-1", "sentinel-2"]
    assert settings.master_tls.enabled
    assert settings.redis_cluster.use_tls
    assert [node.revealed for node in settings.redis_cluster.nodes][1] == "redis://10.0.0.2:7000"
    url, function = outcome.apps[0].webhooks
    assert (url.retry.max_attempts, url.request_timeout_ms) == (4, 3_000)
    assert (function.retry.max_attempts, function.request_timeout_ms) == (5, 10_000)


def test_the_5_0_file_is_read_as_meant(tmp_path: Path) -> None:
    environment = {"CONCURRENCY": "12", "REDIS_PW": 'quo"ted\\'}
    outcome = read(tmp_path, (CONFIGS / "sockudo-5.0.json").read_bytes(), environment)
    settings = outcome.good.settings
    assert (settings.workers, settings.redis.host, settings.master_tls.enabled) == (12, "10.0.0.5", True)
    assert settings.redis.password is not None
    assert settings.redis.password.revealed == 'quo"ted\\'
    assert (settings.reliability.lease_duration_ms, settings.retry.jitter) == (45_000, 0.1)
    assert outcome.apps[0].webhooks[0].headers[0][0] == "Authorization"


def test_every_model_field_has_a_name_in_file_or_environment() -> None:
    fields = {
        f"{group}.{name}".removeprefix(".")
        for group, model in [("", Settings()), *_groups(Settings())]
        for name, value in model
        if not hasattr(value, "model_fields_set")
    }
    assert fields == set(BY_ATTRIBUTE)


def _groups(model: object, prefix: str = "") -> list[tuple[str, Settings]]:
    found = []
    for name, value in model:  # type: ignore[attr-defined] # a pydantic model gives its fields
        if hasattr(value, "model_fields_set"):
            found += [(f"{prefix}{name}", value), *_groups(value, f"{prefix}{name}.")]
    return found


def test_names_are_given_once() -> None:
    keys = [key for option in OPTIONS for key in option.keys]
    variables = [name for option in OPTIONS for name in option.variables]
    assert len(keys) == len(set(keys))
    assert len(variables) == len(set(variables))


def test_every_secret_is_marked_and_masked(tmp_path: Path) -> None:
    environment = {
        name: f"redis://{CANARY}:{CANARY}@host:1" for option in OPTIONS if option.secret for name in option.variables
    }
    environment["QUEUE_ALERT_URL"] = f"https://{CANARY}:{CANARY}@host/{CANARY}?{CANARY}"
    environment["QUEUE_ALERT_SECRET"] = "whsec_" + base64.b64encode(CANARY.encode() * 4).decode()
    outcome = read(tmp_path, environment=environment)
    lines = dump(outcome.good.settings).splitlines()
    assert CANARY not in outcome.output
    assert environment["QUEUE_ALERT_SECRET"] not in outcome.output
    for option in OPTIONS:
        value = attribute_of(outcome.good.settings, option.attribute)
        values = value if isinstance(value, tuple) else (value,)
        assert option.secret == any(isinstance(each, Secret) for each in values)
        assert not option.secret or f'{option.key} = "***"' in lines


def test_the_dump_names_every_setting(tmp_path: Path) -> None:
    lines = dump(read(tmp_path).good.settings).splitlines()
    assert [line.partition(" = ")[0] for line in lines] == [option.key for option in OPTIONS]
    assert 'queue.redis.prefix = "sockudo_queue:"' in lines
    assert "database.redis.username = unset" in lines
