"""The page that searches the attempt history, on a real daemon with a real Redis."""

from __future__ import annotations

import base64
import html
import http.client
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from urllib.parse import quote

import pytest

from sockudo_queue.observability.web.application import ASKING_REQUESTS
from tests.faults.queue import push
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import event, job
from tests.helpers.receiver import Answer, Receiver
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

LOGIN: Final = {"Authorization": "Basic " + base64.b64encode(b"sockudo-queue:p").decode()}
MARKUP: Final = "<script>alert(1)</script>"


@pytest.fixture
def daemon(receiver: Receiver, redis_server: RedisServer) -> Iterator[DaemonProcess]:
    receiver.answer(lambda request, nth: Answer(410 if b"script" in request.body else 200))
    settings = {"QUEUE_METRICS_PASSWORD": "p", "QUEUE_METRICS_HOST": "127.0.0.1", "QUEUE_HISTORY": "all"}
    file = config(app(webhook(receiver.url(), name="orders")))
    with DaemonProcess(file, settings, redis_url=redis_server.url) as started:
        started.wait_ready()
        yield started


def get(daemon: DaemonProcess, path: str, **headers: str) -> tuple[int, str, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", daemon.metrics_port, timeout=10)
    try:
        connection.request("GET", path, headers=LOGIN | headers)
        response = connection.getresponse()
        return response.status, response.read().decode(), response.headers
    finally:
        connection.close()


def shown(daemon: DaemonProcess, **wanted: str) -> str:
    query = "&".join(f"{name}={quote(value)}" for name, value in wanted.items())
    status, text, _ = get(daemon, f"/attempts?{query}")
    assert status == 200, text
    return text


def rows(text: str) -> int:
    return text.count('<tr role="row"><td')


def test_attempts_are_found_by_channel_and_job_and_the_pages_are_linked(
    daemon: DaemonProcess, redis_server: RedisServer
) -> None:
    with redis_server.client() as client:
        push(client, [job(number, events=[event(channel=f"room-{number}")]) for number in range(60)])
        eventually(lambda: "Kept: 60 entries" in shown(daemon), 15)
        push(client, [job(100, events=[event(channel=MARKUP)])])  # the last one, since its 410 opens the breaker
        eventually(lambda: rows(shown(daemon, outcome="dead-letter")) == 1, 15)

    found = shown(daemon, channel="room-7")
    assert rows(found) == 1
    assert "status 200" in found
    job_link = html.unescape(re.findall(r'href="(/attempts\?job=[^"]+)"', found)[0])
    assert rows(get(daemon, job_link)[1]) == 1

    older = html.unescape(re.findall(r'href="(/attempts\?before=[^"]+)"', shown(daemon))[0])
    assert rows(get(daemon, older)[1]) == 12

    overview = eventually(lambda: (text := get(daemon, "/")[1]) and "/attempts?app=" in text and text)
    webhook_link = html.unescape(re.findall(r'href="(/attempts\?app=[^"]+)"', str(overview))[0])
    assert rows(get(daemon, webhook_link)[1]) == 50
    marked = shown(daemon, channel=MARKUP)
    assert MARKUP not in marked
    assert html.escape(MARKUP) in marked
    job_link = html.unescape(re.findall(r'href="(/attempts\?job=[^"]+)"', marked)[0])
    assert rows(get(daemon, job_link)[1]) == 2  # the attempt, and the dead letter that it led to


def test_empty_page_does_not_claim_that_nothing_was_delivered(daemon: DaemonProcess) -> None:
    text = shown(daemon, channel="elsewhere")
    assert "This does not mean that nothing was delivered" in text
    assert "Recorded: all" in text
    assert "Kept: no entry" in text
    assert "Dropped: 0 entries" in text


def test_input_of_a_person_is_checked_and_shown_again(daemon: DaemonProcess) -> None:
    status, text, headers = get(daemon, "/attempts?status=abc&job=" + quote('"><b>'))
    assert status == 400
    assert "three digits" in text
    assert 'value="&#34;&gt;&lt;b&gt;"' in text
    assert "form-action 'self'" in headers["Content-Security-Policy"]
    assert get(daemon, "/attempts?before=odd&" + "x=1&" * 500)[0] == 200
    assert get(daemon, f"/attempts?before={'9' * 15}-{'9' * 20}-0-0")[0] == 200


def test_page_needs_the_login(daemon: DaemonProcess) -> None:
    assert get(daemon, "/attempts", Authorization="Basic x")[0] == 401


def test_without_a_login_there_is_no_page_and_no_link_to_it(receiver: Receiver, redis_server: RedisServer) -> None:
    with DaemonProcess(config(app(webhook(receiver.url()))), {}, redis_url=redis_server.url) as daemon:
        daemon.wait_ready()
        assert get(daemon, "/attempts")[0] == 404
        assert "/attempts" not in get(daemon, "/")[1]


def test_redis_that_does_not_answer_is_reported_and_blocks_no_other_page(receiver: Receiver) -> None:
    settings = {"QUEUE_METRICS_PASSWORD": "p", "QUEUE_METRICS_HOST": "127.0.0.1"}
    with (
        RedisServer() as own_redis,
        DaemonProcess(config(app(webhook(receiver.url()))), settings, redis_url=own_redis.url) as daemon,
    ):
        daemon.wait_ready()
        own_redis.stop()
        status, text, _ = get(daemon, "/attempts")
        assert status == 503
        assert "cannot be read now" in text
        assert get(daemon, "/metrics")[0] == 200


def test_redis_that_is_silent_does_not_take_the_places_of_metrics(receiver: Receiver) -> None:
    settings = {
        "QUEUE_METRICS_PASSWORD": "p",
        "QUEUE_METRICS_HOST": "127.0.0.1",
        "QUEUE_REDIS_RESPONSE_TIMEOUT_MS": "2000",
    }
    with (
        RedisServer() as own_redis,
        DaemonProcess(config(app(webhook(receiver.url()))), settings, redis_url=own_redis.url) as daemon,
        ThreadPoolExecutor(12) as pool,
    ):
        daemon.wait_ready()
        own_redis.pause()
        try:
            asked = [pool.submit(get, daemon, "/attempts") for _ in range(12)]
            eventually(lambda: sum(each.done() for each in asked) == 12 - ASKING_REQUESTS, 1.5)
            assert all(get(daemon, path)[0] == 200 for path in ("/metrics", "/status.json"))
            assert not all(each.done() for each in asked)
            assert {each.result()[0] for each in asked} == {503}
        finally:
            own_redis.resume()
        assert eventually(lambda: get(daemon, "/attempts")[0] == 200, 10)
