"""Jobs of unknown apps do not delay those of known apps, and are kept while most apps are unknown."""

from __future__ import annotations

import time
from collections import Counter

import pytest
import redis

from tests.faults.measures import SCALE, figure, scaled
from tests.faults.test_isolation import GOOD_DELAY, answering, best_of
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import APP_ID, job, numbers
from tests.helpers.receiver import Receiver
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

LIST = "sockudo_queue::queue:webhooks"
HONEST = scaled(3000, 300)
MAX_RUN_SECONDS = 600 if SCALE >= 1 else 120
BUDGET_MS = 2_000
WRONG_FOR = 180.0 if SCALE >= 1 else 5.0
"""Seconds that the file is wrong for, which is more than the budget."""
MISSING = 20_000 if SCALE >= 1 else 500


def push(client: redis.Redis, bodies: list[bytes]) -> None:
    for start in range(0, len(bodies), 1000):
        client.rpush(LIST, *bodies[start : start + 1000])


def seconds(server: RedisServer, junk: int) -> float:
    """Return how long the honest jobs took while `junk` jobs of unknown apps wait for their next look-up."""
    client = server.client()
    client.flushall()
    with Receiver() as receiver:
        answering(GOOD_DELAY)(receiver)
        with DaemonProcess(config(app(webhook(receiver.url(), name="hook"))), redis_url=server.url) as daemon:
            daemon.wait_ready()
            if junk:
                push(client, [job(n, app_id=f"unknown{n % 7}") for n in range(junk)])
                eventually(lambda: daemon.events("apps.unknown"), 10)
                eventually(lambda: daemon.metric("sockudo_queue_claims_total") >= junk, 60)
            began = time.monotonic()
            push(client, [job(n) for n in range(HONEST)])
            eventually(lambda: receiver.count >= HONEST, 60)
            return time.monotonic() - began


@pytest.mark.timeout(MAX_RUN_SECONDS)
def test_jobs_of_unknown_apps_cost_known_ones_a_tenth_at_most(redis_server: RedisServer) -> None:
    """On a machine with something to spare: each look costs a call, whatever else wants the processor."""
    needed = 0.9 if SCALE >= 1 else 0.2  # it was a hundredth while all jobs were held back
    kept = best_of(lambda: seconds(redis_server, 0) / seconds(redis_server, MISSING), needed)
    figure(f"{HONEST} jobs beside {MISSING} of unknown apps: {kept:.2f} of the throughput without them")
    assert kept >= needed


@pytest.mark.timeout(120 + 3 * WRONG_FOR)
def test_no_job_is_lost_while_the_file_of_apps_is_empty(redis_server: RedisServer, receiver: Receiver) -> None:
    settings = {"webhooks": {"retry": {"max_elapsed_time_ms": BUDGET_MS}}}
    client = redis_server.client()
    with DaemonProcess(config(**settings), redis_url=redis_server.url) as daemon:
        daemon.wait_ready()
        push(client, [job(n) for n in range(MISSING)])
        began = time.monotonic()
        eventually(lambda: daemon.get("/readyz") == 503, 10)
        eventually(lambda: time.monotonic() - began > WRONG_FOR, WRONG_FOR + 5)
        assert daemon.get("/readyz") == 503
        assert receiver.count == 0

        daemon.write_config(config(app(webhook(receiver.url(), name="hook"), app_id=APP_ID), **settings))
        righted = time.monotonic()
        eventually(lambda: receiver.count >= MISSING, 90 + MISSING / 50)
        took = time.monotonic() - righted
        eventually(lambda: daemon.get("/readyz") == 200, 5)
        came = Counter(number for request in receiver.requests for number in numbers(request.body))
        assert set(came) == set(range(MISSING))
        assert daemon.events("job.dead_lettered") == []
    figure(f"{MISSING} jobs whose app was missing for {WRONG_FOR:g} s: all delivered within {took:.1f} s")
