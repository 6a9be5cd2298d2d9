"""A Redis that is full takes nothing new, and must still be emptied."""

from __future__ import annotations

import pytest
import redis

from tests.faults.measures import SCALE, figure, scaled
from tests.faults.queue import LISTS, daemon_on, log_tail, waiting
from tests.helpers.jobs import event, job, numbers
from tests.helpers.receiver import Answer, Receiver, Request
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.timeout(180)

PADDING = "x" * (1000 if SCALE >= 1 else 4000)


def fill(client: redis.Redis) -> int:
    """Push numbered jobs to both lists in turn until the server refuses; return how many it took."""
    taken = 0
    while True:
        number = taken + 1
        padded = event(channel=f"room-{number}", padding=PADDING)
        try:
            client.rpush(LISTS[number % 2], job(number, events=[padded]))
        except redis.OutOfMemoryError:
            return taken
        taken = number


@pytest.mark.parametrize("failing", [False, True], ids=["taken", "refused-once"])
def test_a_redis_over_its_limit_is_emptied(receiver: Receiver, failing: bool) -> None:
    """With a receiver that refuses, the records that are kept for later need room too."""

    def refuse_first(request: Request, nth: int) -> Answer:
        return Answer(503 if request.headers["x-sockudo-attempt"] == "1" else 200)

    if failing:
        receiver.answer(refuse_first)
    megabytes = scaled(24, 4)
    settings = {"QUEUE_DELIVERY_RETRY_INITIAL_BACKOFF_MS": "100", "QUEUE_DELIVERY_BREAKER_FAILURES": "100000"}
    with RedisServer(maxmemory=f"{megabytes}mb") as server, server.client() as client:
        count = fill(client)
        lowered = megabytes * 1_000_000 // 2
        client.config_set("maxmemory", lowered)
        with pytest.raises(redis.OutOfMemoryError):
            client.rpush(LISTS[0], b"one more")
        with daemon_on(server.url, receiver.url(), **settings) as daemon:
            eventually(lambda: waiting(client) == 0, 60, log_tail(daemon))
            lost = daemon.events("broker.lost")

    came = [number for request in receiver.requests for number in numbers(request.body)]
    assert set(came) == set(range(1, count + 1))
    assert len(came) == count * (2 if failing else 1)
    assert lost == []
    figure(
        f"Redis of {megabytes} MB, full, limit halved{', all refused once' if failing else ''}: {count} jobs, 0 lost"
    )
