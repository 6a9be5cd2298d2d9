"""Finds the master through Sentinels with redis-py's own discovery, and coalesces concurrent look-ups into one."""

from __future__ import annotations

import contextlib
import time
from typing import Any, Final

from redis import Redis
from redis.connection import AbstractConnection, Connection, ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, RedisError, ResponseError
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool, SentinelManagedConnection

from sockudo_queue.config import Settings
from sockudo_queue.drivers.redis.connections import TlsConnection, connection_class, login_options
from sockudo_queue.drivers.redis.errors import ODD
from sockudo_queue.drivers.redis.link import LATE_SECONDS, OnServer, RedisLink, connection_options, ignore_server
from sockudo_queue.drivers.redis.replies import address
from sockudo_queue.drivers.redis.single_flight import SharedLookup
from sockudo_queue.errors import BrokerUnavailable

ANSWER_SECONDS: Final = 1.0
"""Longest wait for one Sentinel: it answers from memory, and others can be asked."""

CHECK_SECONDS: Final = 1.0
"""Maximum age of a cached Sentinel answer: a demoted master stays reachable, so its role must be checked again."""


class TlsSentinelConnection(SentinelManagedConnection, TlsConnection):
    """A TLS connection to the server that is the master when it connects."""


class _SentinelClient(Redis):
    """One Sentinel. An invalid answer counts as no answer, and the next one is asked."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command. Raises redis-py's errors and no others."""
        try:
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call] # it is so
        except (InvalidResponse, *ODD):
            self.connection_pool.disconnect()
            raise RedisConnectionError("it sent a reply that does not match the command") from None


class Sentinels:
    """The Sentinels of one master. Safe from any thread, unlike redis-py's own list of them."""

    def __init__(self, name: str, pools: list[ConnectionPool], on_server: OnServer = ignore_server) -> None:
        self._sentinel = Sentinel([], sentinel_kwargs={})
        self._sentinel.sentinels = [_SentinelClient(connection_pool=pool) for pool in pools]
        self._asked = ", ".join("{host}:{port}".format_map(pool.connection_kwargs) for pool in pools)
        self._name = name
        self._on_server = on_server
        self._lookup = SharedLookup(self._discover)
        self._master: tuple[str, int] | None = None
        self._asked_at = float("-inf")

    def has_another_master(self, address: tuple[str, int], since: float) -> bool:
        """Return whether the Sentinels name another master, by an answer newer than `since` (monotonic)."""
        if self._asked_at < since:
            try:
                self._lookup()
            except (RedisError, OSError):
                return False  # no answer, or an unknown master: no evidence against the current server
        return self._master is not None and self._master != address

    def discover_master(self, service_name: str) -> tuple[str, int]:  # noqa: ARG002 - there is one
        """Return host and port of the master. Raises redis-py's errors, shortened to what an operator needs."""
        return self._lookup()

    def _discover(self) -> tuple[str, int]:
        try:
            host, port = self._sentinel.discover_master(self._name)
            self._master = address(str(host).encode(), int(port))
        except ODD:
            raise MasterNotFoundError(
                f"no master {self._name} at the Sentinels {self._asked}: one answer names no master"
            ) from None
        except MasterNotFoundError as error:
            reason = "a login was refused" if "AuthenticationError" in str(error) else "none knows a healthy master"
            raise MasterNotFoundError(f"no master {self._name} at the Sentinels {self._asked}: {reason}") from None
        except ResponseError as error:
            if "unknown command" not in str(error).lower():
                raise
            raise MasterNotFoundError(
                f"of the Sentinels {self._asked} one is a server, not a Sentinel; correct database.redis.sentinels"
            ) from None
        finally:
            self._asked_at = time.monotonic()
        self._on_server(*self._master)
        return self._master

    def announce_replicas(self) -> None:
        """Ask for the replicas that may become the master, and report them."""
        with contextlib.suppress(RedisError, OSError, *ODD):  # only the webhook address guard uses the result
            for host, port in self._sentinel.discover_slaves(self._name):
                self._on_server(str(host), int(port))

    def close(self) -> None:
        """Disconnect idle connections; a connection in use closes when its call ends."""
        for sentinel in self._sentinel.sentinels:
            sentinel.connection_pool.disconnect(inuse_connections=False)


class SentinelLink(RedisLink):
    """Commands to the server that is currently the master.

    A master that was frozen or cut off while its replica took over returns as a master, and stays one for about ten
    seconds until the Sentinels demote it. Everything written to it until then is lost.
    """

    def discover_servers(self) -> None:
        """Discover servers that have joined, and report them."""
        sentinels: Sentinels = self._pool.sentinel_manager  # type: ignore[attr-defined] # see `sentinel_link`
        sentinels.announce_replicas()

    def close(self) -> None:
        """Disconnect idle connections, also those to the Sentinels; a connection in use closes when its call ends."""
        super().close()
        sentinels: Sentinels = self._pool.sentinel_manager  # type: ignore[attr-defined] # see `sentinel_link`
        sentinels.close()

    def _verify(self, connection: AbstractConnection, began: float) -> None:
        now = time.monotonic()
        since = now if now - began > LATE_SECONDS else now - CHECK_SECONDS
        sentinels: Sentinels = self._pool.sentinel_manager  # type: ignore[attr-defined] # see `sentinel_link`
        address = (str(connection.host), int(connection.port))  # type: ignore[attr-defined] # it is a TCP connection
        if sentinels.has_another_master(address, since):
            connection.disconnect()
            raise BrokerUnavailable(f"{address[0]}:{address[1]} is no longer the master")


def sentinel_link(settings: Settings, on_server: OnServer = ignore_server) -> SentinelLink:
    """Return the link to the master; the Sentinels are asked at each connect. Raises `SettingsError` for unusable
    files."""
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
    return SentinelLink(SentinelConnectionPool(sentinel.name, Sentinels(sentinel.name, pools, on_server), **serving))
