"""The status page of a running daemon: it calls no server, and is missing if it is switched off."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.queue import daemon_on, push
from tests.helpers.commands import Commands
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import APP_ID, jobs
from tests.helpers.receiver import Receiver
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually


def get(daemon: DaemonProcess, path: str, method: str = "GET") -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", daemon.metrics_port, timeout=2)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read().decode()
    finally:
        connection.close()


@pytest.fixture
def daemon(own_redis: RedisServer, receiver: Receiver) -> Iterator[DaemonProcess]:
    with daemon_on(own_redis.url, receiver.url()) as started:
        yield started.wait_ready()


def test_a_failing_webhook_is_seen_with_its_cause(
    daemon: DaemonProcess, own_redis: RedisServer, receiver: Receiver
) -> None:
    receiver.always(404)
    with own_redis.client() as client:
        push(client, jobs(3))
    status = eventually(
        lambda: (t := json.loads(get(daemon, "/status.json")[2]))["dead_letters"]["made"] == 3 and t, 10
    )
    [row] = status["webhooks"]
    assert (row["failed"], row["delivered"], row["last_failure"]) == (3, 0, "status-404")
    assert status["dead_letters"]["by_reason"] == {"refused": 3}
    status, headers, document = get(daemon, "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "status-404" in document
    assert get(daemon, "/", "HEAD")[2] == ""


def test_an_invalid_webhook_is_on_the_page_and_in_stats(
    own_redis: RedisServer, receiver: Receiver, tmp_path: Path
) -> None:
    with daemon_on(own_redis.url, receiver.url(), webhook("ftp://CANARY@h/", name="orders")) as daemon:
        daemon.wait_ready()
        status = json.loads(get(daemon, "/status.json")[2])["invalid_webhooks"]
        assert (status["count"], status["first"][0]["webhook"]) == (1, "orders")
        document = get(daemon, "/")[2]
        assert (
            f"Webhook orders of app {APP_ID} is invalid, so its events become dead letters: url must begin" in document
        )
        url = f"http://127.0.0.1:{daemon.metrics_port}"
        shown = Commands(tmp_path, config(app()), {"REDIS_URL": own_redis.url})("stats", "--url", url).out
        assert f"webhook orders of app {APP_ID} is invalid: url must begin with http" in shown
        assert "CANARY" not in document + shown + daemon.output()


def test_page_calls_no_server(daemon: DaemonProcess, own_redis: RedisServer) -> None:
    eventually(lambda: json.loads(get(daemon, "/status.json")[2])["depth"])
    own_redis.pause()
    try:
        for _ in range(3):
            started = time.monotonic()
            for path in ("/", "/status.json", "/metrics"):
                assert get(daemon, path)[0] == 200
            assert time.monotonic() - started < 1.5
    finally:
        own_redis.resume()


def test_page_can_be_switched_off() -> None:
    environment = {"QUEUE_DRIVER": "none", "QUEUE_METRICS_STATUS_PAGE": "false"}
    with DaemonProcess(config(app(webhook("http://127.0.0.1:9/"))), environment) as daemon:
        daemon.wait_ready()
        for path in ("/", "/status.json"):
            assert get(daemon, path)[0] == 404
        assert get(daemon, "/livez")[0] == 200
