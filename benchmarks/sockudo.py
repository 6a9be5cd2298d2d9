"""Sockudo's own workers, and the daemon in their place: the same Queue V2, jobs and receiver."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import measure, work
from benchmarks.measure import Figures, Load
from benchmarks.subjects import Daemon, DaemonOnV2, Subject
from tests.helpers.ports import free_port
from tests.helpers.queue_v2 import DEFAULT_BASE, Producer, envelope, new_id, with_job_id
from tests.helpers.redis_server import RedisServer

_PREPARED: Final = "prepared:v2:{webhooks}"
_PARTS: Final = ("jobs", "attempts", "max-attempts", "wait", "notify")


def program() -> str | None:
    """Return Sockudo's binary, which the variable SOCKUDO names, or None."""
    return shutil.which(os.environ.get("SOCKUDO", ""))


def started_first(subject: Subject, server: RedisServer, load: Load) -> Figures:
    """Measure like `measure.throughput`, but make all jobs available at one moment, after the first delivery.

    Sockudo's workers start before its apps are loaded: the first jobs of a full queue would fail there and be retried
    seconds later.
    """
    with server.client() as client, measure.receiver_for(load) as receiver:
        client.flushall()
        _prepare(client, load.bodies(load.jobs))
        with subject.running(server, [receiver.url()]) as pids:
            subject.fill(server, work.bodies(1))
            measure.wait_for(receiver, 1)
            with client.pipeline(transaction=True) as pipeline:
                for part in _PARTS:
                    pipeline.rename(f"{_PREPARED}:{part}", f"{DEFAULT_BASE}:{part}")
                pipeline.execute()
            return measure.of_running(receiver, load.jobs, pids)


class DaemonBeside(DaemonOnV2):
    """The daemon, measured as Sockudo's own workers are."""

    throughput = staticmethod(started_first)


class OwnWorkers(Subject):
    """A Sockudo server with that number of workers, otherwise with its default settings; it has no clients."""

    name = "Sockudo"
    throughput = staticmethod(started_first)

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def fill(self, server: RedisServer, bodies: Sequence[bytes]) -> None:
        DaemonOnV2().fill(server, bodies)

    @contextlib.contextmanager
    def running(self, server: RedisServer, urls: Sequence[str]) -> Iterator[Sequence[int]]:
        with tempfile.TemporaryDirectory(prefix="sockudo-") as directory:
            file = Path(directory, "config.json")
            file.write_text(json.dumps(self._document(server, urls)))
            process = subprocess.Popen(
                [str(program()), "--config", str(file)],
                cwd=directory,
                env={"PATH": os.environ["PATH"], "HOME": directory},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                yield [process.pid]
            finally:
                process.kill()
                process.wait()

    def _document(self, server: RedisServer, urls: Sequence[str]) -> dict[str, Any]:
        return Daemon().config_for(urls) | {
            "host": "127.0.0.1",
            "port": free_port(),
            "metrics": {"enabled": True, "host": "127.0.0.1", "port": free_port()},
            "database": {"redis": {"host": "127.0.0.1", "port": server.port}},
            "queue": {"driver": "redis", "redis": {"concurrency": self._workers}},
        }


def _prepare(client: Any, bodies: Sequence[bytes]) -> None:
    """Enqueue jobs under a base that no worker reads."""
    ids = [new_id() for _ in bodies]
    payloads = [(own, envelope(with_job_id(body, own), own)) for own, body in zip(ids, bodies, strict=True)]
    Producer(client, _PREPARED).enqueue_payloads(payloads)
