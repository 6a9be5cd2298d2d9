"""A real Redis Cluster as child processes: masters with a replica each; slots can be moved manually."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final, Self

import redis
from redis.crc import key_slot

from tests.helpers.redis_binaries import ServerKind
from tests.helpers.redis_server import DRIVER_INFO, GIVEN_UP_LATE_MS, RedisServer, fields
from tests.helpers.redis_tls import ServerTls
from tests.helpers.waiting import eventually

SLOTS: Final = 16_384
FORM_SECONDS: Final = 30.0
FORM_PAUSE: Final = 0.02
FAILOVER_SECONDS: Final = 20.0


class RedisCluster:
    """Some masters, by default with one replica each, that serve all slots. `close` stops every process.

    A node that is silent for `node_timeout_ms` is considered failed; then its replica takes over.
    """

    def __init__(
        self,
        kind: ServerKind = ServerKind.VALKEY,
        *,
        masters: int = 3,
        replicas: bool = True,
        password: str | None = None,
        tls: ServerTls | None = None,
        node_timeout_ms: int = GIVEN_UP_LATE_MS,
        extra: Sequence[str] = (),
    ) -> None:
        options = ["--cluster-enabled", "yes", "--cluster-node-timeout", str(node_timeout_ms)]
        # A replica may take over however long its master has been away.
        options += ["--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0", *extra]
        if password is not None:
            options += ["--masterauth", password]
        if tls is not None:
            options += ["--tls-cluster", "yes"]
        self._masters = masters
        self._shared_client: redis.RedisCluster | None = None
        count = masters * 2 if replicas else masters
        self.nodes = [RedisServer(kind, password=password, tls=tls, extra=tuple(options)) for _ in range(count)]

    @property
    def addresses(self) -> str:
        """Return the nodes in the format of the setting."""
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> Self:
        """Start the nodes, form a cluster and wait until every node considers it complete."""
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(RedisServer.start, self.nodes))
        first, *others = self.nodes
        for number, node in enumerate(self.nodes[: self._masters]):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            share = range(SLOTS * number // self._masters, SLOTS * (number + 1) // self._masters)
            node.ask("CLUSTER", "ADDSLOTS", *share)
        for node in others:
            first.ask("CLUSTER", "MEET", "127.0.0.1", node.port)
        eventually(self._all_know_all, FORM_SECONDS, self.log, pause=FORM_PAUSE)
        for master, replica in zip(self.nodes, self.nodes[self._masters :], strict=False):
            replica.ask("CLUSTER", "REPLICATE", node_id(master))
        eventually(self._is_formed, FORM_SECONDS, self.log, pause=FORM_PAUSE)
        return self

    def master_of(self, key: str, *, within: float = FAILOVER_SECONDS) -> RedisServer:
        """Return the node that considers itself the master of a key; an election takes a few seconds."""
        serving = eventually(lambda: [node for node in self.answering if serves(node, key)], within, self.log)
        return serving[0]

    def masters(self) -> list[RedisServer]:
        """Return the nodes that report to be masters."""
        return [node for node in self.answering if "master" in _flags(node)]

    @property
    def answering(self) -> list[RedisServer]:
        """Return the nodes that are neither dead nor frozen."""
        return [node for node in self.nodes if node.answers]

    def client(self, **options: Any) -> redis.RedisCluster:
        """Return redis-py's own cluster client, for producers."""
        port = next(node.port for node in self.nodes if node.answers)
        settings: dict[str, Any] = {"password": self.nodes[0].password, "protocol": 2, "driver_info": DRIVER_INFO}
        return redis.RedisCluster(host="127.0.0.1", port=port, **settings | options)

    @property
    def shared_client(self) -> redis.RedisCluster:
        """Return a client for all tests that use this cluster: each new one reads the table of all commands first."""
        if self._shared_client is None:
            self._shared_client = self.client()
        return self._shared_client

    def move_slot(self, key: str, target: RedisServer, *, finish: bool = True) -> None:
        """Move a key's slot with all its keys, one after the other, as an operator does manually."""
        source, slot = self.master_of(key), key_slot(key.encode())
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", node_id(source))
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", node_id(target))
        if finish:
            self.finish_move(key, source, target)

    def finish_move(self, key: str, source: RedisServer, target: RedisServer) -> None:
        """Move the keys of a slot, and the slot."""
        slot = key_slot(key.encode())
        password = ["AUTH", source.password] if source.password else []
        with source.client() as client:
            while keys := client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 10):
                for each in keys:
                    client.execute_command("MIGRATE", "127.0.0.1", target.port, each, 0, 5000, *password)
        for node in (target, source, *self.nodes):
            if node.answers and "master" in _flags(node):
                node.ask("CLUSTER", "SETSLOT", slot, "NODE", node_id(target))

    def log(self) -> str:
        """Return the end of every node's log."""
        return "\n".join(f"--- {node.port}\n" + node.log()[-1500:] for node in self.nodes)

    def close(self) -> None:
        """Stop every node and remove its data."""
        if self._shared_client is not None:
            self._shared_client.close()
        for node in self.nodes:
            node.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _all_know_all(self) -> bool:
        return all(_info(node)["cluster_known_nodes"] == str(len(self.nodes)) for node in self.nodes)

    def _is_formed(self) -> bool:
        replicas = self.nodes[self._masters :]
        return all(map(is_up, self.nodes)) and all(
            node.replication().get("master_link_status") == "up" for node in replicas
        )


def is_up(node: RedisServer) -> bool:
    """Return whether a node considers the cluster complete."""
    return _info(node)["cluster_state"] == "ok"


def serves(node: RedisServer, key: str) -> bool:
    """Return whether a node considers itself the master of a key."""
    slot = key_slot(key.encode())
    port = node.port
    return any(first <= slot <= last and at[1] == port for first, last, at, *_ in node.ask("CLUSTER", "SLOTS"))


def node_id(node: RedisServer) -> str:
    """Return a node's name in the cluster."""
    return str(node.ask("CLUSTER", "MYID").decode())


def _info(node: RedisServer) -> dict[str, str]:
    return fields(node.ask("CLUSTER", "INFO"))


def _flags(node: RedisServer) -> str:
    own = next(line for line in node.ask("CLUSTER", "NODES").decode().splitlines() if "myself" in line)
    return str(own.split()[2])
