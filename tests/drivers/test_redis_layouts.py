"""Redis lists pass the conformance suite where there is more than one server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.drivers.conformance import DriverConformance
from tests.drivers.redis_layouts import ClusterLists, SentinelLists
from tests.drivers.redis_lists import SOURCES
from tests.helpers.redis_cluster import RedisCluster
from tests.helpers.redis_sentinel import RedisSentinels


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with RedisCluster() as started:
        yield started


@pytest.fixture(scope="module")
def sentinels() -> Iterator[RedisSentinels]:
    with RedisSentinels() as started:
        yield started


class TestCluster(DriverConformance):
    @pytest.fixture
    def queue(self, cluster: RedisCluster, cleanup: ExitStack) -> ClusterLists:
        lists = ClusterLists(cluster, cleanup, SOURCES[0])
        lists.client.flushall()
        return lists


class TestSentinel(DriverConformance):
    @pytest.fixture
    def queue(self, sentinels: RedisSentinels, cleanup: ExitStack) -> SentinelLists:
        lists = SentinelLists(sentinels, cleanup)
        lists.client.flushall()
        return lists
