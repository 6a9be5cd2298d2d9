"""The page of series does not grow with what goes through the queue."""

from __future__ import annotations

import http.client
from typing import Final

from tests.faults.measures import SCALE, figure
from tests.faults.queue import daemon_on, log_tail, push, waiting
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import event, job
from tests.helpers.receiver import Answer, Receiver
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

WHILE_ONE_WAITS: Final = "sockudo_queue_oldest_job_timestamp_seconds"


def test_series_do_not_grow_with_channels_users_and_faults(redis_server: RedisServer, receiver: Receiver) -> None:
    """prometheus/client_python#937, BerriAI/litellm#12159."""
    few, many = 100, 20_000 if SCALE >= 1 else 800
    receiver.answer(lambda request, nth: Answer((200, 404, 500)[nth % 3], body=b"canary why %d" % nth))
    settings = {"QUEUE_DELIVERY_RETRY_MAX_ATTEMPTS": "1", "QUEUE_DELIVERY_BREAKER_FAILURES": "1000000"}
    with redis_server.client() as client, daemon_on(redis_server.url, receiver.url(), **settings) as daemon:
        push(client, [body for number in range(few) for body in _unlike(number)])
        eventually(lambda: waiting(client) == 0, 20, log_tail(daemon))
        before = _names(daemon)
        push(client, [body for number in range(few, many) for body in _unlike(number)])
        eventually(lambda: waiting(client) == 0, 120, log_tail(daemon))
        after = _names(daemon)

    assert after == before
    assert not any("canary" in line for line in after)
    figure(f"{many} channels, users and faults: {len(after)} series, as after {few}")


def _unlike(number: int) -> list[bytes]:
    """Return jobs that have nothing in common with those of another number."""
    channel, user = f"canary-channel-{number}", f"canary-user-{number}"
    events = [event("member_added", channel, user_id=user), event(f"canary_event_{number}", channel)]
    return [job(number, events=events), job(number, key=f"canary-key-{number}"), b"canary no job %d" % number]


def _names(daemon: DaemonProcess) -> list[str]:
    """Return the names and labels of the page without the numbers behind them; but for one that goes with its job."""
    connection = http.client.HTTPConnection("127.0.0.1", daemon.metrics_port, timeout=5)
    try:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    finally:
        connection.close()
    return sorted(line.rpartition(" ")[0] for line in lines if not line.startswith(("#", WHILE_ONE_WAITS)))
