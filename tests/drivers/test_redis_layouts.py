"""Redis lists and Queue V2, with their dead letters, pass the conformance suite where there is more than one server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.drivers.conformance import DriverConformance
from tests.drivers.dead_letters import DeadLetterConformance
from tests.drivers.redis_layouts import ClusterLists, ClusterV2, SentinelLists, SentinelV2
from tests.drivers.redis_lists import SOURCES
from tests.helpers.redis_binaries import LAYOUT_KINDS
from tests.helpers.redis_cluster import RedisCluster
from tests.helpers.redis_sentinel import RedisSentinels


@pytest.fixture(scope="module", params=LAYOUT_KINDS)
def cluster(request: pytest.FixtureRequest) -> Iterator[RedisCluster]:
    with RedisCluster(request.param) as started:
        yield started


@pytest.fixture(scope="module", params=LAYOUT_KINDS)
def sentinels(request: pytest.FixtureRequest) -> Iterator[RedisSentinels]:
    with RedisSentinels(request.param) as started:
        yield started


class TestCluster(DriverConformance, DeadLetterConformance):
    @pytest.fixture
    def queue(self, cluster: RedisCluster, cleanup: ExitStack) -> ClusterLists:
        lists = ClusterLists(cluster, cleanup, SOURCES[0])
        lists.client.flushall()
        return lists


class TestSentinel(DriverConformance, DeadLetterConformance):
    @pytest.fixture
    def queue(self, sentinels: RedisSentinels, cleanup: ExitStack) -> SentinelLists:
        lists = SentinelLists(sentinels, cleanup)
        lists.client.flushall()
        return lists


class TestClusterV2(DriverConformance, DeadLetterConformance):
    @pytest.fixture
    def queue(self, cluster: RedisCluster, cleanup: ExitStack) -> ClusterV2:
        v2 = ClusterV2(cluster, cleanup)
        v2.client.flushall()
        return v2


class TestSentinelV2(DriverConformance, DeadLetterConformance):
    @pytest.fixture
    def queue(self, sentinels: RedisSentinels, cleanup: ExitStack) -> SentinelV2:
        v2 = SentinelV2(sentinels, cleanup)
        v2.client.flushall()
        return v2
