"""A Redis Cluster with a password, named the ways in which Sockudo's own file names it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest

from tests.faults.queue import SERVER_LIST
from tests.helpers.commands import Commands
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import job
from tests.helpers.receiver import Receiver
from tests.helpers.redis_cluster import RedisCluster

PASSWORD: Final = "p w#d/%41"
DRIVER: Final = {"QUEUE_DRIVER": "redis-cluster"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with RedisCluster(replicas=False, password=PASSWORD) as started:
        yield started


def places(port: int) -> dict[str, tuple[dict[str, Any], dict[str, str]]]:
    """Return what the file holds under `database.redis` and what the environment holds, by the way of naming."""
    node = {"host": "127.0.0.1", "port": port}
    url = {"host": f"redis://127.0.0.1:{port}"}
    secret = {"DATABASE_REDIS_PASSWORD": PASSWORD}
    return {
        "objects": ({"cluster": {"nodes": [node], "password": PASSWORD}}, {}),
        "urls": ({"cluster": {"nodes": [url]}, "password": PASSWORD}, {}),
        "older-key": ({"cluster_nodes": [node]}, secret),
        "variable": ({"password": PASSWORD}, {"REDIS_CLUSTER_NODES": f"127.0.0.1:{port}"}),
        "login-in-url": ({}, {"REDIS_CLUSTER_NODES": f"redis://:{quote(PASSWORD, safe='')}@127.0.0.1:{port}"}),
        "variable-url": ({}, secret | {"REDIS_CLUSTER_NODES": f"redis://127.0.0.1:{port}"}),
    }


@pytest.mark.parametrize("place", ["objects", "urls", "older-key", "variable", "variable-url", "login-in-url"])
def test_check_reaches_the_cluster_that_the_server_would(tmp_path: Path, cluster: RedisCluster, place: str) -> None:
    redis, environment = places(cluster.nodes[0].port)[place]
    document = config(app(), queue={"redis_cluster": {"nodes": []}}, database={"redis": redis})
    ran = Commands(tmp_path, document, DRIVER | environment)("check")
    assert f"ok       broker: redis-cluster at 127.0.0.1:{cluster.nodes[0].port}: reachable" in ran.out
    assert PASSWORD not in ran.out + ran.err


def test_a_job_is_delivered_from_a_cluster_that_only_the_database_names(
    cluster: RedisCluster, receiver: Receiver
) -> None:
    redis, environment = places(cluster.nodes[0].port)["older-key"]
    document = config(app(webhook(receiver.url())), database={"redis": redis})
    with DaemonProcess(document, DRIVER | environment) as daemon, cluster.client() as client:
        daemon.wait_ready()
        client.rpush(SERVER_LIST, job())
        receiver.wait_for(1)
        daemon.terminate()
        assert daemon.wait() == 0
    assert PASSWORD not in daemon.output()
