"""The real daemon as a child process: starts, kills and freezes it, and reads its metrics and logs."""

from __future__ import annotations

import atexit
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, ClassVar, Final, Self

from prometheus_client.parser import text_string_to_metric_families

import sockudo_queue
from tests.helpers import fork_server
from tests.helpers.ports import free_port
from tests.helpers.waiting import eventually

Series = tuple[str, frozenset[tuple[str, str]]]

# The daemon runs the package that the tests import, installed or not.
_IMPORT_ROOT: Final = Path(sockudo_queue.__file__).parents[1]
# Packages that only the development environment contains are hidden from it.
_NOT_INSTALLED: Final = Path(__file__).with_name("not_installed")
# The last one makes scripts/coverage measure child processes.
_KEPT_VARIABLES: Final = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "COVERAGE_PROCESS_CONFIG")
_HTTP_SECONDS: Final = 2.0
COMMAND: Final = (sys.executable, "-P", "-m", "sockudo_queue")


class DaemonProcess:
    """`sockudo-queue run` with a configuration file and a wiped environment, in an empty working directory.

    `redis_url` is short for the variable REDIS_URL. The process is a new interpreter, or, unless `whole_start` is set,
    forked from one that has imported the package, which saves nearly all of the CPU time of a start. Output goes to
    files, so a full pipe never stops the daemon; several starts of one object append to them.
    """

    whole_start: ClassVar[bool] = True
    """`tests/conftest.py` clears it for most tests."""
    program: ClassVar[str] = "sockudo_queue.__main__"
    """The module that is run, whose function `main` is called after a fork."""

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        *,
        redis_url: str | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="sockudo-queue-"))
        self.metrics_port = free_port()
        self._arguments = ["run", *arguments]
        if config is not None:
            self.write_config(config)
            self._arguments += ["--config", str(self.config_path)]
        self.environment = _base_environment(self.metrics_port)
        if redis_url is not None:
            self.environment["REDIS_URL"] = redis_url
        self.environment |= environment or {}
        if self.environment.get("QUEUE_DRIVER") == "memory":  # concurrent tests cannot share the default port
            self.environment.setdefault("QUEUE_MEMORY_INGRESS_PORT", str(free_port()))
        self._process: subprocess.Popen[bytes] | fork_server.ForkedProcess | None = None
        atexit.register(self.close)

    @property
    def config_path(self) -> Path:
        return self.directory / "sockudo.json"

    @property
    def pid(self) -> int:
        return self._started.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Replace the file atomically, as a careful operator would."""
        draft = self.config_path.with_suffix(".draft")
        draft.write_text(json.dumps(config))
        draft.replace(self.config_path)

    def command(self) -> list[str]:
        return self._usual_command()

    def start(self) -> Self:
        """Start it without waiting, see `wait_ready`."""
        assert not self.running, "the daemon runs already"
        with self._path("stdout").open("ab") as stdout, self._path("stderr").open("ab") as stderr:
            start = self._fork if self._can_fork() else self._execute
            self._process = start(stdout, stderr)
        return self

    def _can_fork(self) -> bool:
        if self.whole_start or self.command() != self._usual_command():  # a test may start it in another way
            return False
        return fork_server.can_fork(self.environment, wiped_environment())

    def _fork(self, stdout: BinaryIO, stderr: BinaryIO) -> fork_server.ForkedProcess:
        output = stdout.fileno(), stderr.fileno()
        return fork_server.fork(self._arguments, self.environment, self.directory, *output, program=self.program)

    def _usual_command(self) -> list[str]:
        return [*COMMAND[:-1], self.program.removesuffix(".__main__"), *self._arguments]

    def _execute(self, stdout: BinaryIO, stderr: BinaryIO) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command(),
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,  # Ctrl-C on the terminal must reach the tests only
        )

    def wait_ready(self, timeout: float = 10.0) -> Self:
        """Wait until `/readyz` answers 200; fails immediately if the process ends."""
        eventually(self._is_ready, timeout, self.output)
        return self

    def wait(self, timeout: float = 30.0) -> int:
        """Wait for its end and return the exit code, which is negative after a signal."""
        try:
            return self._started.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout:g} s:\n{self.output()}") from None

    def signal(self, number: int) -> None:
        self._started.send_signal(number)

    def terminate(self) -> None:
        """Send SIGTERM without waiting."""
        self.signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self.running:
            self.signal(signal.SIGKILL)
            self._started.wait(10)

    def pause(self) -> None:
        """Freeze it with SIGSTOP."""
        assert self.running, "the daemon does not run"
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)  # the signal takes effect a moment after the call

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def get(self, path: str) -> int:
        """Return the status of a GET request, or 0 without an answer."""
        try:
            return self._request(path)[0]
        except OSError:
            return 0

    def metrics(self) -> dict[Series, float]:
        """Scrape it once; a key is a sample's name and its label pairs."""
        return _samples(self._scrape())

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a sample over all series with these labels; 0.0 if there are none."""
        wanted = labels.items()
        # Tests ask again and again, and to parse every line would take most of their time.
        text = "\n".join(line for line in self._scrape().split("\n") if line.startswith(name))
        return sum(value for (known, has), value in _samples(text).items() if known == name and wanted <= has)

    def stdout(self) -> str:
        return self._read("stdout")

    def stderr(self) -> str:
        return self._read("stderr")

    def output(self) -> str:
        """Return its whole output, for failure messages and for searches after secrets."""
        return self.stdout() + self.stderr()

    def log_lines(self) -> list[dict[str, Any]]:
        """Return its complete JSON lines, in order."""
        return self._json_lines("{")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log lines of one event."""
        # Tests ask again and again, and to parse every line would take most of their time.
        return [line for line in self._json_lines(json.dumps(name)) if line.get("event") == name]

    def close(self) -> None:
        """Kill it and remove its files; may be called twice."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def _started(self) -> subprocess.Popen[bytes] | fork_server.ForkedProcess:
        assert self._process is not None, "the daemon was not started"
        return self._process

    def _is_ready(self) -> bool:
        if not self.running:
            raise DaemonEndedError(f"exit code {self._started.returncode} before it was ready:\n{self.output()}")
        return self.get("/readyz") == 200

    def _scrape(self) -> str:
        status, text = self._request("/metrics")
        assert status == 200, text
        return text

    def _request(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=_HTTP_SECONDS)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except http.client.HTTPException as error:
            raise ConnectionError(f"no HTTP response: {error!r}") from error
        finally:
            connection.close()

    def _json_lines(self, part: str) -> list[dict[str, Any]]:
        """Return the complete JSON lines that contain this text."""
        lines = self.stdout().splitlines(keepends=True) + self.stderr().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n") and part in line]

    def _path(self, name: str) -> Path:
        return self.directory / name

    def _read(self, name: str) -> str:
        path = self._path(name)
        return path.read_text(errors="replace") if path.exists() else ""


class DaemonEndedError(RuntimeError):
    """The daemon ended before it was ready."""


def _samples(text: str) -> dict[Series, float]:
    families = text_string_to_metric_families(text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def wiped_environment() -> dict[str, str]:
    """Return the environment of a process without any settings."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return kept | {"PYTHONPATH": os.pathsep.join((str(_NOT_INSTALLED), str(_IMPORT_ROOT)))}


def _base_environment(metrics_port: int) -> dict[str, str]:
    return wiped_environment() | {
        "QUEUE_METRICS_HOST": "127.0.0.1",
        "QUEUE_METRICS_PORT": str(metrics_port),
        "QUEUE_LOG_FORMAT": "json",
    }
