"""The rules for keys and commands that the documentation gives are enough, and are what the daemon prints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import redis

import sockudo_queue
from sockudo_queue.drivers.base import PeerSigns
from sockudo_queue.drivers.redis.peers import RedisPeers, producer_rule
from sockudo_queue.drivers.redis.queue_v2 import V2Source
from sockudo_queue.drivers.redis.source import SourceOptions
from tests.drivers.redis_lists import link_to
from tests.faults.queue import DOCUMENTED_LIST, SERVER_LIST, SHORT_LEASE, daemon_on, log_tail, push, settled
from tests.helpers.jobs import job, jobs, numbers
from tests.helpers.queue_v2 import DEFAULT_BASE, Producer, Worker
from tests.helpers.receiver import Answer, Receiver, Request
from tests.helpers.redis_binaries import KINDS, ServerKind
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

DOCS: Final = Path(sockudo_queue.__file__).parents[1] / "docs"


def rule_in(page: str) -> list[str]:
    """Return the words of the rule that a page gives."""
    found = re.search(r"```\n(ACL SETUSER .*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert found is not None
    return found[1].split()


def test_the_page_on_deployment_gives_the_rule_that_is_printed() -> None:
    assert " ".join(rule_in("deployment.md")) == producer_rule(DEFAULT_BASE)


# What cache, rate limiter and adapter of a Sockudo 5.2 with its default prefixes keep in Redis.
OTHER_KEYS: Final = (
    "sockudo:app:shop",
    "sockudo_cache:app:shop",
    "sockudo_rl:websocket:10.0.0.1",
    "sockudo_adapter:#nodes",
)
CHANNEL: Final = "sockudo_adapter:#broadcast"


def one_user_for_all() -> list[str]:
    """Return the words that the page on deployment adds to the rule where a server has one user for everything."""
    found = re.search(r"```\n(~sockudo:.*)\n```", (DOCS / "deployment.md").read_text())
    assert found is not None
    return found[1].split()


@pytest.mark.parametrize("kind", [ServerKind.REDIS_7_0, ServerKind.VALKEY])  # 6.0 has no rules for channels
def test_one_documented_user_is_enough_for_a_whole_server(kind: ServerKind) -> None:
    rule = producer_rule(DEFAULT_BASE).replace(">PASSWORD", ">pw").split()
    with RedisServer(kind) as server, server.client() as admin:
        admin.execute_command(*rule)
        client: Any = server.client(username="sockudo-producer", password="pw")
        for key in OTHER_KEYS:
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.get(key)

        admin.execute_command(*rule, *one_user_for_all())

        for key in OTHER_KEYS:
            assert client.set(key, "1", ex=60)
            assert client.eval("return redis.call('INCR', KEYS[1])", 1, key) == 2
            assert client.delete(key) == 1
        with client.pubsub(ignore_subscribe_messages=True) as subscribed:
            subscribed.subscribe(CHANNEL)
            client.publish(CHANNEL, "hello")
            message = eventually(lambda: subscribed.get_message(timeout=0.1))
            assert message["data"] == b"hello"
        Producer(client).enqueue(job(1))
        with pytest.raises(redis.exceptions.ResponseError, match=r"(?i)permission|access"):
            Worker(client).claim()
        assert admin.llen(f"{DEFAULT_BASE}:wait") == 1


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with RedisServer(request.param) as started:
        yield started


def test_the_documented_user_is_enough_for_all_that_the_daemon_does(server: RedisServer, receiver: Receiver) -> None:
    def answer(request: Request, nth: int) -> Answer:
        first_try = request.headers["x-sockudo-attempt"] == "1"
        return Answer({1: 503 if first_try else 200, 2: 400}.get(numbers(request.body)[0], 200))

    client: Any = server.client()
    rule = [word.replace(">PASSWORD", ">pw") for word in rule_in("drivers.md")]
    if server.kind is ServerKind.REDIS_6_0:
        rule.remove("+blmove")  # it has none
    client.execute_command(*rule)
    producer = Producer(client)
    for source in (SERVER_LIST, DOCUMENTED_LIST):
        push(client, [job(1), job(2), b"rubbish", *jobs(3, first=11)], source)
    for body in (job(1), job(2), *jobs(3, first=21)):
        producer.enqueue(body)
    producer.enqueue_packed(jobs(1_200, first=1_000))
    receiver.answer(answer)
    settings = SHORT_LEASE | {"QUEUE_DELIVERY_RETRY_INITIAL_BACKOFF_MS": "50", "QUEUE_FAILED_RETENTION": "1"}
    with daemon_on(server.url.replace("redis://", "redis://hooks:pw@"), receiver.url(), **settings) as daemon:
        daemon.wait_ready()
        eventually(lambda: settled(daemon, "dead-letter") == 5, 30, log_tail(daemon))
        eventually(lambda: settled(daemon, "completed") >= 1_200 + 12, 60, log_tail(daemon))
        bad = {line["event"] for line in daemon.log_lines() if line["level"] in ("warning", "error")}
        assert bad <= {"job.unreadable", "job.dead_lettered", "settings.warning", "dead_letters.trimmed"}
        assert daemon.metric("sockudo_queue_competing_consumers") == 0
    # redis-py introduces itself to the server, and does not mind if it may not.
    assert {entry["object"] for entry in client.acl_log()} <= {"client", "client|setinfo"}
    link = link_to(server.port, username="hooks", password="pw")
    peers = RedisPeers(link, [V2Source(DEFAULT_BASE, link, link, SourceOptions(1, 1))])
    producer.enqueue(job(1))
    assert [skew.whose for skew in peers.skews()] == ["this-host", "sockudo"]
    assert peers.signs() == PeerSigns(0, 0)
    link.close()
