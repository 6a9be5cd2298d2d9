"""A real Redis Cluster as child processes: masters with a replica each; slots can be moved manually."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final, Self

import redis
from redis.crc import key_slot

from tests.helpers.redis_binaries import ServerKind
from tests.helpers.redis_server import GIVEN_UP_LATE_MS, RedisServer
from tests.helpers.redis_tls import ServerTls
from tests.helpers.waiting import eventually

SLOTS: Final = 16_384
FORM_SECONDS: Final = 30.0
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
            _cluster_command(node, "SET-CONFIG-EPOCH", number + 1)
            share = range(SLOTS * number // self._masters, SLOTS * (number + 1) // self._masters)
            _cluster_command(node, "ADDSLOTS", *share)
        for node in others:
            _cluster_command(first, "MEET", "127.0.0.1", node.port)
        eventually(self._all_know_all, FORM_SECONDS, self.log)
        for master, replica in zip(self.nodes, self.nodes[self._masters :], strict=False):
            _cluster_command(replica, "REPLICATE", node_id(master))
        eventually(lambda: all(map(is_up, self.nodes)) and self._in_sync(), FORM_SECONDS, self.log)
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
        return redis.RedisCluster(host="127.0.0.1", port=port, password=self.nodes[0].password, protocol=2, **options)

    def move_slot(self, key: str, target: RedisServer, *, finish: bool = True) -> None:
        """Move a key's slot with all its keys, one after the other, as an operator does manually."""
        source, slot = self.master_of(key), key_slot(key.encode())
        _cluster_command(target, "SETSLOT", slot, "IMPORTING", node_id(source))
        _cluster_command(source, "SETSLOT", slot, "MIGRATING", node_id(target))
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
                _cluster_command(node, "SETSLOT", slot, "NODE", node_id(target))

    def log(self) -> str:
        """Return the end of every node's log."""
        return "\n".join(f"--- {node.port}\n" + node.log()[-1500:] for node in self.nodes)

    def close(self) -> None:
        """Stop every node and remove its data."""
        for node in self.nodes:
            node.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _all_know_all(self) -> bool:
        return all(_info(node)["cluster_known_nodes"] == str(len(self.nodes)) for node in self.nodes)

    def _in_sync(self) -> bool:
        replicas = self.nodes[self._masters :]
        return all(_replication(node).get("master_link_status") == "up" for node in replicas)


def is_up(node: RedisServer) -> bool:
    """Return whether a node considers the cluster complete."""
    return _info(node)["cluster_state"] == "ok"


def serves(node: RedisServer, key: str) -> bool:
    """Return whether a node considers itself the master of a key."""
    slot = key_slot(key.encode())
    port = node.port
    return any(first <= slot <= last and at[1] == port for first, last, at, *_ in _cluster_command(node, "SLOTS"))


def node_id(node: RedisServer) -> str:
    """Return a node's name in the cluster."""
    return str(_cluster_command(node, "MYID").decode())


def _info(node: RedisServer) -> dict[str, str]:
    return dict(line.split(":", 1) for line in _cluster_command(node, "INFO").decode().split("\r\n") if line)


def _flags(node: RedisServer) -> str:
    own = next(line for line in _cluster_command(node, "NODES").decode().splitlines() if "myself" in line)
    return str(own.split()[2])


def _replication(node: RedisServer) -> dict[str, str]:
    with node.client() as client:
        return {name: str(value) for name, value in client.info("replication").items()}


def _cluster_command(node: RedisServer, *command: Any) -> Any:
    with node.client() as client:
        connection = client.connection_pool.get_connection()
        connection.send_command("CLUSTER", *command)  # the raw answer, without redis-py's conversions
        return connection.read_response(disable_decoding=True)
