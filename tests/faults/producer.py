"""A Sockudo that pushes to a queue whose master changes: it waits for replicas, and records uncertain pushes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.faults.queue import SERVER_LIST
from tests.helpers.redis_server import RedisServer

BATCH: Final = 10
ANSWER_SECONDS: Final = 0.5
GIVE_UP_SECONDS: Final = 30.0
REPLICA_MS: Final = 1_000


class Producer:
    """Pushes bodies to the list that servers write, in order; `locate` finds the server that takes them now."""

    def __init__(self, locate: Callable[[], RedisServer]) -> None:
        self.unsure = 0  # bodies that may be on the queue twice, because an answer to a push was lost
        self._locate = locate
        self._port = locate().port
        self._clients: dict[int, Any] = {}

    def push(self, bodies: Sequence[bytes], *, replicas: int = 1) -> None:
        """Push all; each batch is known to `replicas` replicas when this returns."""
        for first in range(0, len(bodies), BATCH):
            self._push(bodies[first : first + BATCH], replicas)

    def close(self) -> None:
        """Disconnect."""
        for client in self._clients.values():
            client.close()

    def _push(self, bodies: Sequence[bytes], replicas: int) -> None:
        give_up_at = time.monotonic() + GIVE_UP_SECONDS
        while True:
            try:
                if self._send(self._port, bodies, replicas):
                    return
                self.unsure += len(bodies)  # it may be a master that is none any more
                self._look_again(give_up_at)
            except redis.exceptions.MovedError as moved:
                self._port = moved.port
            except redis.exceptions.AskError as ask:
                self._send(ask.port, bodies, replicas, asking=True)
                return
            except (redis.exceptions.ReadOnlyError, redis.exceptions.ClusterDownError):
                self._look_again(give_up_at)
            except redis.RedisError:
                self.unsure += len(bodies)
                self._look_again(give_up_at)

    def _look_again(self, give_up_at: float) -> None:
        assert time.monotonic() < give_up_at, "no server takes jobs any more"
        time.sleep(0.05)  # between two tries, as a server would
        self._port = self._locate().port

    def _send(self, port: int, bodies: Sequence[bytes], replicas: int, *, asking: bool = False) -> bool:
        """Push, and return whether enough replicas have it."""
        if port not in self._clients:
            self._clients[port] = redis.Redis(
                port=port, protocol=2, retry=Retry(NoBackoff(), 0), socket_timeout=ANSWER_SECONDS + REPLICA_MS / 1000
            )
        with self._clients[port].pipeline(transaction=False) as pipeline:
            if asking:
                pipeline.execute_command("ASKING")
            pipeline.rpush(SERVER_LIST, *bodies)
            if replicas:
                pipeline.wait(replicas, REPLICA_MS)
            return bool(pipeline.execute()[-1] >= replicas)
