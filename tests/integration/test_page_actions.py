"""Dead letters on the status page of a real daemon: what a person can do there, and what no other site can."""

from __future__ import annotations

import contextlib
import html
import re
import threading
import time
from collections.abc import Iterator
from typing import Final

import pytest

from sockudo_queue.observability.web.form_tokens import HOUR, VALID_HOURS, FormTokens
from tests.faults.queue import SERVER_LIST, SHORT_LEASE, own_key, push, records
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import APP_ID, event, job, jobs, numbers
from tests.helpers.pages import Form, Pages, forms
from tests.helpers.receiver import Receiver
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

REPLAY: Final = "/dead-letters/replay"
PURGE: Final = "/dead-letters/purge"
PASSWORD: Final = "canary-77c1"
TOKEN: Final = "canary-5d0e"
MARKUP: Final = "<script>alert(1)</script>"
SETTINGS: Final = {
    "QUEUE_METRICS_PASSWORD": PASSWORD,
    "QUEUE_METRICS_TOKEN": TOKEN,
    # On a loopback address another check refuses foreign hosts first.
    "QUEUE_METRICS_HOST": "0.0.0.0",
    "QUEUE_METRICS_ACTION_HOSTS": "127.0.0.1",
    **SHORT_LEASE,
}


@pytest.fixture
def daemon(receiver: Receiver, redis_server: RedisServer) -> Iterator[DaemonProcess]:
    """One whose deliveries all end as dead letters."""
    receiver.always(400)
    apps = config(
        app(webhook(receiver.url(), name="orders")), app(webhook(receiver.url(), name="chat"), app_id=MARKUP, key="k")
    )
    with DaemonProcess(apps, SETTINGS, redis_url=redis_server.url) as started:
        started.wait_ready()
        yield started


@pytest.fixture
def pages(daemon: DaemonProcess) -> Pages:
    return Pages(daemon.metrics_port, PASSWORD)


def count(server: RedisServer) -> int:
    """Count the dead letters without reading them, which takes a call for each."""
    with server.client() as client:
        return int(client.zcard(own_key(SERVER_LIST, "dead")))


def dead(server: RedisServer) -> int:
    """Read all dead letters, and return their number."""
    with server.client() as client:
        return len(records(client, "dead"))


def die(server: RedisServer, *bodies: bytes) -> None:
    """Push jobs, and wait until they are dead letters beside those that are there."""
    wanted = dead(server) + len(bodies)
    with server.client() as client:
        push(client, bodies)
    eventually(lambda: count(server) == wanted, 20)
    eventually(lambda: dead(server) == wanted, 20)


def row_forms(document: str) -> list[Form]:
    """Return the forms that replay one dead letter of the list."""
    return [form for form in forms(document, REPLAY) if "id" in form.fields]


def all_form(document: str, action: str) -> Form:
    """Return the form that acts on all, or on all that match."""
    return next(form for form in forms(document, action) if "scope" in form.fields)


def test_a_dead_letter_is_found_replayed_and_delivered(
    daemon: DaemonProcess, pages: Pages, redis_server: RedisServer, receiver: Receiver
) -> None:
    die(redis_server, job(1))
    die(redis_server, job(2))
    assert 'href="/dead-letters"' in pages.get("/").text
    listed = pages.get("/dead-letters?app=shop&webhook=orders&reason=exhausted&newer=1h").text
    assert len(row_forms(listed)) == 0  # a slip in the reason
    listed = pages.get("/dead-letters?app=shop&webhook=orders&newer=1h").text
    assert len(row_forms(listed)) == 2
    [first, _] = re.findall(r'href="(/dead-letters/show\?id=[^"]+)"', listed)
    shown = pages.get(html.unescape(first)).text
    assert "status-400" in shown
    assert "channel_occupied room-2" in shown  # the newest comes first
    assert "No attempt is stored" not in shown

    receiver.always(200)
    receiver.clear()
    reply = pages.post(row_forms(listed)[0])
    assert (reply.status, reply.headers["Location"]) == (303, "/dead-letters?app=shop&webhook=orders&newer=1h")
    assert "Replayed 1 dead letter" in pages.get(reply.headers["Location"]).text
    [request] = receiver.wait_for(1)
    assert numbers(request.body) == [2]
    assert dead(redis_server) == 1
    [line] = eventually(lambda: daemon.events("operator.acted"))
    assert (line["by"], line["action"]) == ("sockudo-queue at 127.0.0.1", "replay")
    assert (line["count"], line["gone"], line["left"], line["reason"]) == (1, 0, 0, None)
    assert line["chosen"].startswith("id ")

    again = pages.post(row_forms(listed)[0])
    assert again.status == 303
    assert "Already gone: 1" in pages.get("/dead-letters").text


def test_all_that_match_are_replayed_and_purged_on_every_page(
    pages: Pages, redis_server: RedisServer, receiver: Receiver
) -> None:
    die(redis_server, *jobs(60), job(99, app_id=MARKUP))
    first = pages.get("/dead-letters").text
    assert "61 in the queue" in first
    assert len(row_forms(first)) == 50
    older = html.unescape(re.findall(r'href="(/dead-letters\?before=[^"]+)"', first)[0])
    second = pages.get(older).text
    assert len(row_forms(second)) == 11
    ids = {form.fields["id"] for form in row_forms(first) + row_forms(second)}
    assert len(ids) == 61

    matching = pages.get("/dead-letters?app=shop").text
    receiver.always(200)
    receiver.clear()
    assert pages.post(all_form(matching, REPLAY)).status == 303
    assert sorted(numbers(request.body)[0] for request in receiver.wait_for(60)) == list(range(1, 61))
    assert dead(redis_server) == 1

    purge = all_form(pages.get("/dead-letters").text, PURGE)
    refused = pages.post(purge)
    assert (refused.status, dead(redis_server)) == (400, 1)
    assert "tick the box" in refused.text
    purge.fields["sure"] = "yes"
    assert pages.post(purge).status == 303
    assert "Purged 1 dead letter" in pages.get("/dead-letters").text
    assert dead(redis_server) == 0


def test_input_of_a_person_is_checked(pages: Pages, redis_server: RedisServer) -> None:
    die(redis_server, job(1))
    refused = pages.get("/dead-letters?older=soon&app=%22%3E%3Cb%3E")
    assert refused.status == 400
    assert "for example 15m" in refused.text
    assert 'value="&#34;&gt;&lt;b&gt;"' in refused.text
    assert pages.get("/dead-letters?before=odd").status == 200
    assert pages.get("/dead-letters/show?id=none").status == 404
    lost = all_form(pages.get("/dead-letters?app=shop").text, REPLAY)
    del lost.fields["app"]  # then it must not mean all
    assert pages.post(lost).status == 400
    assert dead(redis_server) == 1


def test_cross_site_requests_do_not_act(
    daemon: DaemonProcess, pages: Pages, redis_server: RedisServer, receiver: Receiver
) -> None:
    die(redis_server, job(1))
    count = receiver.count
    form = all_form(pages.get("/dead-letters").text, REPLAY)
    evil, port = "http://evil.example", daemon.metrics_port
    for headers, status in (
        ({"Origin": evil}, 403),
        ({"Origin": evil, "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": f"http://127.0.0.1.evil.example:{port}"}, 403),
        ({"Origin": f"http://evil.example@127.0.0.1:{port}/"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": None}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Origin": f"{evil}:{port}", "Host": f"evil.example:{port}"}, 403),  # its name leads to our address
        ({"Host": f"evil.example:{port}"}, 403),
        ({"Content-Type": "text/plain"}, 403),
        ({"Authorization": None}, 401),
        ({"Authorization": "Bearer p"}, 401),
        ({"Authorization": f"Bearer {TOKEN}"}, 403),
    ):
        reply = pages.post(form, **headers)
        assert reply.status == status, headers
        assert PASSWORD not in reply.text
        assert TOKEN not in reply.text
    assert pages.get("/dead-letters", Authorization=f"Bearer {TOKEN}").status == 200  # the token reads
    letter = f"/dead-letters/show?id={row_forms(pages.get('/dead-letters').text)[0].fields['id']}"
    for path in ("/dead-letters", letter, f"/webhook?app={APP_ID}&webhook=orders"):
        assert 'method="post"' in pages.get(path).text
        read = pages.get(path, Authorization=f"Bearer {TOKEN}")
        assert read.status == 200
        assert "The bearer token only reads" in read.text
        assert 'method="post"' not in read.text
        assert 'name="token"' not in read.text
    for path in (REPLAY, PURGE):
        for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS"):
            reply = pages.request(method, path, None, {"Origin": pages.origin})
            assert (reply.status, reply.headers["Allow"]) == (405, "POST")
    assert pages.request("POST", "/dead-letters", "", {}).status == 405
    padded = Form(form.action, form.fields | {"more": "x" * 20_000})
    assert pages.post(padded).status == 413
    assert (dead(redis_server), receiver.count) == (1, count)
    assert not daemon.events("operator.acted")
    assert pages.post(form).status == 303  # the same form from our own page


def test_forged_and_old_tokens_do_not_act(daemon: DaemonProcess, pages: Pages, redis_server: RedisServer) -> None:
    die(redis_server, job(1))
    form = all_form(pages.get("/dead-letters").text, REPLAY)
    other = all_form(pages.get("/dead-letters").text, PURGE)
    secrets = f"{PASSWORD}\0{TOKEN}".encode()
    now = time.time()
    old = FormTokens(lambda: secrets, lambda: now - (VALID_HOURS + 1) * HOUR).make(REPLAY)
    early = FormTokens(lambda: secrets, lambda: now + 2 * HOUR).make(REPLAY)
    foreign = FormTokens(lambda: b"another password\0").make(REPLAY)
    hour, _, digest = form.fields["token"].partition(".")
    for token in (
        old, early, foreign, other.fields["token"], "", "0", f"{hour}.", f"{int(hour) - 1}.{digest}",
        f"{hour}.{digest}x", "9" * 5_000, f"{hour}.\N{SNOWMAN}", f"-{hour}.{digest}",
    ):  # fmt: skip
        reply = pages.post(Form(form.action, form.fields | {"token": token}))
        assert reply.status == 403, token
        assert "nothing was done" in reply.text
    assert dead(redis_server) == 1
    assert not daemon.events("operator.acted")
    young = FormTokens(lambda: secrets, lambda: now - (VALID_HOURS - 1) * HOUR).make(REPLAY)
    assert pages.post(Form(form.action, form.fields | {"token": young})).status == 303


def test_1000_wrong_logins_do_not_act_and_do_not_lock_out_another_address(
    daemon: DaemonProcess, pages: Pages, redis_server: RedisServer
) -> None:
    die(redis_server, job(1))
    form = all_form(pages.get("/dead-letters").text, REPLAY)
    guesser = Pages(daemon.metrics_port, "guess", "127.0.0.2")
    statuses = [guesser.post(form).status for _ in range(1_000)]
    assert set(statuses) == {401, 429}
    assert statuses.count(401) == 10
    assert Pages(daemon.metrics_port, PASSWORD, "127.0.0.2").post(form).status == 429
    assert dead(redis_server) == 1
    assert not daemon.events("operator.acted")
    assert pages.post(form).status == 303


def test_no_page_runs_markup_that_is_stored_or_can_be_framed(
    daemon: DaemonProcess, pages: Pages, redis_server: RedisServer
) -> None:
    die(redis_server, job(1, app_id=MARKUP, events=[event(channel=MARKUP)]))
    listed = pages.get("/dead-letters")
    shown = pages.get(html.unescape(re.findall(r'href="(/dead-letters/show\?id=[^"]+)"', listed.text)[0]))
    assert (
        pages.post(all_form(pages.get("/dead-letters?app=%3Cscript%3Ealert(1)%3C/script%3E").text, REPLAY)).status
        == 303
    )
    acted = pages.get("/dead-letters")
    assert html.escape(f"chose app {MARKUP}") in acted.text
    for reply in (listed, shown, acted, pages.get("/dead-letters?reason=" + "%3Cscript%3E"), pages.get("/")):
        assert reply.status == 200
        assert "<script" not in reply.text
        assert reply.headers["X-Frame-Options"] == "DENY"
        policy = reply.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert PASSWORD not in reply.text
        assert "shop-secret" not in reply.text
    assert html.escape(MARKUP) in listed.text
    assert html.escape(MARKUP) in shown.text
    assert 'http-equiv="refresh"' not in listed.text
    assert listed.headers["Referrer-Policy"] == "same-origin"  # else browsers send `Origin: null`
    assert listed.headers["Cache-Control"] == "no-store"


def test_tokens_hold_on_every_replica_and_after_a_restart(
    daemon: DaemonProcess, pages: Pages, redis_server: RedisServer, receiver: Receiver
) -> None:
    die(redis_server, job(1), job(2))
    receiver.always(200)
    form, another = row_forms(pages.get("/dead-letters").text)
    with DaemonProcess(
        config(app(webhook(receiver.url(), name="orders"))), SETTINGS, redis_url=redis_server.url
    ) as replica:
        replica.wait_ready()
        there = Pages(replica.metrics_port, PASSWORD)
        assert there.post(form).status == 303
        assert "Replayed 1 dead letter" in there.get("/dead-letters").text
    daemon.kill()
    daemon.start().wait_ready()
    assert pages.post(another).status == 303
    eventually(lambda: count(redis_server) == 0)


def test_an_action_that_is_killed_loses_nothing_and_can_begin_again(
    daemon: DaemonProcess, pages: Pages, redis_server: RedisServer, receiver: Receiver
) -> None:
    die(redis_server, *jobs(1_000))
    receiver.always(200)
    receiver.clear()
    form = all_form(pages.get("/dead-letters").text, REPLAY)
    asked = threading.Thread(target=lambda: _try_to(pages, form))
    asked.start()
    receiver.wait_for(1)
    daemon.kill()
    [line] = daemon.events("operator.started")
    assert (line["by"], line["action"], line["chosen"]) == ("sockudo-queue at 127.0.0.1", "replay", "all")
    asked.join(10)
    daemon.start().wait_ready()
    if (document := pages.get("/dead-letters").text) and forms(document, REPLAY):
        pages.post(all_form(document, REPLAY))
    eventually(lambda: count(redis_server) == 0, 20)
    eventually(lambda: len({number for each in receiver.wait_for(1) for number in numbers(each.body)}) == 1_000, 40)


def _try_to(pages: Pages, form: Form) -> None:
    with contextlib.suppress(OSError):
        pages.post(form)


@pytest.mark.parametrize("driver", ["memory", "none"])
def test_pages_fit_the_driver(receiver: Receiver, driver: str) -> None:
    receiver.always(400)
    environment = SETTINGS | {"QUEUE_DRIVER": driver}
    with DaemonProcess(config(app(webhook(receiver.url(), name="orders"))), environment) as started:
        pages = Pages(started.metrics_port, PASSWORD)
        if driver == "none":
            eventually(lambda: started.events("daemon.ready"), 10, started.output)
            assert pages.get("/dead-letters").status == 404
            assert "/dead-letters" not in pages.get("/").text
            return
        started.wait_ready()
        ingress = Pages(int(started.environment["QUEUE_MEMORY_INGRESS_PORT"]))
        assert ingress.request("POST", "/jobs", job(1).decode(), {}).status == 202
        found = eventually(lambda: row_forms(pages.get("/dead-letters").text))
        receiver.always(200)
        receiver.clear()
        assert pages.post(found[0]).status == 303
        receiver.wait_for(1)


def test_without_a_login_there_are_no_dead_letters_to_see(receiver: Receiver, redis_server: RedisServer) -> None:
    with DaemonProcess(config(app(webhook(receiver.url()))), {}, redis_url=redis_server.url) as daemon:
        daemon.wait_ready()
        pages = Pages(daemon.metrics_port)
        assert pages.get("/dead-letters").status == 404
        assert pages.post(Form(REPLAY, {"scope": "all"})).status == 404
        assert "/dead-letters" not in pages.get("/").text


def test_redis_that_does_not_answer_is_reported(receiver: Receiver) -> None:
    environment = {"QUEUE_METRICS_PASSWORD": PASSWORD, "QUEUE_METRICS_HOST": "127.0.0.1"}
    receiver.always(400)
    with (
        RedisServer() as own_redis,
        DaemonProcess(config(app(webhook(receiver.url()))), environment, redis_url=own_redis.url) as daemon,
    ):
        daemon.wait_ready()
        die(own_redis, job(1))
        pages = Pages(daemon.metrics_port, PASSWORD)
        [form] = row_forms(pages.get("/dead-letters").text)
        own_redis.stop()
        reply = pages.get("/dead-letters")
        assert reply.status == 503
        assert "cannot be read now" in reply.text
        assert pages.post(form).status == 303
        assert "It stopped: " in pages.get("/dead-letters").text
        [line] = eventually(lambda: daemon.events("operator.acted"))
        assert line["count"] == 0
        assert line["reason"]
