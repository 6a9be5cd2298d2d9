"""Queue V2 under test: what Sockudo and the clock do to it, and what is stored."""

from __future__ import annotations

import contextlib
import json
from contextlib import ExitStack
from typing import Any, Final

from sockudo_queue.drivers.redis.driver import RedisDriver
from sockudo_queue.drivers.redis.link import Link
from sockudo_queue.drivers.redis.lists import ListSource
from sockudo_queue.drivers.redis.queue_v2 import V2Source
from sockudo_queue.drivers.redis.source import BLOCK_MARGIN, BLOCK_SECONDS, RedisSource, SourceOptions, own_key
from tests.drivers.conformance import LEASE_SECONDS, RETENTION, Kept
from tests.drivers.redis_lists import SOURCES, LossyLists, link_to
from tests.helpers.queue_v2 import DEFAULT_BASE, Producer, envelope, new_id
from tests.helpers.redis_proxy import RedisProxy
from tests.helpers.redis_server import RedisServer

BASE: Final = DEFAULT_BASE
NOT_JOBS: Final = frozenset({f"{BASE}:notify", f"{BASE}:events", f"{BASE}:inline-wait-count"})
"""Keys that a producer leaves behind even if all its jobs are done."""


class RedisV2:
    """One queue in one server, served by a driver that serves the lists besides."""

    def __init__(self, server: RedisServer, cleanup: ExitStack) -> None:
        self.server = server
        self.client: Any = server.shared_client  # redis-py's types do not distinguish bytes from text
        self.producer = Producer(self.client)
        self._cleanup = cleanup

    def driver(self, *, lease: float = LEASE_SECONDS, retention: int = RETENTION, completed: int = 0) -> RedisDriver:
        return self.over(self.link(), lease=lease, retention=retention, completed=completed)

    def link(self) -> Link:
        return link_to(self.server.port)

    def over(
        self,
        link: Link,
        *,
        lease: float = LEASE_SECONDS,
        retention: int = RETENTION,
        completed: int = 0,
        events: int = 1_000,
        lists: tuple[str, ...] = SOURCES,
    ) -> RedisDriver:
        blocking_link = link.with_timeout(BLOCK_SECONDS + BLOCK_MARGIN)
        terms = SourceOptions(round(lease * 1000), retention, completed, events)
        sources: list[RedisSource] = [V2Source(BASE, link, blocking_link, terms)]
        sources += [ListSource(key, link, blocking_link, terms) for key in lists]
        driver = RedisDriver(link, sources, SOURCES[0])  # lists take what is put
        self._cleanup.callback(driver.close)
        return driver

    def lossy(self) -> LossyLists:
        proxy = self._cleanup.enter_context(RedisProxy(self.server.port))
        return LossyLists(self.over(link_to(proxy.port)), proxy)

    def push(self, *bodies: bytes) -> None:
        """Enqueue as a server does, each body as it is; what cannot stand in an envelope stands alone."""
        self.producer.enqueue_payloads([self._payload(body, new_id()) for body in bodies])

    def _payload(self, body: bytes, job_id: str) -> tuple[str, bytes]:
        with contextlib.suppress(ValueError):
            if isinstance(json.loads(body), dict) and body == body.strip():
                return job_id, envelope(body, job_id)
        return job_id, body

    def key(self, part: str) -> str:
        return f"{BASE}:{part}"

    def advance(self, seconds: float) -> None:
        for key in (self.key("active"), self.key("delayed"), own_key(BASE, "dead")):
            moved = {
                member: score - seconds * 1000
                for member, score in self.client.zrange(key, 0, -1, withscores=True)
                if score > 0  # below is what was put back
            }
            if moved:
                self.client.zadd(key, moved)

    def keys(self) -> set[str]:
        """Return the keys that there are, without those that any producer leaves behind."""
        return {key.decode() for key in self.client.keys("*")} - NOT_JOBS

    def is_empty(self) -> bool:
        return not self.keys()

    def dead_letters(self) -> list[Kept]:
        kept = []
        for receipt in self.client.zrange(own_key(BASE, "dead"), 0, -1):
            record, _, _ = receipt.decode().rpartition("/")
            value = self.client.hget(own_key(BASE, "records"), record)
            assert value is not None, f"the record of the dead letter {record} is gone"
            state, _, body = value[1:].partition(b"\n")
            kept.append(Kept(record, body, state))
        return kept
