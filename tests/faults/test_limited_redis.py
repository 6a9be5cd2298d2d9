"""A Redis that limits what is ours: rules for the user, the size of a request, and eviction by others' keys."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.faults.arrivals import Arrivals
from tests.faults.queue import SERVER_LIST, SHORT_LEASE, daemon_on, log_tail, own_key, push
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import event, job, jobs
from tests.helpers.queue_v2 import DEFAULT_BASE, Producer
from tests.helpers.receiver import Receiver
from tests.helpers.redis_proxy import RedisProxy
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

REFUSED: Final = "sockudo_queue_source_refused"
REQUEST_LIMIT: Final = 1_048_576
"""Bytes that a hosted Redis takes at once."""
LATE_SECONDS: Final = 1.5


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Any]:
    with redis_server.client() as connected:
        yield connected


@pytest.fixture
def failing_receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        receiver.always(503)
        yield receiver


def page(daemon: DaemonProcess, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{daemon.metrics_port}{path}", timeout=5) as answer:
        text: str = answer.read().decode()
        return text


def test_refused_form_is_shown_in_a_series_and_on_the_page(
    redis_server: RedisServer, client: Any, receiver: Receiver
) -> None:
    rule = ("~sockudo_queue::queue*", "~sockudo_queue:queue*", "~sockudo-queue:*", "+@all")
    client.execute_command("ACL", "SETUSER", "narrow", "reset", "on", ">p", *rule)
    for body in jobs(3):
        Producer(client).enqueue(body)
    try:
        url = redis_server.url.replace("redis://", "redis://narrow:p@")
        with daemon_on(url, receiver.url()) as daemon:
            daemon.wait_ready()
            eventually(lambda: daemon.metric(REFUSED, source=DEFAULT_BASE) == 1, 5, log_tail(daemon))
            assert daemon.metric(REFUSED) == 1, "the lists are served"
            refused = json.loads(page(daemon, "/status.json"))["refused_sources"]
            assert refused.keys() == {DEFAULT_BASE}
            assert "permission" in refused[DEFAULT_BASE]
            assert f"{DEFAULT_BASE}: refused by the queue" in page(daemon, "/")

            client.execute_command("ACL", "SETUSER", "narrow", "~*")
            receiver.wait_for(3, 10)
            eventually(lambda: daemon.metric(REFUSED) == 0, 5, log_tail(daemon))
            assert json.loads(page(daemon, "/status.json"))["refused_sources"] == {}
            assert len(daemon.events("source.refused")) == 1
    finally:
        client.execute_command("ACL", "DELUSER", "narrow")


def large(*, forged: bool) -> bytes:
    body = job(1_000, events=[event(channel="room-1000", data="x" * 600_000)], app_id="big")
    # What looks as if it had a state twice is sent whole with each settlement.
    return body[:-1] + b',"sockudo_queue":"x","sockudo_queue":""}' if forged else body


@pytest.mark.parametrize("forged", [False, True], ids=["large", "too large to settle"])
def test_a_large_job_delays_no_other(
    redis_proxy: RedisProxy, client: Any, receiver: Receiver, failing_receiver: Receiver, forged: bool
) -> None:
    arrivals = Arrivals()
    receiver.answer(arrivals)
    redis_proxy.refuse_larger(REQUEST_LIMIT)
    failing = [webhook(failing_receiver.url(f"/{n}"), name=f"f{n}") for n in range(2)]
    apps = config(app(webhook(receiver.url())), app(*failing, app_id="big"))
    with DaemonProcess(apps, SHORT_LEASE, redis_url=redis_proxy.url) as daemon:
        daemon.wait_ready()
        Producer(client).enqueue(large(forged=forged))
        failing_receiver.wait_for(2, 5)
        for number in range(1, 21):
            Producer(client).enqueue(job(number))
            began = time.monotonic()
            arrivals.wait_for_all(number, LATE_SECONDS, log_tail(daemon))
            time.sleep(max(0.2 - (time.monotonic() - began), 0))  # jobs come over four seconds
        assert daemon.events("source.refused") == []
        if forged:
            eventually(lambda: daemon.events("settlement.refused"), 10, log_tail(daemon))
            assert "max request size" in daemon.events("settlement.refused")[0]["reason"]
            return
        assert redis_proxy.refused == 0
        tries = {request.headers["x-sockudo-attempt"] for request in failing_receiver.requests}
        assert {"1", "2"} <= tries


def test_eviction_is_warned_of_and_what_it_takes_is_counted(receiver: Receiver) -> None:
    receiver.always(503)
    policy = {"maxmemory": "64mb", "maxmemory_policy": "allkeys-lru"}
    with RedisServer(**policy) as server, server.client() as client, daemon_on(server.url, receiver.url()) as daemon:  # type: ignore[arg-type]
        daemon.wait_ready()
        eventually(lambda: daemon.events("eviction.possible"), 10, log_tail(daemon))
        assert "allkeys-lru drops jobs" in daemon.events("eviction.possible")[0]["text"]

        push(client, jobs(10))
        receiver.wait_for(10, 10)
        eventually(lambda: client.zcard(own_key(SERVER_LIST, "delayed")) >= 5, 10)
        evicted = client.hlen(own_key(SERVER_LIST, "records"))
        client.delete(own_key(SERVER_LIST, "records"))
        eventually(lambda: daemon.metric("sockudo_queue_records_lost_total") >= evicted - 5, 15, log_tail(daemon))
        eventually(lambda: daemon.events("records.lost"), 10, log_tail(daemon))
        assert json.loads(page(daemon, "/status.json"))["records_lost"] >= 1
