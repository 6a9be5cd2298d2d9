"""One app never stops the others: the throughput of ten honest apps beside a hostile one, against theirs alone.

Settings are the defaults. A ratio is of one run on one machine, as in `test_isolation`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.faults.measures import SCALE, figure, scaled
from tests.faults.test_isolation import GOOD_DELAY, LIST, answering, best_of
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import event, job
from tests.helpers.receiver import Receiver
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

HONEST: Final = 10
JOBS: Final = scaled(500, 80)
NEW_WITHIN: Final = 2.0
"""Seconds within which an endpoint is called that was never called before."""
MAX_RUN_SECONDS: Final = 600 if SCALE >= 1 else 120
"""Seconds; a ratio takes two runs, and three are made where it is too low."""
DAY_MS: Final = 86_400_000
MAX_REQUESTS: Final = 200
"""Requests to a hostile app's endpoints in all, which is more than their breakers and places let through."""


@dataclass(frozen=True)
class Hostile:
    """An app and its jobs, which lie in the queue before and among those of the others."""

    app: dict[str, Any]
    jobs: Sequence[bytes]
    receivers: Sequence[Receiver]

    def has_had(self, requests: int) -> bool:
        """Return whether at most this number of requests came."""
        return sum(receiver.count for receiver in self.receivers) <= requests


Script = Callable[[ExitStack], Hostile]


def hanging_app(stack: ExitStack) -> Hostile:
    """Forty-five endpoints that never answer, with the longest timeout that a webhook may have."""
    receivers = [stack.enter_context(Receiver()) for _ in range(45)]
    for receiver in receivers:
        receiver.hang()
    hooks = [
        webhook(each.url(), name=f"hang{i}", request_timeout_ms=60_000, filter={"channel_prefix": f"{i}-"})
        for i, each in enumerate(receivers)
    ]
    bodies = [
        job(events=[event(channel=f"{i}-{n}")], app_id="hostile") for i in range(45) for n in range(scaled(50, 5))
    ]
    return Hostile(app(*hooks, app_id="hostile"), bodies, receivers)


def retrying_app(stack: ExitStack) -> Hostile:
    """An endpoint that answers 409 for ever, and a policy that asks for as many retries as there can be."""
    receiver = stack.enter_context(Receiver())
    receiver.always(409)
    policy = {"initial_backoff_ms": 0, "max_backoff_ms": 0, "max_elapsed_time_ms": DAY_MS, "jitter": 0}
    bodies = [job(n, app_id="hostile") for n in range(scaled(1000, 300))]
    return Hostile(app(webhook(receiver.url(), name="again", retry=policy), app_id="hostile"), bodies, [receiver])


def costly_app(stack: ExitStack) -> Hostile:
    """Ten patterns that take about 10 ms each for a channel; a job takes 10 s."""
    receiver = stack.enter_context(Receiver())
    hooks = [
        webhook(
            receiver.url(),
            name=f"costly{i}",
            filter={"channel_pattern": rf"[ab]a[ab]{{{100 + i}}}(?:[ab]?){{1600}}[0-9]"},
        )
        for i in range(10)
    ]
    chance = random.Random(2)
    channels = ["".join(chance.choices("ab", k=200)) for _ in range(100)]
    body = job(events=[event(channel=channel) for channel in channels], app_id="hostile")
    return Hostile(app(*hooks, app_id="hostile"), [body] * scaled(200, 20), [receiver])


def seconds(server: RedisServer, hostile_script: Script | None) -> tuple[float, float]:
    """Return how long the honest jobs took, and after them a job for an endpoint that was never called before."""
    with ExitStack() as stack:
        receivers = [stack.enter_context(Receiver()) for _ in range(HONEST + 1)]
        for receiver in receivers:
            answering(GOOD_DELAY)(receiver)
        *honest, new = receivers
        hostile = hostile_script(stack) if hostile_script else None
        apps = [app(webhook(each.url(), name="hook"), app_id=f"honest{i}") for i, each in enumerate(honest)]
        apps.append(app(webhook(new.url(), name="hook"), app_id="new"))
        bodies = [job(n, app_id=f"honest{i}") for i in range(HONEST) for n in range(JOBS)]
        if hostile:
            apps.append(hostile.app)
            bodies += hostile.jobs[len(hostile.jobs) // 2 :]
        random.Random(1).shuffle(bodies)
        client = server.client()
        client.flushall()
        with DaemonProcess(config(*apps), redis_url=server.url) as daemon:
            daemon.wait_ready()
            if hostile:
                client.rpush(LIST, *hostile.jobs[: len(hostile.jobs) // 2])
                time.sleep(1)  # what the hostile app does is at its height then; nothing can be asked for
            client.rpush(LIST, *bodies)
            began = time.monotonic()
            eventually(lambda: sum(each.count for each in honest) >= HONEST * JOBS, 120)
            took = time.monotonic() - began
            client.rpush(LIST, job(app_id="new"))
            began = time.monotonic()
            eventually(lambda: new.count, 60)
            waited = time.monotonic() - began
            assert hostile is None or hostile.has_had(MAX_REQUESTS)
            daemon.kill()  # a drain would wait for what hangs
            return took, waited


def kept_beside(server: RedisServer, hostile_script: Script) -> tuple[float, float]:
    """Return the best ratio of a few runs, and the longest that a new endpoint had to wait in them."""
    waits: list[float] = []

    def measure() -> float:
        alone, _ = seconds(server, None)
        beside, waited = seconds(server, hostile_script)
        waits.append(waited)
        return alone / beside

    return best_of(measure, 0.9), max(waits)


@pytest.mark.timeout(MAX_RUN_SECONDS)
@pytest.mark.parametrize("script", [hanging_app, retrying_app, costly_app])
def test_hostile_app_costs_ten_other_apps_a_tenth_at_most(redis_server: RedisServer, script: Script) -> None:
    kept, waited = kept_beside(redis_server, script)
    figure(f"ten apps beside {script.__name__}: {kept:.2f} of the throughput; a new endpoint: {waited:.2f} s")
    assert kept >= 0.9
    assert waited <= NEW_WITHIN
