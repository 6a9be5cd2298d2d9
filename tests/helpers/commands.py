"""Runs commands of the program inside the test process, on a real queue: faster than a process per command."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sockudo_queue import cli


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


class _Captured(io.TextIOWrapper):
    """Text and bytes in the order in which they were written; not a terminal."""

    def __init__(self) -> None:
        self._bytes = io.BytesIO()
        super().__init__(self._bytes, encoding="utf-8", write_through=True)

    @property
    def text(self) -> str:
        return self._bytes.getvalue().decode(errors="replace")
