"""Parts of redis-py that we use beyond its documentation: a new version that changes one fails here."""

from __future__ import annotations

import inspect
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from redis.cluster import ClusterNode, NodesManager
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.sentinel import Sentinel, SentinelManagedConnection

from sockudo_queue.drivers.redis.connections import TlsConnection
from sockudo_queue.drivers.redis.link import connection_options
from sockudo_queue.drivers.redis.parser import BoundedParser

ROOT = Path(__file__).parents[4]


def names(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters)


@pytest.mark.parametrize("kind", [Connection, UnixDomainSocketConnection, SSLConnection])
def test_connection_takes_our_parser_and_gives_its_socket(kind: type[Any]) -> None:
    options = connection_options(1.0)
    connection = kind(**options)

    assert isinstance(connection._parser, BoundedParser)
    assert connection._get_socket() is None
    assert connection.driver_info.formatted_name == "redis-py"
    assert connection.driver_info is options["driver_info"], "else each reads the version from a file"
    assert connection.driver_info.lib_version == version("redis")
    assert callable(connection.send_packed_command)
    assert callable(connection.disconnect)


def test_connection_notifies_its_parser_of_a_new_and_a_lost_socket() -> None:
    assert "self._parser.on_connect(self)" in inspect.getsource(Connection.on_connect_check_health)
    assert "self._parser.on_disconnect()" in inspect.getsource(Connection.disconnect)


def test_tls_connection_wraps_its_socket_in_the_method_that_we_override() -> None:
    assert names(SSLConnection._wrap_socket_with_ssl) == names(TlsConnection._wrap_socket_with_ssl) == {"self", "sock"}


def test_sentinels_can_be_replaced_by_clients_of_our_own() -> None:
    sentinel = Sentinel([], sentinel_kwargs={})

    assert sentinel.sentinels == []
    assert names(sentinel.discover_master) == names(sentinel.discover_slaves) == {"service_name"}
    assert issubclass(SentinelManagedConnection, Connection)


def test_nodes_manager_accepts_the_arguments_of_our_discovery() -> None:
    assert {"startup_nodes", "from_url", "dynamic_startup_nodes", "address_remap"} <= names(NodesManager.__init__)
    assert {"additional_startup_nodes_info", "last_failed_node_name"} <= names(NodesManager.initialize)
    assert names(NodesManager.get_node_from_slot) >= {"slot"}
    assert names(NodesManager.get_nodes_by_server_type) == {"self", "server_type"}
    assert len(names(NodesManager.move_slot)) == 2
    assert {"host", "port"} <= names(NodesManager.create_redis_node)
    assert (ClusterNode("127.0.0.1", 7000).host, ClusterNode("127.0.0.1", 7000).port) == ("127.0.0.1", 7000)


def test_dependency_has_an_upper_bound_that_holds_the_installed_version() -> None:
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (bound,) = [each for each in dependencies if each.startswith("redis[")]

    assert bound.endswith("<9")
    assert version("redis").split(".")[0] == "8"
