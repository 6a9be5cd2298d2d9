"""Jobs that look the same, an owner that is stopped past its lease, and a worker's thread that dies."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.faults.arrivals import Arrivals
from tests.faults.measures import figure, scaled
from tests.faults.queue import LISTS, SLOTS, daemon_on, log_tail, push, records, settled, waiting
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import job, jobs
from tests.helpers.receiver import Answer, Receiver, Request
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

LEASE_SECONDS = 1.0
POSTING = "sockudo_queue.delivery.transport"
DEATHS_BEFORE_GIVING_UP = 10
WAITING = "sockudo_queue.drivers.redis.driver"


class _KillableDaemon(DaemonProcess):
    """A daemon whose threads can be killed one by one."""

    program = "tests.faults.thread_killer"

    def kill_thread_in(self, module: str) -> None:
        """Kill one thread that is in a module; it ends once it runs Python again."""
        order = self.directory / "kill"
        draft = order.with_suffix(".draft")
        draft.write_text(module)
        draft.replace(order)
        eventually(lambda: not order.exists() or not self.running)


@pytest.fixture
def killable(redis_server: RedisServer, receiver: Receiver) -> Iterator[_KillableDaemon]:
    with _KillableDaemon(config(app(webhook(receiver.url()))), redis_url=redis_server.url) as daemon:
        yield daemon.wait_ready()


def test_identical_jobs_are_delivered_separately(redis_server: RedisServer, receiver: Receiver) -> None:
    count = scaled(1000, 200)
    taken: Counter[str] = Counter()
    refused: set[str] = set()

    def refuse_a_third_once(request: Request, nth: int) -> Answer:
        name = request.headers["x-sockudo-job-id"]
        if int(name[-8:], 16) % 3 == 0 and name not in refused:
            refused.add(name)
            return Answer(503)
        taken[name] += 1
        return Answer()

    receiver.answer(refuse_a_third_once)
    settings = {"QUEUE_DELIVERY_RETRY_INITIAL_BACKOFF_MS": "50", "QUEUE_DELIVERY_BREAKER_FAILURES": "1000"}
    with redis_server.client() as client, daemon_on(redis_server.url, receiver.url(), **settings) as daemon:
        push(client, [job()] * count, *LISTS)
        eventually(lambda: waiting(client) == 0 and taken, 30, log_tail(daemon))
        # A worker counts a settlement a moment after Redis has taken it.
        eventually(lambda: settled(daemon, "completed") >= count, 5, log_tail(daemon))
        completed, again = settled(daemon, "completed"), settled(daemon, "retry")

    assert (len(taken), taken.total()) == (count, count)
    assert (completed, again) == (count, len(refused))
    assert count // 4 < len(refused) < count // 2
    assert {request.body for request in receiver.requests} == {receiver.requests[0].body}
    figure(f"identical jobs: {count}, {len(refused)} refused once, {taken.total()} deliveries")


def test_an_owner_that_sleeps_past_its_lease_settles_nothing(redis_server: RedisServer, receiver: Receiver) -> None:
    count = scaled(400, 100)
    arrivals = Arrivals(0.05, 0.09)
    receiver.answer(arrivals)
    settings = {"QUEUE_LEASE_DURATION_MS": f"{LEASE_SECONDS * 1000:.0f}", "QUEUE_LEASE_RENEW_INTERVAL_MS": "300"}
    owner = daemon_on(redis_server.url, receiver.url(), **settings)
    other = daemon_on(redis_server.url, receiver.url(), **settings)
    with redis_server.client() as client, owner:
        push(client, jobs(count))
        eventually(lambda: len(records(client, "active")) == SLOTS and arrivals.distinct > 2 * SLOTS, 10)
        owner.pause()
        held = len(records(client, "active"))
        with other:
            arrivals.wait_for_all(count, 30, log_tail(other))
            eventually(lambda: waiting(client) == 0, 10, log_tail(other))
            owner.resume()
            eventually(lambda: settled(owner, "lease-lost") == held, 10, log_tail(owner))
            completed = settled(owner, "completed") + settled(other, "completed")
            # The owner goes on as before with what comes now.
            other.terminate()
            assert other.wait() == 0
        push(client, jobs(SLOTS, first=count + 1))
        arrivals.wait_for_all(count + SLOTS, 10, log_tail(owner))

    assert held > 0
    assert completed == count
    assert arrivals.duplicates <= held
    figure(f"owner stopped with {held} claims: {count} jobs, 0 lost, {arrivals.duplicates} delivered twice")


def test_the_claim_of_a_dead_thread_comes_back_at_once(
    killable: _KillableDaemon, redis_server: RedisServer, receiver: Receiver
) -> None:
    """At once, which is long before its lease of 30 seconds ends."""
    receiver.answer(lambda request, nth: Answer(delay=0.3))
    with redis_server.client() as client:
        push(client, [job(1)])
        receiver.wait_for(1)
        killable.kill_thread_in(POSTING)
        first, second = receiver.wait_for(2, 5)
        eventually(lambda: waiting(client) == 0, 5, log_tail(killable))

    [died] = eventually(lambda: killable.events("thread.crashed"))
    assert died["error"] == "SystemExit"
    assert second.headers["x-sockudo-attempt"] == "1"  # what became of the first is not known, so it does not count
    assert first.headers["x-sockudo-job-id"] == second.headers["x-sockudo-job-id"]
    gap = second.received_at - first.received_at
    assert gap < 2
    figure(f"worker killed in a POST of 0.3 s: the job was posted again {gap:.2f} s after the first time")


def test_killed_workers_are_replaced_and_their_jobs_delivered(
    killable: _KillableDaemon, redis_server: RedisServer, receiver: Receiver
) -> None:
    kills, count = 7, 400
    arrivals = Arrivals(0.01, 0.05)
    receiver.answer(arrivals)
    with redis_server.client() as client:
        push(client, jobs(count), *LISTS)
        for _ in range(kills):
            arrivals.wait_for_more(30, details=log_tail(killable))
            killable.kill_thread_in(POSTING)
        arrivals.wait_for_all(count, 20, log_tail(killable))
        eventually(lambda: waiting(client) == 0, 10, log_tail(killable))

    eventually(lambda: len(killable.events("thread.crashed")) == kills)
    assert arrivals.duplicates <= kills
    # A slot that its dead worker had kept would be in use for ever.
    eventually(lambda: killable.metric("sockudo_queue_slots_in_use") == 0, 5, log_tail(killable))
    figure(f"workers killed {kills} times: {count} jobs, 0 lost, {arrivals.duplicates} delivered twice")


def test_crashed_notifier_is_replaced(killable: _KillableDaemon, redis_server: RedisServer, receiver: Receiver) -> None:
    killable.kill_thread_in(WAITING)
    eventually(lambda: killable.events("thread.crashed"), 5)
    with redis_server.client() as client:
        push(client, jobs(2), *LISTS)
        receiver.wait_for(2, 3)


@pytest.mark.parametrize("module", ["logs.writer", "web.server"])
def test_a_thread_that_logs_or_answers_probes_survives(
    killable: _KillableDaemon, redis_server: RedisServer, receiver: Receiver, module: str
) -> None:
    for killed in range(1, 4):
        killable.kill_thread_in(f"sockudo_queue.observability.{module}")
        killable.get("/livez")  # a thread that waits for a connection ends with the next one
        logged = len(killable.events("delivery.attempted"))
        with redis_server.client() as client:
            for number in (2 * killed - 1, 2 * killed):  # the line of the first may be lost with the thread
                push(client, [job()])
                receiver.wait_for(number)
        eventually(lambda: len(killable.events("delivery.attempted")) > logged, 5, log_tail(killable))  # noqa: B023
        eventually(lambda: killable.get("/livez") == 200, 5, log_tail(killable))
    event, max_lines = ("thread.crashed", 3) if module == "logs.writer" else ("http.failed", 1)  # once a minute
    eventually(lambda: 0 < len(killable.events(event)) <= max_lines, 5, log_tail(killable))


def test_a_main_thread_that_dies_puts_back_and_ends_with_a_line(
    killable: _KillableDaemon, redis_server: RedisServer, receiver: Receiver
) -> None:
    receiver.hang()
    with redis_server.client() as client:
        push(client, [job()])
        receiver.wait_for(1)
        killable.kill_thread_in("main")
        assert killable.wait(10) == 4
        assert records(client, "active") == []
        assert waiting(client) == 1
    [line] = killable.events("process.failed")
    assert line["error"] == "SystemExit"


def test_a_daemon_whose_threads_die_again_and_again_puts_back_and_gives_up(
    killable: _KillableDaemon, redis_server: RedisServer, receiver: Receiver
) -> None:
    count = 1000
    receiver.answer(Arrivals(0.05, 0.05))
    with redis_server.client() as client:
        push(client, jobs(count))
        deadline = time.monotonic() + 20
        while killable.running and time.monotonic() < deadline:
            killable.kill_thread_in(POSTING)
        assert killable.wait(10) == 4
        [gave_up] = killable.events("daemon.gave_up")
        assert gave_up["reason"] == "10 threads crashed within 60 s"
        assert records(client, "active") == []
        left, came = waiting(client), len({request.body for request in receiver.requests})

    assert count <= left + came <= count + DEATHS_BEFORE_GIVING_UP + 2 * SLOTS
