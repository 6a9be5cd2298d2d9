"""The memory driver passes the suite of all drivers. A reply that gets lost on the way can only be played here."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import pytest

from sockudo_queue.core.controls import WebhookKey
from sockudo_queue.drivers.base import Claim, DeadLetterStore, Driver, NextResult, Settlement, StoredDeadLetter
from sockudo_queue.drivers.memory import MemoryDriver, SteadyClock
from sockudo_queue.errors import BrokerUnavailable
from tests.drivers.conformance import LEASE_SECONDS, RETENTION, DriverConformance, Kept, Lossy
from tests.drivers.dead_letters import DeadLetterConformance
from tests.drivers.parking import ParkingConformance


class Clock(SteadyClock):
    """A clock that a test can put forward."""

    ahead_ms = 0

    def __call__(self) -> int:
        return super().__call__() + self.ahead_ms


class Hand:
    """One of several users of a memory, each with its own lease; and, for one of them, replies that get lost."""

    def __init__(self, memory: MemoryDriver, lease: float, retention: int) -> None:
        self.name, self.sources = memory.name, memory.sources
        self.driver: Driver = self
        self._memory = memory
        self._lease_ms, self._retention = round(lease * 1000), retention
        self._loses, self._cut = False, False

    def lose_reply(self) -> None:
        self._loses = True

    def cut_off(self) -> None:
        self._cut = True

    def heal(self) -> None:
        self._cut = False

    @contextmanager
    def _call(self) -> Iterator[MemoryDriver]:
        if self._cut:
            raise BrokerUnavailable("cut off")
        with self._memory._changed:
            self._memory._lease_ms, self._memory._dead_retention = self._lease_ms, self._retention
            yield self._memory
        if self._loses:
            self._loses = False
            raise BrokerUnavailable("the reply was lost")

    def next(self, settled: Settlement | None) -> NextResult:
        with self._call() as memory:
            return memory.next(settled)

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        with self._call() as memory:
            return memory.settle(settlements)

    def renew(self, claims: Sequence[Claim]) -> list[bool]:
        with self._call() as memory:
            return memory.renew(claims)

    def wait(self, source: str, timeout: float) -> int:
        with self._call():
            pass
        return self._memory.wait(source, timeout)

    def put(self, body: bytes) -> None:
        with self._call() as memory:
            memory.put(body)

    def depth(self) -> Mapping[str, int]:
        return self._memory.depth()

    def peek(self) -> Sequence[bytes]:
        return self._memory.peek()

    def ping(self) -> None:
        with self._call() as memory:
            memory.ping()

    @property
    def dead_letters(self) -> DeadLetterStore:
        return self

    def letters(self) -> Iterator[StoredDeadLetter]:
        with self._call() as memory:
            return memory.letters()

    def newest(self, until_ms: int | None = None) -> Iterator[StoredDeadLetter]:
        with self._call() as memory:
            return memory.newest(until_ms)

    def find(self, record_id: str) -> StoredDeadLetter | None:
        with self._call() as memory:
            return memory.find(record_id)

    def replay(self, letters: Sequence[StoredDeadLetter], states: Sequence[bytes]) -> list[bool]:
        with self._call() as memory:
            return memory.replay(letters, states)

    def purge(self, letters: Sequence[StoredDeadLetter]) -> list[bool]:
        with self._call() as memory:
            return memory.purge(letters)

    def drop_older(self, age_ms: int) -> int:
        with self._call() as memory:
            return memory.drop_older(age_ms)

    def release(self, paused: Collection[WebhookKey]) -> int:
        with self._call() as memory:
            return memory.release(paused)

    def held(self, webhooks: Sequence[WebhookKey]) -> Sequence[int]:
        with self._call() as memory:
            return memory.held(webhooks)

    def close(self) -> None:
        self._memory.close()


class MemoryUnderTest:
    def __init__(self) -> None:
        self._clock = Clock()
        self._memory = MemoryDriver(
            capacity=100_000,
            max_bytes=1_000_000_000,
            lease_ms=LEASE_SECONDS * 1000,
            dead_retention=RETENTION,
            now_ms=self._clock,
        )

    def driver(self, *, lease: float = LEASE_SECONDS, retention: int = RETENTION) -> Driver:
        return Hand(self._memory, lease, retention)

    def lossy(self) -> Lossy:
        return Hand(self._memory, LEASE_SECONDS, RETENTION)

    def push(self, *bodies: bytes) -> None:
        for body in bodies:
            self._memory.put(body)

    def advance(self, seconds: float) -> None:
        self._clock.ahead_ms += round(seconds * 1000)

    def is_empty(self) -> bool:
        return not any(self._memory.depth().values())

    def dead_letters(self) -> list[Kept]:
        return [Kept(record.id, record.body, record.state) for record in self._memory._dead.values()]


class TestMemory(DriverConformance, DeadLetterConformance, ParkingConformance):
    @pytest.fixture
    def queue(self) -> MemoryUnderTest:
        return MemoryUnderTest()
