"""How many tests of the suites every driver passes at least, on the servers that every machine of CI has.

`tests/conftest.py` counts them and fails where CI is set and there are fewer, for whatever reason: a server that was
not found, removed parameters, a class that is no longer collected. New tests raise a number; lowering one
withdraws a promise about that driver.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

FLOORS: Final = {
    "tests/drivers/test_memory.py::TestMemory": 120,
    "tests/drivers/test_redis_layouts.py::TestCluster": 120,
    "tests/drivers/test_redis_layouts.py::TestClusterV2": 120,
    "tests/drivers/test_redis_layouts.py::TestSentinel": 112,
    "tests/drivers/test_redis_layouts.py::TestSentinelV2": 112,
    "tests/drivers/test_redis_lists.py::TestRedisLists": 720,  # three servers, two spellings of the key
    "tests/drivers/test_redis_v2.py::TestRedisV2": 360,
    "tests/drivers/test_sqs.py::TestFifo": 105,
    "tests/drivers/test_sqs.py::TestStandard": 105,
}


def driver_of(node_id: str) -> str:
    """Return what a test is counted for: its class. Parameters may hold colons, too."""
    return "::".join(node_id.split("::")[:2])


def too_few(passed: Mapping[str, int]) -> list[str]:
    """Return a line for each driver that has passed fewer tests than it must."""
    return [
        f"{driver}: {passed.get(driver, 0)} tests of the suites of all drivers have passed, and at least {floor} must"
        for driver, floor in FLOORS.items()
        if passed.get(driver, 0) < floor
    ]
