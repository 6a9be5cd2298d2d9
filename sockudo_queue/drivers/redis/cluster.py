"""Sends commands to a Redis Cluster, each to the current master of its key's slot.

Commands use one link per node instead of redis-py's `RedisCluster`. With `Retry(NoBackoff(), 0)` that class also sends
a command only once, but a call takes 84 us instead of 43 us, and during an outage it searches the whole cluster before
it reports the node that does not answer. Following a redirection is not a retry: the redirecting node has executed
nothing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from redis.connection import AbstractConnection, ConnectionPool
from redis.crc import key_slot

from sockudo_queue.config import Settings
from sockudo_queue.core.ports import REDIS_PORT
from sockudo_queue.core.secret import Secret
from sockudo_queue.drivers.redis import replies
from sockudo_queue.drivers.redis.connections import is_insecure, is_tls, login_options, tls_options, url_options
from sockudo_queue.drivers.redis.errors import Redirected, SlotBusy
from sockudo_queue.drivers.redis.link import (
    LATE_SECONDS,
    OnServer,
    RedisLink,
    Script,
    connection_options,
    ignore_server,
)
from sockudo_queue.drivers.redis.replies import Reader
from sockudo_queue.drivers.redis.topology import Address, Topology
from sockudo_queue.errors import BrokerError, BrokerUnavailable

ANSWER_SECONDS: Final = 1.0
"""Longest wait for one node's description of the cluster: it answers from memory, and other nodes can be asked."""
MAX_REDIRECTIONS: Final = 5
BUSY_SECONDS: Final = 1.0
"""How long a call retries while its slot migrates to another node, before it fails."""
BUSY_PAUSE: Final = 0.02

T = TypeVar("T")


class NodeLink(RedisLink):
    """Commands to one node; a redirection is not an error here."""

    is_alone = False

    def __init__(self, pool: ConnectionPool, response_timeout: float | None, unreachable: tuple[str, str]) -> None:
        """`unreachable` holds the text before and the text after the reason in the error for an unreachable node."""
        super().__init__(pool, response_timeout)
        self._unreachable = unreachable

    def _connect(self) -> AbstractConnection:
        try:
            return super()._connect()
        except BrokerUnavailable as error:
            before, behind = self._unreachable
            raise BrokerUnavailable(before + str(error).rstrip(".") + behind) from None


class ClusterLink:
    """Connections to all nodes of one cluster. Safe from any thread."""

    is_apart = True

    def __init__(self, topology: Topology, options: Mapping[str, Any], response_timeout: float | None = None) -> None:
        self._topology = topology
        self._options = options
        self._response_timeout = response_timeout
        self._links: dict[Address, RedisLink] = {}

    def call(self, *command: Any, near: str | None = None, read: Reader[T]) -> T:
        """Send one command to the master of the slot of `near`, or of the command's first argument."""
        key = command[1] if near is None else near
        return self._follow(key, lambda link, asking: link.call(*command, read=read, asking=asking))

    def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | int], *, read: Reader[T]) -> T:
        """Run a script on the master of the slot of its keys."""
        return self._follow(keys[0], lambda link, asking: link.run(script, keys, arguments, read=read, asking=asking))

    def with_timeout(self, response_timeout: float) -> ClusterLink:
        """Return a link to the same cluster for commands that block, with connections of its own."""
        return ClusterLink(self._topology, self._options, response_timeout)

    def discover_servers(self) -> None:
        """Ask for the current nodes and report each of them to `on_server`."""
        with contextlib.suppress(BrokerError):  # only the webhook address guard uses the result
            for announced in self.call("CLUSTER", "SLOTS", near="", read=replies.nodes):
                self._topology.reachable(announced)

    def close(self) -> None:
        """Disconnect idle connections; a connection in use closes when its call ends."""
        for link in list(self._links.values()):
            link.close()

    def _follow(self, key: str, ask: Callable[[RedisLink, bool], T]) -> T:
        """Call `ask`, and retry while the slot's keys are split between two nodes; nothing has run in that case."""
        slot = key_slot(key.encode())
        give_up_at = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                return self._ask_master(slot, ask)
            except SlotBusy:
                if time.monotonic() > give_up_at:
                    raise
            time.sleep(BUSY_PAUSE)

    def _ask_master(self, slot: int, ask: Callable[[RedisLink, bool], T]) -> T:
        """Ask the slot's master and follow its redirections."""
        address, generation = self._topology.master_of(slot)
        asking = False
        for _ in range(MAX_REDIRECTIONS):
            began = time.monotonic()
            try:
                answer = ask(self._link_to(address), asking)
            except Redirected as to:
                address, asking = self._topology.reachable((to.host or address[0], to.port)), to.once
                if not asking:
                    self._topology.moved(slot, address)
            except BrokerUnavailable:
                self._topology.invalidate(generation, address)
                raise
            else:
                if time.monotonic() - began > LATE_SECONDS and self._topology.has_another_master(slot, address):
                    raise BrokerUnavailable("{}:{} is no longer the master".format(*address))
                return answer
        self._topology.invalidate(generation)
        raise BrokerUnavailable("the nodes of the cluster do not agree which node serves the slot of the queue")

    def _link_to(self, address: Address) -> RedisLink:
        link = self._links.get(address)
        if link is None:
            host, port = address
            pool = ConnectionPool(host=host, port=port, **self._options)
            link = self._links.setdefault(
                address, NodeLink(pool, self._response_timeout, self._topology.unreachable(address))
            )
        return link


def cluster_link(settings: Settings, on_server: OnServer = ignore_server) -> ClusterLink:
    """Return the link to the configured cluster. Raises `SettingsError` for unusable certificate files."""
    cluster = settings.redis_cluster
    urls = [url_options(node) for node in cluster.nodes]
    login = next((url for url in urls if "credential_provider" in url), None)
    options = login_options(cluster) if login is None else {"credential_provider": login["credential_provider"]}
    options |= tls_options(
        settings,
        uses_tls=cluster.use_tls or settings.master_tls.enabled or any(map(is_tls, cluster.nodes)),
        insecure=any(map(is_insecure, cluster.nodes)),
    )
    timeout = cluster.request_timeout_ms / 1000
    topology = Topology(
        [(url["host"], url.get("port", REDIS_PORT)) for url in urls],
        options | connection_options(min(timeout, ANSWER_SECONDS)),
        dict(_mapping(entry) for entry in cluster.address_map),
        on_server,
    )
    return ClusterLink(topology, options | connection_options(timeout))


def _mapping(entry: str) -> tuple[tuple[str, int | None], tuple[str, int | None]]:
    announced, _, reachable = entry.partition("=")
    return _address(announced), _address(reachable)


def _address(text: str) -> tuple[str, int | None]:
    parts = url_options(Secret(f"redis://{text}"))
    return parts["host"], parts.get("port")
