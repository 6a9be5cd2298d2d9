"""What must not add up over a long run: descriptors, threads and memory, with endpoints that flap, close, or are new
every time; and not one job is lost over it."""

from __future__ import annotations

import resource
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import psutil
import pytest

from sockudo_queue.delivery.connections import DESCRIPTORS_OF_A_HANDLE
from tests.faults.measures import SCALE, figure, scaled
from tests.faults.queue import SLOTS, daemon_on, log_tail, push, records, waiting
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.hostile import HostileReceiver, answering, ok
from tests.helpers.jobs import job, numbers
from tests.helpers.receiver import Answer, Receiver, Request
from tests.helpers.redis_server import RedisServer
from tests.helpers.resolver import CHANGING, preloaded
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.timeout(900)

FLAPPING: Final = 10
FLAP_SECONDS: Final = 2.0
BREAKER_SCALE: Final = 20
"""The breaker's periods and the retries are as many times shorter than the defaults."""
THREADS_BESIDE_WORKERS: Final = 24


class Flapping:
    """Refuses for two seconds and answers for two, in turn, and counts what it has answered with 200."""

    def __init__(self, receiver: Receiver, offset: float) -> None:
        self.taken: Counter[int] = Counter()
        self._offset = offset
        receiver.answer(self._script)

    def _script(self, request: Request, nth: int) -> Answer:
        if int((time.monotonic() + self._offset) / FLAP_SECONDS) % 2:
            return Answer(503)
        self.taken.update(numbers(request.body))
        return Answer()


def test_flapping_endpoints_lose_nothing_and_leave_nothing_behind(redis_server: RedisServer) -> None:
    count = 100_000 if SCALE >= 1 else 2_000
    environment = {
        "QUEUE_DELIVERY_BREAKER_OPEN_MS": str(5_000 // BREAKER_SCALE),
        "QUEUE_DELIVERY_BREAKER_MAX_OPEN_MS": str(60_000 // BREAKER_SCALE),
        "QUEUE_DELIVERY_RETRY_INITIAL_BACKOFF_MS": str(1_000 // BREAKER_SCALE),
        "QUEUE_DELIVERY_RETRY_MAX_BACKOFF_MS": str(60_000 // BREAKER_SCALE),
        "QUEUE_DELIVERY_RETRY_MAX_ELAPSED_TIME_MS": "120000",
        "QUEUE_FAILED_RETENTION": str(count),
        "QUEUE_LOG_LEVEL": "warning",
    }
    with ExitStack() as stack:
        receivers = [stack.enter_context(Receiver()) for _ in range(FLAPPING)]
        flapping = [Flapping(each, nth * FLAP_SECONDS / FLAPPING) for nth, each in enumerate(receivers)]
        hooks = [
            webhook(each.url(), name=f"e{nth}", filter={"channel_pattern": f"{nth}$"})
            for nth, each in enumerate(receivers)
        ]
        client = stack.enter_context(redis_server.client())
        daemon = stack.enter_context(daemon_on(redis_server.url, *hooks, **environment)).wait_ready()
        watch = Watch(daemon)
        bodies = [job(number) for number in range(count)]
        with watch.going():
            push(client, bodies[: count // 4])
            eventually(lambda: waiting(client) == 0, 600, log_tail(daemon))
            watch.warmed_up()
            push(client, bodies[count // 4 :])
            eventually(lambda: waiting(client) == 0, 800, log_tail(daemon))
        dead = records(client, "dead")
        taken: Counter[int] = Counter()
        for each in flapping:
            taken.update(each.taken)
        lost = set(range(count)) - set(taken) - {number for each in dead for number in numbers(each.body)}
        reasons = Counter(each.state.get("reason") for each in dead)
        figure(f"{count} jobs for {FLAPPING} flapping endpoints: {len(taken)} delivered, dead {dict(reasons)}; {watch}")
        assert lost == set()
        assert None not in reasons
        assert taken.total() == len(taken)  # nothing crashed, so nothing comes twice
        # An endpoint that met all slots at once only after a short warm-up holds a handle for each of them since.
        room = 4 * FLAPPING * 2 if SCALE >= 1 else DESCRIPTORS_OF_A_HANDLE * SLOTS * FLAPPING
        watch.check(descriptors=room, megabytes=10 if SCALE < 1 else 16)


class Watch:
    """The most that a daemon has had open, of threads and of memory, from its warm-up on."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self._process = psutil.Process(daemon.pid)
        self._seen: list[tuple[int, int, float]] = []
        self._warm = (0, 0, 0.0)

    def warmed_up(self) -> None:
        self._warm = tuple(max(values) for values in zip(*self._seen, strict=True))
        self._seen.clear()

    @contextmanager
    def going(self) -> Iterator[None]:
        stop = threading.Event()

        def look() -> None:
            while not stop.wait(0.1):
                process = self._process
                with process.oneshot():
                    megabytes = process.memory_info().rss / 1e6
                    self._seen.append((process.num_fds(), process.num_threads(), megabytes))

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    @property
    def peak(self) -> tuple[int, int, float]:
        descriptors, threads, megabytes = (max(values) for values in zip(*self._seen, strict=True))
        return int(descriptors), int(threads), megabytes

    def check(self, *, descriptors: int, megabytes: float) -> None:
        """Nothing has grown since the warm-up by more than this; threads by none beyond those there may be."""
        assert self.peak[0] <= self._warm[0] + descriptors
        assert self.peak[1] <= 5 + 32 + THREADS_BESIDE_WORKERS
        assert self.peak[2] <= self._warm[2] + megabytes

    def __str__(self) -> str:
        peaks = [f"{peak:.0f} (warm: {warm:.0f})" for peak, warm in zip(self.peak, self._warm, strict=True)]
        return f"descriptors {peaks[0]}, threads {peaks[1]}, memory {peaks[2]} MB"


def test_a_server_that_closes_each_idle_connection_costs_no_attempt(redis_server: RedisServer) -> None:
    """It says nothing of it, so that each request but the first of a connection meets a dead one."""
    count = scaled(5_000, 300)
    with HostileReceiver(answering(ok())) as receiver, redis_server.client() as client:
        with daemon_on(redis_server.url, receiver.url()) as daemon:
            push(client, [job(number) for number in range(count)])
            eventually(lambda: waiting(client) == 0, 120, log_tail(daemon))
            delivered = daemon.metric("sockudo_webhook_attempts_total", outcome="delivered")
            failed = daemon.metric("sockudo_webhook_attempts_total") - delivered
        sent = len(receiver.requests)
    figure(f"connections closed after each answer: {count} jobs, {sent} requests, {failed:.0f} failed attempts")
    assert (delivered, failed) == (count, 0)
    assert count <= sent <= 2 * count


@pytest.mark.parametrize("limit", [256, 1024])
def test_few_descriptors_are_enough_for_many_endpoints(redis_server: RedisServer, limit: int) -> None:
    """Each job goes to an endpoint that was never seen before: a host of its own in 127.0.0.0/8."""
    endpoints = 10_000 if SCALE >= 1 else 300
    hosts = [f"127.{1 + n // 62_500}.{n // 250 % 250}.{1 + n % 250}" for n in range(endpoints)]
    with Receiver(host="0.0.0.0") as receiver, redis_server.client() as client:
        apps = [app(webhook(f"http://{host}:{receiver.port}/"), app_id=f"a{n}") for n, host in enumerate(hosts)]
        with limited(DaemonProcess(config(*apps), redis_url=redis_server.url), limit) as daemon:
            daemon.wait_ready(60)
            watch = Watch(daemon)
            with watch.going():
                push(client, [job(app_id=f"a{n}") for n in range(endpoints)])
                eventually(lambda: waiting(client) == 0, 600, log_tail(daemon))
            eventually(lambda: len(daemon.events("delivery.attempted")) >= endpoints, 10, log_tail(daemon))
            attempts = daemon.events("delivery.attempted")
        assert Counter(line["reason"] for line in attempts if line["outcome"] != "delivered") == {}
        assert {line["app"] for line in attempts} == {f"a{n}" for n in range(endpoints)}
        assert watch.peak[0] <= limit
        figure(f"{endpoints} endpoints called once each, with {limit} descriptors: {watch}")


@contextmanager
def limited(daemon: DaemonProcess, descriptors: int) -> Iterator[DaemonProcess]:
    """Run a daemon with these soft and hard limits on descriptors."""
    program = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]),) * 2); "
    program += "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
    command = daemon.command()
    daemon.command = lambda: [command[0], "-c", program, str(descriptors), *command[1:]]  # type: ignore[method-assign]
    with daemon:
        yield daemon


def test_the_limit_on_descriptors_is_raised(redis_server: RedisServer, receiver: Receiver) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, hard), hard))
    try:
        daemon = daemon_on(redis_server.url, receiver.url()).start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        daemon.wait_ready()
        assert daemon.metric("process_max_fds") == hard
    finally:
        daemon.close()


def test_host_name_is_checked_at_each_resolution(redis_server: RedisServer, receiver: Receiver) -> None:
    """Its first look-up leads to the receiver, and the second, of another connection, to the cloud's metadata."""
    receiver.answer(lambda request, nth: Answer(delay=0.5))
    hook = webhook(f"http://{CHANGING}:{receiver.port}/", retry={"enabled": False})
    with redis_server.client() as client, daemon_on(redis_server.url, hook, **preloaded()) as daemon:
        daemon.wait_ready()
        push(client, [job(1), job(2)])
        eventually(lambda: len(daemon.events("delivery.attempted")) == 2, 10, log_tail(daemon))
        outcomes = {line["outcome"]: line for line in daemon.events("delivery.attempted")}
        (dead,) = eventually(lambda: records(client, "dead"))
    assert outcomes["permanent"]["reason"] == "guard"
    assert "169.254.169.254 is link-local" in outcomes["permanent"]["detail"]
    assert outcomes["delivered"]["status"] == 200
    assert receiver.count == 1
    assert dead.state["reason"] == "refused"


def test_the_queue_and_our_own_pages_cannot_be_called(redis_server: RedisServer) -> None:
    daemon = daemon_on(redis_server.url)
    urls = {"queue": f"http://localhost:{redis_server.port}/", "pages": f"http://0.0.0.0:{daemon.metrics_port}/"}
    daemon.write_config(config(app(*[webhook(url, name=name) for name, url in urls.items()])))
    with redis_server.client() as client, daemon:
        daemon.wait_ready()
        push(client, [job(1)])
        eventually(lambda: len(daemon.events("delivery.attempted")) >= len(urls), 10, log_tail(daemon))
        lines = daemon.events("delivery.attempted")
    details = {line["webhook"]: (line["reason"], line["detail"]) for line in lines}
    assert details["queue"][0] == details["pages"][0] == "guard"
    assert "the queue's own server" in details["queue"][1]
    assert "this daemon's own server" in details["pages"][1]
