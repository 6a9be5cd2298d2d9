"""Pauses in the app file, "try now" and `max_in_flight`, as a running daemon obeys them; what the tools show."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

import pytest

from tests.drivers.redis_lists import PREFIX
from tests.faults.measures import SCALE
from tests.faults.queue import daemon_on, log_tail, own_key, push, waiting
from tests.helpers.commands import Commands
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import APP_ID, jobs
from tests.helpers.receiver import Answer, Receiver, Request
from tests.helpers.redis_server import RedisServer
from tests.helpers.sqs_daemon import daemon_on as daemon_on_sqs
from tests.helpers.sqs_daemon import make_queue
from tests.helpers.sqs_server import SqsServer, unused_name
from tests.helpers.waiting import eventually

CONTROLS_REFUSED = "sockudo_queue_controls_refused"
HOLDS = 3.0
"""Seconds within which a change of the file is obeyed."""


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def hooks(receiver: Receiver, *, paused: bool) -> dict[str, Any]:
    other = webhook(receiver.url("/other"), name="other")
    return config(app(webhook(receiver.url("/paused"), name="orders", paused=paused), other))


def came(receiver: Receiver, path: str) -> int:
    return sum(request.path == path for request in list(receiver.requests))


def put_into_memory(daemon: DaemonProcess, bodies: list[bytes]) -> None:
    url = f"http://127.0.0.1:{daemon.environment['QUEUE_MEMORY_INGRESS_PORT']}/jobs"
    for body in bodies:
        with urlopen(HttpRequest(url, body, {"Content-Type": "application/json"}), timeout=5):
            pass


@pytest.mark.parametrize("driver", ["redis", "memory"])
def test_webhook_is_paused_and_resumed_in_the_file(
    redis_server: RedisServer, receiver: Receiver, cleanup: ExitStack, driver: str
) -> None:
    daemon = DaemonProcess(hooks(receiver, paused=True), {"QUEUE_DRIVER": driver}, redis_url=redis_server.url)
    cleanup.callback(daemon.close)
    daemon.start().wait_ready()
    client = cleanup.enter_context(redis_server.client())
    put: Callable[[list[bytes]], object] = (
        (lambda bodies: push(client, bodies)) if driver == "redis" else (lambda bodies: put_into_memory(daemon, bodies))
    )
    put(jobs(20))
    eventually(lambda: came(receiver, "/other") == 20, 10, log_tail(daemon))
    eventually(lambda: daemon.metric("sockudo_queue_settlements_total", outcome="held") == 20, 5, log_tail(daemon))
    eventually(lambda: daemon.metric("sockudo_webhook_held", app=APP_ID, webhook="orders") == 20, 7, log_tail(daemon))
    assert came(receiver, "/paused") == 0
    assert daemon.metric("sockudo_webhook_paused", app=APP_ID, webhook="orders") == 1
    [event] = daemon.events("webhook.paused")
    assert event["by"] == "the app file"

    daemon.write_config(hooks(receiver, paused=False))
    eventually(lambda: came(receiver, "/paused") > 0, HOLDS + 1, log_tail(daemon))
    eventually(lambda: came(receiver, "/paused") == 20, 10, log_tail(daemon))
    daemon.write_config(hooks(receiver, paused=True))
    eventually(lambda: len(daemon.events("webhook.paused")) == 2, HOLDS + 1, log_tail(daemon))
    put(jobs(5, first=100))
    eventually(lambda: came(receiver, "/other") == 25, 10, log_tail(daemon))
    assert came(receiver, "/paused") == 20


@pytest.mark.parametrize("fifo", [False, True], ids=["standard", "fifo"])
def test_sqs_holds_what_the_file_pauses(sqs_server: SqsServer, receiver: Receiver, fifo: bool) -> None:
    producer = make_queue(sqs_server.client, unused_name(), fifo=fifo)
    paused = webhook(receiver.url("/paused"), name="orders", paused=True)
    other = webhook(receiver.url("/other"), name="other")
    name = producer.name.removesuffix(".fifo")
    with daemon_on_sqs(sqs_server.url, name, paused, other, QUEUE_SQS_FIFO=str(fifo).lower()) as daemon:
        daemon.wait_ready(30)
        producer.push(jobs(3), ["a", "b", "c"] if fifo else ())
        eventually(lambda: came(receiver, "/other") == 3, 20, log_tail(daemon))
        eventually(lambda: daemon.metric("sockudo_queue_settlements_total", outcome="held") >= 3, 10, log_tail(daemon))
        if fifo:
            daemon.write_config(config(app({**paused, "paused": False}, other)))
            eventually(lambda: came(receiver, "/paused") == 3, 20, log_tail(daemon))
            eventually(lambda: producer.left() == 0, 10, log_tail(daemon))
        else:
            assert producer.left() == 3
            assert came(receiver, "/paused") == 0


def test_try_now_closes_the_breaker_on_every_daemon(
    redis_server: RedisServer, receiver: Receiver, cleanup: ExitStack, tmp_path: Path
) -> None:
    receiver.always(503)
    settings = {"QUEUE_DELIVERY_BREAKER_FAILURES": "2", "QUEUE_DELIVERY_BREAKER_OPEN_MS": "60000"}
    settings["QUEUE_DELIVERY_BREAKER_MAX_OPEN_MS"] = "60000"
    hook = webhook(receiver.url(), name="orders")
    daemons = [cleanup.enter_context(daemon_on(redis_server.url, hook, **settings)) for _ in range(2)]
    client = cleanup.enter_context(redis_server.client())
    for daemon in daemons:
        daemon.wait_ready()
    for number in range(200):
        push(client, jobs(4, first=10 * number + 1))
        if all(daemon.events("breaker.opened") for daemon in daemons):
            break
        time.sleep(0.02)
    assert all(daemon.events("breaker.opened") for daemon in daemons)
    receiver.always(200)
    seen = receiver.count
    run = Commands(tmp_path, config(app(hook)), {"REDIS_URL": redis_server.url})

    assert run("try-now", APP_ID, "orders").code == 0

    for daemon in daemons:
        eventually(lambda daemon=daemon: daemon.events("breaker.closed"), 2, log_tail(daemon))  # type: ignore[misc]
        assert daemon.metric("sockudo_webhook_breaker_state", webhook="orders") == 0
    push(client, jobs(2, first=5000))
    eventually(lambda: receiver.count >= seen + 2, 5, log_tail(daemons[0]))


class InFlight:
    """Answers after a while, and remembers how many requests were open at the same time."""

    def __init__(self, seconds: float) -> None:
        self.peak = 0
        self._seconds = seconds
        self._ends: list[float] = []

    def __call__(self, request: Request, nth: int) -> Answer:
        now = request.received_at
        self._ends = [end for end in self._ends if end > now] + [now + self._seconds]
        self.peak = max(self.peak, len(self._ends))
        return Answer(delay=self._seconds)


@pytest.mark.parametrize("seconds", [0.02, 0.3])
def test_webhook_limits_attempts_in_flight(redis_server: RedisServer, receiver: Receiver, seconds: float) -> None:
    in_flight, count = InFlight(seconds), 40 if seconds < 0.1 or SCALE >= 1 else 20
    receiver.answer(in_flight)
    hook = webhook(receiver.url(), name="orders", max_in_flight=2)
    with redis_server.client() as client, daemon_on(redis_server.url, hook) as daemon:
        daemon.wait_ready()
        push(client, jobs(count))
        receiver.wait_for(count, 30)
        eventually(lambda: not waiting(client), 10, log_tail(daemon))
        deferrals = daemon.metric("sockudo_webhook_deferrals_total", webhook="orders")
    assert in_flight.peak <= 2
    assert receiver.count == count
    assert deferrals > 0


def test_daemon_reports_that_it_may_not_read_the_pauses(
    redis_server: RedisServer, receiver: Receiver, tmp_path: Path
) -> None:
    hook, controls = webhook(receiver.url(), name="orders"), own_key(PREFIX, "controls")
    narrow = redis_server.url.replace("redis://", "redis://narrow:p@")
    with redis_server.client() as client, ExitStack() as stack:
        pause = Commands(tmp_path, config(app(hook)), {"REDIS_URL": redis_server.url})
        assert pause("pause", APP_ID, "orders").code == 0
        assert client.exists(controls)
        others = ("~sockudo_queue:*", "~sockudo-queue:{sockudo_queue:[^}]*", "~sockudo-queue:sockudo_queue:*")
        client.execute_command("ACL", "SETUSER", "narrow", "reset", "on", ">p", *others, "+@all")
        stack.callback(client.execute_command, "ACL", "DELUSER", "narrow")
        daemon = stack.enter_context(daemon_on(narrow, hook))
        daemon.wait_ready()
        push(client, jobs(1))
        receiver.wait_for(1, 5)
        assert daemon.metric(CONTROLS_REFUSED) == 1
        settings = {"REDIS_URL": redis_server.url, "QUEUE_METRICS_PORT": daemon.environment["QUEUE_METRICS_PORT"]}
        run = Commands(tmp_path, config(app(hook)), settings)
        document = run("stats", "--json").json
        assert "permission" in document["daemons"][0]["controls_refused"]
        assert "cannot read the pauses, and applies those that it read before, if any: " in run("stats").out
        with urlopen(f"http://127.0.0.1:{daemon.metrics_port}/") as answer:
            assert b"applies the pauses that it read before, if any" in answer.read()

        client.execute_command("ACL", "SETUSER", "narrow", f"~{controls}")
        eventually(lambda: daemon.metric(CONTROLS_REFUSED) == 0, 3, log_tail(daemon))
        push(client, jobs(1, first=2))
        eventually(lambda: client.zcard(own_key("sockudo_queue::queue:webhooks", "held")) == 1, 5, log_tail(daemon))
        assert receiver.count == 1
        assert len(daemon.events("controls.refused")) == 1


def test_tools_show_what_is_paused(redis_server: RedisServer, receiver: Receiver, tmp_path: Path) -> None:
    hook = webhook(receiver.url(), name="orders")
    with daemon_on(redis_server.url, hook) as daemon, redis_server.client() as client:
        daemon.wait_ready()
        settings = {"REDIS_URL": redis_server.url, "QUEUE_METRICS_PORT": daemon.environment["QUEUE_METRICS_PORT"]}
        run = Commands(tmp_path, config(app(hook)), settings)
        assert run("pause", APP_ID, "orders").code == 0
        eventually(lambda: daemon.events("webhook.paused"), 3, log_tail(daemon))
        push(client, jobs(3))
        eventually(lambda: client.zcard(own_key("sockudo_queue::queue:webhooks", "held")) == 3, 5, log_tail(daemon))
        eventually(
            lambda: daemon.metric("sockudo_webhook_held", app=APP_ID, webhook="orders") == 3, 7, log_tail(daemon)
        )
        stats = run("stats").out
        told_json = run("stats", "--json").json
        check = run("check")
    assert "0 delayed, 3 held" in stats
    assert f"webhook orders of app {APP_ID} is paused; 3 held" in stats
    assert told_json["queue"]["depth"]["held"] == 3
    assert told_json["daemons"][0]["paused_webhooks"] == [{"app": APP_ID, "webhook": "orders", "held": 3}]
    [line] = [line for line in check.out.splitlines() if "has been paused since" in line]
    assert line.startswith(f"warning  app '{APP_ID}', webhook orders: has been paused since 20")


def test_check_sends_no_probe_to_a_webhook_that_the_file_pauses(
    redis_server: RedisServer, receiver: Receiver, tmp_path: Path
) -> None:
    run = Commands(tmp_path, hooks(receiver, paused=True), {"REDIS_URL": redis_server.url})
    lines = {line["subject"]: line for line in json.loads(run("check", "--probe", "--json").out)["lines"]}
    assert lines[f"app '{APP_ID}', webhook orders"]["text"] == "is paused, so it gets no probe"
    assert [request.path for request in receiver.requests] == ["/other"]


def test_webhook_that_the_file_pauses_is_not_resumed_by_a_command(
    redis_server: RedisServer, receiver: Receiver, tmp_path: Path
) -> None:
    run = Commands(tmp_path, hooks(receiver, paused=True), {"REDIS_URL": redis_server.url})
    ran = run("resume", APP_ID, "orders")
    assert (ran.code, ran.out) == (1, "")
    [line] = [line for line in ran.err.splitlines() if "resume" in line]
    assert 'remove "paused" there' in line


def test_check_names_the_key_that_may_not_be_read(
    redis_server: RedisServer, receiver: Receiver, tmp_path: Path
) -> None:
    run = Commands(tmp_path, hooks(receiver, paused=False), {"REDIS_URL": redis_server.url})
    with redis_server.client() as client:
        client.set(own_key("sockudo_queue:", "controls"), "of another type")
        assert "no webhook can be paused" in run("check").out
