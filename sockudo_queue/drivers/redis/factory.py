"""Builds the driver for Redis, Redis Cluster or Sentinel from the settings."""

from __future__ import annotations

from sockudo_queue.config import Settings
from sockudo_queue.drivers.redis.at_most_once import RedisAtMostOnceDriver
from sockudo_queue.drivers.redis.connections import server_pool
from sockudo_queue.drivers.redis.driver import RedisDriver
from sockudo_queue.drivers.redis.history import RedisHistory
from sockudo_queue.drivers.redis.link import Link, OnServer, RedisLink, ignore_server
from sockudo_queue.drivers.redis.lists import ListSource, source_keys
from sockudo_queue.drivers.redis.peers import producer_rule
from sockudo_queue.drivers.redis.queue_v2 import V2Source, v2_base
from sockudo_queue.drivers.redis.source import BLOCK_MARGIN, BLOCK_SECONDS, RedisSource, SourceOptions


def make_redis_driver(settings: Settings, on_server: OnServer = ignore_server) -> RedisDriver:
    """Return a driver for every queue format that the configured Redis may hold; nothing is connected yet."""
    redis, reliability = settings.redis, settings.reliability
    link = link_of(settings, on_server)
    blocking_link = link.with_timeout(BLOCK_SECONDS + BLOCK_MARGIN)
    terms = SourceOptions(
        reliability.lease_duration_ms,
        reliability.failed_retention,
        reliability.completed_retention,
        reliability.event_retention,
        max(settings.retry.max_backoff_ms, settings.delivery.breaker_max_open_ms),
    )
    prefix = _prefix_of(settings)
    lists = source_keys(prefix, redis.queue_name)
    if redis.delivery == "at-most-once":
        return RedisAtMostOnceDriver(link, blocking_link, lists, terms, prefix)
    sources: list[RedisSource] = [ListSource(key, link, blocking_link, terms) for key in lists]
    base = v2_base(prefix, redis.queue_name)
    if base is not None:
        sources.insert(0, V2Source(base, link, blocking_link, terms))
    return RedisDriver(link, sources, lists[0], settings.driver, prefix)


def make_redis_history(settings: Settings) -> RedisHistory:
    """Return the attempt history of every queue format, over a link of its own."""
    prefix, queue = _prefix_of(settings), settings.redis.queue_name
    base = v2_base(prefix, queue)
    sources = [*([] if base is None else [base]), *source_keys(prefix, queue)]
    return RedisHistory(link_of(settings), sources, length=settings.history.length, mode=settings.history.mode)


def make_producer_rule(settings: Settings) -> str | None:
    """Return the ACL rule with which Sockudo 5 can enqueue but not claim; None without Queue V2."""
    base = v2_base(_prefix_of(settings), settings.redis.queue_name)
    return None if base is None else producer_rule(base)


def _prefix_of(settings: Settings) -> str:
    return settings.redis_cluster.prefix if settings.driver == "redis-cluster" else settings.redis.prefix


def link_of(settings: Settings, on_server: OnServer = ignore_server) -> Link:
    """Return the link to the configured Redis. Raises `SettingsError` for unusable certificate files.

    `on_server` is called for servers that are discovered through the configured ones.
    """
    if settings.driver == "redis-cluster":
        from sockudo_queue.drivers.redis.cluster import cluster_link

        return cluster_link(settings, on_server)
    if settings.sentinel.nodes and settings.redis.url is None:
        from sockudo_queue.drivers.redis.sentinel import sentinel_link

        return sentinel_link(settings, on_server)
    return RedisLink(server_pool(settings))
