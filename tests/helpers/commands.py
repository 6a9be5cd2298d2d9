"""Runs commands of the program on a real queue: inside the test process, which is fastest, or as processes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Self

from sockudo_queue import cli
from tests.helpers import fork_server
from tests.helpers.daemon import COMMAND, wiped_environment


class Ran(NamedTuple):
    """The exit code of a command and its output."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


class Commands:
    """Runs commands with one file and one environment."""

    def __init__(self, directory: Path, config: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self.directory = directory
        self.config_path = directory / "sockudo.json"
        self.config_path.write_text(json.dumps(config))
        self.environment = dict(environment)

    def __call__(self, *arguments: str, stdin: bytes = b"") -> Ran:
        """Run one command; its configuration comes from the environment, so any command accepts it."""
        out, err = _Captured(), _Captured()
        with self._surroundings(stdin), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = cli.run(arguments)
            except SystemExit as end:  # argparse exits this way on invalid arguments
                code = int(end.code or 0)
        return Ran(code, out.text, err.text)

    @contextlib.contextmanager
    def _surroundings(self, stdin: bytes) -> Iterator[None]:
        before = dict(os.environ)
        # `check` warns about the default address.
        os.environ.update(
            {"QUEUE_METRICS_HOST": "127.0.0.1"} | self.environment | {"QUEUE_CONFIG_FILE": str(self.config_path)}
        )
        try:
            with contextlib.ExitStack() as stack:
                stack.enter_context(_standard_input(stdin))
                yield
        finally:
            os.environ.clear()
            os.environ.update(before)


@contextlib.contextmanager
def _standard_input(data: bytes) -> Iterator[None]:
    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(data))
    try:
        yield
    finally:
        sys.stdin = before


class CommandProcess:
    """A command as a process of its own, which is forked if its environment allows that. Standard input is empty.

    The environment is complete; `wiped_environment` has no settings. Output goes to files, which can be read within its
    `with` block, whose end kills the process.
    """

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], directory: Path = Path("/")) -> None:
        self._arguments = list(arguments)
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes them
        start = self._fork if fork_server.can_fork(environment, wiped_environment()) else self._execute
        self._process = start(environment, directory)

    def _fork(self, environment: Mapping[str, str], directory: Path) -> fork_server.ForkedProcess:
        return fork_server.fork(self._arguments, environment, directory, self._out.fileno(), self._err.fileno())

    def _execute(self, environment: Mapping[str, str], directory: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*COMMAND, *self._arguments],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._err,
            start_new_session=True,  # Ctrl-C on the terminal must reach the tests only
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def stdout(self) -> str:
        return _content(self._out)

    def stderr(self) -> str:
        return _content(self._err)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def finish(self, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Wait for its end, for at most `timeout` seconds."""
        code = self._process.wait(timeout)
        return subprocess.CompletedProcess(self._arguments, code, self.stdout(), self.stderr())

    def close(self) -> None:
        """Kill it, and forget its output."""
        with self._out, self._err:
            self.signal(signal.SIGKILL)  # does nothing if it has ended
            self._process.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def run_process(
    *arguments: str, environment: Mapping[str, str], directory: Path = Path("/")
) -> subprocess.CompletedProcess[str]:
    """Run a command as a process of its own, see `CommandProcess`."""
    with CommandProcess(arguments, environment, directory) as process:
        return process.finish()


def _content(file: BinaryIO) -> str:
    """Return a whole file; its position, which the process shares, stays."""
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="replace")


class _Captured(io.TextIOWrapper):
    """Text and bytes in the order in which they were written; not a terminal."""

    def __init__(self) -> None:
        self._bytes = io.BytesIO()
        super().__init__(self._bytes, encoding="utf-8", write_through=True)

    @property
    def text(self) -> str:
        return self._bytes.getvalue().decode(errors="replace")
