"""The attempt history agrees with what receivers saw, despite crashes, and never delays a delivery."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import pytest

from sockudo_queue.drivers.redis.history import RedisHistory
from sockudo_queue.history.entry import encode
from sockudo_queue.history.items import packed
from sockudo_queue.services.attempt_history import FLUSH_SECONDS
from tests.drivers.history_conformance import row
from tests.drivers.redis_lists import link_to
from tests.faults.measures import figure, scaled
from tests.faults.queue import SERVER_LIST, daemon_on, log_tail, own_key, push, settled, waiting
from tests.helpers.commands import Commands
from tests.helpers.configs import app, config, webhook
from tests.helpers.jobs import jobs
from tests.helpers.receiver import Answer, Receiver, Request
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

LATE: Final = FLUSH_SECONDS + 2.0
"""Seconds before a crash in which an attempt may have ended that is not stored, on a loaded machine."""
SHORT_LEASE: Final = {"QUEUE_LEASE_DURATION_MS": "2000", "QUEUE_LEASE_RENEW_INTERVAL_MS": "500"}
PAIRS: Final = 10

Pair = tuple[str, str]


def hooks(receiver: Receiver) -> list[dict[str, Any]]:
    retry = {"max_attempts": 2, "initial_backoff_ms": 100, "max_backoff_ms": 100}
    return [webhook(receiver.url(f"/{name}"), name=name, retry=retry) for name in ("a", "b", "bad")]


def answer(request: Request, nth: int) -> Answer:
    return Answer(503 if request.path == "/bad" else 200)


def seen_by(receiver: Receiver) -> dict[Pair, list[Request]]:
    seen: dict[Pair, list[Request]] = defaultdict(list)
    for request in receiver.wait_for(0):
        seen[request.headers["x-sockudo-job-id"], request.headers["x-sockudo-webhook"]].append(request)
    return seen


def tries_of(run: Commands, pair: Pair) -> list[tuple[int, int]]:
    """Return the tries of a job at a webhook, as its story has them: number and status."""
    job_id, name = pair
    stories = run("attempts", "show", job_id, "--json").json["webhooks"]
    entries = [entry for story in stories if story["webhook"] == name for entry in story["entries"]]
    return sorted((entry["attempt"], entry["status"]) for entry in entries if entry["outcome"] != "dead-letter")


def as_seen(requests: list[Request]) -> list[tuple[int, int]]:
    return sorted((int(each.headers["x-sockudo-attempt"]), 503 if each.path == "/bad" else 200) for each in requests)


def test_story_of_a_job_is_what_its_receivers_saw(receiver: Receiver, tmp_path: Path) -> None:
    """Also after `kill -9` of one replica under load, and after a restart of Redis."""
    count, chance = scaled(1000, 100), random.Random(1)
    receiver.answer(answer)
    settings = {"QUEUE_HISTORY": "all", "QUEUE_DELIVERY_BREAKER_FAILURES": "100000"} | SHORT_LEASE
    with RedisServer(appendonly=True) as server, server.client() as client:
        run = Commands(tmp_path, config(app(*hooks(receiver))), {"REDIS_URL": server.url})
        with daemon_on(server.url, *hooks(receiver), **settings) as living:
            living.wait_ready()
            with daemon_on(server.url, *hooks(receiver), **settings) as dying:
                dying.wait_ready()
                push(client, jobs(count))
                receiver.wait_for(count, 60)
                dying.kill()
                killed_at = time.monotonic()
            eventually(lambda: waiting(client) == 0, 60, log_tail(living))
            server.stop()
            server.start()
            client.ping()
            living.wait_ready(30)
            before = receiver.count
            push(client, jobs(20, first=count + 1))
            receiver.wait_for(before + 80, 30)
            eventually(lambda: waiting(client) == 0, 30, log_tail(living))
            living.terminate()
            assert living.wait() == 0
        seen = seen_by(receiver)
        crashed = [pair for pair, requests in seen.items() if any(_is_at(each, killed_at) for each in requests)]
        safe = sorted(set(seen) - set(crashed))
        for pair in chance.sample(safe, PAIRS):
            assert tries_of(run, pair) == as_seen(seen[pair]), pair
        lost = 0
        for pair in chance.sample(sorted(crashed), min(PAIRS, len(crashed))):
            told_of, happened = tries_of(run, pair), as_seen(seen[pair])
            assert set(told_of) <= set(happened), pair
            lost += len(happened) - len(told_of)
        assert len(seen) == 3 * (count + 20)
        figure(
            f"history: {len(seen)} pairs, {len(crashed)} within {LATE:g} s of a kill, {lost} tries lost of those asked"
        )


def _is_at(request: Request, moment: float) -> bool:
    return moment - LATE < request.received_at < moment + 1.0


def test_silent_server_costs_entries_and_no_delivery(receiver: Receiver, tmp_path: Path) -> None:
    receiver.answer(lambda request, nth: Answer(delay=1.0))
    settings = {"QUEUE_HISTORY": "all", "QUEUE_REDIS_RESPONSE_TIMEOUT_MS": "500", "QUEUE_DELIVERY_SLOW_MS": "50"}
    with RedisServer() as server, server.client() as client:
        run = Commands(tmp_path, config(app(webhook(receiver.url()))), {"REDIS_URL": server.url})
        with daemon_on(server.url, receiver.url(), **settings) as daemon:
            daemon.wait_ready()
            push(client, jobs(20))
            receiver.wait_for(20, 10)
            server.pause()
            ended = eventually(lambda: len(daemon.events("delivery.attempted")) == 20, scaled(10, 5), log_tail(daemon))
            dropped = "sockudo_queue_history_entries_dropped_total"
            eventually(lambda: daemon.metric(dropped, reason="unavailable") >= 1, 10, log_tail(daemon))
            assert daemon.metric("sockudo_queue_history_up") == 0
            server.resume()
            push(client, jobs(5, first=21))
            eventually(
                lambda: settled(daemon, "completed") + settled(daemon, "unconfirmed") >= 25, 20, log_tail(daemon)
            )
            eventually(lambda: daemon.metric("sockudo_queue_history_up") == 1, 20, log_tail(daemon))
            written = "sockudo_queue_history_entries_written_total"
            made = len(daemon.events("delivery.attempted"))
            eventually(lambda: daemon.metric(written) + daemon.metric(dropped) == made, 5, log_tail(daemon))
            assert not daemon.events("history.stopped")  # `broker.lost` has reported it
        assert ended
        assert run("attempts", "--json").json_lines[0]["history"]["dropped"] >= 1


@pytest.mark.parametrize("mode", ["off", "failures"])
def test_history_gives_way_where_nothing_is_recorded(receiver: Receiver, mode: str) -> None:
    """Pushes of Sockudo would be refused for the sake of entries that no append pushes out."""
    with RedisServer() as server, server.client() as client:
        link = link_to(server.port)
        store = RedisHistory(link, (SERVER_LIST,), length=1_000_000, mode="all")
        items = packed([("shop", encode(row(number))) for number in range(500)], "pod:1")
        for _ in range(200):  # 10 MB
            store.write(SERVER_LIST, items, 0)
        link.close()
        stream: Any = own_key(SERVER_LIST, "attempts")
        before = client.memory_usage(stream)
        client.config_set("maxmemory", round(int(client.info("memory")["used_memory"]) / 0.97))
        with daemon_on(server.url, receiver.url(), QUEUE_HISTORY=mode) as daemon:
            daemon.wait_ready()
            eventually(lambda: client.memory_usage(stream) < before, 10, log_tail(daemon))
            figures: Any = own_key(SERVER_LIST, "attempts-figures")
            eventually(lambda: client.hexists(figures, f"seen-{mode}"), 10, log_tail(daemon))
            push(client, jobs(1))
            eventually(lambda: settled(daemon, "completed") == 1, 10, log_tail(daemon))


def test_full_server_delivers_and_gets_the_memory_of_the_history_back(receiver: Receiver) -> None:
    with RedisServer() as server, server.client() as client:
        stream: Any = own_key(SERVER_LIST, "attempts")
        with daemon_on(server.url, receiver.url(), QUEUE_HISTORY="all") as daemon:
            daemon.wait_ready()
            push(client, jobs(2_000))
            eventually(
                lambda: daemon.metric("sockudo_queue_history_entries_written_total") == 2_000, 30, log_tail(daemon)
            )
            before = client.memory_usage(stream)
            push(client, jobs(50, first=3_000))
            client.config_set("maxmemory", 1)
            eventually(lambda: settled(daemon, "completed") == 2_050, 20, log_tail(daemon))
            eventually(lambda: daemon.events("history.stopped"), 10, log_tail(daemon))
            eventually(lambda: client.memory_usage(stream) < before, 10)
            assert daemon.get("/readyz") == 200
            assert len(daemon.events("history.stopped")) == 1
