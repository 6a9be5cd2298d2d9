"""Nodes and login of a Redis Cluster come from where Sockudo 5.1 and later finds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.settings import CANARY, read

CLUSTER = {"QUEUE_DRIVER": "redis-cluster"}


def redis(**keys: Any) -> dict[str, Any]:
    return {"database": {"redis": keys}}


def nodes_of(directory: Path, file: dict[str, Any], environment: dict[str, str] | None = None) -> list[str]:
    settings = read(directory, file, CLUSTER | (environment or {})).good.settings
    return [node.revealed for node in settings.redis_cluster.nodes]


@pytest.mark.parametrize(
    ("node", "url"),
    [
        ({"host": "10.0.0.1", "port": 7001}, "redis://10.0.0.1:7001"),
        ({"host": "redis-1.example.com"}, "redis://redis-1.example.com:7000"),
        ({"port": 7001}, "redis://127.0.0.1:7001"),
        ({"host": "redis-1:7005", "port": 7001}, "redis://redis-1:7005"),
        ({"host": "::1", "port": 7001}, "redis://[::1]:7001"),
        ({"host": "[::1]", "port": 7001}, "redis://[::1]:7001"),
        ({"host": "[::1]:7005", "port": 7001}, "redis://[::1]:7005"),
        ({"host": "redis://10.0.0.1:7001"}, "redis://10.0.0.1:7001"),
        ({"host": "rediss://user:p%40ss@10.0.0.1", "port": 7001}, "rediss://user:p%40ss@10.0.0.1:7001"),
        ("redis://10.0.0.1:7001", "redis://10.0.0.1:7001"),
        ("10.0.0.1:7001", "redis://10.0.0.1:7001"),
    ],
)
@pytest.mark.parametrize("key", ["cluster", "cluster_nodes"])
def test_nodes_of_the_database_are_used(tmp_path: Path, key: str, node: Any, url: str) -> None:
    file = redis(cluster={"nodes": [node]}) if key == "cluster" else redis(cluster_nodes=[node])
    assert nodes_of(tmp_path, file) == [url]


def test_nodes_come_from_the_first_place_that_names_any(tmp_path: Path) -> None:
    file = redis(cluster={"nodes": [{"host": "b"}]}, cluster_nodes=[{"host": "a"}])
    assert nodes_of(tmp_path, file) == ["redis://b:7000"]
    file["queue"] = {"redis_cluster": {"nodes": ["redis://c:1"]}}
    assert nodes_of(tmp_path, file) == ["redis://c:1"]
    assert nodes_of(tmp_path, file, {"REDIS_CLUSTER_NODES": "redis://d:1"}) == ["redis://d:1"]


@pytest.mark.parametrize("nothing", [[], None, ""])
def test_an_empty_list_of_the_queue_means_the_nodes_of_the_database(tmp_path: Path, nothing: Any) -> None:
    file = redis(cluster_nodes=[{"host": "a"}]) | {"queue": {"redis_cluster": {"nodes": nothing}}}
    assert nodes_of(tmp_path, file) == ["redis://a:7000"]
    file["database"]["redis"] = {"cluster": {"nodes": nothing}, "cluster_nodes": nothing}
    assert nodes_of(tmp_path, file) == ["redis://127.0.0.1:6379"]


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        ({"host": "a", "port": 0}, "must have a port from 1 to 65535"),
        ({"host": "a", "port": "7000"}, "must have a port from 1 to 65535"),
        ({"host": "a", "port": True}, "must have a port from 1 to 65535"),
        ({"host": 5}, "must be text"),
        ({"host": f"redis://u:{CANARY}@"}, "has no host"),
        ({"host": f"http://u:{CANARY}@a"}, "must begin with redis://"),
        (5, "must be text"),
    ],
)
def test_a_node_that_cannot_be_used_is_named(tmp_path: Path, node: Any, reason: str) -> None:
    outcome = read(tmp_path, redis(cluster={"nodes": [{"host": "b"}, node]}), CLUSTER)
    (fault,) = outcome.faults
    assert fault.startswith(f"database.redis.cluster.nodes in {tmp_path / 'config.json'}, item 2: ")
    assert reason in fault
    assert CANARY not in outcome.output


@pytest.mark.parametrize("driver", ["redis", "sqs"])
def test_nodes_of_the_database_do_not_matter_to_other_drivers(tmp_path: Path, driver: str) -> None:
    assert read(tmp_path, redis(cluster={"nodes": [{"port": 0}]}), {"QUEUE_DRIVER": driver}).faults == ()


@pytest.mark.parametrize(
    ("file", "environment", "login"),
    [
        (redis(password="p"), {}, (None, "p")),
        (redis(username="u", password="p"), {}, ("u", "p")),
        ({}, {"DATABASE_REDIS_PASSWORD": "p"}, (None, "p")),
        (redis(password="p", cluster={"password": "c"}), {}, (None, "c")),
        (redis(username="u", password="p", cluster={"password": "c"}), {}, ("u", "c")),
        (redis(cluster={"password": "c"}), {"DATABASE_REDIS_PASSWORD": "p"}, (None, "c")),
        (redis(password="p"), {"DATABASE_REDIS_PASSWORD": "e", "DATABASE_REDIS_USERNAME": "u"}, ("u", "e")),
        (redis(password="p"), {"DATABASE_REDIS_CLUSTER_PASSWORD": "c"}, (None, "c")),
    ],
)
def test_the_login_of_the_database_is_used_where_the_cluster_has_none(
    tmp_path: Path, file: dict[str, Any], environment: dict[str, str], login: tuple[str | None, str]
) -> None:
    cluster = read(tmp_path, file, CLUSTER | environment).good.settings.redis_cluster
    assert cluster.password is not None
    assert (cluster.username, cluster.password.revealed) == login


def test_a_password_of_the_database_that_changes_in_its_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("first")
    environment = CLUSTER | {"DATABASE_REDIS_PASSWORD_FILE": str(file)}
    password = read(tmp_path, environment=environment).good.settings.redis_cluster.password
    assert password is not None
    file.write_text("second")
    assert password.current() == "second"
