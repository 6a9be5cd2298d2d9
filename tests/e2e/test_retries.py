"""Retries after every kind of failure: with growing gaps, spread out, and within the budget."""

from __future__ import annotations

import itertools
import random
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final, TypeVar

import pytest

from tests.faults.queue import daemon_on, log_tail, push, records, waiting
from tests.helpers.configs import webhook
from tests.helpers.jobs import event, job, jobs
from tests.helpers.ports import free_port
from tests.helpers.receiver import Answer, Receiver, Request
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

T = TypeVar("T")

TRIES: Final = 3
BUDGET_MS: Final = 60_000
RETRY_AFTER: Final = {
    "an-hour": "3600",
    "three-thousand-years": "99999999999",
    "beyond-any-number": "9" * 30,
    "negative": "-5",
    "no-number": "soon",
    "past": "Wed, 21 Oct 2015 07:28:00 GMT",
    "future": format_datetime(datetime(2099, 1, 1, tzinfo=UTC), usegmt=True),
    "empty": "",
}


@pytest.fixture
def receivers() -> Iterator[list[Receiver]]:
    """As many as there are odd values of Retry-After: each is an endpoint of its own."""
    with ExitStack() as stack:
        yield [stack.enter_context(Receiver()) for _ in RETRY_AFTER]


def test_every_kind_of_failure_is_tried_again_with_growing_gaps(
    redis_server: RedisServer, receivers: list[Receiver]
) -> None:
    """soketi/soketi#683, hookdeck/outpost#314: also where there was no answer at all."""
    status, reset, tls, silent, *_ = receivers
    status.always(500)
    reset.answer(lambda request, nth: Answer(reset=True))
    silent.hang()
    urls = {
        "status": status.url(),
        "reset": reset.url(),
        "refused": f"http://127.0.0.1:{free_port()}/",
        "unknown-host": "http://no-such-host.invalid/",
        "no-tls": tls.url().replace("http:", "https:"),
        "silent": silent.url(),
    }
    settings = {
        "QUEUE_DELIVERY_RETRY_MAX_ATTEMPTS": str(TRIES),
        "QUEUE_DELIVERY_RETRY_INITIAL_BACKOFF_MS": "150",
        "QUEUE_RETRY_JITTER": "0",
    }
    hooks = [webhook(url, name=name, request_timeout_ms=500) for name, url in urls.items()]
    with redis_server.client() as client, daemon_on(redis_server.url, *hooks, **settings) as daemon:
        push(client, [job(1)])
        # Each key is counted by itself, so what moves from one to another may be missed: only the end is waited for.
        eventually(lambda: len(records(client, "dead")) == len(urls), 20, log_tail(daemon))
        dead = {kept.state["webhook"]: kept.state for kept in records(client, "dead")}
        attempts = eventually(lambda: _attempts(daemon.events("delivery.attempted"), TRIES * len(urls)))

    assert dead.keys() == urls.keys()
    assert {(state["reason"], state["attempts"]) for state in dead.values()} == {("exhausted", TRIES)}
    for name, moments in attempts.items():
        first, second = (later - earlier for earlier, later in itertools.pairwise(moments))
        assert (first > 0.14, second > 0.29) == (True, True), (name, moments)


def test_an_odd_retry_after_holds_nothing_for_longer_than_the_budget(
    redis_server: RedisServer, receiver: Receiver, receivers: list[Receiver]
) -> None:
    """urllib3/urllib3#1338, urllib3/urllib3#3743."""
    for each, value in zip(receivers, RETRY_AFTER.values(), strict=True):
        answer = Answer(429, headers=[("Retry-After", value)])
        each.answer(lambda request, nth, answer=answer: answer)  # type: ignore[misc]
    hooks = [webhook(each.url(), name=name) for each, name in zip(receivers, RETRY_AFTER, strict=True)]
    hooks.append(webhook(receiver.url(), name="healthy"))
    settings = {"QUEUE_DELIVERY_RETRY_MAX_ELAPSED_TIME_MS": str(BUDGET_MS)}
    with redis_server.client() as client, daemon_on(redis_server.url, *hooks, **settings) as daemon:
        push(client, [job(1)])
        delayed = eventually(lambda: _all_of(records(client, "delayed"), len(receivers)), 5, log_tail(daemon))
        now_ms = time.time() * 1000
        push(client, jobs(20, first=2))
        receiver.wait_for(21)
        eventually(lambda: not records(client, "active"), 5, log_tail(daemon))
        later = records(client, "delayed")

    due = {kept.state["webhook"]: kept.score - now_ms for kept in delayed}
    assert all(-5_000 < ahead <= BUDGET_MS for ahead in due.values()), due
    assert {name for name, ahead in due.items() if ahead > BUDGET_MS / 2} == {
        "an-hour",
        "three-thousand-years",
        "future",
    }
    assert all(kept.score <= now_ms + 2 * BUDGET_MS for kept in later)
    assert all(each.count <= 21 for each in receivers)


def test_what_failed_together_does_not_come_back_together(redis_server: RedisServer, receiver: Receiver) -> None:
    """LuthienResearch/luthien-proxy#683, hasura/graphql-engine#1778."""
    count = 60
    receiver.always(500)
    settings = {"QUEUE_DELIVERY_RETRY_INITIAL_BACKOFF_MS": "20000", "QUEUE_DELIVERY_BREAKER_FAILURES": "100000"}
    with redis_server.client() as client, daemon_on(redis_server.url, receiver.url(), **settings) as daemon:
        push(client, jobs(count))
        delayed = eventually(lambda: _all_of(records(client, "delayed"), count), 10, log_tail(daemon))
        ended = eventually(lambda: _all_of(daemon.events("delivery.attempted"), count), 5, log_tail(daemon))

    ended_at = {line["job"]: datetime.fromisoformat(line["timestamp"]).timestamp() for line in ended}
    waits = [kept.score / 1000 - ended_at[kept.state["job"]] for kept in delayed]
    assert all(16 - 1 < wait < 24 + 1 for wait in waits)
    fullest = max(sum(start <= wait < start + 1 for wait in waits) for start in range(15, 25))
    assert fullest < count / 3  # an eighth would be even


def test_time_ms_gives_the_original_order_despite_retries(redis_server: RedisServer, receiver: Receiver) -> None:
    """reapit/foundations#9608, frain-dev/convoy#1525, livekit/protocol#345, polarsource/polar#9525."""
    chance, refused = random.Random(50), set[str]()

    def refuse_some_once(request: Request, nth: int) -> Answer:
        name = request.headers["x-sockudo-job-id"]
        if name in refused or chance.random() > 0.2:
            return Answer()
        refused.add(name)
        return Answer(503)

    receiver.answer(refuse_some_once)
    names = ("member_added", "member_removed") * 2
    bodies = [
        job(4 * channel + step, events=[event(name, f"room-{channel}", user_id="u")])
        for channel in range(20)
        for step, name in enumerate(names)
    ]
    settings = {"QUEUE_DELIVERY_RETRY_INITIAL_BACKOFF_MS": "100"}
    with redis_server.client() as client, daemon_on(redis_server.url, receiver.url(), **settings) as daemon:
        push(client, bodies)
        eventually(lambda: waiting(client) == 0 and receiver.count == len(bodies) + len(refused), 20, log_tail(daemon))

    came: dict[bytes, list[bytes]] = defaultdict(list)
    last_tries = {request.headers["x-sockudo-job-id"]: request.body for request in receiver.requests}
    for body in sorted(last_tries.values(), key=_time_of):
        came[_field(body, b"channel")].append(_field(body, b"name"))
    assert refused
    assert len(came) == 20
    assert all(steps == [name.encode() for name in names] for steps in came.values())


def _attempts(lines: list[dict[str, str]], count: int) -> dict[str, list[float]]:
    """Return when each webhook's attempts began, once there are `count` log lines."""
    moments: dict[str, list[float]] = defaultdict(list)
    for line in lines:
        began = datetime.fromisoformat(line["timestamp"]).timestamp() - float(line["duration_ms"]) / 1000
        moments[line["webhook"]].append(began)
    return moments if len(lines) == count else {}


def _all_of(found: list[T], count: int) -> list[T]:
    return found if len(found) == count else []


def _time_of(body: bytes) -> int:
    return int(body.partition(b'"time_ms":')[2].partition(b",")[0])


def _field(body: bytes, name: bytes) -> bytes:
    return body.partition(b'"' + name + b'":"')[2].partition(b'"')[0]
