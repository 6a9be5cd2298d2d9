"""Real databases as child processes, each with its own data: started, killed, frozen and restarted by tests."""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import boto3
import pg8000.native
import pymysql
import pytest
import trustme
from botocore.config import Config

from tests.helpers.ports import free_port
from tests.helpers.redis_binaries import STARTED
from tests.helpers.waiting import eventually

START_SECONDS: Final = 60.0  # normally a few seconds; a loaded machine may need longer
USER: Final = "sockudo"
PASSWORD: Final = "db-CANARY-password"
DATABASE: Final = "sockudo"

_DEBIANS_POSTGRES: Final = "/usr/lib/postgresql"


class Database(ABC):
    """One server on a free port of 127.0.0.1. `close` stops it and removes its data, as leaving `with` does."""

    kind: str

    def __init__(self) -> None:
        self.port = free_port()
        self.tls = True  # applies from the next start
        self._owner: Any = None  # a connection
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self.kind}-"))
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start it and wait until it answers; the first start creates its data."""
        if self._process is None:
            self._make_certificates()
            self._make_data()
        with (self.directory / "server.log").open("ab") as log:
            streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            self._process = subprocess.Popen(self._command(), start_new_session=True, **streams, **_as(self._user))
        eventually(self._is_up, START_SECONDS, self.log)
        STARTED[self.kind] += 1
        return self

    def kill(self) -> None:
        """Kill it immediately, as a crash would; accepted data stays."""
        if self._owner is not None:
            owner, self._owner = self._owner, None
            owner.close()
        if self.running:
            assert self._process is not None
            self._process.send_signal(self._crash)
            self._process.wait(START_SECONDS)

    def pause(self) -> None:
        """Freeze it: connections stay open, and nothing is answered."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def resume(self) -> None:
        if self.running:
            assert self._process is not None
            os.kill(self._process.pid, signal.SIGCONT)

    @property
    def authority(self) -> Path:
        """The CA file for the server's certificate, which is valid for 127.0.0.1."""
        return self.directory / "authority.pem"

    def _make_certificates(self) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        authority.cert_pem.write_to_path(str(self.authority))
        certificate.cert_chain_pems[0].write_to_path(str(self.directory / "server.pem"))
        certificate.private_key_pem.write_to_path(str(self.directory / "server.key"))
        (self.directory / "server.key").chmod(0o600)
        for name in ("server.pem", "server.key"):
            shutil.chown(self.directory / name, self._user or os.geteuid())

    def log(self) -> str:
        return (self.directory / "server.log").read_text(errors="replace")

    def close(self) -> None:
        self.resume()
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @abstractmethod
    def environment(self, table: str) -> dict[str, str]:
        """Return the variables that let a daemon read apps from a table."""

    _crash = signal.SIGKILL
    _user: str | None = None

    @abstractmethod
    def _make_data(self) -> None: ...

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def _answers(self) -> bool: ...

    def _is_up(self) -> bool:
        if not self.running:
            raise RuntimeError(f"{self.kind} ended while starting:\n{self.log()}")
        return self._answers()

    def _initialise(self, *command: str) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **_as(self._user))
        assert done.returncode == 0, done.stdout + done.stderr


class Postgres(Database):
    """PostgreSQL from Debian or on PATH. It refuses to run as root, and then runs as Debian's user for it."""

    kind = "postgres"
    _crash = signal.SIGQUIT  # after a SIGKILL its children would live on for a moment and keep the port

    def __init__(self) -> None:
        self._initdb, self._program = _require(self.kind, "initdb"), _require(self.kind, "postgres")
        super().__init__()
        if os.geteuid() == 0:
            self._user = "postgres"
            os.chown(self.directory, pwd.getpwnam(self._user).pw_uid, -1)

    def run(self, sql: str, **values: Any) -> list[Any]:
        """Run one statement as the owner of all data."""
        if self._owner is None:
            self._owner = pg8000.native.Connection(
                USER, host="127.0.0.1", port=self.port, database="postgres", password=PASSWORD, ssl_context=False
            )
        rows: list[Any] = self._owner.run(sql, **values) or []
        return rows

    def environment(self, table: str) -> dict[str, str]:
        return {
            "APP_MANAGER_DRIVER": "pgsql",
            "DATABASE_POSTGRES_HOST": "127.0.0.1",
            "DATABASE_POSTGRES_PORT": str(self.port),
            "DATABASE_POSTGRES_USERNAME": USER,
            "DATABASE_POSTGRES_PASSWORD": PASSWORD,
            "DATABASE_POSTGRES_DATABASE": "postgres",
        }

    def _make_data(self) -> None:
        secret = self.directory / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        data = str(self.directory / "data")
        self._initialise(
            self._initdb,
            "-D",
            data,
            "-U",
            USER,
            f"--pwfile={secret}",
            "-A",
            "scram-sha-256",
            "-E",
            "UTF8",
            "--locale=C",
            "-N",
        )

    def _command(self) -> list[str]:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            "shared_buffers": "32MB",
            "ssl": "on" if self.tls else "off",
            "ssl_cert_file": str(self.directory / "server.pem"),
            "ssl_key_file": str(self.directory / "server.key"),
        }
        settings = [f"--{name}={value}" for name, value in options.items()]
        return [self._program, "-D", str(self.directory / "data"), *settings]

    def _answers(self) -> bool:
        try:
            self.run("SELECT 1")
        except pg8000.exceptions.Error:
            return False
        return True


class Mariadb(Database):
    """MariaDB from Debian or on PATH."""

    kind = "mariadb"

    def __init__(self) -> None:
        self._install, self._program = _require(self.kind, "mariadb-install-db"), _require(self.kind, "mariadbd")
        super().__init__()
        self._database: str | None = None  # made by the first start
        self._run_as = ["--user=root"] if os.geteuid() == 0 else []

    def run(self, sql: str, values: Sequence[Any] = ()) -> Sequence[Any]:
        """Run one statement as the owner of all data."""
        if self._owner is None:
            self._owner = pymysql.connect(
                host="127.0.0.1",
                port=self.port,
                user="root",
                autocommit=True,
                ssl_disabled=True,
                database=self._database,
            )
        with self._owner.cursor() as cursor:
            cursor.execute(sql, values or None)
            return list(cursor.fetchall())

    def environment(self, table: str) -> dict[str, str]:
        return {
            "APP_MANAGER_DRIVER": "mysql",
            "DATABASE_MYSQL_HOST": "127.0.0.1",
            "DATABASE_MYSQL_PORT": str(self.port),
            "DATABASE_MYSQL_USERNAME": USER,
            "DATABASE_MYSQL_PASSWORD": PASSWORD,
            "DATABASE_MYSQL_DATABASE": DATABASE,
            "DATABASE_MYSQL_TABLE_NAME": table,
        }

    def start(self) -> Self:
        super().start()
        if self._database is None:
            self.run(f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
            self.run(f"CREATE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}'")
            self.run(f"GRANT SELECT ON {DATABASE}.* TO {USER}@'%'")
            self.run(f"USE {DATABASE}")
            self._database = DATABASE
        return self

    def _make_data(self) -> None:
        data = f"--datadir={self.directory / 'data'}"
        self._initialise(
            self._install,
            "--no-defaults",
            data,
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            *self._run_as,
        )

    def _command(self) -> list[str]:
        certificate = [f"--ssl-cert={self.directory / 'server.pem'}", f"--ssl-key={self.directory / 'server.key'}"]
        return [
            self._program,
            "--no-defaults",
            f"--datadir={self.directory / 'data'}",
            f"--socket={self.directory / 'socket'}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--skip-log-bin",
            "--innodb-flush-log-at-trx-commit=2",  # sufficient for a crash of the process alone
            "--innodb-buffer-pool-size=64M",
            *(certificate if self.tls else ["--skip-ssl"]),
            *self._run_as,
        ]

    def _answers(self) -> bool:
        try:
            self.run("SELECT 1")
        except pymysql.MySQLError:
            return False
        return True


class Dynamodb(Database):
    """The server of moto, installed as a wheel. It keeps its tables in memory, so a crash loses them."""

    kind = "dynamodb"

    def client(self) -> Any:
        if self._owner is None:
            self._owner = boto3.client(
                "dynamodb",
                region_name="us-east-1",
                endpoint_url=f"http://127.0.0.1:{self.port}",
                aws_access_key_id="id",
                aws_secret_access_key=PASSWORD,
                config=Config(connect_timeout=5, read_timeout=5, retries={"total_max_attempts": 1}),
            )
        return self._owner

    def environment(self, table: str) -> dict[str, str]:
        return {
            "APP_MANAGER_DRIVER": "dynamodb",
            "DATABASE_DYNAMODB_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "DATABASE_DYNAMODB_TABLE_NAME": table,
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": PASSWORD,
        }

    def _make_data(self) -> None: ...

    def _command(self) -> list[str]:
        return [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(self.port)]

    def _answers(self) -> bool:
        try:
            self.client().list_tables()
        except Exception:  # noqa: BLE001 - whatever the error is, the server is not up yet
            return False
        return True


def _require(kind: str, program: str) -> str:
    """Return the program, or skip the test; in CI it fails instead, see conftest."""
    places = [str(path) for path in sorted(Path(_DEBIANS_POSTGRES).glob("*/bin"))] + ["/usr/sbin"]
    found = shutil.which(program, path=os.pathsep.join([*places, os.environ.get("PATH", "")]))
    if found is None:
        pytest.skip(f"{kind} is not on this machine; docs/apps.md says where it comes from")
    return found


def _as(user: str | None) -> dict[str, Any]:
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
