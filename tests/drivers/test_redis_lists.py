"""Redis lists pass the conformance suite, on every supported server and under both spellings of the key."""

from __future__ import annotations

import pytest

from tests.drivers.batches import BatchConformance
from tests.drivers.conformance import DriverConformance
from tests.drivers.dead_letters import DeadLetterConformance
from tests.drivers.parking import ParkingConformance
from tests.drivers.redis_lists import SOURCES, RedisLists


class TestRedisLists(DriverConformance, DeadLetterConformance, ParkingConformance, BatchConformance):
    lets_suspects_wait = True

    @pytest.fixture(params=SOURCES)
    def queue(self, lists: RedisLists, request: pytest.FixtureRequest) -> RedisLists:
        lists.pushed = request.param
        return lists
