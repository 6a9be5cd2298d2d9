"""The pages in a real browser: with the keyboard alone, on a telephone's width, and beside a site that attacks them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.faults.queue import SERVER_LIST, own_key, push, records
from tests.helpers import browser as browsers
from tests.helpers.browser import Browser
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import event, job, jobs, numbers
from tests.helpers.pages import USER, Pages, forms
from tests.helpers.receiver import Answer, Receiver
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

PASSWORD: Final = "p"
WEBHOOK: Final = "/webhook?app=shop&webhook=orders"
pytestmark = pytest.mark.skipif(browsers.program() is None, reason=browsers.MISSING)


@pytest.fixture
def daemon(receiver: Receiver, redis_server: RedisServer) -> Iterator[DaemonProcess]:
    """One with two dead letters, whose endpoint works again."""
    receiver.always(400)
    apps = config(
        app(webhook(receiver.url(), name="orders")), app(webhook(receiver.url(), name="chat"), app_id="club", key="k")
    )
    settings = {"QUEUE_METRICS_PASSWORD": PASSWORD, "QUEUE_HISTORY": "all"}
    with DaemonProcess(apps, settings, redis_url=redis_server.url) as started, redis_server.client() as client:
        started.wait_ready()
        push(client, [job(1), job(2, app_id="club", events=[event(channel="room-" + "x" * 180)])])
        eventually(lambda: len(records(client, "dead")) == 2)
        receiver.always(200)
        receiver.clear()
        yield started


@pytest.fixture(scope="module")
def shared_browser() -> Iterator[Browser]:
    with Browser(USER, PASSWORD) as started:
        yield started


@pytest.fixture
def browser(shared_browser: Browser) -> Browser:
    shared_browser.renew()
    return shared_browser


def url(daemon: DaemonProcess, path: str, host: str = "127.0.0.1") -> str:
    return f"http://{host}:{daemon.metrics_port}{path}"


def test_a_person_logs_in_finds_a_dead_letter_and_replays_it_with_the_keyboard(
    daemon: DaemonProcess, browser: Browser, receiver: Receiver
) -> None:
    browser.open(url(daemon, "/"))
    assert browser.logins == 1
    browser.tab_to("e.getAttribute('href') == '/dead-letters'")
    browser.follow()
    assert "2 in the queue" in browser.text
    browser.tab_to("e.name == 'app'")
    browser.write("shop")
    browser.follow()
    assert browser.evaluate("location.search").startswith("?app=shop&")
    browser.tab_to("(e.getAttribute('href') || '').startsWith('/dead-letters/show?id=')")
    browser.follow()
    assert "status-400" in browser.text
    browser.tab_to("e.textContent == 'Replay'")
    assert browser.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.follow()
    assert "Replayed 1 dead letter" in browser.text
    [request] = receiver.wait_for(1)
    assert numbers(request.body) == [1]
    assert browser.evaluate("location.pathname") == "/dead-letters"

    browser.tab_to("e.name == 'sure'")
    browser.press(" ")
    browser.tab_to("e.textContent == 'Purge all'")
    browser.follow()
    assert "Purged 1 dead letter" in browser.text
    assert "There are no dead letters." in browser.text
    assert browser.logins == 1
    assert browser.complaints == []


def test_a_person_pauses_and_resumes_a_webhook_with_the_keyboard(
    daemon: DaemonProcess, browser: Browser, receiver: Receiver, redis_server: RedisServer
) -> None:
    browser.open(url(daemon, "/"))
    browser.tab_to("(e.getAttribute('href') || '').startsWith('/webhook?app=shop')")
    browser.follow()
    browser.tab_to("e.textContent == 'Pause'")
    browser.follow()
    assert "by sockudo-queue at 127.0.0.1" in browser.text
    eventually(lambda: daemon.events("webhook.paused"), 2.5)
    with redis_server.client() as client:
        push(client, jobs(1_000, first=10))
        eventually(lambda: client.zcard(own_key(SERVER_LIST, "held")) == 1_000, 20)
        assert len(records(client, "held")) == 1_000
    assert receiver.count == 0
    browser.tab_to("e.textContent == 'Resume'")
    browser.follow()
    delivered = [number for each in receiver.wait_for(1_000, 20) for number in numbers(each.body)]
    assert sorted(delivered) == list(range(10, 1_010))
    assert browser.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_can_be_read_and_used_on_any_screen(daemon: DaemonProcess, browser: Browser, scheme: str) -> None:
    pages = Pages(daemon.metrics_port, PASSWORD)
    shown = forms(pages.get("/dead-letters").text, "/dead-letters/replay")[-1].fields["id"]
    for width in (360, 1280):
        browser.show(width, scheme)
        for path in (
            "/dead-letters",
            f"/dead-letters/show?id={shown}",
            "/dead-letters/show?id=none",
            "/webhook",
            WEBHOOK,
            "/",
        ):
            browser.open(url(daemon, path))
            assert browser.faults() == [], (width, path)
    browser.open(url(daemon, "/dead-letters"))
    assert browser.evaluate("document.querySelector('meta[http-equiv]')") is None


def test_another_site_in_the_same_browser_cannot_act_or_frame_the_pages(
    daemon: DaemonProcess, browser: Browser, receiver: Receiver, redis_server: RedisServer
) -> None:
    form = forms(Pages(daemon.metrics_port, PASSWORD).get("/dead-letters").text, "/dead-letters/replay")[0]
    fields = "".join(f'<input name="{name}" value="{value}">' for name, value in form.fields.items())  # even the token
    trap = (
        f'<iframe src="{url(daemon, "/dead-letters")}"></iframe>'
        f'<form method="post" action="{url(daemon, form.action)}">{fields}</form>'
        f'<a href="{url(daemon, form.action)}?scope=all">win</a>'
    )
    page = Answer(200, [("Content-Type", "text/html")], trap.encode())
    receiver.answer(lambda request, nth: page)
    browser.open(url(daemon, "/dead-letters"))  # the browser has the login from now on
    for host in ("127.0.0.1", "localhost"):  # another origin of the same site, and another site
        trap_url = receiver.url().replace("127.0.0.1", host)
        browser.open(trap_url)
        framed = browser.frame_urls()
        assert set(framed) <= {"chrome-error://chromewebdata/"}
        assert framed or host == "localhost"  # some browsers give frames of another site a process of their own
        browser.run_and_follow("document.forms[0].submit()")
        assert "nothing was done" in browser.text
        browser.open(trap_url)
        browser.run_and_follow("document.querySelector('a').click()")
        assert "only POST can be used here" in browser.text
    with redis_server.client() as client:
        assert len(records(client, "dead")) == 2
    assert not daemon.events("operator.acted")
