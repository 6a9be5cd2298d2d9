"""Settlements in progress: tracks which thread carries out each, and which are ready for a batch.

The lock is in `held.HeldMessages`; callers of every method must hold it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from sockudo_queue.drivers.base import Settlement
from sockudo_queue.drivers.sqs.buffer import Message, MessageBuffer
from sockudo_queue.drivers.sqs.client import BATCH
from sockudo_queue.drivers.sqs.settlement_plan import Ordering, SettlementTask, plan
from sockudo_queue.errors import BrokerUnavailable

LINGER: Final = 0.5
"""Seconds for which a settlement waits for nine others, to share a call with them. Not on FIFO queues, where the next
message of the group waits for it."""
SEND_LINGER: Final = 0.1
"""The same for a settlement that sends a message, because the message's delay counts from sending."""
OTHER_THREAD_TIMEOUT: Final = 2.0
"""Seconds to wait if another thread is carrying out the same settlement."""


class SettlementQueue:
    """Settlements by receipt until they are done, and results that were not reported yet."""

    def __init__(
        self, buffer: MessageBuffer, lock: threading.Condition, clock: Callable[[], float], ordering: Ordering
    ) -> None:
        self.results: dict[str, tuple[Settlement, bool]] = {}
        """Results for `flush`, by receipt."""
        self._tasks: dict[str, SettlementTask] = {}
        self._buffer = buffer
        self._lock = lock
        self._clock = clock
        self._ordering = ordering

    def __len__(self) -> int:
        return len(self._tasks)

    def add(self, key: str, task: SettlementTask) -> None:
        """Add a settlement that does not come from a worker."""
        self._tasks[key] = task

    def plan(self, settlement: Settlement) -> SettlementTask | None:
        """Return the planned settlement of a claim, new or existing; None if the claim is not ours."""
        receipt = settlement.claim.receipt
        task = self._tasks.get(receipt)
        if task is None and (record := self._buffer.claimed.get(receipt)) is not None:
            task = plan(settlement, record, self._clock(), self._ordering, kept=self._buffer.delayed)
            self._tasks[receipt] = task
        return task

    def take(self, settlement: Settlement) -> SettlementTask | bool:
        """Reserve a settlement for the caller to carry out, or return its result if there is one.

        Raises `BrokerUnavailable` if another thread has it and does not finish in time.
        """
        receipt = settlement.claim.receipt
        give_up_at = time.monotonic() + OTHER_THREAD_TIMEOUT
        while (task := self.plan(settlement)) is not None and task.in_flight:
            left = give_up_at - time.monotonic()
            if left <= 0:
                raise BrokerUnavailable("SQS: another thread is still settling this claim")
            self._lock.wait(left)
        if receipt in self.results:
            return self.results.pop(receipt)[1]
        if task is None:
            return False
        task.in_flight = True
        return task

    def take_due(self, *, everything: bool) -> list[SettlementTask]:
        """Reserve the settlements to carry out now: full batches, and all of them once one has waited long enough."""
        waiting = [task for task in self._tasks.values() if not task.in_flight]
        now = time.monotonic()
        if not (self._ordering.is_ordered or everything or any(now - each.since >= _linger(each) for each in waiting)):
            waiting = waiting[: len(waiting) // BATCH * BATCH]
        for task in waiting:
            task.in_flight = True
        return waiting

    def finish(self, tasks: Sequence[SettlementTask], *, reported: bool) -> None:
        """Release settlements after an attempt. `reported`: the caller knows the results of finished ones."""
        for task in tasks:
            task.in_flight = False
        done = {id(task) for task in tasks if task.accepted is not None}
        for key, task in list(self._tasks.items()):
            if id(task) in done:
                del self._tasks[key]
                if task.settlement is not None and not reported:
                    self.results[key] = (task.settlement, bool(task.accepted))
        self._lock.notify_all()

    def messages(self, *, in_flight: bool = False) -> set[Message]:
        """Return the messages of pending settlements; with `in_flight` only of those being carried out."""
        return {task.record.message for task in self._tasks.values() if task.in_flight or not in_flight}


def _linger(task: SettlementTask) -> float:
    return SEND_LINGER if task.sends else LINGER
