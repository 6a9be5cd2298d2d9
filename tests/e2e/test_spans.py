"""The spans that a collector gets: one connected trace from Sockudo's job to the receiver, however it is delivered."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Final

import pytest
import redis

from tests.e2e.test_traces import push_to_list, push_to_v2, replay
from tests.faults.queue import daemon_on, log_tail, push
from tests.helpers.configs import webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.data import job_files
from tests.helpers.jobs import dumps, job, jobs
from tests.helpers.otlp_receiver import OtlpReceiver, Span
from tests.helpers.receiver import Answer, Receiver, Request
from tests.helpers.redis_server import RedisServer
from tests.helpers.sqs_daemon import daemon_on as daemon_on_sqs
from tests.helpers.sqs_daemon import make_queue
from tests.helpers.sqs_server import SqsServer, unused_name
from tests.helpers.waiting import eventually

[RECORDED] = [each.body for each in job_files() if each.name == "recorded_traced"]
RECORDED_TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
SOCKUDOS_SPAN: Final = "a23ee021279b7df4"
QUICK: Final = {"initial_backoff_ms": 100, "max_backoff_ms": 100, "max_attempts": 3, "jitter": 0}


def traced(n: int, flags: str = "01", **fields: str) -> bytes:
    """Return a job of another trace, with the id `n`."""
    context = {"traceparent": f"00-{n:032x}-{SOCKUDOS_SPAN}-{flags}"} | fields
    return job(n)[:-1] + b',"trace_context":' + dumps(context) + b"}"


def recorded(n: int) -> bytes:
    """Return the job that a real server wrote, as another one: with the trace id and the job id `n`."""
    body = RECORDED.replace(RECORDED_TRACE.encode(), b"%032x" % n)
    return body.replace(b"ed0d990912e346ee88bd16dbfaee0d01", b"%032x" % n)


@pytest.fixture
def collector() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


def check_connected(spans: list[Span], requests: list[Request], trace: int) -> tuple[list[Span], list[Span]]:
    """Check that spans and requests of one trace hang together; return its claims and its attempts."""
    ours = [span for span in spans if span.trace == f"{trace:032x}"]
    claims = [span for span in ours if span.kind == "consumer"]
    attempts = [span for span in ours if span.kind == "client"]
    assert [span.parent for span in claims] == [SOCKUDOS_SPAN] * len(claims)
    assert [span.parent for span in attempts] == [span.id for span in claims]
    parents = [request.headers["traceparent"] for request in requests if f"{trace:032x}" in str(request.headers)]
    assert parents == [f"00-{trace:032x}-{span.id}-01" for span in attempts]
    first, *later = attempts
    assert first.links == ()
    assert all(span.links == ((first.trace, first.id),) for span in later)
    return claims, attempts


def check_traces(
    daemon: DaemonProcess, receiver: Receiver, otlp: OtlpReceiver, enqueue: Callable[[bytes], None]
) -> None:
    """Deliver three jobs: immediately, at the third try, and as a dead letter that is replayed."""
    statuses = [200, 503, 503, 200, 404, 200]
    receiver.answer(lambda request, nth: Answer(statuses[nth - 1]))
    for number, count in ((1, 1), (2, 4), (3, 5)):
        enqueue(recorded(number))
        receiver.wait_for(count, 20)
    eventually(lambda: daemon.metric("sockudo_webhook_dead_letters_total", reason="refused") == 1, 20, log_tail(daemon))
    replay(daemon)
    requests = receiver.wait_for(6, 20)
    spans = otlp.wait_for(12)
    assert len(spans) == 12

    [claim], [attempt] = check_connected(spans, requests, 1)
    assert (claim.attributes["sockudo_queue.outcome"], claim.failed) == ("completed", False)
    assert (attempt.attributes["sockudo_queue.outcome"], attempt.failed) == ("delivered", False)
    assert claim.start <= attempt.start <= attempt.end <= claim.end

    claims, attempts = check_connected(spans, requests, 2)
    assert [span.attributes["sockudo_queue.outcome"] for span in claims] == ["retry", "retry", "completed"]
    assert [span.attributes["sockudo_queue.attempt"] for span in attempts] == [1, 2, 3]
    assert [span.attributes["http.response.status_code"] for span in attempts] == [503, 503, 200]
    assert [span.attributes.get("sockudo_queue.reason") for span in attempts] == ["status-503", "status-503", None]
    assert [span.failed for span in attempts] == [True, True, False]

    [dead, replayed], attempts = check_connected(spans, requests, 3)
    assert (dead.attributes["sockudo_queue.outcome"], dead.attributes["error.type"]) == ("dead-letter", "refused")
    assert replayed.attributes["sockudo_queue.outcome"] == "completed"
    assert [span.attributes["sockudo_queue.attempt"] for span in attempts] == [1, 1]

    eventually(lambda: len(daemon.events("delivery.attempted")) == 6, 10, log_tail(daemon))
    lines = [(line["trace_id"], line["span_id"]) for line in daemon.events("delivery.attempted")]
    assert sorted(lines) == sorted((span.trace, span.id) for span in spans if span.kind == "client")
    assert {span.service for span in spans} == {"sockudo-queue"}
    assert {span.state for span in spans} == {"vendor=1"}
    eventually(lambda: daemon.metric("sockudo_queue_spans_exported_total") == 12, 10)


@pytest.mark.parametrize("enqueue", [push_to_list, push_to_v2])
def test_a_collector_gets_one_connected_trace_for_each_job_on_redis(
    redis_server: RedisServer,
    receiver: Receiver,
    collector: OtlpReceiver,
    enqueue: Callable[[redis.Redis, bytes], None],
) -> None:
    url = receiver.url("/path-secret?token=query-secret").replace("://", "://user:password-secret@")
    hook = webhook(url, name="hook", retry=QUICK)
    daemon = daemon_on(redis_server.url, hook, **collector.environment())
    with redis_server.client() as client, daemon:
        check_traces(daemon, receiver, collector, lambda body: enqueue(client, body))
    assert not [word for word in (b"secret", b"user", b"room-1") if word in collector.raw]
    [attempt, *_] = collector.of("client")
    shown = {name: attempt.attributes[name] for name in ("url.full", "server.address", "server.port")}
    assert shown == {
        "url.full": f"http://127.0.0.1:{receiver.port}/REDACTED",
        "server.address": "127.0.0.1",
        "server.port": receiver.port,
    }


def test_a_collector_gets_one_connected_trace_for_each_job_on_sqs(
    sqs_server: SqsServer, receiver: Receiver, collector: OtlpReceiver
) -> None:
    producer = make_queue(sqs_server.client, unused_name())
    hook = webhook(receiver.url(), name="hook", retry=QUICK)
    with daemon_on_sqs(sqs_server.url, producer.name, hook, **collector.environment()) as daemon:
        check_traces(daemon.wait_ready(30), receiver, collector, lambda body: producer.push([body]))


def test_the_sampling_flag_of_a_job_is_obeyed_and_a_job_without_a_trace_begins_one(
    redis_server: RedisServer, receiver: Receiver, collector: OtlpReceiver
) -> None:
    receiver.answer(lambda request, nth: Answer(503 if b"room-2" in request.body and nth < 4 else 200))
    with (
        redis_server.client() as client,
        daemon_on(
            redis_server.url, webhook(receiver.url(), name="hook", retry=QUICK), **collector.environment()
        ) as daemon,
    ):
        push(client, [traced(1, "00")])
        [unsampled] = receiver.wait_for(1, 20)
        push(client, [job(2)])
        first, second = receiver.wait_for(3, 20)[1:]
        spans = collector.wait_for(4)
        eventually(lambda: daemon.metric("sockudo_queue_spans_exported_total") == 4)  # counted after the response
    assert unsampled.headers["traceparent"].startswith(f"00-{1:032x}-")
    assert unsampled.headers["traceparent"].endswith("-00")
    claim, attempt, later_claim, later_attempt = spans
    assert len({span.trace for span in spans}) == 1
    assert claim.parent == ""
    assert later_claim.parent == attempt.id
    assert later_attempt.links == ((attempt.trace, attempt.id),)
    parents = [request.headers["traceparent"].split("-")[1:3] for request in (first, second)]
    assert parents == [[attempt.trace, attempt.id], [later_attempt.trace, later_attempt.id]]


def test_a_hostile_trace_costs_no_delivery_and_no_span_of_others(
    redis_server: RedisServer, receiver: Receiver, collector: OtlpReceiver
) -> None:
    states = [
        "=" * 512,
        ",".join("a=1" for _ in range(120)),
        "a=\u0000",
        "A" * 300 + "=1",
        "a=b" * 100_000,
        "\U0001f600",
    ]
    hook, own = webhook(receiver.url(), name="hook"), webhook(f"{collector.url}/v1/traces", name="collector")
    with redis_server.client() as client, daemon_on(redis_server.url, hook, own, **collector.environment()) as daemon:
        hostile = [traced(n, tracestate=state) for n, state in enumerate(states, 1)]
        # Its age does not fit into the integers of OTLP.
        hostile.append(traced(7).replace(b'"time_ms":1751100000007', b'"time_ms":-9223372036854775808'))
        push(client, hostile)
        receiver.wait_for(len(hostile), 20)
        collector.wait_for(3 * len(hostile))
        # No webhook reaches the collector itself.
        eventually(lambda: daemon.metric("sockudo_webhook_failures_total", **{"class": "guard"}) == len(hostile), 10)
        assert daemon.events("library.warning") + daemon.events("tracing.failed") == []
    assert collector.unreadable == 0


def test_hanging_collector_delays_no_delivery(
    redis_server: RedisServer, receiver: Receiver, collector: OtlpReceiver
) -> None:
    released = threading.Event()
    collector.respond = lambda: released.wait(60)
    few = {"OTEL_BSP_MAX_QUEUE_SIZE": "10", "QUEUE_SHUTDOWN_TIMEOUT_MS": "2000"}
    with (
        redis_server.client() as client,
        daemon_on(redis_server.url, receiver.url(), **collector.environment(**few)) as daemon,
    ):
        push(client, [traced(n) for n in range(1, 101)])
        receiver.wait_for(100, 20)
        eventually(
            lambda: daemon.metric("sockudo_queue_spans_dropped_total", reason="queue-full") >= 150, 10, log_tail(daemon)
        )
        assert daemon.get("/livez") == 200
        daemon.terminate()
        assert daemon.wait(10) == 0
        [lost] = daemon.events("tracing.spans_lost")
    released.set()
    assert lost["spans"] > 0


def test_a_collector_that_refuses_is_logged_and_counted_until_it_takes_spans_again(
    redis_server: RedisServer, receiver: Receiver, collector: OtlpReceiver
) -> None:
    collector.status = 429
    quick = collector.environment(OTEL_EXPORTER_OTLP_TIMEOUT="1")
    with redis_server.client() as client, daemon_on(redis_server.url, receiver.url(), **quick) as daemon:
        push(client, [traced(1)])
        receiver.wait_for(1, 20)
        eventually(
            lambda: daemon.metric("sockudo_queue_spans_dropped_total", reason="export-failed") >= 1,
            20,
            log_tail(daemon),
        )
        [failed] = daemon.events("tracing.export_failed")
        assert failed["reason"] == "status-429"
        collector.status, collector.endless = 200, True
        push(client, jobs(1))
        collector.wait_for(2)
        # An answer without end is read as far as any answer goes.
        eventually(lambda: len(daemon.events("tracing.export_resumed")) == 1, 10, log_tail(daemon))
        collector.endless = False
        assert daemon.events("library.warning") == []


def test_a_stop_exports_what_waits(redis_server: RedisServer, receiver: Receiver, collector: OtlpReceiver) -> None:
    slow = collector.environment(OTEL_BSP_SCHEDULE_DELAY="60000")
    with redis_server.client() as client, daemon_on(redis_server.url, receiver.url(), **slow) as daemon:
        push(client, [traced(n) for n in range(1, 21)])
        receiver.wait_for(20, 20)
        daemon.terminate()
        assert daemon.wait(10) == 0
        assert daemon.events("tracing.spans_lost") == []
    assert len(collector.spans) == 40


@pytest.mark.parametrize(
    ("variables", "text"), [({}, None), ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}, "not installed")]
)
def test_without_its_variables_or_the_extra_nothing_of_opentelemetry_is_imported(
    variables: dict[str, str], text: str | None
) -> None:
    """The import is refused, as where the extra is not installed."""
    script = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "import sockudo_queue.daemon\n"
        "from sockudo_queue.observability.tracing.factory import make_tracing\n"
        "class Log:\n"
        "    def info(self, event, **fields): print(event, fields)\n"
        "    warning = info\n"
        f"tracing = make_tracing({variables!r}, 'redis', Log())\n"
        "assert type(tracing).__name__ == 'NoTracing', tracing\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry.')]\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert (text in ran.stdout) if text else ran.stdout == ""
