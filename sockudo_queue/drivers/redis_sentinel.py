"""Finds the master through Sentinels, by redis-py's own discovery, and makes one question of many at the same time."""

from __future__ import annotations

from typing import Any, Final

from redis.client import Redis
from redis.connection import Connection, ConnectionPool
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool, SentinelManagedConnection

from sockudo_queue.drivers.redis_connections import TlsConnection, connection_class, login_options
from sockudo_queue.drivers.redis_link import connection_options
from sockudo_queue.drivers.shared_lookup import SharedLookup
from sockudo_queue.settings import Settings

ANSWER_SECONDS: Final = 1.0
"""Longest wait for one Sentinel: it answers from memory, and there are others."""


class TlsSentinelConnection(SentinelManagedConnection, TlsConnection):
    """A TLS connection to whatever server is the master when it connects."""


class Sentinels:
    """The Sentinels of one master. Safe from any thread, which redis-py's own list of them is not."""

    def __init__(self, name: str, pools: list[ConnectionPool]) -> None:
        self._sentinel = Sentinel([], sentinel_kwargs={})
        self._sentinel.sentinels = [Redis(connection_pool=pool) for pool in pools]
        self._asked = ", ".join("{host}:{port}".format_map(pool.connection_kwargs) for pool in pools)
        self._name = name
        self._lookup = SharedLookup(self._discover)

    def discover_master(self, service_name: str) -> tuple[str, int]:  # noqa: ARG002 - there is one
        """Return host and port of the master. Raises redis-py's errors, with no more in them than a person needs."""
        return self._lookup()

    def _discover(self) -> tuple[str, int]:
        try:
            host, port = self._sentinel.discover_master(self._name)
        except MasterNotFoundError as error:
            reason = "a login was refused" if "AuthenticationError" in str(error) else "none knows a healthy one"
            raise MasterNotFoundError(f"no master {self._name} at the Sentinels {self._asked}: {reason}") from None
        return str(host), int(port)


def sentinel_pool(settings: Settings) -> SentinelConnectionPool:
    """Return the maker of connections to the master; the pool holds the Sentinels and asks them at each connect."""
    redis, sentinel = settings.redis, settings.sentinel
    timeout = redis.response_timeout_ms / 1000
    asking: dict[str, Any] = connection_options(min(timeout, ANSWER_SECONDS)) | login_options(sentinel)
    asking |= connection_class(
        sentinel.tls, redis, "database.redis.sentinel_tls", (Connection, TlsConnection), sentinel.tls.enabled
    )
    pools = [ConnectionPool(host=node.host, port=node.port, **asking) for node in sentinel.nodes]
    serving = connection_options(timeout) | {"db": redis.db} | login_options(redis)
    serving |= connection_class(
        settings.master_tls,
        redis,
        "database.redis.master_tls",
        (SentinelManagedConnection, TlsSentinelConnection),
        settings.master_tls.enabled,
    )
    return SentinelConnectionPool(sentinel.name, Sentinels(sentinel.name, pools), **serving)
