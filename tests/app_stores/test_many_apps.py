"""A hundred thousand apps, of which a tenth are in use: memory and queries stay bounded."""

from __future__ import annotations

import json
import time
from typing import Final

from tests.app_stores.tables import PostgresTable
from tests.faults.measures import figure, scaled
from tests.faults.queue import log_tail, push, settled, waiting
from tests.helpers.configs import webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.databases import Postgres
from tests.helpers.jobs import job
from tests.helpers.receiver import Receiver
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

APPS: Final = scaled(100_000, 10_000)
ACTIVE: Final = APPS // 10
ROUNDS: Final = 4
TTL_SECONDS: Final = 6
MEMORY_PER_APP: Final = 6_000  # bytes, with two webhooks each
MEMORY_BESIDE: Final = 16 * 1024 * 1024  # what delivering itself takes


def fill(table: PostgresTable, receiver: Receiver) -> None:
    """Make all apps in one statement; each has a webhook of its own and one that wants nothing of the jobs."""
    hooks = [
        webhook(receiver.url("/NUMBER"), filter={"channel_prefix": "room-"}, headers={"X-Tenant": "NUMBER"}),
        webhook(receiver.url("/NUMBER/other"), event_types=["client_event"]),
    ]
    table.server.run(
        f"INSERT INTO {table.name} (id, key, secret, policy) SELECT 'app-' || n, 'key-' || n, 'secret', "
        f"CAST(replace(:policy, 'NUMBER', CAST(n AS text)) AS jsonb) FROM generate_series(0, {APPS - 1}) AS n",
        policy=json.dumps({"webhooks": hooks}),
    )


def test_memory_and_queries_of_many_apps(postgres: Postgres, redis_server: RedisServer, receiver: Receiver) -> None:
    table = PostgresTable(postgres, "5.0").create()
    fill(table, receiver)
    variables = table.environment() | {"CACHE_TTL_SECONDS": str(TTL_SECONDS), "QUEUE_LOG_LEVEL": "warning"}
    with DaemonProcess(environment=variables, redis_url=redis_server.url) as daemon, redis_server.client() as client:
        daemon.wait_ready()
        before = daemon.metric("process_resident_memory_bytes")
        began = time.monotonic()
        for round_ in range(ROUNDS):
            push(client, [job(round_ * ACTIVE + n, app_id=f"app-{n}") for n in range(ACTIVE)])
            receiver.wait_for((round_ + 1) * ACTIVE, 120)
            eventually(lambda: waiting(client) == 0, 10, log_tail(daemon))
        took = time.monotonic() - began
        grown = daemon.metric("process_resident_memory_bytes") - before
        queries = daemon.metric("sockudo_queue_app_store_queries_total")
        assert daemon.metric("sockudo_queue_apps_cached") == ACTIVE
        assert settled(daemon, "completed") == ROUNDS * ACTIVE, log_tail(daemon)()
    paths = {request.path for request in receiver.requests}
    assert (receiver.count, len(paths)) == (ROUNDS * ACTIVE, ACTIVE)
    assert queries <= ACTIVE * (1 + took / TTL_SECONDS) + took / 5 + 2
    assert grown < ACTIVE * MEMORY_PER_APP + MEMORY_BESIDE
    figure(
        f"{APPS} apps, {ACTIVE} in use, {ROUNDS * ACTIVE} jobs in {took:.1f} s: {queries:.0f} queries, "
        f"{grown / 2**20:.1f} MiB more"
    )


def test_no_more_apps_are_kept_than_is_allowed(
    postgres: Postgres, redis_server: RedisServer, receiver: Receiver
) -> None:
    table = PostgresTable(postgres, "5.0").create()
    fill(table, receiver)
    variables = table.environment() | {"QUEUE_APPS_CACHE_CAPACITY": "100", "QUEUE_LOG_LEVEL": "warning"}
    with DaemonProcess(environment=variables, redis_url=redis_server.url) as daemon, redis_server.client() as client:
        daemon.wait_ready()
        push(client, [job(n, app_id=f"app-{n}") for n in range(500)])
        receiver.wait_for(500, 60)
        eventually(lambda: waiting(client) == 0, 10, log_tail(daemon))
        assert 80 <= daemon.metric("sockudo_queue_apps_cached") <= 100
    assert len({request.path for request in receiver.requests}) == 500
