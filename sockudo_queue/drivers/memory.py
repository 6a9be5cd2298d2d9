"""A queue in the memory of this process, for development.

It behaves like the Redis lists; its jobs end with the process. Jobs arrive through `put`; `services/ingress.py` accepts
them over HTTP. The capacity, in records and in bytes, includes records of every state. Above it the oldest *ready* job
is dropped, because no work has been spent on it yet. Dead letters may use at most half of the bytes; above that the
oldest is dropped.
"""

from __future__ import annotations

import heapq
import itertools
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sockudo_queue.core.controls import WebhookKey
from sockudo_queue.drivers.base import (
    Claim,
    DeadLetter,
    Disposition,
    Hold,
    NextResult,
    Requeue,
    Retry,
    Settlement,
    StoredDeadLetter,
)

SOURCE: Final = "memory"


@dataclass(slots=True, eq=False)
class _SharedBody:
    """The bytes of a job, shared by all its deliveries, with the number of records and dead letters that use them."""

    body: bytes
    records: int = 0
    dead: int = 0


@dataclass(slots=True)
class _MemoryRecord:
    """A job or a delivery of a job. `claims` is the number of the last receipt."""

    id: str
    job: _SharedBody
    state: bytes = b""
    claims: int = 0
    lapses: int = 0
    died_ms: int = 0

    @property
    def receipt(self) -> str:
        return f"{self.id}/{self.claims}"

    @property
    def body(self) -> bytes:
        return self.job.body


class SteadyClock:
    """Milliseconds since 1970 that never jump: the wall clock at construction plus the monotonic time since then."""

    def __init__(self) -> None:
        self._start = time.time() - time.monotonic()

    def __call__(self) -> int:
        return int((self._start + time.monotonic()) * 1000)


class MemoryDriver:
    """Records in dicts and queues, guarded by one lock; a condition on it wakes the notifier."""

    name = "memory"
    sources: tuple[str, ...] = (SOURCE,)

    def __init__(
        self,
        *,
        capacity: int,
        max_bytes: int,
        lease_ms: int,
        dead_retention: int,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        self.evicted = 0
        """Number of ready jobs that were dropped because the capacity, in records or bytes, was reached; it never
        decreases."""
        self._capacity, self._max_bytes = capacity, max_bytes
        self._bytes = self._dead_bytes = 0  # of bodies; the first includes dead letters
        self._lease_ms = lease_ms
        self._dead_retention = dead_retention
        self._now_ms = now_ms or SteadyClock()
        self._changed = threading.Condition()
        self._run_id = os.urandom(12).hex()  # receivers recognize duplicates by id, also after a restart
        self._ids = itertools.count()
        self._turn = itertools.count()
        self._ready: deque[_MemoryRecord] = deque()
        self._back: list[tuple[int, str, _MemoryRecord]] = []  # heap by the time of the claim
        self._delayed: list[tuple[int, str, _MemoryRecord]] = []  # heap by due time
        self._due: deque[_MemoryRecord] = deque()  # delayed and resumed records that are due
        # Every lease has the same length, so the order of claims and renewals is the order of the deadlines.
        self._active: OrderedDict[str, tuple[int, _MemoryRecord]] = OrderedDict()
        self._dead: OrderedDict[str, _MemoryRecord] = OrderedDict()  # by receipt, the oldest first
        self._held: dict[WebhookKey, list[_MemoryRecord]] = {}
        self.dead_letters = self
        self._trimmed = 0  # dead letters dropped since the last `next`, which reports them
        self._news, self._news_seen = 0, 0
        self._closed = False

    def next(self, settlement: Settlement | None) -> NextResult:
        with self._changed:
            now = self._now_ms()
            accepted = settlement is None or self._settle(settlement, now)
            trimmed, self._trimmed = self._trimmed, 0
            return NextResult(accepted, self._claim(now), trimmed)

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        with self._changed:
            now = self._now_ms()
            return [self._settle(settlement, now) for settlement in settlements]

    def renew(self, claims: Sequence[Claim]) -> list[bool]:
        with self._changed:
            deadline = self._now_ms() + self._lease_ms
            return [self._renew(claim.receipt, deadline) for claim in claims]

    def wait(self, source: str, timeout: float) -> int:
        """Wait for a new job, a delivery that was put back, a delay that ended, or a lease that expired.

        Each change is reported once. If records that are still unclaimed were reported again, the notifier would loop
        until a worker claimed them.
        """
        assert source == SOURCE
        give_up_at = time.monotonic() + timeout
        with self._changed:
            while not self._closed:
                claimable, until_next = self._survey(self._now_ms())
                left = give_up_at - time.monotonic()
                if (claimable and self._news != self._news_seen) or left <= 0:
                    self._news_seen = self._news
                    return claimable
                self._changed.wait(left if until_next is None else min(left, until_next / 1000))
            return 0

    def put(self, body: bytes) -> None:
        with self._changed:
            if len(body) > self._max_bytes:  # otherwise all ready jobs would be dropped for it, and then the job
                self.evicted += 1
                return
            record = _MemoryRecord(f"{self._run_id}{next(self._ids) & 0xFFFFFFFF:08x}", _SharedBody(body))
            self._hold(record)
            self._ready.append(record)
            self._make_room()
            self._notify()

    def depth(self) -> Mapping[str, int]:
        with self._changed:
            return self._depth()

    def peek(self) -> Sequence[bytes]:
        with self._changed:
            return [self._ready[0].body] if self._ready else []

    def release(self, paused: Collection[WebhookKey]) -> int:
        with self._changed:
            resumed = [self._held.pop(webhook) for webhook in list(self._held) if webhook not in paused]
            for records in resumed:
                self._due.extend(records)
            if resumed:
                self._notify()
            return sum(map(len, resumed))

    def held(self, webhooks: Sequence[WebhookKey]) -> Sequence[int]:
        with self._changed:
            return [len(self._held.get(webhook, ())) for webhook in webhooks]

    def ping(self) -> None:
        """Memory is always available."""

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def letters(self) -> Iterator[StoredDeadLetter]:
        with self._changed:
            return iter([_dead_letter_of(record) for record in self._dead.values()])

    def newest(self, until_ms: int | None = None) -> Iterator[StoredDeadLetter]:
        with self._changed:
            dead = [_dead_letter_of(record) for record in reversed(self._dead.values())]
        return (letter for letter in dead if until_ms is None or letter.died_ms <= until_ms)

    def find(self, record_id: str) -> StoredDeadLetter | None:
        return next((letter for letter in self.letters() if letter.id == record_id), None)

    def replay(self, letters: Sequence[StoredDeadLetter], states: Sequence[bytes]) -> list[bool]:
        with self._changed:
            now = self._now_ms()
            flags = [self._replay(letter, state, now) for letter, state in zip(letters, states, strict=True)]
            self._notify()
            return flags

    def purge(self, letters: Sequence[StoredDeadLetter]) -> list[bool]:
        with self._changed:
            return [self._drop_dead(letter.token) for letter in letters]

    def drop_older(self, age_ms: int) -> int:
        with self._changed:
            before, dropped = self._now_ms() - age_ms, 0
            while self._dead and next(iter(self._dead.values())).died_ms < before:
                self._drop_dead(next(iter(self._dead)))
                dropped += 1
            return dropped

    def _drop_dead(self, token: str) -> bool:
        """Drop a dead letter. Returns whether it existed."""
        record = self._dead.pop(token, None)
        if record is None:
            return False
        self._count_dead(record, -1)
        self._release(record)
        return True

    def _replay(self, letter: StoredDeadLetter, state: bytes, now: int) -> bool:
        record = self._dead.pop(letter.token, None)
        if record is not None:
            self._count_dead(record, -1)
            record.state = state or record.state
            heapq.heappush(self._delayed, (now, record.id, record))
        return record is not None

    def _depth(self) -> dict[str, int]:
        return {
            "ready": len(self._ready),
            "active": len(self._active),
            "delayed": len(self._back) + len(self._due) + len(self._delayed),
            "held": sum(map(len, self._held.values())),
            "dead-letter": len(self._dead),
        }

    def _notify(self) -> None:
        self._news += 1
        self._changed.notify_all()

    def _survey(self, now: int) -> tuple[int, int | None]:
        """Return how many records are claimable, and the milliseconds until the next one is, or None."""
        self._gather_due(now)
        lapsed, ahead = 0, [self._delayed[0][0]] if self._delayed else []
        for deadline, _ in self._active.values():
            if deadline > now:
                ahead.append(deadline)
                break
            lapsed += 1
        claimable = len(self._ready) + len(self._back) + len(self._due) + lapsed
        return claimable, min(ahead) - now if ahead else None

    def _gather_due(self, now: int) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            self._due.append(heapq.heappop(self._delayed)[2])

    def _claim(self, now: int) -> Claim | None:
        """Claim a record whose lease expired, else one that was put back, else alternately a ready and a due one."""
        record = self._take_lapsed(now) or self._take_waiting(now)
        if record is None:
            return None
        record.claims += 1
        self._active[record.receipt] = (now + self._lease_ms, record)
        return Claim(SOURCE, record.receipt, record.body, record.state, record.lapses, now)

    def _take_lapsed(self, now: int) -> _MemoryRecord | None:
        if not self._active:
            return None
        receipt, (deadline, record) = next(iter(self._active.items()))
        if deadline > now:
            return None
        del self._active[receipt]
        record.lapses += 1
        return record

    def _take_waiting(self, now: int) -> _MemoryRecord | None:
        if self._back:
            return heapq.heappop(self._back)[2]
        self._gather_due(now)
        first, second = (self._ready, self._due) if next(self._turn) & 1 else (self._due, self._ready)
        queue = first or second
        return queue.popleft() if queue else None

    def _renew(self, receipt: str, deadline: int) -> bool:
        held = self._active.pop(receipt, None)
        if held is not None:
            self._active[receipt] = (deadline, held[1])
        return held is not None

    def _settle(self, settlement: Settlement, now: int) -> bool:
        """Apply a settlement. Returns False if the claim no longer exists."""
        held = self._active.pop(settlement.claim.receipt, None)
        if held is None:
            return False
        for ordinal, part in enumerate(settlement.parts):
            self._keep(_share_of(held[1], settlement, ordinal, part), part, settlement.claim, now)
        self._release(held[1])
        while len(self._dead) > self._dead_retention or self._dead_bytes > self._max_bytes // 2:
            self._drop_dead(next(iter(self._dead)))
            self._trimmed += 1
        if settlement.parts:
            self._make_room()
            self._notify()
        return True

    def _keep(self, record: _MemoryRecord, part: Disposition, claim: Claim, now: int) -> None:
        self._hold(record)
        match part:
            case Retry(_, delay_ms):
                heapq.heappush(self._delayed, (now + delay_ms, record.id, record))
            case Requeue():
                heapq.heappush(self._back, (claim.server_ms, record.id, record))
            case Hold(_, app, webhook):
                self._held.setdefault(WebhookKey(app, webhook), []).append(record)
            case DeadLetter():
                record.died_ms = now
                self._dead[record.receipt] = record
                self._count_dead(record, 1)

    def _hold(self, record: _MemoryRecord) -> None:
        """Count the bytes of a stored record, once for all records of one job."""
        self._bytes += 0 if record.job.records else len(record.body)
        record.job.records += 1

    def _release(self, record: _MemoryRecord) -> None:
        record.job.records -= 1
        self._bytes -= 0 if record.job.records else len(record.body)

    def _count_dead(self, record: _MemoryRecord, number: int) -> None:
        """Count the bytes of dead letters that are added or removed, once for all of one job."""
        was_dead = record.job.dead > 0
        record.job.dead += number
        self._dead_bytes += ((record.job.dead > 0) - was_dead) * len(record.body)

    def _make_room(self) -> None:
        """Drop the oldest ready jobs above the capacity. Deliveries of a split job may exceed it for a while."""
        while self._ready and (sum(self._depth().values()) > self._capacity or self._bytes > self._max_bytes):
            self._release(self._ready.popleft())
            self.evicted += 1


def _share_of(record: _MemoryRecord, settlement: Settlement, ordinal: int, part: Disposition) -> _MemoryRecord:
    """Return the record of one part: the claimed record, or a new one if the settlement splits it.

    A requeued or held record keeps its count of lapses: a stop in the middle does not prove that it crashes no workers.
    """
    lapses = record.lapses + (isinstance(part, Requeue) and part.lapsed) if isinstance(part, Requeue | Hold) else 0
    if settlement.splits:
        return _MemoryRecord(f"{record.id}.{ordinal}", record.job, part.state or record.state, lapses=lapses)
    record.state, record.lapses = part.state or record.state, lapses
    return record


def _dead_letter_of(record: _MemoryRecord) -> StoredDeadLetter:
    return StoredDeadLetter(record.id, SOURCE, record.receipt, record.died_ms, record.body, record.state)
