"""Pause, resume and "try now" on the page of a webhook, with real daemons on a real Redis."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

import pytest

from tests.faults.queue import push
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import jobs, numbers
from tests.helpers.pages import Form, Pages, forms
from tests.helpers.receiver import Receiver
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

PAGE: Final = "/webhook?app=shop&webhook=orders"
SETTINGS: Final = {"QUEUE_METRICS_PASSWORD": "p"}


def apps(receiver: Receiver) -> dict[str, object]:
    return config(app(webhook(receiver.url(), name="orders"), webhook(receiver.url("/chat"), name="<b>")))


@pytest.fixture
def daemon(receiver: Receiver, redis_server: RedisServer) -> Iterator[DaemonProcess]:
    with DaemonProcess(apps(receiver), SETTINGS, redis_url=redis_server.url) as started:
        started.wait_ready()
        yield started


@pytest.fixture
def pages(daemon: DaemonProcess) -> Pages:
    return Pages(daemon.metrics_port)


def acted(pages: Pages, action: str) -> None:
    """Use the button of a webhook's page."""
    [form] = forms(pages.get(PAGE).text, f"/webhook/{action}")
    reply = pages.post(form)
    assert (reply.status, reply.headers["Location"]) == (303, PAGE)


def test_what_is_paused_on_one_replica_is_held_by_all_and_delivered_once_after_the_resume(
    daemon: DaemonProcess, pages: Pages, redis_server: RedisServer, receiver: Receiver
) -> None:
    with (
        DaemonProcess(apps(receiver), SETTINGS, redis_url=redis_server.url) as replica,
        redis_server.client() as client,
    ):
        replica.wait_ready()
        acted(pages, "pause")
        for each in (daemon, replica):
            eventually(lambda each=each: each.events("webhook.paused"), 2.5)  # type: ignore[misc]
        push(client, jobs(200))
        other = eventually(lambda: len({request.path for request in receiver.wait_for(200)} - {"/"}), 10)
        assert other == 1  # the webhook that is not paused gets everything
        shown = eventually(
            lambda: (text := Pages(replica.metrics_port).get(PAGE).text) and ">200<" in text and text, 15
        )
        assert "by sockudo-queue at 127.0.0.1" in str(shown)
        assert "orders</a> of app shop" in pages.get("/webhook").text
        assert not forms(str(shown), "/webhook/pause")
        receiver.clear()

        acted(Pages(replica.metrics_port), "resume")
        delivered = [number for each in receiver.wait_for(200, 15) for number in numbers(each.body)]
        assert Counter(delivered) == Counter(range(1, 201))
    [line] = daemon.events("operator.acted")
    assert (line["action"], line["app"], line["webhook"]) == ("pause", "shop", "orders")
    assert (line["by"], line["count"]) == ("sockudo-queue at 127.0.0.1", 1)


def test_try_now_is_logged_and_pages_are_linked(
    daemon: DaemonProcess, pages: Pages, redis_server: RedisServer, receiver: Receiver
) -> None:
    with redis_server.client() as client:
        push(client, jobs(1))
    receiver.wait_for(2)
    text = eventually(lambda: (shown := pages.get("/").text) and "webhook=%3Cb%3E" in shown and shown)
    links = [html.unescape(link) for link in re.findall(r'href="(/webhook\?[^"]+)"', str(text))]
    assert PAGE in links
    shown = pages.get(PAGE).text
    assert "1 delivered, 0 failed" in shown
    assert 'href="/dead-letters?app=shop&amp;webhook=orders"' in shown
    acted(pages, "try-now")
    [line] = eventually(lambda: daemon.events("operator.acted"))
    assert line["action"] == "try-now"
    marked = pages.get(next(link for link in links if link != PAGE))
    assert "<b>" not in marked.text
    assert marked.headers["X-Frame-Options"] == "DENY"


def test_only_a_form_of_the_page_acts_and_only_on_webhooks_that_exist(daemon: DaemonProcess, pages: Pages) -> None:
    [pause], [try_now] = (forms(pages.get(PAGE).text, f"/webhook/{action}") for action in ("pause", "try-now"))
    for form, headers, status in (
        (pause, {"Origin": "http://evil.example"}, 403),
        (pause, {"Authorization": None}, 401),
        (Form(pause.action, pause.fields | {"token": try_now.fields["token"]}), {}, 403),
        (Form(pause.action, pause.fields | {"webhook": "other"}), {}, 404),
        (Form(pause.action, pause.fields | {"app": "\0"}), {}, 404),
    ):
        assert pages.post(form, **headers).status == status
    assert pages.get("/webhook/pause?app=shop&webhook=orders").status == 405
    assert not daemon.events("operator.acted")
    assert not daemon.events("webhook.paused")


def test_a_driver_without_pauses_says_so_and_closes_breakers(receiver: Receiver) -> None:
    with DaemonProcess(apps(receiver), SETTINGS | {"QUEUE_DRIVER": "memory"}) as started:
        started.wait_ready()
        pages = Pages(started.metrics_port)
        shown = pages.get(PAGE).text
        assert "keeps no pauses" in shown
        [try_now] = forms(shown, "/webhook/try-now")
        assert pages.post(try_now).status == 303
        eventually(lambda: started.events("operator.acted"))
