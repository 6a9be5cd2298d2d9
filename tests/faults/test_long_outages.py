"""A Redis that is away for longer than a lease: what the daemons hold is settled, and no job is posted again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Final

import pytest

from tests.faults.arrivals import Arrivals
from tests.faults.queue import SHORT_LEASE, daemon_on, log_tail, push, settled, waiting
from tests.helpers.jobs import jobs
from tests.helpers.receiver import Receiver
from tests.helpers.redis_proxy import RedisProxy
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

AWAY_SECONDS: Final = 4.5  # a lease and a half
COUNT: Final = 10


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Any]:
    with redis_server.client() as connected:
        yield connected


@pytest.mark.parametrize(("replicas", "answers_after"), [(1, 0.5), (2, 5.5)], ids=["settlements", "requests of two"])
def test_jobs_in_hand_are_posted_once(
    redis_proxy: RedisProxy, client: Any, receiver: Receiver, replicas: int, answers_after: float
) -> None:
    arrivals = Arrivals(answers_after, answers_after)
    receiver.answer(arrivals)
    with ExitStack() as running:
        daemons = [
            running.enter_context(daemon_on(redis_proxy.url, receiver.url(), QUEUE_WORKERS="10", **SHORT_LEASE))
            for _ in range(replicas)
        ]
        for daemon in daemons:
            daemon.wait_ready()
        push(client, jobs(COUNT))
        arrivals.wait_for_all(COUNT, 10, log_tail(daemons[0]))
        redis_proxy.refuse()
        redis_proxy.cut()
        time.sleep(AWAY_SECONDS)
        redis_proxy.heal()

        eventually(lambda: waiting(client) == 0, 15, log_tail(daemons[0]))
        eventually(lambda: sum(settled(each, "completed") for each in daemons) == COUNT, 5, log_tail(daemons[0]))
        assert arrivals.duplicates == 0
