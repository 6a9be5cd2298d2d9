"""A real emulator of SQS as a child process, with a clock that a test can move forward."""

from __future__ import annotations

import atexit
import http.client
import json
import os
import subprocess
import tempfile
import threading
import urllib.request
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import boto3
import botocore.config
import pytest

from tests.helpers.ports import free_port
from tests.helpers.redis_binaries import SERVERS_DIRECTORY, STARTED
from tests.helpers.waiting import eventually

CREDENTIALS: Final = {"AWS_ACCESS_KEY_ID": "AKIATESTTESTTESTTEST", "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-tests"}
REGION: Final = "us-east-1"
START_SECONDS: Final = 60.0
# LocalStack by default; `scripts/servers` creates the environment of the alternative.
KIND: Final = os.environ.get("TEST_SQS_EMULATOR", "localstack")
_PYTHON: Final = SERVERS_DIRECTORY / KIND / "bin" / "python"
_MAIN: Final = Path(__file__).with_name("sqs_emulator.py")


def is_there() -> bool:
    """Return whether the emulator is installed."""
    return os.access(_PYTHON, os.X_OK)


class SqsServer:
    """An emulator of SQS on a free port of 127.0.0.1. All data is lost when it ends."""

    def __init__(self) -> None:
        if not is_there():
            pytest.skip(f"{KIND} is not in .servers; scripts/test-servers puts LocalStack there")
        self.port, self._clock_port = free_port(), free_port()
        self._directory = tempfile.TemporaryDirectory(prefix="localstack-")
        self._log = Path(self._directory.name) / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._clock = http.client.HTTPConnection("127.0.0.1", self._clock_port, timeout=20)
        self._clock_lock = threading.Lock()
        self.client: Any = client_of(self.url)
        atexit.register(self.close)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [_PYTHON, _MAIN, KIND, str(self.port), str(self._clock_port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], "HOME": self._directory.name, "TMPDIR": self._directory.name},
                start_new_session=True,
            )
        eventually(self._is_ready, START_SECONDS, lambda: self._log.read_text(errors="replace"))
        self.client.list_queues()  # the first call loads most of it
        STARTED[f"SQS of {KIND} {self._version()}"] += 1
        return self

    def advance(self, seconds: float) -> None:
        """Move the clock of all visibilities and delays forward."""
        self._turn_clock(str(seconds))

    def stop_clock(self) -> None:
        """Stop the clock; only `advance` moves it."""
        self._turn_clock("stop")

    def run_clock(self) -> None:
        """Reset the clock to real time."""
        self._turn_clock("run")

    def _turn_clock(self, how: str) -> None:
        with self._clock_lock:
            try:
                self._clock.request("GET", f"/{how}")
                self._clock.getresponse().read()
            except BaseException:
                self._clock.close()  # else it would refuse the requests of all later tests
                raise

    def close(self) -> None:
        """Stop the process; may be called twice."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self.client.close()
        self._clock.close()
        self._directory.cleanup()
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _version(self) -> str:
        package = "localstack-core" if KIND == "localstack" else KIND
        asked = f"import importlib.metadata as m; print(m.version({package!r}))"
        return subprocess.run(
            [str(_PYTHON), "-c", asked], capture_output=True, text=True, check=True, timeout=60
        ).stdout.strip()

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text(errors="replace")
        try:
            with urllib.request.urlopen(f"{self.url}/_localstack/health", timeout=5) as answer:
                return json.load(answer)["services"]["sqs"] in ("running", "available")
        except OSError:
            return False


def client_of(url: str) -> Any:
    """Return a client like that of a producer or an operator."""
    config = botocore.config.Config(retries={"total_max_attempts": 1}, read_timeout=60, max_pool_connections=20)
    return boto3.session.Session().client(
        "sqs",
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        config=config,
    )


def unused_name() -> str:
    """Return a queue name that no other test uses."""
    return f"webhooks-{uuid.uuid4().hex[:12]}"
