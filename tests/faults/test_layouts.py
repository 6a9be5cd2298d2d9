"""A master that dies or freezes, in a cluster and behind Sentinels, and a slot that moves: nothing is lost, and each
duplicate is reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import psutil
import pytest

from tests.faults.arrivals import Arrivals
from tests.faults.measures import figure, scaled
from tests.faults.producer import Producer
from tests.faults.queue import SERVER_LIST, log_tail, settled
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import jobs
from tests.helpers.receiver import Receiver
from tests.helpers.redis_cluster import RedisCluster
from tests.helpers.redis_sentinel import NAME, RedisSentinels
from tests.helpers.redis_server import GIVEN_UP_SOON_MS, RedisServer
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.timeout(180)

COUNT: Final = scaled(2_000, 500)
FROZEN_SECONDS: Final = 4.0
ALL_SECONDS: Final = 60.0
MAX_ERROR_LINES: Final = 9
SPINNING: Final = 0.5  # of a core, while there is next to nothing to do
# A lease that is short enough for a claim whose answer was lost to come back within the test.
SETTINGS: Final = {"QUEUE_LEASE_DURATION_MS": "6000", "QUEUE_LEASE_RENEW_INTERVAL_MS": "1500"}


@dataclass
class Layout:
    """Servers, the way to the one that has the queue, a daemon on them, and what it has delivered."""

    name: str
    master: Callable[[], RedisServer]
    daemon: DaemonProcess
    producer: Producer
    arrivals: Arrivals
    servers: RedisCluster | RedisSentinels

    def cpu_seconds(self) -> float:
        times = psutil.Process(self.daemon.pid).cpu_times()
        return times.user + times.system

    def error_lines(self) -> list[str]:
        return [
            f"{line['event']}: {line.get('reason')}" for line in self.daemon.log_lines() if line["level"] == "error"
        ]

    def may_have_come_twice(self) -> int:
        """Count the uncertain pushes of the producer, and the uncertain results that the daemon has logged."""
        return self.producer.unsure + settled(self.daemon, "lease-lost") + settled(self.daemon, "unconfirmed")

    def ends_well(self, count: int) -> str:
        """Wait for every job, look at what has come twice and at the log, and return the figures."""
        self.arrivals.wait_for_all(count, ALL_SECONDS, log_tail(self.daemon))
        eventually(lambda: self.daemon.get("/readyz") == 200, 10, log_tail(self.daemon))
        assert self.arrivals.duplicates <= self.may_have_come_twice()
        errors = self.error_lines()
        assert len(errors) <= MAX_ERROR_LINES, errors
        return f"{count} jobs, {self.arrivals.duplicates} twice, {len(errors)} error lines"


@pytest.fixture
def arrivals(receiver: Receiver) -> Arrivals:
    script = Arrivals(0.002, 0.02)
    receiver.answer(script)
    return script


@pytest.fixture(params=["cluster", "sentinel"])
def layout(request: pytest.FixtureRequest, receiver: Receiver, arrivals: Arrivals) -> Iterator[Layout]:
    apps = app(webhook(receiver.url()))
    servers = (
        RedisCluster(node_timeout_ms=GIVEN_UP_SOON_MS)
        if request.param == "cluster"
        else RedisSentinels(down_after_ms=GIVEN_UP_SOON_MS)
    )
    with servers:
        if isinstance(servers, RedisCluster):
            cluster = servers
            master: Callable[[], RedisServer] = lambda: cluster.master_of(SERVER_LIST)  # noqa: E731
            there = {"QUEUE_DRIVER": "redis-cluster", "REDIS_CLUSTER_NODES": servers.addresses}
            daemon = DaemonProcess(config(apps), SETTINGS | there)
        else:
            master = servers.master
            sentinels = [{"host": "127.0.0.1", "port": each.port} for each in servers.sentinels]
            daemon = DaemonProcess(config(apps, database={"redis": {"sentinels": sentinels, "name": NAME}}), SETTINGS)
        producer = Producer(master)
        with daemon:
            yield Layout(request.param, master, daemon.wait_ready(), producer, arrivals, servers)
        producer.close()


def test_a_master_that_dies_loses_nothing(layout: Layout) -> None:
    third = COUNT // 3
    layout.producer.push(jobs(third))
    layout.arrivals.wait_for_more(10, 10, log_tail(layout.daemon))
    used, began = layout.cpu_seconds(), time.monotonic()
    layout.master().kill()
    layout.master()
    away = time.monotonic() - began
    used = layout.cpu_seconds() - used
    layout.producer.push(jobs(third, first=third + 1), replicas=0)
    layout.arrivals.wait_for_all(2 * third, ALL_SECONDS, log_tail(layout.daemon))
    back = time.monotonic() - began
    if isinstance(layout.servers, RedisCluster):
        cluster, master = layout.servers, layout.master()
        target = next(each for each in cluster.masters() if each is not master)
        layout.producer.push(jobs(third, first=2 * third + 1), replicas=0)
        cluster.move_slot(SERVER_LIST, target)
        assert layout.master() is target
    else:
        layout.producer.push(jobs(third, first=2 * third + 1), replicas=0)

    ending = layout.ends_well(3 * third)
    assert used / away < SPINNING
    figure(
        f"{layout.name}, its master killed: {ending}; new master after {away:.1f} s, all there after {back:.1f} s, "
        f"{used / away:.1%} of a core meanwhile"
    )


def test_frozen_master_causes_no_unreported_duplicate(layout: Layout) -> None:
    layout.producer.push(jobs(COUNT))
    layout.arrivals.wait_for_more(10, 10, log_tail(layout.daemon))
    master = layout.master()
    used, began = layout.cpu_seconds(), time.monotonic()
    master.pause()
    time.sleep(FROZEN_SECONDS)
    used, took = layout.cpu_seconds() - used, time.monotonic() - began
    master.resume()
    layout.producer.push(jobs(10, first=COUNT + 1))

    figure(f"{layout.name}, its master frozen for 4 s: {layout.ends_well(COUNT + 10)}; {used / took:.1%} of a core")


def test_a_form_that_is_refused_does_not_keep_an_outage_going(receiver: Receiver) -> None:
    """Its notifier gets nothing but refusals, before and after; these say too that its server is there."""
    lists = ("sockudo_queue*queue:webhooks", "sockudo-queue:{sockudo_queue*queue:webhooks}*")
    with ExitStack() as after:
        cluster = after.enter_context(RedisCluster(replicas=False))
        for node in cluster.nodes:
            with node.client() as client:
                client.acl_setuser("lists", enabled=True, passwords=["+pw"], keys=lists, commands=["+@all"])
        there = {
            "QUEUE_DRIVER": "redis-cluster",
            "REDIS_CLUSTER_NODES": cluster.addresses,
            "REDIS_CLUSTER_QUEUE_REQUEST_TIMEOUT_MS": "500",
            "DATABASE_REDIS_CLUSTER_USERNAME": "lists",
            "DATABASE_REDIS_CLUSTER_PASSWORD": "pw",
        }
        daemon = after.enter_context(DaemonProcess(config(app(webhook(receiver.url()))), there)).wait_ready()
        eventually(lambda: daemon.events("source.refused"), 10, log_tail(daemon))
        for node in cluster.nodes:
            node.pause()
        time.sleep(2 * FROZEN_SECONDS)  # each thread meets each silent server
        assert daemon.get("/readyz") == 503
        for node in cluster.nodes:
            node.resume()
        eventually(lambda: daemon.get("/readyz") == 200, 15, log_tail(daemon))
        assert len(daemon.events("source.refused")) == 1
