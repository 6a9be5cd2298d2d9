"""Measurements outside of the tables: other queues, a backlog of a million, a dead endpoint, start-up, idle CPU,
memory."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator

from benchmarks import measure, receivers, work
from benchmarks.measure import Figures, Load, cpu_seconds, memory_mb
from benchmarks.subjects import LIST, Daemon, Subject
from tests.helpers import sqs_daemon, sqs_server
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import event, job
from tests.helpers.redis_cluster import RedisCluster
from tests.helpers.redis_server import RedisServer
from tests.helpers.sqs_daemon import make_queue
from tests.helpers.sqs_server import SqsServer, unused_name

BACKLOG = 1_000_000
SQS_SLOWNESS = 10


class DaemonOnCluster(Daemon):
    """The daemon on a cluster of three masters and three replicas, all on this machine."""

    def throughput(self, _subject: Subject, _server: RedisServer, load: Load) -> Figures:
        """Measure like `measure.throughput`, on a cluster of its own."""
        with RedisCluster() as cluster, measure.receiver_for(load) as receiver:
            client = cluster.client()
            bodies = load.bodies(load.jobs)
            for start in range(0, len(bodies), 1000):
                client.rpush(LIST, *bodies[start : start + 1000])
            settings = self.settings | {"QUEUE_DRIVER": "redis-cluster", "REDIS_CLUSTER_NODES": cluster.addresses}
            with DaemonProcess(self.config_for([receiver.url()]), environment=settings) as daemon:
                return measure.of_running(receiver, load.jobs, [daemon.pid])


class DaemonOnSqs(Daemon):
    """The daemon on an emulator of SQS, which answers much more slowly than SQS: use its CPU figure, not its rate."""

    def throughput(self, _subject: Subject, _server: RedisServer, load: Load) -> Figures:
        """Measure like `measure.throughput`, on a queue of its own."""
        count = load.jobs // SQS_SLOWNESS
        with SqsServer() as emulator, measure.receiver_for(load) as receiver:
            name = unused_name()
            make_queue(emulator.client, name).push(load.bodies(count))
            with sqs_daemon.daemon_on(emulator.url, name, receiver.url(), **self.settings) as daemon:
                return measure.of_running(receiver, count, [daemon.pid])


def other_queues() -> Iterator[tuple[str, Subject]]:
    """Yield the queues that are not on a single Redis server."""
    yield "lists, Redis Cluster of 3 + 3", DaemonOnCluster()
    if sqs_server.is_there():
        yield "SQS, an emulator", DaemonOnSqs()
    else:
        sys.stderr.write("SQS is not measured: its emulator comes with the first run of scripts/test\n")


def rest(server: RedisServer) -> Iterator[str]:
    """Yield one line for each of the other targets."""
    yield from _start_and_idleness(server)
    yield _memory(server)
    yield _dead_endpoint(server)
    yield _backlog(server)


def _start_and_idleness(server: RedisServer) -> Iterator[str]:
    starts = []
    for _ in range(5):
        daemon = DaemonProcess(config(app(webhook("http://127.0.0.1:9/"))), redis_url=server.url)
        began = time.monotonic()
        with daemon:
            while daemon.get("/readyz") != 200:
                time.sleep(0.005)
            starts.append(time.monotonic() - began)
    yield f"ready {statistics.median(starts):.2f} s after its start"
    with DaemonProcess(config(app(webhook("http://127.0.0.1:9/"))), redis_url=server.url) as daemon:
        daemon.wait_ready()
        time.sleep(2)
        used = cpu_seconds([daemon.pid])
        time.sleep(20)
        yield f"idle: {(cpu_seconds([daemon.pid]) - used) / 20 * 100:.2f} % of a core"


def _memory(server: RedisServer) -> str:
    with server.client() as client:
        client.flushall()
    with receivers.waiting(0.02) as receiver:
        subject = Daemon(workers=64)
        subject.fill(server, work.bodies(20_000))
        with subject.running(server, [receiver.url()]) as pids:
            measure.wait_for(receiver, 20_000)
            return f"64 workers that have delivered 20,000 jobs: {memory_mb(pids):.0f} MB"


def _dead_endpoint(server: RedisServer) -> str:
    rates = {}
    for name in ("alone", "beside"):
        with server.client() as client:
            client.flushall()
        with receivers.waiting(0.02) as good, receivers.waiting(-1.0) as dead:
            subject = Daemon(hanging=dead.url())
            bodies = work.bodies(3000, endpoints=10)
            if name == "beside":
                for at in range(0, 3300, 11):
                    bodies.insert(at, job(at, events=[event(channel=f"dead-{at}")]))
            subject.fill(server, bodies)
            with subject.running(server, [good.url(n) for n in range(10)]) as pids:
                rates[name] = measure.of_running(good, 3000, pids).rate
    return (
        f"ten endpoints of 20 ms, {rates['alone']:.0f} jobs/s; beside an eleventh that hangs {rates['beside']:.0f}, "
        f"{rates['beside'] / rates['alone']:.2f} of it"
    )


def _backlog(server: RedisServer) -> str:
    """Enqueue a million jobs, and compare the rate in the first and the last tenth of a minute."""
    with server.client() as client:
        client.flushall()
    subject = Daemon()
    with receivers.instant() as receiver:
        for start in range(0, BACKLOG, 50_000):
            subject.fill(server, [job(n) for n in range(start, start + 50_000)])
        with subject.running(server, [receiver.url()]) as pids:
            measure.wait_for(receiver, 10_000)
            rates, memory = [], []
            for _ in range(12):
                came, began = receiver.count(), time.monotonic()
                time.sleep(5)
                rates.append((receiver.count() - came) / (time.monotonic() - began))
                memory.append(memory_mb(pids))
    return (
        f"with a million jobs waiting, a minute: {rates[0]:.0f} jobs/s in the first 5 s, {rates[-1]:.0f} in the last; "
        f"{memory[0]:.0f} MB then, {memory[-1]:.0f} MB at the end"
    )
