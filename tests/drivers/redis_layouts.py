"""Redis lists and Queue V2 under test where there is more than one server: a cluster, and a master behind Sentinels."""

from __future__ import annotations

from contextlib import ExitStack

from sockudo_queue.config import RedisClusterSettings, Settings
from sockudo_queue.core.secret import Secret
from sockudo_queue.drivers.redis.driver import RedisDriver
from sockudo_queue.drivers.redis.factory import link_of
from sockudo_queue.drivers.redis.link import Link
from tests.drivers.conformance import LEASE_SECONDS, RETENTION
from tests.drivers.redis_lists import SOURCES, TIMEOUT, LossyLists, RedisLists
from tests.drivers.redis_v2 import BASE, RedisV2
from tests.helpers.queue_v2 import Producer
from tests.helpers.redis_cluster import RedisCluster
from tests.helpers.redis_proxy import RedisProxy
from tests.helpers.redis_sentinel import RedisSentinels


def cluster_link(cluster: RedisCluster, *, timeout: float = TIMEOUT, **named: object) -> Link:
    """Return a link to a cluster; `named` are further settings of its group."""
    nodes = [Secret(f"redis://127.0.0.1:{node.port}") for node in cluster.nodes]
    group = RedisClusterSettings(nodes=nodes, request_timeout_ms=round(timeout * 1000), **named)
    return link_of(Settings(driver="redis-cluster", redis_cluster=group))


class ClusterLists(RedisLists):
    """One queue in a cluster: its two spellings are in two slots."""

    def __init__(self, cluster: RedisCluster, cleanup: ExitStack, pushed: str = SOURCES[0]) -> None:
        self.cluster = cluster
        self.client = cluster.shared_client
        self.pushed = pushed
        self._cleanup = cleanup

    def driver(self, *, lease: float = LEASE_SECONDS, retention: int = RETENTION) -> RedisDriver:
        return self.over(cluster_link(self.cluster), lease=lease, retention=retention)

    def lossy(self) -> LossyLists:
        """Put a proxy before the master of the list that is written to; the nodes do not know of it."""
        master = self.cluster.master_of(self.pushed)
        proxy = self._cleanup.enter_context(RedisProxy(master.port))
        link = cluster_link(self.cluster, address_map=[f"127.0.0.1:{master.port}=127.0.0.1:{proxy.port}"])
        return LossyLists(self.over(link, sources=(self.pushed,)), proxy)


class SentinelLists(RedisLists):
    """One queue on the master that Sentinels know of."""

    def __init__(self, sentinels: RedisSentinels, cleanup: ExitStack, pushed: str = SOURCES[0]) -> None:
        super().__init__(sentinels.master(), cleanup, pushed)
        self.sentinels = sentinels

    def driver(self, *, lease: float = LEASE_SECONDS, retention: int = RETENTION) -> RedisDriver:
        return self.over(sentinel_link(self.sentinels), lease=lease, retention=retention)


class ClusterV2(RedisV2):
    """One Queue V2 in a cluster, and the lists in other slots."""

    def __init__(self, cluster: RedisCluster, cleanup: ExitStack) -> None:
        self.cluster = cluster
        self.client = cluster.shared_client
        self.producer = Producer(self.client)
        self._cleanup = cleanup

    def link(self) -> Link:
        return cluster_link(self.cluster)

    def lossy(self) -> LossyLists:
        """Put a proxy before the master of the queue; the nodes do not know of it."""
        master = self.cluster.master_of(BASE)
        proxy = self._cleanup.enter_context(RedisProxy(master.port))
        link = cluster_link(self.cluster, address_map=[f"127.0.0.1:{master.port}=127.0.0.1:{proxy.port}"])
        return LossyLists(self.over(link, lists=()), proxy)


class SentinelV2(RedisV2):
    """One Queue V2 on the master that Sentinels know of."""

    def __init__(self, sentinels: RedisSentinels, cleanup: ExitStack) -> None:
        super().__init__(sentinels.master(), cleanup)
        self.sentinels = sentinels

    def link(self) -> Link:
        return sentinel_link(self.sentinels)


def sentinel_link(sentinels: RedisSentinels, *, timeout: float = TIMEOUT) -> Link:
    """Return a link that finds the master by the Sentinels."""
    return link_of(sentinels.settings(timeout))
