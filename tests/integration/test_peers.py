"""Beside Sockudo's own servers: they cannot deliver, and their workers and clock errors are detected."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import redis

import sockudo_queue
from sockudo_queue.drivers.redis.lists import ListSource
from sockudo_queue.drivers.redis.peers import RedisPeers
from sockudo_queue.drivers.redis.queue_v2 import V2Source
from sockudo_queue.drivers.redis.source import SourceOptions
from sockudo_queue.observability.metrics import Metrics
from sockudo_queue.services.peers import PeerWatch
from tests.drivers.redis_lists import link_to
from tests.faults.queue import DOCUMENTED_LIST, SERVER_LIST, SHORT_LEASE, daemon_on, log_tail, push, settled
from tests.helpers.commands import run_process
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess, wiped_environment
from tests.helpers.jobs import job, jobs, numbers
from tests.helpers.queue_v2 import DEFAULT_BASE, Producer, Worker
from tests.helpers.receiver import Answer, Receiver, Request
from tests.helpers.redis_binaries import KINDS, ServerKind
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

ROOT: Final = Path(sockudo_queue.__file__).parents[1]
OFF_BY: Final = 600.0
# Read by Python at its start: the host's clock is off for the whole process.
WRONG_CLOCK: Final = f"import time\n_right = time.time\ntime.time = lambda: _right() + {OFF_BY}\n"


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Any]:
    with redis_server.client() as connected:
        yield connected


def check(url: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `sockudo-queue check` with nothing else in its environment."""
    return run_process("check", *arguments, environment=wiped_environment() | {"REDIS_URL": url} | environment)


def rule(url: str, **environment: str) -> str:
    answer = check(url, "--acl", **environment)
    assert (answer.returncode, answer.stderr) == (0, "")
    [line] = answer.stdout.splitlines()
    return line


def reasons(daemon: DaemonProcess) -> str:
    """Return what `/readyz` says against being ready."""
    try:
        status, text = daemon._request("/readyz")
    except OSError:
        return "does not answer"
    return text if status == 503 else ""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prefix", ["sockudo_queue:", "my-app"])
def test_under_the_printed_rule_a_server_enqueues_and_cannot_claim(kind: ServerKind, prefix: str) -> None:
    with RedisServer(kind) as server, server.client() as admin:
        line = rule(server.url, QUEUE_REDIS_PREFIX=prefix)
        assert admin.execute_command(*line.replace(">PASSWORD", ">secret").split(" ")) in (b"OK", True)
        base = f"{prefix.rstrip(':')}:v2:{{webhooks}}"
        allowed: Any = server.client(username="sockudo-producer", password="secret")
        producer, worker = Producer(allowed, base), Worker(allowed, base)

        producer.enqueue(job(1))
        producer.enqueue(job(2), delay_ms=50)
        producer.enqueue_packed(jobs(3))

        for refused in (worker.claim, lambda: allowed.hgetall(f"{base}:tokens"), lambda: allowed.get("another")):
            with pytest.raises(redis.exceptions.ResponseError, match=r"(?i)permission|access"):
                refused()
        assert admin.llen(f"{base}:wait") == 1
        assert admin.zcard(f"{base}:delayed") == 1


def test_under_the_printed_rule_everything_goes_through_us(
    redis_server: RedisServer, client: Any, receiver: Receiver
) -> None:
    client.execute_command(*rule(redis_server.url).replace(">PASSWORD", ">secret").split(" "))
    allowed: Any = redis_server.client(username="sockudo-producer", password="secret")
    producer, worker = Producer(allowed), Worker(allowed)
    refusals, done = [], threading.Event()

    def compete() -> None:
        while not done.wait(0.02):
            with contextlib.suppress(redis.exceptions.ResponseError):
                refusals.append(worker.claim())
                return

    rival = threading.Thread(target=compete)
    rival.start()
    try:
        with daemon_on(redis_server.url, receiver.url()) as daemon:
            daemon.wait_ready()
            for number, body in enumerate(jobs(60)):
                producer.enqueue(body, delay_ms=200 if number % 3 == 0 else 0)
            producer.enqueue_packed(jobs(40, first=61))
            eventually(lambda: settled(daemon, "completed") == 100, 20, log_tail(daemon))
            assert daemon.metric("sockudo_queue_source_jobs_total", source=DEFAULT_BASE) == 100
    finally:
        done.set()
        rival.join()
    assert refusals == []
    assert sorted(number for request in receiver.requests for number in numbers(request.body)) == [*range(1, 101)]


def test_the_rule_is_not_there_without_queue_v2() -> None:
    for environment in ({"QUEUE_REDIS_PREFIX": "a{b}"}, {"QUEUE_DRIVER": "memory"}):
        answer = check("redis://127.0.0.1:1", "--acl", **environment)
        assert answer.returncode == 2
        assert "no Queue V2" in answer.stderr


def has_looked(daemon: DaemonProcess) -> bool:
    """Return whether the daemon has looked for peers once, which creates the series."""
    return any(name == "sockudo_queue_clock_skew_seconds" for name, _ in daemon.metrics())


def holds_a_claim(client: Any) -> Callable[[], None]:
    Producer(client).enqueue(job(1))
    worker = Worker(client)
    [lease] = worker.claim()
    return lambda: None if worker.ack(lease) else pytest.fail("the worker lost its lease")


def pops_a_list(client: Any) -> Callable[[], None]:
    done = threading.Event()

    def pop() -> None:
        while not done.is_set():
            client.blpop("some:list", timeout=0.01)

    thread = threading.Thread(target=pop)
    thread.start()

    def end() -> None:
        done.set()
        thread.join()

    return end


@pytest.mark.parametrize("rival", [holds_a_claim, pops_a_list])
def test_workers_of_sockudo_are_noticed(
    redis_server: RedisServer, client: Any, rival: Callable[[Any], Callable[[], None]]
) -> None:
    end = rival(client)
    try:
        with daemon_on(redis_server.url) as daemon:
            daemon.wait_ready()
            [line] = eventually(lambda: daemon.events("queue.competing_consumers"), 10, log_tail(daemon))
            assert daemon.metric("sockudo_queue_competing_consumers") == 1
            assert daemon.get("/readyz") == 200
        answer = check(redis_server.url)
    finally:
        end()

    assert "does not become a dead letter" in line["text"]
    assert "the healthy webhooks of the same job get duplicates" in line["text"]
    settings = "set QUEUE_REDIS_CONCURRENCY=0 there (on a cluster REDIS_CLUSTER_QUEUE_CONCURRENCY=0)"
    assert settings in line["text"], "what to do about a Sockudo up to 4.7"
    assert "see sockudo-queue check --acl" in line["text"], "and about 5"
    assert (line["claims"], line["clients"]) in ((1, 0), (0, 1))
    assert line["claims"] or ": 1, from 127.0.0.1)" in line["text"]  # where to look for them
    assert f"warning  workers: {line['text']}" in answer.stdout
    assert answer.returncode == 0


def test_daemons_are_not_taken_for_workers_of_sockudo(
    redis_server: RedisServer, client: Any, receiver: Receiver
) -> None:
    receiver.hang()
    Producer(client).enqueue(job(1))
    with daemon_on(redis_server.url, receiver.url()) as first, daemon_on(redis_server.url, receiver.url()) as second:
        receiver.wait_for(1)
        for daemon in (first, second):
            daemon.wait_ready()
            eventually(partial(has_looked, daemon))
        answer = check(redis_server.url)
        for daemon in (first, second):
            assert daemon.metric("sockudo_queue_competing_consumers") == 0
            assert daemon.events("queue.competing_consumers") == []

    assert "ok       workers: no signs of Sockudo's own workers" in answer.stdout


def test_check_shows_the_forms_in_use_and_clock_skew(redis_server: RedisServer, client: Any) -> None:
    Producer(client).enqueue(job(1))
    push(client, jobs(1), DOCUMENTED_LIST)

    lines = check(redis_server.url).stdout.splitlines()

    assert f"ok       source: {DEFAULT_BASE} (Queue V2, Sockudo 5): in use" in lines
    assert f"ok       source: {SERVER_LIST} (list, Sockudo up to 4.7): no keys exist now" in lines
    assert f"ok       source: {DOCUMENTED_LIST} (list, Sockudo up to 4.7): in use" in lines
    assert "ok       clock: the clock of this host agrees with Redis" in lines
    assert "ok       clock: the clock of Sockudo agrees with Redis" in lines


def test_a_host_whose_clock_is_off_is_not_ready(redis_server: RedisServer, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WRONG_CLOCK)
    path = f"{tmp_path}:{ROOT}"
    with DaemonProcess(config(), {"PYTHONPATH": path}, redis_url=redis_server.url) as daemon:
        eventually(lambda: "clock: the clock of this host is 600.0 s ahead" in reasons(daemon), 10, log_tail(daemon))
        assert daemon.get("/livez") == 200
        [line] = eventually(lambda: daemon.events("clock.skewed"))
        assert (line["clock"], round(line["ahead_s"])) == ("this-host", 600)
        assert round(daemon.metric("sockudo_queue_clock_skew_seconds", clock="this-host")) == 600
    answer = check(redis_server.url, PYTHONPATH=path)
    assert answer.returncode == 1
    assert "error    clock: the clock of this host is 600.0 s ahead of that of Redis" in answer.stdout


@pytest.mark.parametrize("seconds", [OFF_BY, -OFF_BY])
def test_wrong_clock_of_a_server_is_reported_until_it_is_corrected(
    redis_server: RedisServer, client: Any, receiver: Receiver, seconds: float
) -> None:
    wrong, right = Producer(client, clock=lambda: time.time() + seconds), Producer(client)
    right.enqueue(job(1))
    wrong.enqueue(job(2))
    if seconds < 0:  # one that is late may only have been slow to arrive
        for number in range(20):
            wrong.enqueue(job(number))
    with daemon_on(redis_server.url, receiver.url()) as daemon:
        eventually(lambda: "clock: the clock of Sockudo is 600" in reasons(daemon), 10, log_tail(daemon))
        receiver.wait_for(2)  # jobs are delivered all the same
        for number in range(20):
            right.enqueue(job(number))
        eventually(lambda: not reasons(daemon), 12, lambda: reasons(daemon))
        eventually(lambda: daemon.events("clock.synced"))


def test_a_redis_that_was_busy_for_seconds_is_no_wrong_clock(redis_server: RedisServer, client: Any) -> None:
    link = link_to(redis_server.port)
    peers = RedisPeers(link, [V2Source(DEFAULT_BASE, link, link, SourceOptions(1, 1))])
    peers.skews()  # makes the connection
    client.client_pause(3_000)
    began = time.monotonic()
    [skew] = peers.skews()
    assert time.monotonic() - began > 2.2, "nothing was paused, so nothing was tried"
    assert (skew.whose, abs(skew.ahead_ms) < 1_000) == ("this-host", True), skew
    link.close()


def test_a_slow_way_to_redis_is_no_wrong_clock(redis_server: RedisServer, client: Any) -> None:
    late, right = Producer(client, clock=lambda: time.time() - 30), Producer(client)
    for number in range(19):
        late.enqueue(job(number))
    right.enqueue(job(20))
    assert "ok       clock: the clock of Sockudo agrees with Redis" in check(redis_server.url).stdout


def test_refused_form_is_logged_once_and_is_not_an_outage(
    redis_server: RedisServer, client: Any, receiver: Receiver
) -> None:
    keys = ("sockudo_queue*queue:webhooks", "sockudo-queue:{sockudo_queue*queue:webhooks}*")
    client.acl_setuser("lists", enabled=True, passwords=["+pw"], keys=keys, commands=["+@all"])
    url = redis_server.url.replace("redis://", "redis://lists:pw@")
    Producer(client).enqueue(job(99))
    with daemon_on(url, receiver.url()) as daemon:
        daemon.wait_ready()
        for number in range(1, 11):  # over some seconds, so that a flapping would show
            push(client, [job(number)], SERVER_LIST)
            receiver.wait_for(number)
            time.sleep(0.2)
            assert daemon.get("/readyz") == 200
        [line] = eventually(lambda: daemon.events("source.refused"))
        assert line["source"] == DEFAULT_BASE
        assert "permission" in line["reason"].lower()
        assert daemon.events("broker.lost") == []
        client.acl_setuser("lists", enabled=True, keys=["*"])
        eventually(lambda: daemon.events("source.resumed"), 15, log_tail(daemon))
        receiver.wait_for(11)
        assert len(daemon.events("source.refused")) == 1


def test_a_settlement_that_is_refused_does_not_keep_a_slot_from_the_other_forms(
    redis_server: RedisServer, client: Any, receiver: Receiver
) -> None:
    client.acl_setuser("daemon", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@all"])
    lists = ("sockudo_queue*queue:webhooks", "sockudo-queue:{sockudo_queue*queue:webhooks}*")

    def refuse_the_first_settlement(request: Request, nth: int) -> Answer:
        if nth == 1:  # here, so that the daemon cannot settle before the rights are gone
            client.acl_setuser("daemon", enabled=True, reset_keys=True, keys=lists)
        return Answer()

    receiver.answer(refuse_the_first_settlement)
    url = redis_server.url.replace("redis://", "redis://daemon:pw@")
    with daemon_on(url, receiver.url(), QUEUE_WORKERS="1", QUEUE_DELIVERY_MAX_SLOW="0", **SHORT_LEASE) as daemon:
        daemon.wait_ready()
        Producer(client).enqueue(job(1))
        receiver.wait_for(1)
        push(client, jobs(5, first=2), SERVER_LIST)
        receiver.wait_for(6, 20)
        assert daemon.get("/readyz") == 200
        client.acl_setuser("daemon", enabled=True, keys=["*"])
        *_, last = receiver.wait_for(7, 20)  # the lease ran out, so it comes again
        assert numbers(last.body) == [1]


def test_when_every_form_is_refused_the_daemon_is_not_ready(redis_server: RedisServer, client: Any) -> None:
    client.acl_setuser("none", enabled=True, passwords=["+pw"], keys=["elsewhere"], commands=["+@all"])
    with daemon_on(redis_server.url.replace("redis://", "redis://none:pw@")) as daemon:
        eventually(lambda: "broker: " in reasons(daemon) and daemon.events("broker.lost"), 10, log_tail(daemon))
        assert daemon.events("daemon.ready") == []


def test_what_is_left_in_a_list_is_delivered_beside_queue_v2(
    redis_server: RedisServer, client: Any, receiver: Receiver
) -> None:
    push(client, jobs(30), SERVER_LIST, DOCUMENTED_LIST)
    producer = Producer(client)
    with daemon_on(redis_server.url, receiver.url()) as daemon:
        daemon.wait_ready()
        for body in jobs(30, first=31):
            producer.enqueue(body)
        eventually(lambda: settled(daemon, "completed") == 60, 20, log_tail(daemon))
        for source, count in ((SERVER_LIST, 15), (DOCUMENTED_LIST, 15), (DEFAULT_BASE, 30)):
            assert daemon.metric("sockudo_queue_source_jobs_total", source=source) == count
    assert sorted(number for request in receiver.requests for number in numbers(request.body)) == [*range(1, 61)]


def test_unreadable_jobs_of_every_form_become_dead_letters(
    redis_server: RedisServer, client: Any, receiver: Receiver
) -> None:
    producer = Producer(client)
    odd = {"a": b"", "b": b"null", "c": b'{"app_id":"\xff"}', "d": b'{"version":2,"id":"d","data":{"app_key":1}}'}
    for own, payload in odd.items():
        producer.enqueue_payload(payload, own)
    producer.enqueue_frame(b"B\x00\x00\x00\x05rubbish\xff", 5)
    producer.enqueue(job(1))
    with DaemonProcess(config(app(webhook(receiver.url()))), redis_url=redis_server.url) as daemon:
        daemon.wait_ready()
        eventually(
            lambda: settled(daemon, "dead-letter") == 5 and settled(daemon, "completed") == 1, 10, log_tail(daemon)
        )
        assert daemon.metric("sockudo_webhook_dead_letters_total", reason="unreadable") == 5
    values = client.hgetall(f"sockudo-queue:{DEFAULT_BASE}:records").values()
    kept = {value.partition(b"\n")[2] for value in values}
    assert kept == {b"", b"null", b'{"app_id":"\xff"}', b'{"app_key":1}', b"B\x00\x00\x00\x05rubbish\xff"}
    assert all(json.loads(value[1:].partition(b"\n")[0])["reason"] == "unreadable" for value in values)


@pytest.mark.parametrize("kind", KINDS)
def test_a_policy_that_may_drop_jobs_is_warned_of_when_it_changes(kind: ServerKind) -> None:
    lines: list[tuple[str, str]] = []

    class Log:
        def info(self, event: str, **fields: str) -> None:
            lines.append((event, fields.get("reason", "")))

        def warning(self, event: str, **fields: str) -> None:
            lines.append((event, fields.get("text", "")))

    with RedisServer(kind) as server, server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "few", "on", ">p", "~*", "+@all", "-info")
        for username in (None, "few"):
            lines.clear()
            link = link_to(server.port, username=username, password=username and "p")
            source = ListSource(SERVER_LIST, link, link, SourceOptions(30_000, 10))
            watch = PeerWatch(RedisPeers(link, [source]), Metrics("redis", "webhooks"), Log(), lambda _: None, 30_000)
            for policy in ("noeviction", "volatile-lru", "allkeys-lru", "allkeys-lru", "allkeys-random", "noeviction"):
                admin.config_set("maxmemory-policy", policy)
                watch.poll()
            events = [event for event, _ in lines]
            if username is None:
                assert events == ["eviction.possible", "eviction.possible", "eviction.off"]
                assert "allkeys-lru would drop jobs if maxmemory were set" in lines[0][1]
            else:
                assert events == ["eviction.unknown"]
            link.close()
