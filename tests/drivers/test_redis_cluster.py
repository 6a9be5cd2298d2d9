"""Faults of a cluster: lost nodes, moved slots, and a server that is not a cluster."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Final

import pytest
from redis.connection import ConnectionPool

from sockudo_queue.config import RedisClusterSettings, Settings
from sockudo_queue.core.secret import Secret
from sockudo_queue.drivers.base import Claim, RecordAudit, Retry, Settlement
from sockudo_queue.drivers.redis import replies
from sockudo_queue.drivers.redis.cluster import NodeLink
from sockudo_queue.drivers.redis.errors import LoginRefused, ServerRefused
from sockudo_queue.drivers.redis.factory import link_of
from sockudo_queue.drivers.redis.link import Link, connection_options
from sockudo_queue.drivers.redis.source import own_key
from sockudo_queue.drivers.redis.topology import Topology
from sockudo_queue.errors import BrokerRefused, BrokerUnavailable, SourceRefused, SourceUnavailable
from tests.drivers.conformance import deliver_all, take, take_all
from tests.drivers.redis_layouts import ClusterLists, ClusterV2, cluster_link
from tests.drivers.redis_lists import SOURCES, link_to
from tests.helpers.jobs import jobs
from tests.helpers.ports import free_port
from tests.helpers.redis_cluster import RedisCluster
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

SERVED, DOCUMENTED = SOURCES
ONCE_SECONDS: Final = 10.0  # far below what it takes to wait for a silent node with each of 200 claims


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    """Three masters alone, each of which serves its slots whatever becomes of the others."""
    with RedisCluster(replicas=False, extra=("--cluster-require-full-coverage", "no")) as started:
        yield started


@pytest.fixture
def lists(cluster: RedisCluster, cleanup: ExitStack) -> ClusterLists:
    """An empty queue whose two lists are on two nodes, wherever the test before has moved them."""
    queue = ClusterLists(cluster, cleanup)
    queue.client.flushall()
    documented = cluster.master_of(DOCUMENTED)
    if cluster.master_of(SERVED) is documented:
        cluster.move_slot(SERVED, next(node for node in cluster.nodes if node is not documented))
    return queue


@pytest.fixture
def elsewhere(cluster: RedisCluster, lists: ClusterLists) -> RedisServer:
    """The node that serves neither list."""
    masters = [cluster.master_of(key) for key in SOURCES]
    return next(node for node in cluster.nodes if node not in masters)


def test_a_node_of_the_settings_that_is_down_is_passed_over(cluster: RedisCluster) -> None:
    there = cluster.nodes[0].port
    nodes = tuple(Secret(f"redis://127.0.0.1:{port}") for port in (free_port(), there, free_port()))
    link = link_of(Settings(driver="redis-cluster", redis_cluster=RedisClusterSettings(nodes=nodes)))

    assert [link.call("LLEN", key, read=replies.count) for key in SOURCES] == [0, 0]
    link.close()


def test_nodes_that_were_discovered_are_asked_when_those_of_the_settings_are_gone(
    cluster: RedisCluster, elsewhere: RedisServer
) -> None:
    nodes = (Secret(f"redis://127.0.0.1:{elsewhere.port}"),)
    group = RedisClusterSettings(nodes=nodes, request_timeout_ms=300)
    link = link_of(Settings(driver="redis-cluster", redis_cluster=group))
    assert link.call("LLEN", SERVED, read=replies.count) == 0
    master = cluster.master_of(SERVED)
    elsewhere.pause()
    master.pause()
    try:
        with pytest.raises(BrokerUnavailable):
            link.call("LLEN", SERVED, read=replies.count)
        master.resume()
        eventually(lambda: _answers(link, SERVED), 5)
    finally:
        elsewhere.resume()
        master.resume()
    link.close()


def _answers(link: Link, key: str) -> bool:
    try:
        return bool(link.call("LLEN", key, read=replies.count) == 0)
    except BrokerUnavailable:
        return False


def test_refused_connection_is_unavailable_immediately() -> None:
    nodes = tuple(Secret(f"redis://127.0.0.1:{free_port()}") for _ in range(3))
    link = link_of(Settings(driver="redis-cluster", redis_cluster=RedisClusterSettings(nodes=nodes)))
    started = time.monotonic()

    with pytest.raises(BrokerUnavailable, match="no node of the cluster answers"):
        link.call("LLEN", SERVED, read=replies.count)
    assert time.monotonic() - started < 2.0


def test_a_node_that_takes_no_writes_is_a_fault_of_its_own_sources_alone(
    cluster: RedisCluster, lists: ClusterLists
) -> None:
    lists.push(*jobs(3))
    lists.client.rpush(DOCUMENTED, b"beside")
    driver = lists.driver()
    documented = cluster.master_of(DOCUMENTED)
    with documented.client() as client:
        client.config_set("min-replicas-to-write", 1)
        try:
            with pytest.raises(SourceRefused, match="NOREPLICAS"):
                driver.wait(DOCUMENTED, 0.1)
            assert [claim.body for claim in deliver_all(driver)] == jobs(3)
            assert driver.depth()["ready"] == 1
        finally:
            client.config_set("min-replicas-to-write", 0)
    eventually(lambda: take(driver).body == b"beside", 5)


@pytest.fixture(scope="module")
def announced() -> Iterator[tuple[RedisServer, int]]:
    """A cluster of one node that announces a port where nothing listens, as in a network of containers."""
    port = free_port()
    extra = ("--cluster-announce-port", str(port))
    with RedisCluster(masters=1, replicas=False, extra=extra) as started:
        yield started.nodes[0], port


def test_an_announced_address_that_cannot_be_reached_is_named(announced: tuple[RedisServer, int]) -> None:
    node, port = announced
    nodes = [Secret(f"redis://127.0.0.1:{node.port}")]
    advice = f"set QUEUE_REDIS_CLUSTER_ADDRESS_MAP=127.0.0.1:{port}=HOST:PORT"
    for entries, words in (
        ([], f"the cluster announces the node 127.0.0.1:{port}, which cannot be reached: .*{advice}"),
        ([f"127.0.0.1:{port}=127.0.0.1:1"], f"127.0.0.1:1, which QUEUE_REDIS_CLUSTER_ADDRESS_MAP .* 127.0.0.1:{port}"),
    ):
        group = RedisClusterSettings(nodes=nodes, address_map=entries)
        link = link_of(Settings(driver="redis-cluster", redis_cluster=group))
        for _ in range(2):
            with pytest.raises(BrokerUnavailable, match=words):
                link.call("LLEN", SERVED, read=replies.count)
        link.close()
    group = RedisClusterSettings(nodes=nodes, address_map=[f"127.0.0.1:{port}=127.0.0.1:{node.port}"])
    link = link_of(Settings(driver="redis-cluster", redis_cluster=group))
    assert link.call("LLEN", SERVED, read=replies.count) == 0
    link.close()


def test_a_configured_node_that_is_down_is_not_put_on_the_address_map() -> None:
    with RedisCluster(masters=1, replicas=False) as cluster:
        link = cluster_link(cluster)
        assert link.call("LLEN", SERVED, read=replies.count) == 0
        cluster.nodes[0].kill()
        for _ in range(3):
            with pytest.raises(BrokerUnavailable) as raised:
                link.call("LLEN", SERVED, read=replies.count)
            assert "ADDRESS_MAP" not in str(raised.value)


def test_audits_and_the_look_for_eviction_reach_every_node(
    cluster: RedisCluster, lists: ClusterLists, cleanup: ExitStack
) -> None:
    driver = ClusterV2(cluster, cleanup).driver()
    for source in SOURCES:
        lists.client.rpush(source, *jobs(2))
    for claim in take_all(driver):
        driver.settle([Settlement(claim, (Retry(b"{}", 3_600_000),))])
    lists.client.delete(own_key(SERVED, "delayed"))
    lists.client.delete(own_key(DOCUMENTED, "records"))
    assert driver.audit() == RecordAudit(0, 2, 0)
    assert driver.audit() == RecordAudit(0, 0, 0)

    with cluster.master_of(DOCUMENTED).client() as client:
        client.config_set("maxmemory-policy", "allkeys-lfu")
        [warning] = driver.peers.evictions()
        client.config_set("maxmemory-policy", "noeviction")
    assert "allkeys-lfu" in warning
    assert driver.peers.evictions() == []


def test_server_without_cluster_mode_is_reported(redis_server: RedisServer) -> None:
    nodes = (Secret(redis_server.url),)
    link = link_of(Settings(driver="redis-cluster", redis_cluster=RedisClusterSettings(nodes=nodes)))

    with pytest.raises(ServerRefused, match=r"set QUEUE_DRIVER=redis$"):
        link.call("LLEN", SERVED, read=replies.count)


def test_cluster_node_used_as_a_single_server_is_reported(elsewhere: RedisServer) -> None:
    link = link_to(elsewhere.port)

    assert link.call("PING", read=replies.PONG) == b"PONG"
    for command in (("LLEN", SERVED), ("PING",)):  # from the first redirection on, and whatever is asked
        with pytest.raises(BrokerRefused, match="set QUEUE_DRIVER=redis-cluster"):
            link.call(*command, read=replies.text)
    link.close()


def test_cluster_without_slots_is_reported() -> None:
    with RedisServer(extra=("--cluster-enabled", "yes")) as node:
        nodes = (Secret(node.url),)
        link = link_of(Settings(driver="redis-cluster", redis_cluster=RedisClusterSettings(nodes=nodes)))
        with pytest.raises(BrokerUnavailable, match="serve no slots"):
            link.call("LLEN", SERVED, read=replies.count)


def test_a_slot_that_was_moved_is_followed(cluster: RedisCluster, lists: ClusterLists, elsewhere: RedisServer) -> None:
    lists.push(*jobs(5))
    driver = lists.driver()
    first = take(driver)
    cluster.move_slot(SERVED, elsewhere)

    result = driver.next(Settlement(first))
    assert result.accepted
    assert result.claim is not None
    delivered = [first, result.claim]
    while (result := driver.next(Settlement(delivered[-1]))).claim is not None:
        delivered.append(result.claim)
    assert [claim.body for claim in delivered] == jobs(5)
    assert lists.is_empty()


def test_a_redirection_is_paid_once(cluster: RedisCluster, lists: ClusterLists, elsewhere: RedisServer) -> None:
    lists.push(*jobs(20))
    driver = lists.driver()
    delivered = [take(driver)]
    former = cluster.master_of(SERVED)
    cluster.move_slot(SERVED, elsewhere)
    before = _redirections(former)

    # Claims, settlements, a notifier (which has connections of its own) and counts: one of them learns it for all.
    assert driver.settle([Settlement(delivered[0])]) == [True]
    driver.wait(SERVED, 0.01)
    delivered += deliver_all(driver)
    assert driver.depth()["ready"] == 0

    assert [claim.body for claim in delivered] == jobs(20)
    assert _redirections(former) - before == 1


def _redirections(node: RedisServer) -> int:
    """Return how often a node has said that a slot is elsewhere."""
    with node.client() as client:
        errors: Any = client.info("errorstats")
    return int(errors.get("errorstat_MOVED", {"count": 0})["count"])


def test_waiting_notifier_follows_its_slot(cluster: RedisCluster, lists: ClusterLists, elsewhere: RedisServer) -> None:
    driver = lists.driver()
    driver.wait(SERVED, 0.01)
    has_work: list[int] = []

    def wait_for_work() -> None:
        while not has_work:
            if jobs_there := driver.wait(SERVED, 1.0):
                has_work.append(jobs_there)

    waiter = threading.Thread(target=wait_for_work)
    waiter.start()
    master = cluster.master_of(SERVED)
    with master.client() as client:
        eventually(lambda: client.info("clients")["blocked_clients"] == 1)
    cluster.move_slot(SERVED, elsewhere)
    lists.push(b"job")
    waiter.join(5)

    assert has_work == [1]


def test_while_a_slot_is_on_its_way_others_are_served_and_jobs_are_taken(
    cluster: RedisCluster, lists: ClusterLists, elsewhere: RedisServer
) -> None:
    lists.push(*jobs(3))
    driver = lists.driver()
    held = take(driver)
    source = cluster.master_of(SERVED)
    cluster.move_slot(SERVED, elsewhere, finish=False)

    driver.put(jobs(1, first=4)[0])  # RPUSH needs one key, and is taken
    lists.client.rpush(DOCUMENTED, b"other")
    others = take_all(driver)
    with pytest.raises(BrokerRefused, match="being moved to another node"):
        driver.settle([Settlement(held)])
    cluster.finish_move(SERVED, source, elsewhere)

    assert [claim.body for claim in others] == [b"other"]
    assert driver.settle([Settlement(held)]) == [True]
    # What refused is left alone for a moment; its notifier is not.
    rest = [claim.body for claim in eventually(lambda: deliver_all(driver), 5)]
    assert rest == [*jobs(2, first=2), *jobs(1, first=4)]


def test_silent_master_blocks_no_other_source(cluster: RedisCluster, lists: ClusterLists) -> None:
    silent = cluster.master_of(DOCUMENTED)
    driver = lists.over(cluster_link(cluster, timeout=1.0))
    lists.push(*jobs(200))
    held = take(driver)
    silent.pause()
    try:
        with pytest.raises(SourceUnavailable):
            driver.wait(DOCUMENTED, 0.1)
        started = time.monotonic()
        assert len(take_all(driver)) == 199
        lists.push(b"late")
        assert take(driver).body == b"late"
        assert driver.renew([held]) == [True]
        assert time.monotonic() - started < ONCE_SECONDS
    finally:
        silent.resume()
    lists.client.rpush(DOCUMENTED, b"back")
    driver.wait(DOCUMENTED, 0.1)
    assert take(driver).body == b"back"


def test_outage_replaces_an_earlier_refusal(cluster: RedisCluster, lists: ClusterLists) -> None:
    """Or the notifier would go on reporting the refusal, and never that the server is away, or that it is back."""
    lists.client.set(DOCUMENTED, "no list")
    driver = lists.over(cluster_link(cluster, timeout=1.0))
    assert driver.next(None).claim is None
    master = cluster.master_of(DOCUMENTED)
    master.pause()
    try:
        with pytest.raises(SourceRefused):
            driver.wait(DOCUMENTED, 0.0)
        with pytest.raises(SourceUnavailable):
            driver.renew([Claim(DOCUMENTED, "id/1", b"", b"", 0, 0)])
        with pytest.raises(SourceUnavailable):
            driver.wait(DOCUMENTED, 0.0)
    finally:
        master.resume()
    with pytest.raises(SourceRefused):
        driver.wait(DOCUMENTED, 0.0)


def test_a_push_whose_answer_is_lost_is_not_repeated(lists: ClusterLists) -> None:
    lossy = lists.lossy()
    lossy.lose_reply()
    with pytest.raises(BrokerUnavailable):
        lossy.driver.put(b"job")

    assert lists.client.lrange(SERVED, 0, -1) == [b"job"]


def test_a_refused_login_says_so_without_the_password() -> None:
    with RedisServer(password="RIGHT-CANARY", extra=("--cluster-enabled", "yes")) as node:
        for password in (None, Secret("WRONG-CANARY")):
            group = RedisClusterSettings(nodes=(Secret(f"127.0.0.1:{node.port}"),), password=password)
            link = link_of(Settings(driver="redis-cluster", redis_cluster=group))
            with pytest.raises(BrokerRefused, match="authentication failed") as caught:
                link.call("LLEN", SERVED, read=replies.count)
            assert "CANARY" not in str(caught.value)
            assert isinstance(caught.value, LoginRefused), "it is no refusal of one form of the queue"


def test_an_announced_host_with_braces_is_named_as_it_is(unused_port: int) -> None:
    announced = "node-{0}.x{y}"
    text = Topology([("127.0.0.1", unused_port)], {}, {}).unreachable((announced, unused_port))
    pool = ConnectionPool(host="127.0.0.1", port=unused_port, **connection_options(1.0))

    with pytest.raises(BrokerUnavailable, match=re.escape(f"announces the node {announced}:{unused_port}, which")):
        NodeLink(pool, None, text).call("PING", read=replies.PONG)
