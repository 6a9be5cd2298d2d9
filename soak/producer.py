"""Queues numbered jobs as Sockudo does, on all three forms of the queue, for as long as it runs."""

from __future__ import annotations

import itertools
import threading
from typing import Final

import redis

from soak.ledger import SettlementRecorder
from soak.replicas import CANARIES
from tests.faults.queue import LISTS
from tests.helpers.jobs import event, job
from tests.helpers.queue_v2 import Producer as ProducerV2
from tests.helpers.redis_server import RedisServer

AHEAD: Final = 500
"""Jobs that may be owed before the producer waits: a soak is about faults, and a backlog without end hides them."""


class Producer(threading.Thread):
    """Queues `rate` jobs a second in turn on both lists and on Queue V2."""

    def __init__(self, server: RedisServer, ledger: SettlementRecorder, rate: float) -> None:
        super().__init__(name="producer", daemon=True)
        self._server = server
        self._ledger = ledger
        self._rate = rate
        self._ended = threading.Event()

    def run(self) -> None:
        numbers = itertools.count(1)
        owed = 0
        while not self._ended.wait(1 / self._rate):
            if owed > AHEAD:
                owed = len(self._ledger.missing())
                continue
            if self._queue(next(numbers)):
                owed += 1

    def end(self) -> None:
        self._ended.set()
        self.join()

    def _queue(self, number: int) -> bool:
        events = [event("client_event", f"room-{number}", data=CANARIES["job"])]
        body = job(number, secret=CANARIES["app"], events=events)
        try:
            with self._server.client(socket_timeout=2.0) as client:
                turn = number % (len(LISTS) + 1)
                if turn < len(LISTS):
                    client.rpush(LISTS[turn], body)
                else:
                    ProducerV2(client).enqueue(body)
        except (redis.RedisError, OSError):
            self._ledger.uncertain(number)
            return False
        self._ledger.queued(number)
        return True
