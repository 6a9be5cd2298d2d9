"""Hostile receivers of every kind, together, beside a healthy one under load.

Each attempt ends in time and under its name; the daemon's memory does not grow; the healthy endpoint is not affected.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import psutil
import pytest
import redis

from tests.faults.measures import SCALE, figure, scaled
from tests.faults.queue import SERVER_LIST, log_tail
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.hostile_cases import CASES, Case
from tests.helpers.hostile_process import hostile_urls
from tests.helpers.jobs import event, job, numbers
from tests.helpers.receiver import Answer, Receiver
from tests.helpers.redis_server import RedisServer
from tests.helpers.resolver import HANGING, preloaded
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.timeout(300)

DEADLINE_MS: Final = 500
GRACE_MS: Final = 300
GOOD_DELAY: Final = 0.02
LOAD: Final = 0.8
"""Of what the healthy endpoint gets when it is given more than it can take."""
ROUNDS: Final = scaled(5, 1)
SPACING: Final = 0.08
PHASE: Final = ROUNDS * SPACING * (len(CASES) + 1)
"""Seconds of load beside the hostile receivers, and as many without them, to compare with."""
CHANCES: Final = 3
"""What else runs on the machine can only spoil a comparison."""
LATER_ROUNDS: Final = 1 if SCALE >= 1 else CHANCES
STRICT: Final = 1.5
LENIENCE: Final = 0.0 if SCALE >= 1 else DEADLINE_MS / 2000
"""Seconds by which a short run beside other tests may miss that; a hostile attempt that blocks one costs more."""
PADDING: Final = 100_000
HANGING_NAME: Final = Case("hanging DNS", lambda visit: None, "dns")
MAX_GROWTH: Final = 8 << 20
MAX_LATER_GROWTH: Final = 1 << 20


class Load:
    """Jobs for the healthy receiver at random moments, as events come, and how long each took from push to arrival."""

    def __init__(self, client: redis.Redis, receiver: Receiver) -> None:
        self._client = client
        self._receiver = receiver
        self._pushed: dict[int, float] = {}
        self._number = 0
        self._rate = 0.0

    def find_rate(self) -> float:
        """Push more than can be delivered at once, and take a part of what is; return that, in jobs a second."""
        count = scaled(1000, 200)
        self._client.rpush(SERVER_LIST, *[job(number) for number in range(1, count + 1)])
        began = time.monotonic()
        eventually(lambda: self._receiver.count >= count, 60)
        self._rate = LOAD * count / (time.monotonic() - began)
        self._pushed = dict.fromkeys(range(1, count + 1), 0.0)
        self._number = count
        return self._rate

    @contextmanager
    def going(self, seed: int = 0, seconds: float = math.inf) -> Iterator[None]:
        """Push for some seconds, or until the block ends, and wait until everything has arrived."""
        stop = threading.Event()
        thread = threading.Thread(target=self._push, args=(stop, seed, seconds))
        thread.start()
        try:
            yield
            if seconds < math.inf:
                thread.join()
        finally:
            stop.set()
            thread.join()
        eventually(lambda: self._receiver.count >= self._number, 30)

    def p99(self, seed: int, meanwhile: Callable[[], None] = lambda: None) -> float:
        """Push for `PHASE` seconds and return the 99th percentile of the times from push to arrival, in seconds.

        How many come together decides about that percentile more than anything else does. The moments of one seed are
        always the same, so two phases of it differ in what goes on meanwhile, and in nothing else.
        """
        first, before = self._number + 1, self._receiver.count
        with self.going(seed, PHASE):
            meanwhile()
        took = sorted(
            request.received_at - self._pushed[number]
            for request in self._receiver.requests[before:]
            for number in numbers(request.body)
            if number >= first
        )
        return took[int(len(took) * 0.99)]

    def _push(self, stop: threading.Event, seed: int, seconds: float) -> None:
        chance = random.Random(seed)
        due = time.monotonic()
        end = due + seconds
        while due < end and not stop.is_set():
            self._number += 1
            self._pushed[self._number] = time.monotonic()
            self._client.rpush(SERVER_LIST, job(self._number))
            due += chance.expovariate(self._rate)
            stop.wait(max(due - time.monotonic(), 0))


def hostile_hook(case: Case, url: str) -> dict[str, Any]:
    return webhook(url, name=name_of(case), filter={"channel_prefix": f"{name_of(case)}:"}, retry={"enabled": False})


def name_of(case: Case) -> str:
    return case.name.lower().replace(" ", "-").replace(",", "")


def test_hostile_receivers_do_not_affect_other_endpoints(redis_server: RedisServer, receiver: Receiver) -> None:
    receiver.answer(lambda request, nth: Answer(delay=GOOD_DELAY))
    with ExitStack() as stack:
        urls = stack.enter_context(hostile_urls())
        hostile = {case: urls[case.name] for case in CASES}
        hostile[HANGING_NAME] = f"http://{HANGING}/"
        hooks = [webhook(receiver.url(), name="good", filter={"channel_prefix": "room-"})]
        hooks += [hostile_hook(case, url) for case, url in hostile.items()]
        client = stack.enter_context(redis_server.client())
        environment = {"QUEUE_DELIVERY_REQUEST_TIMEOUT_MS": str(DEADLINE_MS), **preloaded()}
        daemon = stack.enter_context(DaemonProcess(config(app(*hooks)), environment, redis_url=redis_server.url))
        daemon.wait_ready()
        check_rounds(daemon, client, Load(client, receiver), list(hostile))


def check_rounds(daemon: DaemonProcess, client: redis.Redis, load: Load, cases: list[Case]) -> None:
    process = psutil.Process(daemon.pid)
    load.find_rate()
    with load.going():
        rounds, first, later = 1, growth_by_round(process, daemon, client, cases, 1), MAX_LATER_GROWTH
        # What leaks grows in every round; what allocators and the load beside do, not in all of them.
        while later >= MAX_LATER_GROWTH and rounds <= LATER_ROUNDS:
            rounds += 1
            later = growth_by_round(process, daemon, client, cases, rounds)
    figure(
        f"{len(cases)} hostile receivers: memory {first / 1e6:+.1f} MB by the first round, {later / 1e6:+.1f} MB later"
    )
    for chance in range(1, CHANCES + 1):
        alone = load.p99(chance)
        beside = load.p99(chance, lambda: push_rounds(client, cases))
        wait_for_attempts(daemon, (rounds + chance * ROUNDS) * len(cases))
        if beside <= STRICT * alone + LENIENCE:
            break
    check_attempts(daemon, cases, rounds + chance * ROUNDS)
    figure(f"p99 of a healthy endpoint at 80 % load: {beside * 1e3:.1f} ms beside them, {alone * 1e3:.1f} ms without")
    assert first < MAX_GROWTH
    assert later < MAX_LATER_GROWTH
    assert beside <= STRICT * alone + LENIENCE


def growth_by_round(
    process: psutil.Process, daemon: DaemonProcess, client: redis.Redis, cases: list[Case], nth: int
) -> int:
    """Return the bytes by which the daemon has grown when its `nth` attempt at each of the cases has ended."""
    before = process.memory_info().rss
    push_round(client, cases)
    wait_for_attempts(daemon, nth * len(cases))
    return int(process.memory_info().rss - before)


def push_round(client: redis.Redis, cases: list[Case]) -> None:
    """Push a job for each, one after the other: a burst would delay the jobs behind it."""
    for case in cases:
        time.sleep(SPACING)
        padding = "x" * min(case.padding, PADDING)
        client.rpush(SERVER_LIST, job(events=[event(channel=f"{name_of(case)}:1", data=padding)]))


def push_rounds(client: redis.Redis, cases: list[Case]) -> None:
    for _ in range(ROUNDS):
        push_round(client, cases)


def wait_for_attempts(daemon: DaemonProcess, count: int) -> None:
    eventually(lambda: len(attempts(daemon)) >= count, 60, log_tail(daemon))


def attempts(daemon: DaemonProcess) -> list[dict[str, Any]]:
    return [line for line in daemon.events("delivery.attempted") if line["webhook"] != "good"]


def check_attempts(daemon: DaemonProcess, cases: list[Case], each: int) -> None:
    """Every attempt has its reason, in the log and among the series, and ended in time."""
    lines = attempts(daemon)
    reasons = {(line["webhook"], line["reason"] or line["outcome"]) for line in lines}
    assert reasons == {(name_of(case), case.reason) for case in cases}
    assert Counter(line["webhook"] for line in lines) == {name_of(case): each for case in cases}
    longest = max(lines, key=lambda line: line["duration_ms"])
    figure(f"longest attempt: {longest['duration_ms']:.0f} ms ({longest['webhook']}), deadline {DEADLINE_MS} ms")
    assert longest["duration_ms"] <= DEADLINE_MS + GRACE_MS, longest
    for case in cases:
        failure = case.reason.partition("-4")[0].partition("-3")[0].partition("-5")[0].partition("-6")[0]
        counted = daemon.metric("sockudo_webhook_failures_total", webhook=name_of(case), **{"class": failure})
        assert counted == (each if case.reason != "delivered" else 0), case
