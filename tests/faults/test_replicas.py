"""Several daemons on one queue: each job is sent once, and claims of a dead daemon are taken over without a restart."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

from tests.faults.arrivals import Arrivals
from tests.faults.measures import figure, scaled
from tests.faults.queue import LISTS, SLOTS, daemon_on, log_tail, push, records, waiting
from tests.helpers.jobs import jobs
from tests.helpers.receiver import Answer, Receiver
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

MIN_LEASE: Final = {"QUEUE_LEASE_DURATION_MS": "1000", "QUEUE_LEASE_RENEW_INTERVAL_MS": "300"}


def test_replicas_share_a_queue_and_send_each_job_once(redis_server: RedisServer, receiver: Receiver) -> None:
    """soketi/soketi#438, soketi/soketi#616, soketi/soketi#830."""
    count, replicas = scaled(2000, 300), 4
    arrivals = Arrivals(0.0, 0.1)
    receiver.answer(arrivals)
    with redis_server.client() as client, ExitStack() as stack:
        daemons = [stack.enter_context(daemon_on(redis_server.url, receiver.url())) for _ in range(replicas)]
        for daemon in daemons:
            daemon.wait_ready(20)
        push(client, jobs(count), *LISTS)
        arrivals.wait_for_all(count, 60, log_tail(daemons[0]))
        eventually(lambda: waiting(client) == 0, 5, log_tail(daemons[0]))
        shares = [int(daemon.metric("sockudo_queue_claims_total")) for daemon in daemons]

    assert arrivals.duplicates == 0
    assert sum(shares) == count
    assert min(shares) > 0
    figure(f"{replicas} daemons: {count} jobs, 0 twice, shares {sorted(shares)}")


def test_jobs_of_a_killed_replica_are_taken_over_without_a_restart(
    redis_server: RedisServer, receiver: Receiver
) -> None:
    """sidekiq/sidekiq#5540, sidekiq/sidekiq#4937: the one that lives on was there before the other died."""
    receiver.hang()
    patient = MIN_LEASE | {"QUEUE_DELIVERY_SLOW_MS": "10000"}  # so that it takes all, however slow the machine
    with redis_server.client() as client, daemon_on(redis_server.url, receiver.url(), **patient) as dying:
        push(client, jobs(SLOTS))
        eventually(lambda: len(records(client, "active")) == SLOTS, 10, log_tail(dying))
        with daemon_on(redis_server.url, receiver.url(), **MIN_LEASE) as living:
            living.wait_ready()
            receiver.clear()
            receiver.always(200)
            dying.kill()
            receiver.wait_for(SLOTS, 5)
            eventually(lambda: waiting(client) == 0, 5, log_tail(living))

    assert receiver.count == SLOTS


def test_slow_delivery_of_a_live_daemon_is_not_taken_over(redis_server: RedisServer, receiver: Receiver) -> None:
    """sidekiq/sidekiq#4611, Bogdanp/dramatiq#692, celery/celery#5935: the lease is shorter than the delivery."""
    receiver.answer(lambda request, nth: Answer(delay=2.2))
    with (
        redis_server.client() as client,
        daemon_on(redis_server.url, receiver.url(), **MIN_LEASE) as one,
        daemon_on(redis_server.url, receiver.url(), **MIN_LEASE) as other,
    ):
        one.wait_ready()
        other.wait_ready()
        push(client, jobs(2))
        eventually(lambda: waiting(client) == 0 and receiver.count, 15, log_tail(one))

    assert receiver.count == 2
