"""From Sockudo's lists to a receiver: every spelling of the key, exact bytes, a signature that others accept."""

from __future__ import annotations

import re
import time
from typing import Any, Final

import pytest
from pusher import Pusher

from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.data import JobFile, job_files
from tests.helpers.jobs import APP_KEY, APP_SECRET, event, job, jobs, numbers, webhook_body
from tests.helpers.receiver import Receiver, Request
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

JOBS_EACH: Final = 30
_TIME: Final = re.compile(rb'"time_ms":\d+')

# Prefix, the list that servers before 5.0 write, and the list that the documentation names.
PREFIXES: Final = [
    ("sockudo_queue:", "sockudo_queue::queue:webhooks", "sockudo_queue:queue:webhooks"),
    ("x:", "x::queue:webhooks", "x:queue:webhooks"),
    ("x", "x:queue:webhooks", "xqueue:webhooks"),
    ("", ":queue:webhooks", "queue:webhooks"),
    ("{shop}:", "{shop}::queue:webhooks", "{shop}:queue:webhooks"),
    ("a{b", "a{b:queue:webhooks", "a{bqueue:webhooks"),
    ("{}", "{}:queue:webhooks", "{}queue:webhooks"),
]

# What JSON allows and what a decoder and an encoder would not give back as it came.
RAW_EVENTS: Final = {
    "emoji": '{"name":"client_event","channel":"private-😀","event":"client-👩‍👩‍👧","data":"\\ud83d\\ude00 😀"}',
    "line separators": '{"name":"client_event","channel":"a","data":"\u2028\u2029 \\u2028 \x7f \u0085"}',
    "slashes": '{"name":"client_event","channel":"a","data":"/ \\/ <\\/script> http://h/p"}',
    "big integers": '{"name":"client_event","channel":"a","data":[18446744073709551616,-9223372036854775809,1'
    + "0" * 400
    + "]}",
    "floats": '{"name":"client_event","channel":"a","data":[1.0,1e16,1E+16,1e-7,0.10000000000000000555,-0.0,5e-324]}',
    "repeated keys": '{"name":"client_event","channel":"a","data":1,"data":2}',
    "white space": '{ "name" : "client_event",\n\t"channel":"a" , "data":[ 1 , 2 ] }',
    "escapes": '{"\\u006eame":"client_event","channel":"\\u0061","data":"\\"\\\\\\b\\f\\n\\r\\t\\u0000\\u001f"}',
    "deep": '{"name":"client_event","channel":"a","data":' + "[" * 200 + "]" * 200 + "}",
    "long": '{"name":"client_event","channel":"a","data":"' + "é" * 100_000 + '"}',
}


def client_accepts(request: Request) -> bool:
    """Ask the official client, which also wants the time to be that of the last five minutes."""
    client = Pusher("1", APP_KEY, APP_SECRET)  # the id must be a number there, and is no part of the signature
    return bool(
        client.validate_webhook(
            request.headers["x-pusher-key"], request.headers["x-pusher-signature"], request.body.decode()
        )
    )


def now_ms() -> int:
    return int(time.time() * 1000)


@pytest.mark.parametrize(("prefix", "server_list", "documented_list"), PREFIXES)
def test_jobs_of_both_spellings_arrive_once(
    redis_server: RedisServer, receiver: Receiver, prefix: str, server_list: str, documented_list: str
) -> None:
    # In the environment an empty prefix would mean the default one.
    file: dict[str, Any] = config(app(webhook(receiver.url())), queue={"redis": {"prefix": prefix}})
    with redis_server.client() as client, DaemonProcess(file, redis_url=redis_server.url) as daemon:
        client.rpush(server_list, *jobs(JOBS_EACH))
        client.rpush(documented_list, *jobs(JOBS_EACH, first=JOBS_EACH + 1))
        receiver.wait_for(2 * JOBS_EACH, 10)
        eventually(lambda: client.keys() == [], 5, daemon.output)

    came = sorted(number for request in receiver.requests for number in numbers(request.body))
    assert came == list(range(1, 2 * JOBS_EACH + 1))


def test_prefix_of_the_environment_is_used(redis_server: RedisServer, receiver: Receiver) -> None:
    with redis_server.client() as client:
        client.rpush("x::queue:webhooks", job(1))
        client.rpush("x:queue:webhooks", job(2))
        file = config(app(webhook(receiver.url())))
        with DaemonProcess(file, {"QUEUE_REDIS_PREFIX": "x:"}, redis_url=redis_server.url):
            receiver.wait_for(2)
            eventually(lambda: client.keys() == [])
    assert sorted(request.body for request in receiver.requests) == [webhook_body(1), webhook_body(2)]


def test_url_is_normalised_before_it_is_called(redis_server: RedisServer, receiver: Receiver) -> None:
    """As the server does; a request line with these characters in it is refused by strict receivers."""
    port, written = receiver.port, {}
    written["blanks"] = f" http://127.0.0.1:{port}/a b?c d\n"
    written["marks"] = f'http://127.0.0.1:{port}/a"b<c>{{d}}`?q="x"&y=<z>'
    written["backslashes"] = f"http:\\\\127.0.0.1:{port}\\a\t\\b"
    written["short"] = f"HTTP:/127.1:0{port}?é"
    written["capitals"] = f"http://LOCALHOST:{port}/A/../B"
    hooks = [webhook(url, name=name) for name, url in written.items()]
    with DaemonProcess(config(app(*hooks)), redis_url=redis_server.url) as daemon:
        redis_server.client().rpush("sockudo_queue::queue:webhooks", job(1))
        receiver.wait_for(len(hooks), 10)
        assert daemon.running
    assert {request.headers["x-sockudo-webhook"]: request.path for request in receiver.requests} == {
        "blanks": "/a%20b?c%20d",
        "marks": "/a%22b%3Cc%3E%7Bd%7D%60?q=%22x%22&y=%3Cz%3E",
        "backslashes": "/a/b",
        "short": "/?%C3%A9",
        "capitals": "/B",
    }
    hosts = {request.headers["x-sockudo-webhook"]: request.headers["host"] for request in receiver.requests}
    assert hosts == dict.fromkeys(written, f"127.0.0.1:{port}") | {"capitals": f"localhost:{port}"}


def test_the_official_client_accepts_every_signature_over_the_exact_bytes(
    redis_server: RedisServer, receiver: Receiver
) -> None:
    """Events that no decoder gives back, and the bodies that Sockudo 2.9, 4.7 and 5.0 write."""
    moment = now_ms()
    expected = {}
    raw = [text.encode() for text in RAW_EVENTS.values()]
    for number, events in enumerate([*([each] for each in raw), raw, [event(), *raw, event()]]):
        body = job(number, events=events, time_ms=moment + number)
        expected[webhook_body(number, events=events, time_ms=moment + number)] = body
    for number, file in enumerate(job_files(), len(expected)):
        expected[_dated(file.webhook_body, moment + number)] = _dated(file.body, moment + number)
    types = sorted({name for file in job_files() for name in _event_names(file)} | {"client_event"})
    hook = webhook(receiver.url()) | {"event_types": types}
    with redis_server.client() as client, DaemonProcess(config(app(hook)), redis_url=redis_server.url) as daemon:
        for body in expected.values():
            client.rpush("sockudo_queue::queue:webhooks", body)
        requests = receiver.wait_for(len(expected), 10)
        eventually(lambda: client.keys() == [], 5, daemon.output)

    assert sorted(request.body for request in requests) == sorted(expected)
    for request in requests:
        assert client_accepts(request), request.body[:200]
        assert request.headers["content-type"] == "application/json"
        assert request.headers["x-pusher-key"] == APP_KEY


def test_the_official_client_would_notice_a_changed_byte(redis_server: RedisServer, receiver: Receiver) -> None:
    """The test above rests on a client that refuses."""
    with (
        redis_server.client() as client,
        DaemonProcess(config(app(webhook(receiver.url()))), redis_url=redis_server.url),
    ):
        client.rpush("sockudo_queue::queue:webhooks", job(1, time_ms=now_ms()))
        [request] = receiver.wait_for(1)
    assert client_accepts(request)
    request = request._replace(body=request.body.replace(b"room-1", b"room-2"))
    assert not client_accepts(request)


@pytest.mark.parametrize("file", job_files(), ids=str)
def test_the_files_with_jobs_can_be_dated(file: JobFile) -> None:
    assert _dated(file.body, 5).count(b'"time_ms":5,') == 1
    assert _dated(file.webhook_body, 5).startswith(b'{"time_ms":5,')


def _dated(body: bytes, moment: int) -> bytes:
    """Return a body with another time: the client refuses what is older than five minutes."""
    return _TIME.sub(b'"time_ms":%d' % moment, body, count=1)


def _event_names(file: JobFile) -> list[str]:
    return [name.decode() for name in re.findall(rb'"name":"([a-z_]+)"', file.body)]
