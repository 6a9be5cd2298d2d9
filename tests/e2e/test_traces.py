"""The trace of a job reaches the receiver with every attempt: through retries, dead letters and replays."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import pytest
import redis

from tests.faults.queue import daemon_on, log_tail, push
from tests.helpers.commands import run_process
from tests.helpers.configs import webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import dumps, job, numbers
from tests.helpers.queue_v2 import Producer
from tests.helpers.receiver import Answer, Receiver, Request
from tests.helpers.redis_server import RedisServer
from tests.helpers.sqs_daemon import daemon_on as daemon_on_sqs
from tests.helpers.sqs_daemon import make_queue
from tests.helpers.sqs_server import SqsServer, unused_name
from tests.helpers.waiting import eventually

TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT: Final = f"00-{TRACE}-00f067aa0ba902b7-01"
CONTEXT: Final = {"traceparent": PARENT, "tracestate": "vendor=1", "baggage": "user=alice"}
QUICK: Final = {"initial_backoff_ms": 100, "max_backoff_ms": 100, "max_attempts": 3, "jitter": 0}


def traced(n: int = 1, context: object = CONTEXT) -> bytes:
    """Return a job as Sockudo 5.2 writes it with its OpenTelemetry on."""
    return job(n)[:-1] + b',"trace_context":' + dumps(context) + b"}"


def spans(requests: list[Request]) -> list[str]:
    """Return the span id of each request, all of which must belong to the one trace."""
    matches = [re.fullmatch(rf"00-{TRACE}-([0-9a-f]{{16}})-01", each.headers["traceparent"]) for each in requests]
    assert all(matches), [each.headers["traceparent"] for each in requests]
    return [match[1] for match in matches if match is not None]


def push_to_list(client: redis.Redis, body: bytes) -> None:
    push(client, [body])


def push_to_v2(client: redis.Redis, body: bytes) -> None:
    Producer(client).enqueue(body)


def replay(daemon: DaemonProcess) -> None:
    command = ("dead-letters", "replay", "--all", "--config", str(daemon.config_path))
    ran = run_process(*command, environment=daemon.environment)
    assert ran.returncode == 0, ran.stderr


def check_one_trace(daemon: DaemonProcess, receiver: Receiver, enqueue: Callable[[bytes], None]) -> None:
    """Fail twice, refuse, replay, deliver: each attempt has the trace and a span of its own."""
    receiver.answer(lambda request, nth: Answer([503, 503, 404, 200][nth - 1]))
    enqueue(traced())
    receiver.wait_for(3, 20)
    eventually(lambda: daemon.metric("sockudo_webhook_dead_letters_total", reason="refused") == 1, 20, log_tail(daemon))
    replay(daemon)
    requests = receiver.wait_for(4, 20)
    assert len(set(spans(requests)) | {"00f067aa0ba902b7"}) == 5
    assert {request.headers["tracestate"] for request in requests} == {"vendor=1"}
    assert not any("baggage" in request.headers for request in requests)
    eventually(lambda: len(daemon.events("delivery.attempted")) == 4, 10, log_tail(daemon))
    assert {line["trace_id"] for line in daemon.events("delivery.attempted")} == {TRACE}


@pytest.mark.parametrize("enqueue", [push_to_list, push_to_v2])
def test_every_attempt_on_redis_continues_the_trace_of_the_job(
    redis_server: RedisServer, receiver: Receiver, enqueue: Callable[[redis.Redis, bytes], None]
) -> None:
    hook = webhook(receiver.url(), name="hook", retry=QUICK)
    with redis_server.client() as client, daemon_on(redis_server.url, hook) as daemon:
        check_one_trace(daemon, receiver, lambda body: enqueue(client, body))


def test_every_attempt_on_sqs_continues_the_trace_of_the_job(sqs_server: SqsServer, receiver: Receiver) -> None:
    producer = make_queue(sqs_server.client, unused_name())
    hook = webhook(receiver.url(), name="hook", retry=QUICK)
    with daemon_on_sqs(sqs_server.url, producer.name, hook) as daemon:
        check_one_trace(daemon.wait_ready(30), receiver, lambda body: producer.push([body]))


def test_the_trace_of_a_job_replaces_configured_headers_of_its_names(
    redis_server: RedisServer, receiver: Receiver
) -> None:
    """As in Sockudo. A job without a trace leaves the configured ones as they are; baggage is sent by choice only."""
    own = {"Traceparent": f"00-{'1' * 32}-{'2' * 16}-00", "TraceState": "mine=1", "Baggage": "team=hooks"}
    plain, choosing = webhook(receiver.url("/plain"), name="plain", headers=own), {"QUEUE_DELIVERY_TRACE_BAGGAGE": "1"}
    with redis_server.client() as client, daemon_on(redis_server.url, plain) as daemon:
        push(client, [traced(), job(2), traced(3, {"traceparent": PARENT})])
        first, second, third = sorted(receiver.wait_for(3, 20), key=lambda request: numbers(request.body))
        assert spans([first, third])
        assert (first.headers["tracestate"], first.headers["baggage"]) == ("vendor=1", "team=hooks")
        assert {name: second.headers[name.lower()] for name in own} == own
        assert "tracestate" not in third.headers
        daemon.terminate()
        assert daemon.wait() == 0
    for request in (first, second, third):
        names = [name.lower() for name, _ in request.header_lines]
        assert len(names) == len(set(names))
    receiver.clear()
    with redis_server.client() as client, daemon_on(redis_server.url, plain, **choosing) as daemon:
        push(client, [traced()])
        [request] = receiver.wait_for(1, 20)
        assert request.headers["baggage"] == "user=alice"


def test_a_hostile_trace_costs_the_trace_alone(redis_server: RedisServer, receiver: Receiver) -> None:
    hostile = [
        {"traceparent": PARENT + "\r\nX-Evil: 1"},
        {"traceparent": "0" * 1_000_000},
        {"traceparent": PARENT, "tracestate": "a=b\nX-Evil: 1"},
        ["traceparent"],
    ]
    with redis_server.client() as client, daemon_on(redis_server.url, receiver.url()) as daemon:
        push(client, [traced(n, context) for n, context in enumerate(hostile, 1)])
        requests = receiver.wait_for(4, 20)
        rejected = "sockudo_webhook_trace_fields_rejected_total"
        eventually(lambda: daemon.metric(rejected, field="traceparent") == 3, 10, log_tail(daemon))
        assert daemon.metric(rejected, field="tracestate") == 1
    assert [("traceparent" in each.headers, "x-evil" in each.headers) for each in requests].count((True, False)) == 1
    assert not any("x-evil" in request.headers or "tracestate" in request.headers for request in requests)
