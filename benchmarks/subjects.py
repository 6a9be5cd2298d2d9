"""The subjects of the comparison: each enqueues its jobs and starts its workers."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import json
import os
import subprocess
import sys
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from benchmarks.work import THREADS
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.queue_v2 import Producer
from tests.helpers.redis_server import RedisServer

LIST = "sockudo_queue::queue:webhooks"
CHUNK = 1000


class Subject(ABC):
    """One way to deliver webhooks. `slowness` divides the number of jobs, so that a run takes seconds, not minutes."""

    name: str
    slowness = 1
    needs: str | None = None

    @property
    def is_there(self) -> bool:
        """Return whether the package is installed."""
        return self.needs is None or importlib.util.find_spec(self.needs) is not None

    def fill(self, server: RedisServer, bodies: Sequence[bytes]) -> None:
        """Enqueue all jobs."""
        with server.client() as client:
            pipeline = client.pipeline(transaction=True)
            for start in range(0, len(bodies), CHUNK):
                pipeline.rpush(LIST, *bodies[start : start + CHUNK])
            pipeline.execute()

    @abstractmethod
    def running(self, server: RedisServer, urls: Sequence[str]) -> contextlib.AbstractContextManager[Sequence[int]]:
        """Run the workers; the value is the process ids at the top of their trees."""


class Command(Subject):
    """A program that reads its addresses from the environment."""

    def __init__(
        self, name: str, command: Sequence[str], *, slowness: int = 4, needs: str | None = None, threads: int = THREADS
    ) -> None:
        self.name = name
        self.slowness = slowness
        self.needs = needs
        self._command = command
        self._threads = threads

    @contextlib.contextmanager
    def running(self, server: RedisServer, urls: Sequence[str]) -> Iterator[Sequence[int]]:
        environment = _environment() | {"BENCH_REDIS": server.url, "BENCH_URL": urls[0]}
        environment["BENCH_THREADS"] = str(self._threads)
        process = subprocess.Popen(
            [sys.executable, *self._command], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield [process.pid]
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Dramatiq(Command):
    """dramatiq with Redis: its messages are written in its broker's format, because the broker itself would take
    minutes."""

    def __init__(self, name: str, actor: str) -> None:
        command = ["-m", "dramatiq", "benchmarks.dramatiq_jobs", "--processes", "1", "--threads", str(THREADS)]
        super().__init__(name, command, needs="dramatiq")
        self._actor = actor

    def fill(self, server: RedisServer, bodies: Sequence[bytes]) -> None:
        with server.client() as client:
            pipeline = client.pipeline(transaction=True)
            for body in bodies:
                key = str(uuid.uuid4())
                options = {"redis_message_id": key}
                message: dict[str, Any] = {"queue_name": "default", "actor_name": self._actor, "kwargs": {}}
                message |= {"args": [body.decode()], "options": options, "message_id": key, "message_timestamp": 0}
                pipeline.hset("dramatiq:default.msgs", key, json.dumps(message))
                pipeline.rpush("dramatiq:default", key)
            pipeline.execute()


class Tasks(Command):
    """A task queue whose own client enqueues the jobs, in a process of its own."""

    def __init__(self, name: str, command: Sequence[str], put: str, needs: str) -> None:
        super().__init__(name, command, slowness=8, needs=needs)
        self._put = put

    def fill(self, server: RedisServer, bodies: Sequence[bytes]) -> None:
        script = f"import sys\n{self._put}\nfor line in sys.stdin: put(line.rstrip())"
        environment = _environment() | {"BENCH_REDIS": server.url}
        lines = b"\n".join(bodies)
        subprocess.run([sys.executable, "-c", script], input=lines, env=environment, check=True)


class Daemon(Subject):
    """This daemon with all features enabled."""

    def __init__(
        self,
        name: str = "sockudo-queue",
        *,
        workers: int = THREADS,
        replicas: int = 1,
        apps: int = 1,
        hanging: str | None = None,
        settings: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self.settings = {"QUEUE_WORKERS": str(workers)} | (settings or {})
        self._replicas = replicas
        self._apps = apps
        self._hanging = hanging

    def of_tree(self, tree: Path) -> Self:
        """Return the same subject with the package of another source tree, run by this Python."""
        other = copy.copy(self)
        other.settings = self.settings | {"PYTHONPATH": str(tree)}
        return other

    def config_for(self, urls: Sequence[str]) -> dict[str, Any]:
        """Return a file in which each endpoint receives the channels that begin with its number."""
        hooks = [
            webhook(url, name=f"e{n}", **({"filter": {"channel_prefix": f"e{n}-"}} if len(urls) > 1 else {}))
            for n, url in enumerate(urls)
        ]
        if self._hanging is not None:
            hooks.append(webhook(self._hanging, name="dead", filter={"channel_prefix": "dead-"}))
        if self._apps == 1:
            return config(app(*hooks))
        return config(*(app(*hooks, app_id=f"app-{n}") for n in range(self._apps)))

    @contextlib.contextmanager
    def running(self, server: RedisServer, urls: Sequence[str]) -> Iterator[Sequence[int]]:
        with contextlib.ExitStack() as stack:
            daemons = [
                stack.enter_context(
                    DaemonProcess(self.config_for(urls), environment=self.settings, redis_url=server.url)
                )
                for _ in range(self._replicas)
            ]
            yield [daemon.pid for daemon in daemons]


class ManyWebhooks(Daemon):
    """The daemon with an app of many webhooks; the first one wants all jobs, each of the others another prefix."""

    def __init__(self, count: int, key: str) -> None:
        super().__init__()
        self._count = count
        self._key = key

    def config_for(self, urls: Sequence[str]) -> dict[str, Any]:
        form = "^e{}-.*$" if self._key == "channel_pattern" else "e{}-"
        filters = [{self._key: form.format(number)} for number in range(self._count)]
        return config(app(*(webhook(urls[0], name=f"e{n}", filter=each) for n, each in enumerate(filters))))


class DaemonOnV2(Daemon):
    """The same on Queue V2, filled by a producer that imitates Sockudo 5."""

    def fill(self, server: RedisServer, bodies: Sequence[bytes]) -> None:
        with server.client() as client:
            producer = Producer(client)
            for body in bodies:
                producer.enqueue(body)


def floor(threads: int = THREADS) -> Subject:
    """Return the floor: only the daemon's script, with batches, and bare libcurl in threads."""
    return Command("floor", ["-m", "benchmarks.floor"], slowness=1, threads=threads)


def others() -> list[Subject]:
    """Return all subjects that this daemon is compared with; `is_there` reports missing packages."""
    threads = str(THREADS)
    return [
        Command("naive loop", ["-m", "benchmarks.naive"]),
        Dramatiq("dramatiq", "deliver"),
        Dramatiq("dramatiq, our sender", "deliver_lean"),
        Tasks(
            "huey",
            ["-m", "huey.bin.huey_consumer", "benchmarks.huey_jobs.huey", "-k", "thread", "-w", threads],
            "from benchmarks.huey_jobs import deliver as put",
            "huey",
        ),
        Tasks(
            "Celery",
            ["-m", "celery", "-A", "benchmarks.celery_jobs", "worker", "-P", "threads", "-c", threads],
            "from benchmarks.celery_jobs import deliver; put = deliver.delay",
            "celery",
        ),
        floor(),
    ]


def _environment() -> dict[str, str]:
    paths = [str(Path.cwd()), os.environ.get("PYTHONPATH", "")]
    return dict(os.environ) | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
