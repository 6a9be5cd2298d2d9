"""The daemon as a child process: start, log lines, jobs, metrics, stop."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from prometheus_client.parser import text_string_to_metric_families

import sockudo_queue

SECONDS: Final = 5.0
_HOME: Final = str(Path(sockudo_queue.__file__).parents[1])
# Settings that a developer has set for a real daemon must not reach this one.
_WIPED: Final = ("QUEUE_", "REDIS_", "DATABASE_", "SOCKUDO_", "APP_MANAGER_")
_OWN: Final = {
    "QUEUE_DRIVER": "memory",
    "QUEUE_MEMORY_INGRESS_PORT": "0",
    "QUEUE_METRICS_HOST": "127.0.0.1",
    "QUEUE_METRICS_PORT": "0",
    "QUEUE_LOG_FORMAT": "json",
}


class ChildError(Exception):
    """The daemon did not behave as the demo needs; the message contains its output."""


class Child:
    """`sockudo-queue run` with a file of settings. `report` gets every log line, from a thread of its own."""

    def __init__(self, config: Path, report: Callable[[Mapping[str, Any]], None]) -> None:
        self._config = config
        self._report = report
        self._ports: dict[str, int] = {}
        self._ready = threading.Event()
        self._output: list[str] = []
        self._process: subprocess.Popen[str]

    def __enter__(self) -> Self:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_WIPED)}
        # Without -P, Python would first look for our package in the working directory, and run what it finds there.
        command = [sys.executable, "-P", "-m", "sockudo_queue", "run", "--config", str(self._config)]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (_HOME, environment.get("PYTHONPATH"))))
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            command,
            env=environment | _OWN,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, name="daemon-output", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()

    def wait_ready(self) -> int:
        """Wait until the daemon accepts jobs, and return its process id."""
        if not self._ready.wait(SECONDS * 2) or not self._ports:
            raise ChildError("the daemon did not start:\n" + "".join(self._output))
        return self._process.pid

    def send(self, *jobs: bytes) -> None:
        """Put jobs on its queue through `POST /jobs`, as JSON Lines."""
        status, text = self._ask("ingress.started", "POST", "/jobs", b"\n".join(jobs))
        if status != 202:
            raise ChildError(f"POST /jobs was answered with {status}: {text}")

    def counts(self) -> dict[str, float]:
        """Return the counters of one scrape, by name, and by name and `outcome` if there is one."""
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(self._ask("daemon.started", "GET", "/metrics")[1]):
            for sample in family.samples:
                for name in (sample.name, f"{sample.name} {sample.labels.get('outcome', '')}"):
                    found[name] = found.get(name, 0) + sample.value
        return found

    def stop(self) -> int:
        """Stop the daemon with SIGTERM, and return its exit code."""
        self._process.terminate()
        try:
            return self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            raise ChildError(f"the daemon did not stop within {SECONDS:g} s") from None

    def _read(self) -> None:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            self._output.append(text)
            line = json.loads(text) if text.startswith("{") else {}
            if "port" in line:
                self._ports[line["event"]] = line["port"]
            if line.get("event") == "daemon.ready":
                self._ready.set()
            self._report(line)
        self._ready.set()  # it has ended, so waiting for it must end too

    def _ask(self, port: str, method: str, path: str, body: bytes | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self._ports[port], timeout=SECONDS)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise ChildError(f"the daemon did not answer {method} {path}: {type(error).__name__}") from error
        finally:
            connection.close()
