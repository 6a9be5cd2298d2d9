"""Variables: empty, invalid, set by Kubernetes, secrets in files, and unknown names."""

from __future__ import annotations

from pathlib import Path

import pytest

from sockudo_queue.config import Settings
from sockudo_queue.config.options import OPTIONS
from tests.helpers.settings import CANARY, read

VARIABLES = [name for option in OPTIONS for name in option.variables]
ALERTS = {  # they go together
    "QUEUE_ALERT_URL": "https://h/",
    "QUEUE_ALERT_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
}
SECRETS = [name for option in OPTIONS if option.secret for name in option.variables]
APP_VARIABLES = [
    "APP_MANAGER_REGISTER_INLINE_APPS",
    "SOCKUDO_DEFAULT_APP_ENABLED",
    "SOCKUDO_DEFAULT_APP_ID",
    "SOCKUDO_DEFAULT_APP_KEY",
    "SOCKUDO_DEFAULT_APP_SECRET",
    "SOCKUDO_SKIP_INLINE_APPS",
]
# Any text is a valid value for these.
FREE_TEXT = {
    name
    for option in OPTIONS
    for name in option.variables
    if not option.attribute.endswith(("allow_cleartext_password", "metrics.username"))
    and option.attribute.endswith(
        (
            "username",
            "password",
            "prefix",
            "queue_name",
            "_path",
            "ca_file",
            "ssl_ca",
            "region",
            "database",
            "table_name",
            "_key_id",
            "_access_key",
            "token",
        )
    )
}


@pytest.mark.parametrize(
    "name", [*VARIABLES, *APP_VARIABLES, *(f"{name}_FILE" for name in SECRETS), "QUEUE_CONFIG_FILE"]
)
def test_an_empty_variable_is_unset(tmp_path: Path, name: str) -> None:
    outcome = read(tmp_path, environment={name: ""}, strict=True)
    assert outcome.good.settings == Settings()
    if name != "QUEUE_REDIS_PREFIX":  # to a server that is an empty prefix, see below
        assert outcome.warnings == read(tmp_path).warnings


@pytest.mark.parametrize(
    ("driver", "name"), [("redis", "QUEUE_REDIS_PREFIX"), ("redis-cluster", "REDIS_CLUSTER_QUEUE_PREFIX")]
)
def test_empty_variable_of_the_prefix_causes_a_warning(tmp_path: Path, driver: str, name: str) -> None:
    environment = {"QUEUE_DRIVER": driver, name: ""}
    (warning,) = [line for line in read(tmp_path, environment=environment).warnings if "PREFIX" in line]
    assert warning.startswith(f"{name}: is empty, which counts as unset here; a Sockudo server from 5.0 on refuses")


@pytest.mark.parametrize(
    "name", [*VARIABLES, *APP_VARIABLES, *(f"{name}_FILE" for name in SECRETS), "QUEUE_CONFIG_FILE"]
)
def test_service_link_is_ignored_with_a_warning(tmp_path: Path, name: str) -> None:
    outcome = read(tmp_path, environment={name: "tcp://10.0.0.1:80"}, strict=True)
    assert outcome.good.settings == Settings()
    printable_lines = [line for line in outcome.warnings if "Kubernetes service link" in line]
    assert printable_lines[0].startswith(f"{name}: ignored")


@pytest.mark.parametrize("name", [*VARIABLES, *APP_VARIABLES])
def test_invalid_value_is_refused_in_one_line_unless_text_is_free(tmp_path: Path, name: str) -> None:
    rubbish = f"\x07{CANARY} {{" if name not in FREE_TEXT else CANARY
    outcome = read(tmp_path, environment={name: rubbish})
    if name in FREE_TEXT or name.startswith(("SOCKUDO_", "APP_MANAGER_REGISTER")):
        assert outcome.faults == ()
    else:
        (fault,) = outcome.faults
        assert fault.startswith(f"{name}")
        assert "; for example " in fault
        assert CANARY not in outcome.output


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\r"])
def test_a_secret_from_a_file_loses_one_line_end(tmp_path: Path, name: str, end: str) -> None:
    path = tmp_path / "secret"
    secret = ALERTS.get(name, "redis://h:1")
    path.write_bytes(f"{secret}{end}".encode())
    others = {each: value for each, value in ALERTS.items() if each != name and name in ALERTS}
    from_file = read(tmp_path, environment={f"{name}_FILE": str(path)} | others)
    assert from_file.good.settings == read(tmp_path, environment={name: secret} | others).good.settings
    assert from_file.warnings == read(tmp_path).warnings


def test_only_one_line_end_is_stripped_and_the_rest_is_reported(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"CANARY\n\n")
    outcome = read(tmp_path, environment={"DATABASE_REDIS_PASSWORD_FILE": str(tmp_path / "secret")})
    password = outcome.good.settings.redis.password
    assert password is not None
    assert password.revealed == "CANARY\n"
    assert "DATABASE_REDIS_PASSWORD_FILE: the secret is surrounded by white space" in outcome.warnings[0]
    assert CANARY not in outcome.output


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "the file cannot be read: No such file or directory"),
        (b"", "the file is empty"),
        (b"\n", "the file is empty"),
        (b" \t", "contains only white space"),
        (b"\xff\xfe", "the file is not UTF-8"),
        (b"x" * 70_000, "the file is too large for a secret"),
    ],
)
def test_a_secrets_file_that_cannot_be_used(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / f"{CANARY}"  # a secret put where its path belongs
    if content is not None:
        path.write_bytes(content)
    outcome = read(tmp_path, environment={"REDIS_URL_FILE": str(path)})
    (fault,) = outcome.faults
    assert fault.startswith(f"REDIS_URL_FILE: {reason}")
    assert CANARY not in outcome.output


def test_a_path_that_no_file_can_have(tmp_path: Path) -> None:
    outcome = read(tmp_path, environment={"REDIS_URL_FILE": f"{CANARY}\0"})
    assert outcome.faults[0].startswith("REDIS_URL_FILE: ")
    assert CANARY not in outcome.output


def test_secret_and_its_file_cannot_both_be_set(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("redis://h:1")
    environment = {"REDIS_URL": "redis://h:1", "REDIS_URL_FILE": str(tmp_path / "secret")}
    assert read(tmp_path, environment=environment).faults == (
        "REDIS_URL_FILE: must not be set together with REDIS_URL; set one of them",
    )


@pytest.mark.parametrize("value", [" CANARY", "CANARY\n", '"CANARY"', "'CANARY'"])
def test_suspicious_secret_is_kept_with_a_warning(tmp_path: Path, value: str) -> None:
    outcome = read(tmp_path, environment={"DATABASE_REDIS_PASSWORD": value})
    password = outcome.good.settings.redis.password
    assert password is not None
    assert password.revealed == value
    assert outcome.warnings[0].startswith("DATABASE_REDIS_PASSWORD: the secret ")
    assert CANARY not in outcome.output


def test_a_blank_secret_is_a_fault(tmp_path: Path) -> None:
    assert read(tmp_path, environment={"DATABASE_REDIS_PASSWORD": "  "}).faults == (
        "DATABASE_REDIS_PASSWORD: contains only white space; set a value, or unset it",
    )


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("QUEUE_REDIS_PREFX", "QUEUE_REDIS_PREFIX"),
        ("QUEUE_DRIVR", "QUEUE_DRIVER"),
        ("REDIS_CLUSTER_NODE", "REDIS_CLUSTER_NODES"),
        ("DATABASE_REDIS_HOSTS", "DATABASE_REDIS_HOST"),
        ("QUEUE_SQS_CONCURENCY", "QUEUE_SQS_CONCURRENCY"),
    ],
)
def test_unknown_shared_name_is_a_warning_and_a_fault_in_strict_mode(tmp_path: Path, name: str, meant: str) -> None:
    line = f"{name}: no such variable; did you mean {meant}?"
    assert line in read(tmp_path, environment={name: "x"}).warnings
    assert read(tmp_path, environment={name: "x"}, strict=True).faults == (line,)


@pytest.mark.parametrize("name", ["QUEUE_DELIVERY_SLOW", "QUEUE_METRICS_PRT", "QUEUE_LOG_LEVELS", "QUEUE_WORKERSS"])
def test_an_unknown_name_of_ours_is_refused(tmp_path: Path, name: str) -> None:
    assert (
        read(tmp_path, environment={name: "x"}).faults[0].startswith(f"{name}: no such variable; did you mean QUEUE_")
    )


def test_sockudos_own_names_and_empty_unknown_ones_are_silent(tmp_path: Path) -> None:
    environment = {
        "QUEUE_WORKER_PREFETCH": "16",
        "QUEUE_SNS_REGION": "us-east-1",
        "DATABASE_REDIS_KEY_PREFIX": "sockudo:",
        "QUEUE_OF_SOMEBODY": "",
        "PORT": "6001",
        "REDIS_PORT": "tcp://10.0.0.1:6379",
    }
    assert read(tmp_path, environment=environment, strict=True).warnings == read(tmp_path).warnings


def test_what_kubernetes_sets_for_a_service_is_one_warning(tmp_path: Path) -> None:
    environment = {
        "QUEUE_METRICS_SERVICE_HOST": "10.0.0.1",
        "QUEUE_METRICS_SERVICE_PORT": "9602",
        "QUEUE_METRICS_SERVICE_PORT_HTTP": "9602",
        "QUEUE_METRICS_PORT": "tcp://10.0.0.1:9602",
        "QUEUE_METRICS_PORT_9602_TCP": "tcp://10.0.0.1:9602",
        "QUEUE_METRICS_PORT_9602_TCP_PROTO": "tcp",
        "QUEUE_METRICS_PORT_9602_TCP_PORT": "9602",
        "QUEUE_METRICS_PORT_9602_TCP_ADDR": "10.0.0.1",
    }
    outcome = read(tmp_path, environment=environment, strict=True)
    assert outcome.good.settings.metrics.port == 9602
    links = [line for line in outcome.warnings if "service link" in line]
    assert len(links) == 2  # one for the setting that was hit, one for all the others
    assert "enableServiceLinks: false" in links[1]


def test_known_service_does_not_hide_a_misspelt_variable(tmp_path: Path) -> None:
    assert (
        read(tmp_path, environment={"QUEUE_METRIKS_PORT": "9602"}).warnings[0].startswith("QUEUE_METRIKS_PORT: no such")
    )
