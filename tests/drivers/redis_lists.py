"""Redis lists under test: what Sockudo and the clock do to them, and what is stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Final

from sockudo_queue.config import RedisSettings, Settings
from sockudo_queue.core.secret import Secret
from sockudo_queue.drivers.redis.at_most_once import RedisAtMostOnceDriver
from sockudo_queue.drivers.redis.driver import RedisDriver
from sockudo_queue.drivers.redis.factory import link_of
from sockudo_queue.drivers.redis.link import Link
from sockudo_queue.drivers.redis.lists import ListSource, source_keys
from sockudo_queue.drivers.redis.source import BLOCK_MARGIN, BLOCK_SECONDS, SourceOptions, own_key
from tests.drivers.conformance import LEASE_SECONDS, RETENTION, Kept
from tests.helpers.redis_proxy import RedisProxy
from tests.helpers.redis_server import RedisServer

PREFIX: Final = "sockudo_queue:"  # Sockudo's own default
SOURCES: Final = source_keys(PREFIX, "webhooks")
TIMEOUT: Final = 5.0


def link_to(port: int, *, timeout: float = TIMEOUT, username: str | None = None, password: str | None = None) -> Link:
    redis = RedisSettings(
        port=port,
        username=username,
        password=None if password is None else Secret(password),
        response_timeout_ms=round(timeout * 1000),
    )
    return link_of(Settings(redis=redis))


class RedisLists:
    """One queue in one server; `pushed` is the spelling of the key that Sockudo writes to in this test."""

    def __init__(self, server: RedisServer, cleanup: ExitStack, pushed: str = SOURCES[0]) -> None:
        self.server = server
        self.client: Any = server.shared_client  # redis-py's types do not distinguish bytes from text
        self.pushed = pushed
        self._cleanup = cleanup

    def driver(self, *, lease: float = LEASE_SECONDS, retention: int = RETENTION) -> RedisDriver:
        return self.over(link_to(self.server.port), lease=lease, retention=retention)

    def over(
        self,
        link: Link,
        *,
        lease: float = LEASE_SECONDS,
        retention: int = RETENTION,
        sources: tuple[str, ...] = SOURCES,
    ) -> RedisDriver:
        """Make an instance over a link, for tests that log in or that look at connections."""
        blocking_link, terms = (
            link.with_timeout(BLOCK_SECONDS + BLOCK_MARGIN),
            SourceOptions(round(lease * 1000), retention),
        )
        driver = RedisDriver(link, [ListSource(key, link, blocking_link, terms) for key in sources], sources[0])
        self._cleanup.callback(driver.close)
        return driver

    def at_most_once(self, port: int | None = None) -> RedisAtMostOnceDriver:
        link = link_to(port or self.server.port)
        blocking_link, terms = (
            link.with_timeout(BLOCK_SECONDS + BLOCK_MARGIN),
            SourceOptions(LEASE_SECONDS * 1000, RETENTION),
        )
        driver = RedisAtMostOnceDriver(link, blocking_link, SOURCES, terms)
        self._cleanup.callback(driver.close)
        return driver

    def lossy(self) -> LossyLists:
        proxy = self._cleanup.enter_context(RedisProxy(self.server.port))
        return LossyLists(self.over(link_to(proxy.port)), proxy)

    def push(self, *bodies: bytes) -> None:
        with self.client.pipeline(transaction=False) as pipeline:
            for body in bodies:
                pipeline.rpush(self.pushed, body)
            pipeline.execute()

    def advance(self, seconds: float) -> None:
        for source in SOURCES:
            for part in ("active", "delayed", "dead"):
                key = own_key(source, part)
                moved = {
                    receipt: score - seconds * 1000
                    for receipt, score in self.client.zrange(key, 0, -1, withscores=True)
                    if score > 0  # below is what was put back
                }
                if moved:
                    self.client.zadd(key, moved)

    def is_empty(self) -> bool:
        return not self.client.keys("*")

    def dead_letters(self) -> list[Kept]:
        return [kept for source in SOURCES for kept in self._dead_letters(source)]

    def _dead_letters(self, source: str) -> Iterator[Kept]:
        for receipt in self.client.zrange(own_key(source, "dead"), 0, -1):
            record, _, _ = receipt.decode().rpartition("/")
            value = self.client.hget(own_key(source, "records"), record)
            assert value is not None, f"the record of the dead letter {record} is gone"
            state, body = b"", value
            if value.startswith(b"\x01"):
                state, _, body = value[1:].partition(b"\n")
            yield Kept(record, body, state)


class LossyLists:
    """An instance behind a proxy."""

    def __init__(self, driver: RedisDriver, proxy: RedisProxy) -> None:
        self.driver = driver
        self.proxy = proxy

    def lose_reply(self) -> None:
        self.driver.ping()  # connected, and the script loaded: what is lost is the reply that a test means
        self.driver.next(None)
        self.proxy.drop_replies(limit=1)

    def cut_off(self) -> None:
        self.proxy.refuse()
        self.proxy.cut()

    def heal(self) -> None:
        self.proxy.heal()


def full(client: Any) -> None:
    """Lower the limit below what is used, so that the server refuses whatever could need memory."""
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", "1")
