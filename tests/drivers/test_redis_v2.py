"""Queue V2 passes the conformance suite, on every supported server."""

from __future__ import annotations

import pytest

from tests.drivers.batches import BatchConformance
from tests.drivers.conformance import DriverConformance
from tests.drivers.dead_letters import DeadLetterConformance
from tests.drivers.parking import ParkingConformance
from tests.drivers.redis_v2 import RedisV2


class TestRedisV2(DriverConformance, DeadLetterConformance, ParkingConformance, BatchConformance):
    lets_suspects_wait = True

    @pytest.fixture
    def queue(self, v2: RedisV2) -> RedisV2:
        return v2
