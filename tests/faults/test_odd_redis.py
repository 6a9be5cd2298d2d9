"""Invalid replies of Redis, and keys with arbitrary contents: no thread crashes, and no honest job is lost."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import pytest

from tests.faults.arrivals import Arrivals
from tests.faults.measures import SCALE, figure, scaled
from tests.faults.queue import SERVER_LIST, daemon_on, log_tail, own_key, push
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import job, jobs
from tests.helpers.queue_v2 import DEFAULT_BASE, Producer, new_id
from tests.helpers.receiver import Receiver
from tests.helpers.redis_proxy import RedisProxy
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.timeout(120 if SCALE < 1 else 1_800)

SHORT_LEASE: Final = {"QUEUE_LEASE_DURATION_MS": "1500", "QUEUE_LEASE_RENEW_INTERVAL_MS": "500"}
JOBS: Final = 400
JOB_SECONDS: Final = 0.004
STRAY_AT: Final = 40
IN_A_JOB: Final = b'"app_secret"'
"""What each job contains once. A reply has several jobs if workers claim a batch."""
LYING_SECONDS: Final = 4.0 if SCALE >= 1 else 0.5
ROUNDS: Final = scaled(1_000, 60)
HONEST: Final = 2
"""Jobs that each round enqueues."""
PAUSE: Final = 0.03
"""Seconds of a round."""

ODD_REPLIES: Final = (
    b"+OK\r\n",
    b"+QUEUED\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b":0\r\n",
    b"%1\r\n+a\r\n:1\r\n",
    b"%1\r\n*0\r\n:1\r\n",
    b"~1\r\n%1\r\n:1\r\n:1\r\n",
    b">1\r\n+a\r\n",
    b"$2\r\n\xff\xfe\r\n",
    b"*300000000\r\n",
    b"*1\r\n" * 500 + b":1\r\n",
    b"$600000000\r\n",
    b"*6\r\n*0\r\n:0\r\n:1\r\n$3\r\n\xff/1\r\n$1\r\nx\r\n:0\r\n",
    b"-MOVED x\r\n",
    b"-ERR odd\r\n",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"",
)
ODD_VALUES: Final = (b"", b"\x01", b"\x01{\n", b"\xff", b"{}", b"\x00", b"[" * 1_000, b'{"a":"' + b"x" * 100_000)
ODD_MEMBERS: Final = (b"", b"/", b"\xff/1", b"no receipt", b"id/", b"id/" + b"9" * 400, b"x" * 5_000 + b"/1", b"id/1.5")
ODD_SCORES: Final = ("-inf", "-1e300", "-1.5", "0", "1.5", "1e20", "inf")
NO_NUMBERS: Final = (b"", b"abc", b"-5", b"nan", b"\xff", b"1,5")


@pytest.fixture
def arrivals(receiver: Receiver) -> Arrivals:
    script = Arrivals(0.02, 0.02)
    receiver.answer(script)
    return script


@pytest.fixture
def daemon(redis_proxy: RedisProxy, receiver: Receiver) -> Iterator[DaemonProcess]:
    with daemon_on(redis_proxy.url, receiver.url(), **SHORT_LEASE) as started:
        yield started.wait_ready(30)


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Any]:
    with redis_server.client() as connected:
        yield connected


def ends_well(daemon: DaemonProcess) -> None:
    """Check that no thread has died, and that the daemon stops as it should."""
    assert daemon.events("thread.crashed") == []
    assert daemon.running
    daemon.terminate()
    assert daemon.wait() == 0


@pytest.mark.parametrize("stray", [b"+OK\r\n", b"$-1\r\n", b":1\r\n", b"-ERR stray\r\n"])
def test_one_stray_reply_costs_its_connection_alone(
    redis_proxy: RedisProxy, client: Any, arrivals: Arrivals, daemon: DaemonProcess, stray: bytes
) -> None:
    seen = 0

    def change(command: str, reply: bytes) -> bytes:
        nonlocal seen
        before, seen = seen, seen + reply.count(IN_A_JOB) * (command == "EVALSHA")
        return stray + reply if before < STRAY_AT <= seen else reply

    redis_proxy.change_replies(change)
    for body in jobs(JOBS):
        push(client, [body])
        time.sleep(JOB_SECONDS)  # as a server would

    arrivals.wait_for_all(JOBS, 30, log_tail(daemon))
    eventually(lambda: daemon.events("broker.resumed"), 5, log_tail(daemon))
    assert len(daemon.events("broker.lost")) == len(daemon.events("broker.resumed")) == 1
    assert len(daemon.events("lease.lost")) <= 1
    assert arrivals.duplicates <= 2
    ends_well(daemon)


def test_a_server_that_answers_anything_is_an_outage_until_it_ends(
    redis_proxy: RedisProxy, client: Any, arrivals: Arrivals, daemon: DaemonProcess
) -> None:
    sent = 0
    for odd in ODD_REPLIES[:-1] if SCALE >= 1 else ODD_REPLIES[:-1:3]:
        push(client, jobs(4, first=sent + 1))
        sent += 4
        arrivals.wait_for_more(1, 10, log_tail(daemon))
        redis_proxy.answer_instead(odd)
        until = time.monotonic() + LYING_SECONDS
        eventually(lambda: daemon.get("/readyz") == 503, 10, log_tail(daemon))
        time.sleep(max(until - time.monotonic(), 0))  # for how long it answers so
        assert daemon.get("/livez") == 200
        redis_proxy.heal()
        eventually(lambda: daemon.get("/readyz") == 200, 10, log_tail(daemon))

    arrivals.wait_for_all(sent, 30, log_tail(daemon))
    assert len(daemon.events("broker.lost")) == len(daemon.events("broker.resumed"))
    ends_well(daemon)


class Replies:
    """Makes one reply in some an odd one."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.changed = 0
        self.due = False

    def change(self, command: str, reply: bytes) -> bytes:
        if not self.due:
            return reply
        self.due = False
        self.changed += 1
        choice = self._chance.random()
        if choice < 0.4:
            return self._chance.choice(ODD_REPLIES)
        if choice < 0.6:
            return self._chance.choice(ODD_REPLIES) + reply
        if choice < 0.7:
            return reply + reply
        numbers = list(re.finditer(rb":-?\d+\r\n", reply))
        if not numbers:
            return reply[: len(reply) // 2] + b"\r\n" + reply
        found = self._chance.choice(numbers)
        other = self._chance.choice((b":-1\r\n", b":9223372036854775807\r\n", b"$-1\r\n", b"*0\r\n", b":1.5\r\n"))
        return reply[: found.start()] + other + reply[found.end() :]


Corruption = Callable[[Any, random.Random], None]


def hash_of(key: str, values: Sequence[bytes], live: Sequence[bytes] = ()) -> Corruption:
    """Return what writes a value of another form; `live` are values that do no harm to a record that is worked on."""

    def corrupt(client: Any, chance: random.Random) -> None:
        fields = client.hkeys(key)
        if live and fields and chance.random() < 0.5:
            client.hset(key, chance.choice(fields), chance.choice(live))
        else:
            client.hset(key, chance.choice(ODD_MEMBERS).rpartition(b"/")[0] or b"odd", chance.choice(values))

    return corrupt


def zset_of(key: str, records: str | None = None) -> Corruption:
    def corrupt(client: Any, chance: random.Random) -> None:
        member = chance.choice(ODD_MEMBERS)
        if records is not None and chance.random() < 0.7:
            record = member if records.endswith(":jobs") else member.rpartition(b"/")[0]
            client.hset(records, record, chance.choice((*ODD_VALUES, job(1))))
        client.zadd(key, {member: chance.choice(ODD_SCORES)})

    return corrupt


def list_of(key: str, values: Sequence[bytes]) -> Corruption:
    return lambda client, chance: client.rpush(key, chance.choice(values))


def another_type(key: str) -> Corruption:
    """Return what makes a key that is not there one of another type, for a moment."""

    def corrupt(client: Any, chance: random.Random) -> None:
        if not client.exists(key):
            client.set(key, "of another type", px=chance.randint(5, 50), nx=True)

    return corrupt


def list_corruptions() -> list[Corruption]:
    key = {part: own_key(SERVER_LIST, part) for part in ("ready", "records", "active", "delayed", "lapses", "dead")}
    return [
        list_of(SERVER_LIST, ODD_VALUES),
        list_of(key["ready"], ODD_VALUES),
        hash_of(key["records"], ODD_VALUES),
        hash_of(key["lapses"], (*NO_NUMBERS, b"9" * 400, b"inf"), live=NO_NUMBERS),
        zset_of(key["active"], key["records"]),
        zset_of(key["delayed"], key["records"]),
        zset_of(key["dead"], key["records"]),
        another_type(key["lapses"]),
        another_type(key["delayed"]),
    ]


def v2_corruptions() -> list[Corruption]:
    def key(part: str) -> str:
        return f"{DEFAULT_BASE}:{part}"

    dead, records = own_key(DEFAULT_BASE, "dead"), own_key(DEFAULT_BASE, "records")
    frames = (b"", b"J", b"B", b"B\xff\xff\xff\xff", b"X" * 40, b"B\x00\x00\x00\x01\x00\x00\x00\x22J" + b"\xff" * 33)
    return [
        hash_of(key("jobs"), ODD_VALUES),
        list_of(key("wait"), (*ODD_MEMBERS, b"odd")),
        list_of(key("inline-wait"), frames),
        lambda client, chance: client.set(key("inline-wait-count"), chance.choice((*NO_NUMBERS, b"9" * 400, b"inf"))),
        zset_of(key("delayed"), key("jobs")),
        zset_of(key("active"), key("jobs")),
        hash_of(key("tokens"), NO_NUMBERS),
        hash_of(key("attempts"), (*NO_NUMBERS, b"9" * 400, b"inf"), live=NO_NUMBERS),
        hash_of(key("max-attempts"), NO_NUMBERS, live=NO_NUMBERS),
        hash_of(key("failures"), ODD_VALUES),
        zset_of(key("completed")),
        list_of(key("notify"), ODD_VALUES),
        zset_of(dead, records),
        hash_of(records, ODD_VALUES),
        another_type(key("failures")),
    ]


@pytest.mark.parametrize("form", ["lists", "v2"])
def test_corrupt_keys_and_replies_kill_no_thread_and_cost_no_honest_job(
    redis_proxy: RedisProxy, client: Any, arrivals: Arrivals, daemon: DaemonProcess, form: str
) -> None:
    chance = random.Random(f"{form} {ROUNDS}")
    replies = Replies(chance)
    corruptions = list_corruptions() if form == "lists" else v2_corruptions()
    producer = Producer(client)
    redis_proxy.change_replies(replies.change)
    began = time.monotonic()
    for number in range(ROUNDS):
        for body in jobs(HONEST, first=1_000 + number * HONEST):
            if form == "lists":
                push(client, [body])
            else:
                producer.enqueue(body, job_id=new_id())
        corruptions[number % len(corruptions)](client, chance)
        replies.due = number % 3 == 0
        time.sleep(PAUSE)  # the daemon meets what was corrupted while it works
    replies.due = False
    redis_proxy.heal()
    honest = set(range(1_000, 1_000 + ROUNDS * HONEST))

    eventually(
        lambda: honest <= set(arrivals.by_number),
        60,
        lambda: f"{honest - set(arrivals.by_number)}\n{log_tail(daemon)()}",
    )
    figure(
        f"corrupt {form}: {ROUNDS} rounds, {replies.changed} odd replies, {len(honest)} of {len(honest)} honest jobs "
        f"delivered, {len(daemon.events('thread.crashed'))} threads died, "
        f"{len(daemon.events('broker.lost'))} outages, {time.monotonic() - began:.0f} s"
    )
    ends_well(daemon)
