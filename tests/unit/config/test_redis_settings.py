"""Conflicting settings of Redis are reported in one line each, without a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from sockudo_queue.config import redis_scheme, unix_socket
from tests.helpers.settings import CANARY, Read, read

CLUSTER = {"QUEUE_DRIVER": "redis-cluster", "REDIS_CLUSTER_NODES": "redis://10.0.0.1:6379"}


def without_apps(outcome: Read) -> list[str]:
    """Return the warnings that are not about apps, which these tests do not have."""
    return [warning for warning in outcome.warnings if not warning.startswith("no app")]


@pytest.mark.parametrize("prefix", ["a}b", "}", "{}x", "a}b{c", "{}{a}"])
def test_prefix_that_splits_the_hash_tag_is_refused_on_a_cluster(tmp_path: Path, prefix: str) -> None:
    outcome = read(tmp_path, environment=CLUSTER | {"REDIS_CLUSTER_QUEUE_PREFIX": prefix})
    (fault,) = outcome.faults
    assert fault.startswith("REDIS_CLUSTER_QUEUE_PREFIX: ")
    assert "slot" in fault

    alone = read(tmp_path, environment={"QUEUE_REDIS_PREFIX": prefix})
    assert alone.faults == ()


@pytest.mark.parametrize("prefix", ["shop", "{shop}", "a{b}c", "a{b", "a}{b}", "{a}}"])
def test_other_prefixes_are_accepted_on_a_cluster(tmp_path: Path, prefix: str) -> None:
    outcome = read(tmp_path, environment=CLUSTER | {"REDIS_CLUSTER_QUEUE_PREFIX": prefix})
    assert outcome.faults == ()


def test_queue_name_that_splits_the_hash_tag_is_refused_on_a_cluster(tmp_path: Path) -> None:
    outcome = read(tmp_path, environment=CLUSTER | {"QUEUE_REDIS_QUEUE_NAME": "web}hooks"})
    assert [fault.split(":")[0] for fault in outcome.faults] == ["QUEUE_REDIS_QUEUE_NAME"]


def test_at_most_once_is_refused_on_a_cluster(tmp_path: Path) -> None:
    outcome = read(tmp_path, environment=CLUSTER | {"QUEUE_REDIS_DELIVERY": "at-most-once"})
    (fault,) = outcome.faults
    assert fault.startswith("QUEUE_REDIS_DELIVERY: ")


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ("redis://10.0.0.1:6379/2", "no databases"),
        ("redis://10.0.0.1:6379,rediss://10.0.0.2:6379", "use one scheme for all"),
        (f"redis://a:{CANARY}@10.0.0.1,redis://b:{CANARY}@10.0.0.2", "different users or passwords"),
        (f"redis://a:{CANARY}/x@10.0.0.1", "write %2F"),
    ],
)
def test_nodes_that_cannot_form_one_cluster_are_refused(tmp_path: Path, nodes: str, reason: str) -> None:
    outcome = read(tmp_path, environment=CLUSTER | {"REDIS_CLUSTER_NODES": nodes})
    (fault,) = outcome.faults
    assert fault.startswith("REDIS_CLUSTER_NODES")
    assert reason in fault
    assert CANARY not in outcome.output


def test_nodes_may_be_written_without_a_scheme(tmp_path: Path) -> None:
    nodes = "10.0.0.1:6379, redis-2.example.com, [::1]:7000, redis://u:p@10.0.0.4:6379/0"
    settings = read(tmp_path, environment=CLUSTER | {"REDIS_CLUSTER_NODES": nodes}).good.settings
    assert [node.revealed for node in settings.redis_cluster.nodes] == [
        "redis://10.0.0.1:6379",
        "redis://redis-2.example.com",
        "redis://[::1]:7000",
        "redis://u:p@10.0.0.4:6379/0",
    ]


def test_a_list_may_begin_with_an_ipv6_address(tmp_path: Path) -> None:
    environment = CLUSTER | {
        "REDIS_CLUSTER_NODES": "[::1]:7000, [fd00::1]:7001",
        "QUEUE_REDIS_CLUSTER_ADDRESS_MAP": "[fd00::1]:6379=127.0.0.1:7001",
    }
    cluster = read(tmp_path, environment=environment).good.settings.redis_cluster
    assert [node.revealed for node in cluster.nodes] == ["redis://[::1]:7000", "redis://[fd00::1]:7001"]
    assert cluster.address_map == ("[fd00::1]:6379=127.0.0.1:7001",)
    file = {"queue": {"redis_cluster": {"nodes": "[::1]:7000"}}}
    (node,) = read(tmp_path, file, {"QUEUE_DRIVER": "redis-cluster"}).good.settings.redis_cluster.nodes
    assert node.revealed == "redis://[::1]:7000"


@pytest.mark.parametrize("entry", ["10.0.0.1", "10.0.0.1:x=b", "=b", "a=", f"u:{CANARY}@a=b", "a=b c"])
def test_an_address_map_that_cannot_be_read_is_refused(tmp_path: Path, entry: str) -> None:
    outcome = read(tmp_path, environment={"QUEUE_REDIS_CLUSTER_ADDRESS_MAP": entry})
    (fault,) = outcome.faults
    assert fault.startswith("QUEUE_REDIS_CLUSTER_ADDRESS_MAP, item 1: ")
    assert CANARY not in outcome.output


@pytest.mark.parametrize("url", ["rediss://h/#insecure", "redis://h:1/3?protocol=resp3", "REDISS://h", "redis://h/"])
def test_url_that_the_server_accepts_is_accepted(tmp_path: Path, url: str) -> None:
    assert read(tmp_path, environment={"REDIS_URL": url}).faults == ()


@pytest.mark.parametrize(
    ("environment", "variable"),
    [
        ({"DATABASE_REDIS_MASTER_TLS_CA_PATH": "/ca.pem"}, "DATABASE_REDIS_MASTER_TLS_ENABLED"),
        ({"DATABASE_REDIS_MASTER_TLS_ENABLED": "true", "REDIS_URL": "redis://h"}, "REDIS_URL"),
        ({"DATABASE_REDIS_MASTER_TLS_ACCEPT_INVALID_CERTS": "1"}, "DATABASE_REDIS_MASTER_TLS_ACCEPT_INVALID_CERTS"),
        ({"DATABASE_REDIS_SENTINEL_TLS_CLIENT_KEY_PATH": "/k"}, "DATABASE_REDIS_SENTINEL_TLS_CLIENT_KEY_PATH"),
    ],
)
def test_unused_certificates_cause_a_warning(tmp_path: Path, environment: dict[str, str], variable: str) -> None:
    (warning,) = without_apps(read(tmp_path, environment=environment))
    assert warning.startswith(f"{variable}: ")


def test_certificates_used_by_tls_cause_no_warning(tmp_path: Path) -> None:
    files = {"DATABASE_REDIS_MASTER_TLS_CA_PATH": "/ca.pem"}
    for environment in (
        {"REDIS_URL": "rediss://h"},
        {"DATABASE_REDIS_MASTER_TLS_ENABLED": "true"},
        {"DATABASE_REDIS_HOST": "rediss://h"},
        CLUSTER | {"REDIS_CLUSTER_NODES": "rediss://h"},
        CLUSTER | {"DATABASE_REDIS_CLUSTER_USE_TLS": "true"},
    ):
        assert without_apps(read(tmp_path, environment=environment | files)) == []


def test_a_secret_of_a_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("first\n")
    settings = read(tmp_path, environment={"DATABASE_REDIS_PASSWORD_FILE": str(file)}).good.settings
    password = settings.redis.password
    assert password is not None
    file.write_text("second\n")
    assert (password.current(), password.revealed, repr(password)) == ("second", "first", "***")

    file.write_text("")
    assert password.current() == "second"
    file.unlink()
    assert password.current() == "second"


@pytest.mark.parametrize(
    ("url", "meant"), [("valkey://h:1/3", "redis"), ("Valkeys://h", "rediss"), ("redis://h", "redis"), ("x://h", "x")]
)
def test_valkey_is_another_name_of_redis(url: str, meant: str) -> None:
    assert redis_scheme(url) == meant


@pytest.mark.parametrize("url", ["valkey://u:p@h:1/3", "valkeys://h", "unix:///run/r.sock", "redis+unix:///r?db=2"])
def test_every_form_of_url_that_the_server_reads_is_taken(tmp_path: Path, url: str) -> None:
    outcome = read(tmp_path, environment={"REDIS_URL": url})
    assert outcome.faults == ()
    assert without_apps(outcome) == []


def test_a_socket_is_read_with_its_database_and_login() -> None:
    assert unix_socket("unix:///run/a%20b.sock?db=2&user=u&pass=p%26q") == ("/run/a b.sock", 2, "u", "p&q")
    assert unix_socket("redis+unix:///r.sock") == ("/r.sock", 0, None, None)


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"REDIS_URL": "unix://run/r.sock"}, "three slashes"),
        ({"REDIS_URL": "unix:///"}, "three slashes"),
        ({"REDIS_URL": "unix:///r.sock?db=x&pass=CANARY"}, "database number"),
        ({"REDIS_URL": "unix:///" + "x" * 120}, "more than 107 bytes"),
        ({"REDIS_URL": "unix://u:p\u2100CANARY@h/run/x.sock"}, "not a valid URL"),
        ({"REDIS_URL": "memcached://h"}, "redis:// or rediss:// or valkey:// or valkeys://"),
        (CLUSTER | {"REDIS_CLUSTER_NODES": "unix:///r.sock"}, "cannot be a Unix socket"),
    ],
)
def test_a_url_that_names_no_server_is_one_clear_line(tmp_path: Path, environment: dict[str, str], reason: str) -> None:
    outcome = read(tmp_path, environment=environment)
    assert len(outcome.faults) == 1
    assert reason in outcome.faults[0]
    assert "CANARY" not in outcome.faults[0]
