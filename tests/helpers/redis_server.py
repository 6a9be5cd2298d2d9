"""Real Redis-compatible servers as child processes: started, killed, frozen and restarted by tests."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
import weakref
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

import redis
from redis.backoff import NoBackoff
from redis.driver_info import DriverInfo
from redis.retry import Retry

from tests.helpers.ports import free_port
from tests.helpers.redis_binaries import STARTED, ServerKind, require_server, server_version
from tests.helpers.redis_tls import ServerTls
from tests.helpers.waiting import eventually

START_SECONDS: Final = 20.0  # normally 0.03 s; a loaded machine may need longer
STOP_SECONDS: Final = 20.0
GIVEN_UP_LATE_MS: Final = 20_000
"""How long servers wait for each other in tests about other things: a loaded machine must not look like a failed
server."""
GIVEN_UP_SOON_MS: Final = 1_000
DRIVER_INFO: Final = DriverInfo()
"""What each connection says of redis-py, which otherwise reads its own package's files for every one."""


class RedisServer:
    """One server on a free port of 127.0.0.1, with a data directory of its own that outlives `kill` and `stop`.

    `close` stops the process and removes the directory; leaving a `with` block does so too. Nothing survives the end of
    the test process, unless that is itself killed with SIGKILL.
    """

    def __init__(
        self,
        kind: ServerKind = ServerKind.VALKEY,
        *,
        appendonly: bool = False,
        appendfsync: Literal["always", "everysec", "no"] = "everysec",
        maxmemory: str | None = None,
        maxmemory_policy: str = "noeviction",
        password: str | None = None,
        tls: ServerTls | None = None,
        extra: tuple[str, ...] = (),
    ) -> None:
        self.kind = kind
        self.password = password
        self.tls = tls
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="redis-server-"))
        self._options = ["--appendonly", "yes" if appendonly else "no", "--appendfsync", appendfsync]
        if maxmemory is not None:
            self._options += ["--maxmemory", maxmemory, "--maxmemory-policy", maxmemory_policy]
        if password is not None:
            self._options += ["--requirepass", password]
        self._options += extra
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen = False
        self._clients: weakref.WeakSet[redis.Redis] = weakref.WeakSet()
        self._shared_client: redis.Redis | None = None
        atexit.register(self.close)

    @property
    def url(self) -> str:
        userinfo = f":{self.password}@" if self.password is not None else ""
        return f"redis://{userinfo}127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server was not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def answers(self) -> bool:
        """Return whether it runs and is not frozen."""
        return self.running and not self._frozen

    def start(self) -> Self:
        """Start and wait until it answers. If another program has taken the port before the first start, another one is
        used."""
        first_start = self._process is None
        self._launch()
        try:
            self._wait_until_ready()
        except ServerDiedError:
            if not first_start or "already in use" not in self.log():
                raise
            self.port = free_port()
            self._launch()
            self._wait_until_ready()
        STARTED[f"{self.kind} {server_version(require_server(self.kind))}"] += 1
        return self

    def stop(self) -> None:
        """Stop it with SIGTERM, which lets it finish writing its append-only file."""
        if self.running:
            self.resume()
            self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Stop it with SIGKILL."""
        if self.running:
            self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop it if it runs, and start it on the same port with the same data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it with SIGSTOP: connections stay open, nothing is answered."""
        assert self.running, "the server does not run"
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)  # the signal takes effect a moment after the call
        self._frozen = True

    def resume(self) -> None:
        """Let a frozen server continue; it then executes the commands sent in the meantime."""
        if self.running:
            os.kill(self.pid, signal.SIGCONT)
        self._frozen = False

    def client(self, **options: Any) -> redis.Redis:
        """Return a client that never retries a command and returns bytes; closed with the server."""
        settings: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.port,
            "password": self.password,
            "protocol": 2,
            "driver_info": DRIVER_INFO,
            "retry": Retry(NoBackoff(), 0),
            "socket_timeout": 10.0,
            "socket_connect_timeout": 5.0,
        }
        if self.tls is not None:
            settings |= self.tls.client_options()
        client = redis.Redis(**settings | options)
        self._clients.add(client)
        return client

    @property
    def shared_client(self) -> redis.Redis:
        """Return a client for all tests that use this server."""
        if self._shared_client is None:
            self._shared_client = self.client()
        return self._shared_client

    def ask(self, *command: Any) -> Any:
        """Send a command over a connection that is kept, and return the answer without redis-py's conversions."""
        pool = self.shared_client.connection_pool
        connection = pool.get_connection()
        try:
            connection.send_command(*command)
            return connection.read_response(disable_decoding=True)
        finally:
            pool.release(connection)

    def replication(self) -> dict[str, str]:
        """Return the replication fields of INFO."""
        return fields(self.ask("INFO", "replication"))

    def log(self) -> str:
        """Return the server's own log."""
        return (self.directory / "server.log").read_text(errors="replace")

    def close(self) -> None:
        """Stop the process and remove its data; may be called twice."""
        for client in list(self._clients):
            client.close()
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _command(self) -> list[str]:
        ports = ("--port", str(self.port)) if self.tls is None else self.tls.server_options(self.port)
        command = [str(require_server(self.kind)), *ports, "--bind", "127.0.0.1"]
        return [*command, "--save", "", "--dir", str(self.directory), *self._options]

    def _launch(self) -> None:
        with (self.directory / "server.log").open("ab") as log:
            # A session of its own: Ctrl-C on the terminal must not stop the servers of running tests.
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _wait_until_ready(self) -> None:
        with self.client(socket_timeout=1.0) as client:
            eventually(lambda: self._is_ready(client), START_SECONDS, self.log)

    def _is_ready(self, client: redis.Redis) -> bool:
        if not self.running:
            raise ServerDiedError(f"{self.kind} ended while starting:\n{self.log()}")
        try:
            # LOADING refuses the ping; the process id distinguishes our server from another one on the same port.
            return bool(client.ping()) and client.info("server")["process_id"] == self.pid
        except redis.RedisError:
            return False

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise


def fields(text: bytes) -> dict[str, str]:
    """Return the fields of an answer to INFO or CLUSTER INFO."""
    return dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)


def is_busy(client: redis.Redis) -> bool:
    """Return whether the server refuses all commands because a script is running."""
    try:
        client.ping()
    except redis.ResponseError:
        return True
    return False


class ServerDiedError(RuntimeError):
    """The server ended before it answered."""
