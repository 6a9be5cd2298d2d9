"""The log tells when a webhook's breaker opens, probes and closes."""

from __future__ import annotations

from tests.faults.queue import daemon_on, push
from tests.helpers.configs import webhook
from tests.helpers.jobs import jobs
from tests.helpers.receiver import Receiver
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually


def test_an_outage_of_an_endpoint_can_be_read_from_the_log(own_redis: RedisServer, receiver: Receiver) -> None:
    receiver.always(503)
    settings = {"QUEUE_DELIVERY_BREAKER_FAILURES": "2", "QUEUE_DELIVERY_BREAKER_OPEN_MS": "300"}
    settings["QUEUE_DELIVERY_RETRY_INITIAL_BACKOFF_MS"] = "50"
    with daemon_on(own_redis.url, webhook(receiver.url(), name="orders"), **settings) as daemon:
        daemon.wait_ready()
        with own_redis.client() as client:
            push(client, jobs(2))
        eventually(lambda: len(daemon.events("breaker.opened")) >= 2, 10, daemon.output)  # at first, and after a probe
        receiver.always(200)
        [closed] = eventually(lambda: daemon.events("breaker.closed"), 10, daemon.output)
        first, second, *_ = daemon.events("breaker.opened")
        half_open = daemon.events("breaker.half_open")
    assert (first["webhook"], first["reason"], first["open_s"]) == ("orders", "status-503", 0.3)
    assert second["open_s"] > first["open_s"]
    assert closed["failing_s"] >= second["failing_s"] > first["failing_s"]
    assert len(half_open) >= 2
