"""Redis lists and Queue V2, with their dead letters, pass the conformance suite where there is more than one server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from sockudo_queue.config import RedisClusterSettings, SentinelNode, SentinelSettings, Settings
from sockudo_queue.core.controls import ControlState
from sockudo_queue.core.secret import Secret
from sockudo_queue.drivers.redis import replies
from sockudo_queue.drivers.redis.controls import RedisControls
from sockudo_queue.drivers.redis.factory import link_of
from sockudo_queue.drivers.redis.link import Link
from sockudo_queue.errors import BrokerUnavailable
from tests.drivers.batches import BatchConformance
from tests.drivers.conformance import DriverConformance
from tests.drivers.dead_letters import DeadLetterConformance
from tests.drivers.parking import ORDERS, ParkingConformance
from tests.drivers.redis_layouts import ClusterLists, ClusterV2, SentinelLists, SentinelV2, cluster_link
from tests.drivers.redis_lists import PREFIX, SOURCES
from tests.helpers.redis_binaries import LAYOUT_KINDS
from tests.helpers.redis_cluster import RedisCluster
from tests.helpers.redis_sentinel import RedisSentinels
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually


@pytest.fixture(scope="module", params=LAYOUT_KINDS)
def cluster(request: pytest.FixtureRequest) -> Iterator[RedisCluster]:
    with RedisCluster(request.param) as started:
        yield started


@pytest.fixture(scope="module", params=LAYOUT_KINDS)
def sentinels(request: pytest.FixtureRequest) -> Iterator[RedisSentinels]:
    with RedisSentinels(request.param) as started:
        yield started


class TestCluster(DriverConformance, DeadLetterConformance, ParkingConformance, BatchConformance):
    lets_suspects_wait = True

    @pytest.fixture
    def queue(self, cluster: RedisCluster, cleanup: ExitStack) -> ClusterLists:
        lists = ClusterLists(cluster, cleanup, SOURCES[0])
        lists.client.flushall()
        return lists


class TestSentinel(DriverConformance, DeadLetterConformance):
    lets_suspects_wait = True

    @pytest.fixture
    def queue(self, sentinels: RedisSentinels, cleanup: ExitStack) -> SentinelLists:
        lists = SentinelLists(sentinels, cleanup)
        lists.client.flushall()
        return lists


class TestClusterV2(DriverConformance, DeadLetterConformance, ParkingConformance, BatchConformance):
    lets_suspects_wait = True

    @pytest.fixture
    def queue(self, cluster: RedisCluster, cleanup: ExitStack) -> ClusterV2:
        v2 = ClusterV2(cluster, cleanup)
        v2.client.flushall()
        return v2


class TestSentinelV2(DriverConformance, DeadLetterConformance):
    lets_suspects_wait = True

    @pytest.fixture
    def queue(self, sentinels: RedisSentinels, cleanup: ExitStack) -> SentinelV2:
        v2 = SentinelV2(sentinels, cleanup)
        v2.client.flushall()
        return v2


def test_a_cluster_shares_what_operators_decide(cluster: RedisCluster, cleanup: ExitStack) -> None:
    cluster.shared_client.flushall()
    links = [cluster_link(cluster) for _ in range(2)]
    for each in links:
        cleanup.callback(each.close)
    first, second = (RedisControls(each, PREFIX) for each in links)
    assert first.pause(ORDERS, "ann")
    assert set(second.read().pauses) == {ORDERS}
    assert second.resume(ORDERS, "bob")
    assert first.read() == ControlState()


def test_discovered_nodes_are_reported_as_they_become_known(cluster: RedisCluster) -> None:
    """The first node knows the masters at once, but learns only gradually which other nodes are replicas."""
    reported: set[tuple[str, int]] = set()
    nodes = (Secret(f"redis://127.0.0.1:{cluster.nodes[0].port}"),)
    address_map = [f"127.0.0.1:{cluster.nodes[1].port}=localhost:{cluster.nodes[1].port}"]
    group = RedisClusterSettings(nodes=nodes, address_map=address_map)
    settings = Settings(driver="redis-cluster", redis_cluster=group)
    there = {("127.0.0.1", node.port) for node in cluster.nodes} | {("localhost", cluster.nodes[1].port)}
    check_reported(link_of(settings, lambda *address: reported.add(address)), reported, there)


def test_master_and_replica_known_only_to_sentinels_are_reported(sentinels: RedisSentinels) -> None:
    reported: set[tuple[str, int]] = set()
    link = link_of(sentinels.settings(), lambda *address: reported.add(address))
    link.call("PING", read=replies.PONG)
    assert ("127.0.0.1", sentinels.master().port) in reported
    check_reported(link, reported, {("127.0.0.1", server.port) for server in sentinels.servers})


def test_server_used_as_a_sentinel_is_reported(redis_server: RedisServer) -> None:
    node = SentinelNode(host="127.0.0.1", port=redis_server.port)
    link = link_of(Settings(sentinel=SentinelSettings(nodes=(node,), name="hooks")))
    with pytest.raises(BrokerUnavailable, match=rf"127\.0\.0\.1:{node.port} one is a server, not a Sentinel"):
        link.call("PING", read=replies.PONG)
    link.close()


def check_reported(link: Link, reported: set[tuple[str, int]], there: set[tuple[str, int]]) -> None:
    def all_are_reported() -> bool:
        link.discover_servers()
        return reported == there

    eventually(all_are_reported, 20)
    link.close()
