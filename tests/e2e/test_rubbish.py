"""Bodies that are not jobs are kept byte for byte, and do not affect other jobs."""

from __future__ import annotations

import random
from typing import Final

import pytest

from tests.faults.queue import LISTS, SERVER_LIST, daemon_on, log_tail, push, records, waiting
from tests.helpers.jobs import event, job, numbers
from tests.helpers.receiver import Receiver
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

RUBBISH: Final = [
    b"hello",
    b"",
    b"[]",
    b"null",
    b'"text"',
    b'{"events":5}',
    b"{}",
    job(1)[:-1],
    job(1) + b"}",
    job(1).replace(b'"time_ms":', b'"time_ms":"x'),
    job(1).replace(b'"app_secret":"shop-secret"', b'"app_secret":""'),
    job(1).replace(b'"app_key":"shop-key",', b""),
    job(1, events=[b'{"name":"client_event","channel":"\xff\xfe"}']),
    b"[" * 100_000,
    b"\x00" * 1000,
    b"\x01",
    b"\x01\n",
    b"\x01" + b'{"job":"x","app":"shop","webhook":"w","attempts":9}\n' + job(1),
    b"\x01" * 50 + b"\n\n\n",
    b"\xef\xbb\xbf" + job(1),
    b"text\nwith\r\nlines\n",
    random.Random(7).randbytes(256 * 1024),
]


@pytest.mark.parametrize("source", LISTS)
def test_unreadable_jobs_are_kept_and_the_others_delivered(
    redis_server: RedisServer, receiver: Receiver, source: str
) -> None:
    bodies = []
    for number, rubbish in enumerate(RUBBISH, 1):
        bodies += [rubbish, job(number)]
    with redis_server.client() as client, daemon_on(redis_server.url, receiver.url()) as daemon:
        daemon.wait_ready()
        pid = daemon.pid
        push(client, bodies, source)
        receiver.wait_for(len(RUBBISH), 10)
        eventually(lambda: waiting(client) == 0, 5, log_tail(daemon))
        kept = records(client, "dead", source)
        # It is counted a moment after it is kept.
        eventually(lambda: daemon.metric("sockudo_webhook_dead_letters_total", reason="unreadable") == len(RUBBISH), 5)
        assert (daemon.running, daemon.pid) == (True, pid)

    assert sorted(each.body for each in kept) == sorted(RUBBISH)
    assert {each.state["reason"] for each in kept} == {"unreadable"}
    came = sorted(number for request in receiver.requests for number in numbers(request.body))
    assert came == list(range(1, len(RUBBISH) + 1))


def test_unreadable_event_does_not_affect_the_other_events(redis_server: RedisServer, receiver: Receiver) -> None:
    good = [event(channel="room-1"), event(channel="room-2")]
    odd = [b"5", b"null", b'"x"', b"[]", b"{}", b'{"name":7,"channel":"a"}', b'{"name":"no_such_type","channel":"a"}']
    with redis_server.client() as client, daemon_on(redis_server.url, receiver.url()) as daemon:
        push(client, [job(1, events=[good[0], *odd, good[1]]), job(2, events=odd)])
        [request] = receiver.wait_for(1)
        eventually(lambda: waiting(client) == 0, 5, log_tail(daemon))
        assert records(client, "dead", SERVER_LIST) == []
    assert request.body.endswith(b'"events":[' + b",".join(good) + b"]}")
