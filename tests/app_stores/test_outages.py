"""A database that is killed, frozen or late: known apps are served, no job is lost, and readiness reports it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
import redis

from tests.app_stores.conftest import MakeTable
from tests.app_stores.tables import SECRET, MariadbTable, PostgresTable, Table
from tests.faults.arrivals import Arrivals
from tests.faults.measures import SCALE, figure
from tests.faults.queue import log_tail, push, settled, waiting
from tests.helpers.configs import app, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.databases import PASSWORD, Mariadb, Postgres
from tests.helpers.jobs import job
from tests.helpers.receiver import Receiver, Request
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

TTL_SECONDS: Final = 2
DOWN_SECONDS: Final = 60 if SCALE >= 1 else 3
APPS: Final = 20
SLOW: Final = 2.0  # seconds from push to arrival that a loaded machine may take
PUT_OFF: Final = 0.9  # a job that is put off comes again after a second at the soonest


class Load:
    """Pushes numbered jobs of all apps in turn, and notes when each was pushed."""

    def __init__(self, client: redis.Redis, pause: float = 0.01) -> None:
        self.pushed: dict[int, float] = {}
        self._client = client
        self._pause = pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._push)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _push(self) -> None:
        number = 0
        while not self._stop.wait(self._pause):
            number += 1
            self.pushed[number] = time.monotonic()
            push(self._client, [job(number, app_id=f"app-{number % APPS}")])


class Timed(Arrivals):
    """Arrivals that know when each job came first."""

    def __init__(self) -> None:
        super().__init__()
        self.at: dict[int, float] = {}

    def __call__(self, request: Request, nth: int) -> Any:
        before = self.distinct
        answer = super().__call__(request, nth)
        if self.distinct > before:
            self.at[next(reversed(self.by_number))] = request.received_at
        return answer


@contextmanager
def daemon_on(table: Table, redis_server: RedisServer, **more: str) -> Iterator[DaemonProcess]:
    variables = table.environment() | {"CACHE_TTL_SECONDS": str(TTL_SECONDS)} | more
    with DaemonProcess(environment=variables, redis_url=redis_server.url) as daemon:
        yield daemon
        output = daemon.output()
        assert PASSWORD not in output
        assert SECRET not in output


def put_apps(table: Table, receiver: Receiver) -> None:
    for number in range(APPS):
        table.put(app(webhook(receiver.url("/")), app_id=f"app-{number}"))


@pytest.fixture
def timed(receiver: Receiver) -> Timed:
    script = Timed()
    receiver.answer(script)
    return script


def test_a_killed_database_delays_no_job_of_a_known_app(
    postgres: Postgres, redis_server: RedisServer, receiver: Receiver, timed: Timed
) -> None:
    table = PostgresTable(postgres, "5.0").create()
    put_apps(table, receiver)
    late = app(webhook(receiver.url("/late")), app_id="late")
    table.put(late)
    with daemon_on(table, redis_server) as daemon, redis_server.client() as client:
        daemon.wait_ready()
        with Load(client) as load:
            timed.wait_for_all(2 * APPS, 10, log_tail(daemon))
            postgres.kill()
            eventually(lambda: daemon.get("/readyz") == 503, 8, log_tail(daemon))
            assert daemon.get("/livez") == 200
            push(client, [job(1_000_000, app_id="late")])
            time.sleep(DOWN_SECONDS)  # how long the outage lasts: longer than anything in the cache counts
            assert timed.by_number[1_000_000] == 0
            postgres.start()
            eventually(lambda: daemon.get("/readyz") == 200, 8, log_tail(daemon))
            mark = len(load.pushed)
            eventually(lambda: len(load.pushed) > mark + 2 * APPS, 10)
        eventually(lambda: timed.distinct > len(load.pushed), 2 * DOWN_SECONDS + 10, log_tail(daemon))
        eventually(lambda: waiting(client) == 0, 10, log_tail(daemon))
        assert sorted(timed.by_number) == sorted([*load.pushed, 1_000_000])
        assert timed.duplicates == 0
        times = sorted(timed.at[number] - pushed for number, pushed in load.pushed.items())
        slowest = times[-1]
        assert slowest < SLOW
        assert len([each for each in times if each > PUT_OFF]) <= len(times) / 100
        assert settled(daemon, "dead-letter") == 0
        assert settled(daemon, "retry") >= 1  # the job of the app that could not be looked up
        assert daemon.events("apps.unknown") == []
        assert 1 <= len(daemon.events("apps.store_lost")) <= 2  # the second reminds of it after a minute
        assert [event["after_s"] > 1 for event in daemon.events("apps.store_resumed")] == [True]
    figure(
        f"database killed for {DOWN_SECONDS} s: {len(load.pushed)} jobs of known apps, the slowest {slowest:.3f} s, "
        "none lost, none twice"
    )


def test_frozen_database_blocks_no_worker(
    mariadb: Mariadb, redis_server: RedisServer, receiver: Receiver, timed: Timed
) -> None:
    table = MariadbTable(mariadb, "5.0").create()
    put_apps(table, receiver)
    with daemon_on(table, redis_server, QUEUE_WORKERS="2") as daemon, redis_server.client() as client:
        daemon.wait_ready()
        push(client, [job(number, app_id=f"app-{number}") for number in range(APPS)])
        timed.wait_for_more(APPS)
        mariadb.pause()
        try:
            began = time.monotonic()
            mixed = [job(1_000 + n, app_id=f"app-{n % APPS}" if n % 2 else f"nobody-{n}") for n in range(200)]
            push(client, mixed)
            eventually(lambda: timed.distinct >= APPS + 100, 5, log_tail(daemon))
            took = time.monotonic() - began
            eventually(lambda: daemon.get("/readyz") == 503, 12, log_tail(daemon))
            assert daemon.get("/livez") == 200
        finally:
            mariadb.resume()
        eventually(lambda: daemon.get("/readyz") == 200, 12, log_tail(daemon))
        assert settled(daemon, "dead-letter") == 0
    figure(f"database frozen: 100 jobs of known apps among as many of others in {took:.2f} s, with 2 workers")


def test_a_daemon_that_starts_before_its_database_waits_for_it(
    postgres: Postgres, redis_server: RedisServer, receiver: Receiver
) -> None:
    table = PostgresTable(postgres, "5.0").create()
    put_apps(table, receiver)
    postgres.kill()
    try:
        with daemon_on(table, redis_server) as daemon, redis_server.client() as client:
            eventually(lambda: daemon.get("/livez") == 200, 10, log_tail(daemon))
            push(client, [job(1, app_id="app-1")])
            eventually(lambda: daemon.events("apps.store_lost"), 10, log_tail(daemon))
            assert daemon.get("/readyz") == 503
            postgres.start()
            receiver.wait_for(1, 15)
            eventually(lambda: daemon.get("/readyz") == 200, 8, log_tail(daemon))
    finally:
        if not postgres.running:
            postgres.start()


def test_a_change_is_used_within_its_time_and_at_once_on_sighup(
    make_table: MakeTable, redis_server: RedisServer, receiver: Receiver
) -> None:
    table = make_table()

    def point_to(path: str) -> float:
        table.put(app(webhook(receiver.url(path), name="hook"), app_id="app-0"))
        return time.monotonic()

    def times_of(path: str) -> list[float]:
        return [request.received_at for request in list(receiver.requests) if request.path == path]

    put_apps(table, receiver)
    point_to("/1")
    with daemon_on(table, redis_server) as daemon, redis_server.client() as client:
        daemon.wait_ready()
        with Load(client) as load:
            eventually(lambda: times_of("/1"), 10, log_tail(daemon))
            changed = point_to("/2")
            eventually(lambda: times_of("/2"), 10, log_tail(daemon))
            took = times_of("/1")[-1] - changed
            assert took < TTL_SECONDS + 0.5  # and how long a loaded machine takes for one job
            changed = point_to("/3")
            daemon.signal(signal.SIGHUP)
            at_once = eventually(lambda: times_of("/3"), 10, log_tail(daemon))[0] - changed
            assert at_once < 1.5
        queries = daemon.metric("sockudo_queue_app_store_queries_total")
    assert queries < 20 + len(load.pushed) / 5
    figure(
        f"{table.environment()['APP_MANAGER_DRIVER']}: {took:.2f} s after a change the last job went the old way, of "
        f"{TTL_SECONDS} s allowed"
    )
