"""Builds the configured driver; no other module names a concrete driver.

Each driver is imported only when it is configured: importing boto3 takes as long as all other imports together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from sockudo_queue.config import Settings
from sockudo_queue.drivers.base import Driver
from sockudo_queue.errors import SettingsError
from sockudo_queue.history.store import HistoryStore


def make_driver(settings: Settings, on_server: Callable[[str, int], object] | None = None) -> Driver:
    """Return the configured driver without connecting it. Raises `SettingsError`.

    `on_server` is called with host and port of each queue server that is discovered through the configured ones, such
    as the nodes of a cluster. It may be called from any thread, and repeatedly for the same server.
    """
    match settings.driver:
        case "none":
            from sockudo_queue.drivers.none import NoneDriver

            return NoneDriver()
        case "memory":
            from sockudo_queue.drivers.memory import MemoryDriver

            reliability = settings.reliability
            return MemoryDriver(
                capacity=reliability.memory_capacity,
                max_bytes=settings.memory.max_bytes,
                lease_ms=reliability.lease_duration_ms,
                dead_retention=reliability.failed_retention,
            )
        case "sqs":
            from sockudo_queue.drivers.sqs.factory import make_sqs_driver

            return make_sqs_driver(settings)
        case "redis" | "redis-cluster":
            from sockudo_queue.drivers.redis.factory import make_redis_driver

            return make_redis_driver(settings) if on_server is None else make_redis_driver(settings, on_server)
        case _:
            assert_never(settings.driver)


def make_history(settings: Settings) -> HistoryStore:
    """Return the attempt history store of the configured driver; it has its own connection to the queue."""
    length, mode = settings.history.length, settings.history.mode
    if settings.driver in ("redis", "redis-cluster"):
        from sockudo_queue.drivers.redis.factory import make_redis_history

        return make_redis_history(settings)
    from sockudo_queue.drivers.ring_history import RingHistory

    return RingHistory(length=length, mode=mode)


def region_of(settings: Settings) -> str:
    """Return the AWS region that the driver `sqs` uses. Raises `SettingsError` if the settings name two."""
    from sockudo_queue.drivers.sqs.factory import region_of as region_called

    return region_called(settings)


def producer_rule_of(settings: Settings) -> str:
    """Return the ACL rule with which Sockudo 5 can enqueue but not claim. Raises `SettingsError`."""
    rule = None
    if settings.driver in ("redis", "redis-cluster"):
        from sockudo_queue.drivers.redis.factory import make_producer_rule

        rule = make_producer_rule(settings)
    if rule is None:
        raise SettingsError(["check --acl: there is no Queue V2 with this queue.driver and prefix"])
    return rule
