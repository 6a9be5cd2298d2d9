"""Servers and queues for the tests of drivers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.drivers.redis_lists import RedisLists
from tests.drivers.redis_v2 import RedisV2
from tests.helpers.ports import free_port
from tests.helpers.redis_binaries import KINDS
from tests.helpers.redis_server import RedisServer


@pytest.fixture(scope="session", params=KINDS)
def any_redis(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """Each of the servers that are supported, one after the other."""
    with RedisServer(request.param) as server:
        yield server


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def lists(any_redis: RedisServer, cleanup: ExitStack) -> RedisLists:
    """An empty queue in each of the servers, written to as Sockudo does."""
    queue = RedisLists(any_redis, cleanup)
    queue.client.flushall()
    queue.client.script_flush()
    queue.client.config_set("maxmemory", 0)
    return queue


@pytest.fixture
def v2(any_redis: RedisServer, cleanup: ExitStack) -> RedisV2:
    """An empty Queue V2 in each of the servers."""
    queue = RedisV2(any_redis, cleanup)
    queue.client.flushall()
    queue.client.script_flush()
    queue.client.config_set("maxmemory", 0)
    return queue


@pytest.fixture
def unused_port() -> int:
    return free_port()
