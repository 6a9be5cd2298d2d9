"""A master, its replica and three Sentinels that watch them, as child processes."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final, Self

import redis

from sockudo_queue.config import RedisSettings, SentinelNode, SentinelSettings, Settings
from sockudo_queue.core.secret import Secret
from tests.helpers.redis_binaries import ServerKind
from tests.helpers.redis_server import GIVEN_UP_LATE_MS, RedisServer
from tests.helpers.redis_tls import ServerTls
from tests.helpers.waiting import eventually

NAME: Final = "hooks"
FORM_SECONDS: Final = 30.0
FORM_PAUSE: Final = 0.02
GREETING_MS: Final = 2_000  # the server's own default
GREETING_MS_AT_START: Final = 100
FAILOVER_SECONDS: Final = 20.0


class SentinelServer(RedisServer):
    """One Sentinel: the server program in another mode, with a file that it writes itself."""

    def greet_every(self, milliseconds: int) -> None:
        """Set how often it announces itself to other Sentinels; before 7.0 that is fixed."""
        with contextlib.suppress(redis.ResponseError):
            self.ask("SENTINEL", "DEBUG", "publish-period", milliseconds)

    def _launch(self) -> None:
        (self.directory / "sentinel.conf").touch()
        super()._launch()

    def _command(self) -> list[str]:
        program, *options = super()._command()
        return [program, str(self.directory / "sentinel.conf"), *options, "--sentinel"]


class RedisSentinels:
    """One master, one replica, and three Sentinels that consider a server failed after `down_after_ms`. `close` stops
    all."""

    def __init__(
        self,
        kind: ServerKind = ServerKind.VALKEY,
        *,
        password: str | None = None,
        sentinel_password: str | None = None,
        tls: ServerTls | None = None,
        down_after_ms: int = GIVEN_UP_LATE_MS,
        extra: Sequence[str] = (),
    ) -> None:
        options = ("--repl-diskless-sync-delay", "0", *extra)
        if password is not None:
            options += ("--masterauth", password)
        self._down_after_ms = down_after_ms
        self.password, self.sentinel_password = password, sentinel_password
        self.servers = [RedisServer(kind, password=password, tls=tls, extra=options) for _ in range(2)]
        self.sentinels = [SentinelServer(kind, password=sentinel_password, tls=tls) for _ in range(3)]

    def start(self) -> Self:
        """Start them all and wait until every Sentinel knows the replica and the other Sentinels."""
        with ThreadPoolExecutor(5) as pool:
            list(pool.map(RedisServer.start, [*self.servers, *self.sentinels]))
        master, replica = self.servers
        with replica.client() as client:
            client.replicaof("127.0.0.1", master.port)
        eventually(lambda: _replication(replica).get("master_link_status") == "up", FORM_SECONDS, self.log)
        for sentinel in self.sentinels:
            sentinel.greet_every(GREETING_MS_AT_START)
            sentinel.ask("SENTINEL", "MONITOR", NAME, "127.0.0.1", master.port, 2)
            for option, value in self._options():
                sentinel.ask("SENTINEL", "SET", NAME, option, value)
        eventually(lambda: all(map(_knows_all, self.sentinels)), FORM_SECONDS, self.log, pause=FORM_PAUSE)
        for sentinel in self.sentinels:
            sentinel.greet_every(GREETING_MS)
        return self

    def master(self) -> RedisServer:
        """Return the server that considers itself the master; an election takes a few seconds."""
        masters = eventually(lambda: self._in_role("master"), FAILOVER_SECONDS, self.log)
        return masters[0]

    def settings(self, timeout: float = 5.0, **groups: Any) -> Settings:
        """Return settings that find this master; the response timeout is in seconds."""
        nodes = tuple(SentinelNode(host="127.0.0.1", port=each.port) for each in self.sentinels)
        secret = Secret(self.sentinel_password) if self.sentinel_password else None
        password = Secret(self.password) if self.password else None
        return Settings(
            sentinel=SentinelSettings(nodes=nodes, name=NAME, password=secret),
            redis=RedisSettings(password=password, response_timeout_ms=round(timeout * 1000)),
            **groups,
        )

    def log(self) -> str:
        """Return the end of every process's log."""
        return "\n".join(f"--- {each.port}\n" + each.log()[-1500:] for each in [*self.servers, *self.sentinels])

    def close(self) -> None:
        """Stop every process and remove its data."""
        for each in [*self.sentinels, *self.servers]:
            each.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _in_role(self, role: str) -> list[RedisServer]:
        return [each for each in self.servers if each.answers and _replication(each).get("role") == role]

    def _options(self) -> list[tuple[str, str]]:
        options = [("down-after-milliseconds", str(self._down_after_ms)), ("failover-timeout", "10000")]
        return options + ([("auth-pass", self.password)] if self.password else [])


def _knows_all(sentinel: SentinelServer) -> bool:
    answer = iter(sentinel.ask("SENTINEL", "MASTER", NAME))
    state = dict(zip(answer, answer, strict=True))
    return (state[b"num-slaves"], state[b"num-other-sentinels"], state[b"flags"]) == (b"1", b"2", b"master")


def _replication(server: RedisServer) -> dict[str, str]:
    """Return the replication fields of a server's INFO; empty if it ends in the meantime."""
    try:
        return server.replication()
    except redis.ConnectionError:
        return {}
