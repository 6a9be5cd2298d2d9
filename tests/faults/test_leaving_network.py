"""The network goes away together with us, as when a pod's proxy is stopped first, or has no room left for us."""

from __future__ import annotations

import time
from typing import Final

import pytest

from tests.faults.arrivals import Arrivals
from tests.faults.queue import LISTS, SLOTS, daemon_on, log_tail, push, records, waiting
from tests.helpers.jobs import jobs
from tests.helpers.receiver import Receiver
from tests.helpers.redis_proxy import RedisProxy
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

MIN_LEASE: Final = {"QUEUE_LEASE_DURATION_MS": "1000", "QUEUE_LEASE_RENEW_INTERVAL_MS": "300"}
GRACE_SECONDS: Final = 1.0


@pytest.mark.parametrize("queue_too", [False, True], ids=["receivers", "receivers-and-queue"])
def test_a_stop_without_network_uses_up_no_attempt(
    redis_server: RedisServer, redis_proxy: RedisProxy, receiver: Receiver, queue_too: bool
) -> None:
    """kumahq/kuma#4134, istio/istio#36631, kubernetes/kubernetes#120620."""
    receiver.hang()
    settings = MIN_LEASE | {
        "QUEUE_SHUTDOWN_TIMEOUT_MS": f"{GRACE_SECONDS * 1000:.0f}",
        "QUEUE_DELIVERY_SLOW_MS": "10000",  # else the receiver is suspected before a slow machine has filled the slots
    }
    with redis_server.client() as client, daemon_on(redis_proxy.url, receiver.url(), **settings) as leaving:
        push(client, jobs(SLOTS), *LISTS)
        receiver.wait_for(SLOTS)
        leaving.terminate()
        eventually(lambda: leaving.events("daemon.draining"), 5, log_tail(leaving))
        if queue_too:  # first, or what the receivers let go is put back in time
            redis_proxy.refuse()
            redis_proxy.cut()
        receiver.refuse()
        began = time.monotonic()
        code = leaving.wait(10)
        took = time.monotonic() - began
        held = [kept for source in LISTS for part in ("active", "delayed") for kept in records(client, part, source)]
        receiver.clear()
        receiver.listen()
        receiver.always(200)
        with daemon_on(redis_server.url, receiver.url(), **MIN_LEASE) as following:
            requests = receiver.wait_for(SLOTS, 10)
            eventually(lambda: waiting(client) == 0, 5, log_tail(following))

    assert code == (1 if queue_too else 0)  # 1: what is held comes back when its lease ends
    assert took < GRACE_SECONDS + 4
    assert [kept.attempts for kept in held] == [0] * SLOTS
    assert [request.headers["x-sockudo-attempt"] for request in requests] == ["1"] * SLOTS


def test_a_server_without_room_for_all_connections_is_waited_for(receiver: Receiver) -> None:
    """redis/redis-py#2517, redis/go-redis#1798."""
    count = 50
    arrivals = Arrivals()
    receiver.answer(arrivals)
    with RedisServer(extra=("--maxclients", "6")) as server, server.client() as client:
        push(client, jobs(count), *LISTS)  # this connection is one of the six
        with daemon_on(server.url, receiver.url(), QUEUE_WORKERS="20") as daemon:
            arrivals.wait_for_all(count, 20, log_tail(daemon))
            eventually(lambda: waiting(client) == 0, 10, log_tail(daemon))
            assert daemon.running
            client.config_set("maxclients", 1000)
            eventually(lambda: daemon.get("/readyz") == 200, 10, log_tail(daemon))
            assert daemon.events("thread.crashed") == []
        refused = int(client.info("stats")["rejected_connections"])
    assert refused > 0
    assert arrivals.duplicates == 0
