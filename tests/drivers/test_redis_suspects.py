"""Records whose lease has expired twice: they wait for others, and hide none of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

import pytest

from sockudo_queue.config import RedisSettings, Settings
from sockudo_queue.core.secret import Secret
from sockudo_queue.drivers.base import Driver
from sockudo_queue.drivers.factory import make_driver
from sockudo_queue.drivers.redis.source import own_key
from tests.helpers.jobs import jobs, numbers
from tests.helpers.queue_v2 import DEFAULT_BASE, Producer
from tests.helpers.redis_server import RedisServer

LIST: Final = "sockudo_queue::queue:webhooks"
SUSPECTS: Final = 24


@pytest.fixture
def driver(redis_server: RedisServer) -> Iterator[Driver]:
    made = make_driver(Settings(redis=RedisSettings(url=Secret(redis_server.url))))
    yield made
    made.close()


def expire_on_list(client: Any, name: str, lapses: int, at: int) -> None:
    client.hset(own_key(LIST, "records"), name, name)
    client.hset(own_key(LIST, "lapses"), name, lapses)
    client.zadd(own_key(LIST, "active"), {f"{name}/1": at})


def expire_on_v2(client: Any, name: str, lapses: int, at: int) -> None:
    client.hset(f"{DEFAULT_BASE}:jobs", name, name)
    client.hset(f"{DEFAULT_BASE}:attempts", name, lapses + 1)
    client.hset(f"{DEFAULT_BASE}:tokens", name, "sq-dead-1")
    client.zadd(f"{DEFAULT_BASE}:active", {name: at})


@pytest.mark.parametrize("form", ["lists", "v2"])
def test_suspects_hide_no_record_behind_them(redis_server: RedisServer, driver: Driver, form: str) -> None:
    expire = expire_on_list if form == "lists" else expire_on_v2
    now = int(time.time() * 1000)
    with redis_server.client() as client:
        for number in range(SUSPECTS):
            expire(client, f"suspect-{number}", 1, now - 2_000 + number)
        expire(client, "innocent", 0, now - 1_000)
        for body in jobs(20):
            client.rpush(LIST, body) if form == "lists" else Producer(client).enqueue(body)
        bodies = [claim.body.decode() for _ in range(21 + SUSPECTS) if (claim := driver.next(None).claim) is not None]
    assert bodies[0] == "innocent"
    assert [numbers(body.encode()) for body in bodies[1:21]] == [[number] for number in range(1, 21)]
    assert sorted(bodies[21:]) == sorted(f"suspect-{number}" for number in range(SUSPECTS))
