"""The daemon alerts its operator: endpoints that break and recover, dead letters, refusals, losses, and a stop."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from sockudo_queue.daemon import LAST_ALERTS
from tests.faults.queue import DOCUMENTED_LIST, daemon_on, log_tail, own_key, push
from tests.helpers.alerts import SECRET, alert_settings, alerts_at, verified
from tests.helpers.configs import webhook
from tests.helpers.jobs import APP_ID, jobs
from tests.helpers.receiver import Receiver
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

QUICK = {
    "QUEUE_DELIVERY_BREAKER_FAILURES": "2",
    "QUEUE_DELIVERY_BREAKER_OPEN_MS": "200",
    "QUEUE_DELIVERY_RETRY_INITIAL_BACKOFF_MS": "50",
}


@pytest.fixture
def operator() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def counts_at(operator: Receiver) -> list[int]:
    return [payload["data"]["count"] for payload in alerts_at(operator, "webhook.dead_letters")]


def test_operator_is_alerted_to_failure_recovery_and_dead_letters(
    own_redis: RedisServer, receiver: Receiver, operator: Receiver
) -> None:
    receiver.always(503)
    settings = QUICK | alert_settings(operator) | {"QUEUE_DELIVERY_RETRY_MAX_ELAPSED_TIME_MS": "60000"}
    hook = webhook(receiver.url("/?token=CANARY"), name="orders")
    with daemon_on(own_redis.url, hook, **settings) as daemon, own_redis.client() as client:
        daemon.wait_ready()
        push(client, jobs(3))
        [opened] = eventually(lambda: alerts_at(operator, "webhook.breaker_opened"), 10, log_tail(daemon))
        eventually(lambda: len(daemon.events("breaker.opened")) >= 3, 10, log_tail(daemon))  # probes that failed
        receiver.always(200)
        [closed] = eventually(lambda: alerts_at(operator, "webhook.breaker_closed"), 10, log_tail(daemon))
        receiver.always(404)  # refused for good
        push(client, jobs(1, first=4))
        [dead] = eventually(lambda: alerts_at(operator, "webhook.dead_letters"), 10, log_tail(daemon))
        push(client, jobs(19, first=5))
        eventually(lambda: len(daemon.events("job.dead_lettered")) == 20, 10, log_tail(daemon))
        daemon.terminate()
        assert daemon.wait() == 0, daemon.output()
        output = daemon.output()
    names = [opened["data"][name] for name in ("app", "webhook", "reason")]
    assert names == [APP_ID, "orders", "status-503"]
    assert closed["data"]["failing_s"] > opened["data"]["failing_s"]
    assert closed["timestamp"] > opened["timestamp"]
    assert (dead["data"]["reason"], dead["data"]["last"]) == ("refused", "status-404")
    # The stop sent what was counted since.
    assert counts_at(operator) == [1, 19]
    assert len(alerts_at(operator, "webhook.breaker_opened")) == 1
    for secret in ("CANARY", SECRET):
        assert secret not in output
        assert all(secret.encode() not in request.body for request in operator.requests)


def test_dead_letters_that_go_on_bring_one_reminder_and_dropped_ones_another_alert(
    own_redis: RedisServer, receiver: Receiver, operator: Receiver
) -> None:
    receiver.always(404)
    settings = alert_settings(operator) | {"QUEUE_ALERT_REMINDER_MS": "2000", "QUEUE_FAILED_RETENTION": "10"}
    with daemon_on(own_redis.url, receiver.url(), **settings) as daemon, own_redis.client() as client:
        daemon.wait_ready()
        push(client, jobs(1))
        operator.wait_for(1)
        push(client, jobs(30, first=2))
        eventually(lambda: sum(counts_at(operator)) == 31, 10, log_tail(daemon))
        trimmed, *_ = eventually(lambda: alerts_at(operator, "queue.dead_letters_trimmed"), 10, log_tail(daemon))
    first, second, *_ = (each for each in operator.requests if verified(each)["type"] == "webhook.dead_letters")
    assert second.received_at - first.received_at >= 1.9
    assert counts_at(operator)[0] == 1
    assert len(counts_at(operator)) <= 3
    assert 1 <= trimmed["data"]["count"] <= 21


def test_operator_is_alerted_to_a_refused_source_and_its_end(
    own_redis: RedisServer, receiver: Receiver, operator: Receiver
) -> None:
    with own_redis.client() as client:
        client.set(own_key(DOCUMENTED_LIST, "ready"), "a key of another type")
        with daemon_on(own_redis.url, receiver.url(), **alert_settings(operator)) as daemon:
            [refused] = eventually(lambda: alerts_at(operator, "queue.source_refused"), 10, log_tail(daemon))
            client.delete(own_key(DOCUMENTED_LIST, "ready"))
            eventually(lambda: alerts_at(operator, "queue.source_resumed"), 10, log_tail(daemon))
    assert refused["data"]["source"] == DOCUMENTED_LIST


def test_operator_is_alerted_to_an_outage_of_redis_and_its_end(receiver: Receiver, operator: Receiver) -> None:
    with RedisServer() as server, daemon_on(server.url, receiver.url(), **alert_settings(operator)) as daemon:
        daemon.wait_ready()
        server.stop()
        [lost] = eventually(lambda: alerts_at(operator, "queue.broker_lost"), 10, log_tail(daemon))
        server.start()
        eventually(lambda: alerts_at(operator, "queue.broker_resumed"), 15, log_tail(daemon))
        assert lost["data"]["reason"] == daemon.events("broker.lost")[0]["reason"]
    # The first answer of Redis was no change.
    assert [payload["data"]["changes"] for payload in alerts_at(operator)] == [1, 1]


@pytest.mark.parametrize("deadline", [5_000, 500])
def test_stop_is_not_delayed_by_a_hanging_receiver(
    own_redis: RedisServer, receiver: Receiver, operator: Receiver, deadline: int
) -> None:
    receiver.always(404)
    operator.hang()
    settings = alert_settings(operator) | {"QUEUE_SHUTDOWN_TIMEOUT_MS": str(deadline)}
    with daemon_on(own_redis.url, receiver.url(), **settings) as daemon, own_redis.client() as client:
        daemon.wait_ready()
        push(client, jobs(1))
        operator.wait_for(1)
        push(client, jobs(1, first=2))
        eventually(lambda: len(daemon.events("job.dead_lettered")) == 2, 10, log_tail(daemon))
        daemon.signal(signal.SIGTERM)
        began = time.monotonic()
        assert daemon.wait() == 0, daemon.output()
        took = time.monotonic() - began
        [lost] = daemon.events("alert.lost")
    assert took < min(deadline / 1000, LAST_ALERTS) + 1.5  # of Python and its end on a busy machine
    assert lost["count"] == 2


def test_receiver_that_fails_is_counted_and_raises_no_alert(
    own_redis: RedisServer, receiver: Receiver, operator: Receiver
) -> None:
    receiver.always(404)
    operator.always(400)
    with (
        daemon_on(own_redis.url, receiver.url(), **alert_settings(operator)) as daemon,
        own_redis.client() as client,
    ):
        daemon.wait_ready()
        push(client, jobs(3))
        eventually(lambda: daemon.metric("sockudo_queue_alerts_total", outcome="failed") == 1, 10, log_tail(daemon))
        [failed] = daemon.events("alert.failed")
    assert failed["reason"] == "status-400"
    assert {payload["type"] for payload in alerts_at(operator)} == {"webhook.dead_letters"}
