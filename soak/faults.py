"""What goes wrong during a soak: one fault at a time, chosen at random, each healed before the next."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import redis

from soak.ledger import SettlementRecorder
from soak.receivers import HOSTILE, QUICK, SLOW, Endpoint
from soak.replicas import LEASE_MS, MAX_SLOW, WORKERS, Replica
from tests.faults.queue import LISTS, own_key
from tests.helpers.queue_v2 import DEFAULT_BASE
from tests.helpers.redis_server import RedisServer

MAX_HELD: Final = WORKERS + MAX_SLOW
_LEASE: Final = LEASE_MS / 1000


class Faults:
    """Everything that can be done to a running queue. The first replica is never ended, so that its curves are long."""

    def __init__(
        self,
        server: RedisServer,
        replicas: list[Replica],
        endpoints: dict[str, Endpoint],
        ledger: SettlementRecorder,
        chance: random.Random,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._server = server
        self._replicas = replicas
        self._endpoints = endpoints
        self._ledger = ledger
        self._chance = chance
        self._kinds: dict[str, tuple[int, Callable[[], None]]] = {
            "daemon killed": (3, self._kill_daemon),
            "daemon stopped": (3, self._stop_daemon),
            "daemon frozen": (1, self._freeze_daemon),
            "apps reloaded": (2, self._reload),
            "Redis killed": (2, self._kill_redis),
            "Redis frozen": (1, self._freeze_redis),
            "link cut": (2, self._cut_link),
            "link half open": (1, self._half_open_link),
            "replies lost": (2, self._lose_replies),
            "receiver gone": (2, self._refuse),
        }

    def one(self) -> str:
        """Do one thing, and heal it. Returns what it was."""
        names = list(self._kinds)
        for replica in self._replicas:
            replica.revive()
        [name] = self._chance.choices(names, [self._kinds[each][0] for each in names])
        self._kinds[name][1]()
        self.counts[name] += 1
        return name

    def heal(self) -> None:
        """Let everything run and answer, whatever was done before."""
        if not self._server.running:
            self._server.start()
        self._server.resume()
        for replica in self._replicas:
            replica.proxy.heal()
            replica.revive()
            replica.daemon.resume()
        for endpoint in self._endpoints.values():
            endpoint.listen()

    def _mortal(self) -> Replica:
        return self._chance.choice(self._replicas[1:])

    def _anyone(self) -> Replica:
        return self._chance.choice(self._replicas)

    def _pause(self, shortest: float, longest: float) -> None:
        time.sleep(self._chance.uniform(shortest, longest))

    def _kill_daemon(self) -> None:
        replica = self._mortal()
        replica.kill()
        self._excuse_held()
        self._pause(0, 2)
        replica.start()

    def _stop_daemon(self) -> None:
        replica = self._mortal()
        replica.stop()
        self._pause(0, 1)
        replica.start()

    def _freeze_daemon(self) -> None:
        """Longer than a lease: others take over what it holds, and its late settlements must match nothing."""
        replica = self._anyone()
        replica.daemon.pause()
        self._excuse_held()
        self._pause(1, 1.5 * _LEASE)
        replica.daemon.resume()

    def _reload(self) -> None:
        for replica in self._replicas:
            replica.reload()
            if self._chance.random() < 0.5:
                replica.daemon.signal(signal.SIGHUP)

    def _kill_redis(self) -> None:
        """What is in hand is settled when Redis is back; only what lapses until then goes out again."""
        self._excuse_held()
        self._server.kill()
        self._pause(0, 1.2 * _LEASE)
        self._server.start()

    def _freeze_redis(self) -> None:
        self._excuse_held()
        self._server.pause()
        self._pause(0.5, 1.2 * _LEASE)
        self._server.resume()

    def _cut_link(self) -> None:
        self._anyone().proxy.cut()

    def _half_open_link(self) -> None:
        replica = self._anyone()
        self._excuse_held()
        replica.proxy.black_hole()
        self._pause(1, 1.5 * _LEASE)
        replica.proxy.cut()
        replica.proxy.heal()

    def _lose_replies(self) -> None:
        replica = self._anyone()
        silent = self._chance.random() < 0.3
        if silent:  # renewals too wait in vain, so leases end
            self._excuse_held()
        replica.proxy.drop_replies(probability=0.1, seed=self._chance.randrange(1000), limit=10, keep_open=silent)
        self._pause(1, 3)
        replica.proxy.heal()

    def _refuse(self) -> None:
        endpoint = self._endpoints[self._chance.choice((QUICK, SLOW, HOSTILE))]
        endpoint.refuse()
        self._pause(0.5, 4)
        endpoint.listen()

    def _excuse_held(self) -> None:
        """Everything that is claimed now may go out twice, to each receiver; while Redis cannot say, what can be.

        Each worker may claim one more between the count and the fault.
        """
        held = MAX_HELD * len(self._replicas)
        with contextlib.suppress(redis.RedisError, OSError), self._server.client(socket_timeout=2.0) as client:
            held = active(client) + WORKERS * len(self._replicas)
        self._ledger.excuse(held * len(self._endpoints))


def active(client: Any) -> int:
    """Count the claims that are held, on every form of the queue."""
    keys = [own_key(source, "active") for source in LISTS] + [f"{DEFAULT_BASE}:active"]
    return sum(int(client.zcard(key)) for key in keys)
