"""SQS under load: nothing is lost, groups keep their order, and one endpoint does not stop the others."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

import pytest

from tests.faults.arrivals import Arrivals
from tests.faults.measures import SCALE, figure, scaled
from tests.faults.test_isolation import Crowd, answering, best_of, crowd, hanging
from tests.helpers.configs import webhook
from tests.helpers.jobs import event, job, jobs, numbers
from tests.helpers.receiver import Answer, Receiver, Request
from tests.helpers.sqs_daemon import Producer, daemon_on, make_queue
from tests.helpers.sqs_server import SqsServer, unused_name
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.timeout(300)

FAILING: Final = 0.2
GROUPS: Final = 10
EACH: Final = scaled(50, 12)
QUICK_RETRIES: Final = {"initial_backoff_ms": 400, "max_backoff_ms": 400}


class Failing:
    """Answers 500 to a part of the attempts, always to the same ones, and keeps what came in which order."""

    def __init__(self) -> None:
        self.delivered: dict[int, list[int]] = defaultdict(list)
        self.attempts: list[tuple[int, bool]] = []

    def __call__(self, request: Request, _nth: int) -> Answer:
        [number] = numbers(request.body)
        attempt = int(request.headers["x-sockudo-attempt"])
        failed = random.Random(number * 1000 + attempt).random() < FAILING
        self.attempts.append((number, failed))
        if not failed:
            self.delivered[number // 1000].append(number)
        return Answer(500 if failed else 200, delay=0.01)

    @property
    def count(self) -> int:
        return sum(map(len, self.delivered.values()))

    def kept_order(self) -> bool:
        """Return whether no message of a group was attempted before the previous ones were delivered."""
        done: dict[int, int] = defaultdict(int)
        for number, failed in list(self.attempts):
            group, ordinal = divmod(number, 1000)
            if ordinal != done[group] + 1:
                return False
            if not failed:
                done[group] = ordinal
        return True


def fails_in(group: int) -> int:
    """Count the attempts of a group that will fail."""
    fails = 0
    for number in range(group * 1000 + 1, group * 1000 + EACH + 1):
        attempt = 1
        while random.Random(number * 1000 + attempt).random() < FAILING:
            attempt += 1
        fails += attempt - 1
    return fails


def deliver_groups(server: SqsServer, groups: list[int]) -> float:
    """Deliver this number of groups together; return the seconds until the last delivery."""
    script = Failing()
    with Receiver(script) as receiver:
        name = unused_name()
        producer = make_queue(server.client, name, fifo=True)
        pushed = [(number, group) for number in range(1, EACH + 1) for group in groups]
        hook = webhook(receiver.url(), retry=QUICK_RETRIES)
        with daemon_on(server.url, name, hook, QUEUE_SQS_FIFO="true") as daemon:
            daemon.wait_ready(30)
            began = time.monotonic()
            producer.push(
                [job(group * 1000 + number) for number, group in pushed], [f"group-{group}" for _, group in pushed]
            )
            eventually(lambda: script.count >= len(pushed), 120, lambda: f"{script.count}\n{daemon.output()[-3000:]}")
            took = time.monotonic() - began
            eventually(lambda: producer.left() == 0, 10)
    assert script.kept_order()
    assert all(delivered == sorted(delivered) for delivered in script.delivered.values())
    assert script.count == len(pushed)
    return took


def test_groups_keep_their_order_and_do_not_wait_for_each_other(sqs_server: SqsServer) -> None:
    slowest = max(range(GROUPS), key=fails_in)

    def measure() -> float:
        alone = deliver_groups(sqs_server, [slowest])
        together = deliver_groups(sqs_server, list(range(GROUPS)))
        return alone / together

    kept = best_of(measure, 1 / 1.3)
    figure(f"SQS FIFO, {GROUPS} groups of {EACH} with failures: {1 / kept:.2f} times the slowest group alone")
    # Few messages are over before everything has found its pace.
    assert 1 / kept <= (1.3 if SCALE >= 1 else 2.0)


def test_a_dead_endpoint_costs_its_group_one_budget(sqs_server: SqsServer, receiver: Receiver) -> None:
    budget, count = 3.0, scaled(100, 30)
    retry = {"max_elapsed_time_ms": round(budget * 1000), "initial_backoff_ms": 100, "max_backoff_ms": 200}
    with ExitStack() as stack:
        dead = stack.enter_context(Receiver())
        dead.always(503)
        name = unused_name()
        producer = make_queue(sqs_server.client, name, fifo=True)
        daemon = stack.enter_context(
            daemon_on(
                sqs_server.url,
                name,
                webhook(dead.url(), name="dead", filter={"channel_prefix": "dead-"}, retry=retry),
                webhook(receiver.url(), name="good", filter={"channel_prefix": "good-"}),
                QUEUE_SQS_FIFO="true",
                QUEUE_DELIVERY_BREAKER_OPEN_MS="500",
                QUEUE_DELIVERY_BREAKER_MAX_OPEN_MS="1000",
            )
        )
        daemon.wait_ready(30)
        began = time.monotonic()
        kinds = ["dead", "good"] * count
        bodies = [job(events=[event(channel=f"{kind}-{number}")]) for number, kind in enumerate(kinds)]
        producer.push(bodies, kinds)
        receiver.wait_for(count, 60)
        good = time.monotonic() - began
        series = "sockudo_webhook_dead_letters_total"
        eventually(lambda: daemon.metric(series) == count, 60, daemon.output)
        took = time.monotonic() - began
        eventually(lambda: producer.left() == 0, 10)

    figure(f"SQS FIFO, {count} messages for a dead endpoint, budget {budget:g} s: {took:.1f} s; others {good:.1f} s")
    assert took < count * budget / 10  # each of them would take a budget of its own, and here they are served in turn
    assert good < took


def test_a_stop_in_the_middle_of_a_group_keeps_its_order(sqs_server: SqsServer, receiver: Receiver) -> None:
    """What is given back goes back in order, and nothing overtakes what was being delivered."""
    receiver.answer(lambda _request, _nth: Answer(delay=0.05))
    count, name = 25, unused_name()
    producer = make_queue(sqs_server.client, name, fifo=True)
    producer.push(jobs(count), ["one"] * count)
    daemon = daemon_on(sqs_server.url, name, receiver.url(), QUEUE_SQS_FIFO="true")
    try:
        for more in (4, 5):
            daemon.start().wait_ready(30)
            receiver.wait_for(receiver.count + more, 20)
            daemon.terminate()
            assert daemon.wait(20) == 0, daemon.output()
        daemon.start()
        receiver.wait_for(count, 20)
        eventually(lambda: producer.left() == 0, 10)
    finally:
        daemon.close()

    assert [number for request in receiver.requests for number in numbers(request.body)] == list(range(1, count + 1))


def test_nothing_is_lost_when_the_daemon_is_killed(sqs_server: SqsServer, receiver: Receiver) -> None:
    count, kills, chance = scaled(1000, 120), scaled(20, 3), random.Random(1)
    script = Arrivals(0.005, 0.05)
    receiver.answer(script)
    name = unused_name()
    producer = make_queue(sqs_server.client, name)
    producer.push(jobs(count))
    daemon = daemon_on(sqs_server.url, name, receiver.url(), QUEUE_SQS_VISIBILITY_TIMEOUT="2", QUEUE_MAX_ATTEMPTS="50")
    try:
        for _ in range(kills):
            daemon.start().wait_ready(30)
            script.wait_for_more(1, 20)
            time.sleep(chance.uniform(0.0, 0.2))  # the moment is what is random here, nothing is waited for
            daemon.kill()
        at_last_kill = script.distinct
        daemon.start()
        script.wait_for_all(count, 90, daemon.output)
        eventually(lambda: producer.left() == 0, 20)
    finally:
        daemon.close()

    assert at_last_kill < count, "the last kill came too late to mean anything"
    figure(f"SQS, daemon killed {kills} times: {count} jobs, 0 lost, {script.duplicates} delivered twice")
    assert script.duplicates <= kills * 25  # at most what was in hand: buffer, workers, and ends on their way


def run(server: SqsServer, good: Crowd, *others: Crowd) -> float:
    """Deliver the jobs of all crowds, mixed; return the seconds until the good ones had theirs."""
    bodies = [body for each in (good, *others) for body in each.bodies()]
    random.Random(1).shuffle(bodies)
    hooks = [hook for each in (good, *others) for hook in each.webhooks()]
    name = unused_name()
    producer: Producer = make_queue(server.client, name)
    producer.push(bodies)
    with daemon_on(server.url, name, *hooks) as daemon:
        started: float | None = None
        eventually(lambda: any(receiver.count for receiver in good.receivers), 30, daemon.output)
        started = time.monotonic()
        eventually(lambda: good.all_came, 120, daemon.output)
        return time.monotonic() - started


def test_one_hanging_endpoint_costs_ten_others_a_tenth_at_most(sqs_server: SqsServer) -> None:
    each = scaled(150, 30)

    def good(stack: ExitStack) -> Crowd:
        script: Callable[[Receiver], None] = answering(0.02)
        return crowd(stack, "good", 10, each, script)

    def measure() -> float:
        with ExitStack() as stack:
            alone = run(sqs_server, good(stack))
            beside = run(sqs_server, good(stack), crowd(stack, "dead", 1, each, hanging))
            return alone / beside

    kept = best_of(measure, 0.9)
    figure(f"SQS, ten endpoints beside one that hangs: {kept:.2f} of the throughput without it")
    assert kept >= (0.9 if SCALE >= 1 else 0.7)
