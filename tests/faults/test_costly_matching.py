"""A job that takes long to match is neither lost nor delivered twice: its lease is renewed, and a stop puts it back."""

from __future__ import annotations

import random
from typing import Any, Final

from tests.faults.measures import SCALE
from tests.faults.queue import SERVER_LIST
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import event, job
from tests.helpers.receiver import Receiver
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

LEASE_MS: Final = 3000 if SCALE >= 1 else 1500
LEASE: Final = {"QUEUE_LEASE_DURATION_MS": str(LEASE_MS), "QUEUE_LEASE_RENEW_INTERVAL_MS": str(LEASE_MS // 3)}


def costly(receiver: Receiver) -> dict[str, Any]:
    """Return settings with a pattern that takes about 10 ms for each channel of `costly_job`, and a plain webhook."""
    pattern = r"[ab]a[ab]{100}(?:[ab]?){1600}[0-9]"
    return config(
        app(
            webhook(receiver.url(), name="costly", filter={"channel_pattern": pattern}),
            webhook(receiver.url(), name="plain"),
        )
    )


def costly_job(channels: int) -> bytes:
    chance = random.Random(3)
    return job(events=[event(channel="".join(chance.choices("ab", k=200))) for _ in range(channels)])


def test_job_that_is_matched_for_longer_than_its_lease_is_delivered_once(
    redis_server: RedisServer, receiver: Receiver
) -> None:
    with DaemonProcess(costly(receiver), LEASE, redis_url=redis_server.url) as daemon:
        daemon.wait_ready()
        redis_server.client().rpush(SERVER_LIST, costly_job(LEASE_MS // 5))  # takes twice the lease
        receiver.wait_for(1, 60)
        eventually(lambda: daemon.metric("sockudo_queue_settlements_total", outcome="completed") == 1, 5)
        assert daemon.events("lease.lost") == []
        assert receiver.count == 1


def test_stop_puts_back_a_job_that_is_being_matched(redis_server: RedisServer, receiver: Receiver) -> None:
    client = redis_server.client()
    with DaemonProcess(costly(receiver), redis_url=redis_server.url) as daemon:
        daemon.wait_ready()
        client.rpush(SERVER_LIST, costly_job(9_000))
        eventually(lambda: not client.llen(SERVER_LIST), 5)
        daemon.terminate()
        assert daemon.wait(10) == 0
        assert receiver.count == 0
    with DaemonProcess(config(app(webhook(receiver.url(), name="plain"))), redis_url=redis_server.url) as daemon:
        receiver.wait_for(1, 10)
