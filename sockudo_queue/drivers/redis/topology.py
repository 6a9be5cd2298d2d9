"""Finds the master of a Redis Cluster slot with redis-py's `NodesManager`; commands are not sent here."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from redis import Redis
from redis.cluster import ClusterNode, NodesManager
from redis.exceptions import (
    AuthenticationError,
    MovedError,
    NoPermissionError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from sockudo_queue.core.ports import host_port
from sockudo_queue.drivers.redis import replies
from sockudo_queue.drivers.redis.errors import ODD, CommandDenied, LoginRefused, ServerRefused, first_line
from sockudo_queue.drivers.redis.link import OnServer, ignore_server
from sockudo_queue.drivers.redis.single_flight import SharedLookup
from sockudo_queue.errors import BrokerError, BrokerUnavailable, causes

Address = tuple[str, int]

ADDRESS_MAP: Final = "QUEUE_REDIS_CLUSTER_ADDRESS_MAP"
DISCOVERY_PAUSE: Final = 0.2
"""Seconds between two discoveries while the cluster is disturbed; electing a new master takes longer."""


class _Nodes(NodesManager):
    """redis-py's cluster discovery; a node whose answer names no nodes counts as unavailable."""

    def create_redis_node(self, host: Any, port: Any, **options: Any) -> Redis:
        """Make the client that asks one node."""
        node: Redis = super().create_redis_node(host, port, **options)  # type: ignore[no-untyped-call] # it is so
        node.set_response_callback("CLUSTER SLOTS", _checked)
        return node


def _checked(reply: Any, **_: Any) -> Any:
    try:
        replies.slots(reply)
    except ODD:
        raise RedisConnectionError("it returned an invalid list of nodes") from None
    return reply


class Topology:
    """Queries the nodes once, and again when a reply or a missing reply shows that something has changed.

    `options` are those of a redis-py connection pool. Safe from any thread.
    """

    def __init__(
        self,
        nodes: Sequence[Address],
        options: Mapping[str, Any],
        address_map: Mapping[tuple[str, int | None], tuple[str, int | None]],
        on_server: OnServer = ignore_server,
    ) -> None:
        self._nodes = list(nodes)
        self._options = dict(options)
        self._address_map = address_map
        self._announced: dict[Address, Address] = {}
        self._on_server = on_server
        self._manager: NodesManager | None = None
        self._discover = SharedLookup(self._discover_once)
        self._generation = 0
        self._discovered_at = float("-inf")
        self._failed_node: str | None = None  # the name of a node that did not answer; empty if no node is to blame

    def master_of(self, slot: int) -> tuple[Address, int]:
        """Return a slot's master, and the number of the discovery that found it."""
        is_stale = self._failed_node is not None and time.monotonic() - self._discovered_at > DISCOVERY_PAUSE
        if self._manager is None or is_stale:
            self._discover()
        manager, generation = self._manager, self._generation
        assert manager is not None, "a discovery that fails raises"
        node = _node_of(manager, slot)
        if node is None:
            self.invalidate(generation)
            raise BrokerUnavailable("no node of the cluster serves the slot of the queue")
        return (node.host, node.port), generation

    def invalidate(self, generation: int, address: Address | None = None) -> None:
        """Rediscover before the next call, unless that has happened since; the node at the address is asked last."""
        if generation == self._generation:
            self._failed_node = "{}:{}".format(*address) if address else ""

    def has_another_master(self, slot: int, address: Address) -> bool:
        """Ask the other nodes whether the one at the address has been replaced."""
        self._failed_node = "{}:{}".format(*address)
        try:
            self._discover()
        except BrokerError:
            return False  # no other node answers; no evidence against this one
        return self.master_of(slot)[0] != address

    def moved(self, slot: int, address: Address) -> None:
        """Record a node's redirection of one slot."""
        manager = self._manager
        if manager is not None and _node_of(manager, slot) is not None:
            manager.move_slot(MovedError("{} {}:{}".format(slot, *address)))
        else:
            self.invalidate(self._generation)

    def reachable(self, announced: tuple[str | None, int]) -> Address:
        """Return where a node can be reached; a node that announces no host has the host of the others.

        Every discovered node passes through here, so it is reported here, both as announced and as reached.
        """
        host, port = announced[0] or self._nodes[0][0], announced[1]
        target = self._address_map.get((host, port)) or self._address_map.get((host, None)) or (host, port)
        reached = target[0], target[1] or port
        self._announced[reached] = (host, port)
        for address in {(host, port), reached}:
            self._on_server(*address)
        return reached

    def unreachable(self, address: Address) -> tuple[str, str]:
        """Return the texts before and after the reason why a node cannot be reached: which node, and what to do.

        Nodes are reached at the addresses that the cluster announces, not at the configured ones.
        """
        shown, announced = host_port(*address), host_port(*self._announced.get(address, address))
        if shown != announced:
            return f"the node {shown}, which {ADDRESS_MAP} sets for {announced}, cannot be reached: ", ""
        if address in self._nodes:
            return f"the node {shown} of the cluster cannot be reached: ", ""
        return (
            f"the cluster announces the node {shown}, which cannot be reached: ",
            f"; if it has another address from here, set {ADDRESS_MAP}={shown}=HOST:PORT",
        )

    def _discover_once(self) -> None:
        try:
            if self._manager is None:
                self._manager = self._first_manager()
            else:
                self._manager.initialize(
                    additional_startup_nodes_info=self._discovered(self._manager),
                    last_failed_node_name=self._failed_node,
                )
        except (RedisClusterException, RedisError, OSError) as error:
            raise _translated(error) from None
        except IndexError:
            raise BrokerUnavailable("the nodes of the cluster serve no slots; it is not set up yet") from None
        except ODD:
            raise BrokerUnavailable("a cluster node returned an invalid list of nodes") from None
        finally:
            self._discovered_at = time.monotonic()
        self._failed_node = None
        self._generation += 1

    def _first_manager(self) -> NodesManager:
        # Discovered nodes do not replace the configured ones: all of them may be gone after a restart.
        return _Nodes(
            [ClusterNode(host, port) for host, port in self._nodes],
            from_url=True,  # make connections from a pool with our options
            dynamic_startup_nodes=False,
            address_remap=self.reachable,
            **self._options,
        )

    def _discovered(self, manager: NodesManager) -> list[Address]:
        nodes = [*manager.get_nodes_by_server_type("primary"), *manager.get_nodes_by_server_type("replica")]
        return [(node.host, node.port) for node in nodes]


def _node_of(manager: NodesManager, slot: int) -> ClusterNode | None:
    try:
        return manager.get_node_from_slot(slot)
    except (RedisClusterException, *ODD):
        return None


def _translated(error: Exception) -> BrokerError:
    """Return our error for redis-py's after it has asked every node; the last node's error is nested in it."""
    for cause in causes(error):
        match cause:
            case AuthenticationError():
                return LoginRefused(f"authentication failed: {first_line(cause)}")
            case NoPermissionError():
                return CommandDenied(first_line(cause))
            case ResponseError() if "cluster support disabled" in str(cause):
                return ServerRefused("the server is not part of a cluster; set QUEUE_DRIVER=redis")
            case RedisError() | OSError():
                return BrokerUnavailable(f"no node of the cluster answers; the last one asked: {first_line(cause)}")
            case _:
                continue
    return BrokerUnavailable(first_line(error))
