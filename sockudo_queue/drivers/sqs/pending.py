"""The ends of claims that are on their way: who carries them out, and which are ready to go together.

The driver has the lock: every method is called under it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from sockudo_queue.drivers.base import Settlement
from sockudo_queue.drivers.sqs.buffer import Message, Shelf
from sockudo_queue.drivers.sqs.client import BATCH
from sockudo_queue.drivers.sqs.settlement_plan import Ending, plan
from sockudo_queue.errors import BrokerUnavailable

LINGER: Final = 0.5
"""Seconds for which the end of a claim waits for nine others, to share a call with them. On FIFO queues it does not:
the next message of its group waits for it."""
SEND_LINGER: Final = 0.1
"""The same for one that has something to send, whose delay begins with the sending."""
ANOTHER_AT_IT: Final = 2.0
"""Seconds to wait for another thread that is carrying out the same ending."""


class Pending:
    """Endings by receipt, until they are done; and the results that nobody has been told yet."""

    def __init__(self, shelf: Shelf, lock: threading.Condition, clock: Callable[[], float], *, fifo: bool) -> None:
        self.told: dict[str, tuple[Settlement, bool]] = {}
        """Results for `tend`, by receipt."""
        self._endings: dict[str, Ending] = {}
        self._shelf = shelf
        self._lock = lock
        self._clock = clock
        self._fifo = fifo

    def __len__(self) -> int:
        return len(self._endings)

    def add(self, key: str, ending: Ending) -> None:
        """Take up an ending that no claim asked for."""
        self._endings[key] = ending

    def plan(self, settlement: Settlement) -> Ending | None:
        """Return the ending of a claim, planned now or before; None where the claim is not ours."""
        receipt = settlement.claim.receipt
        ending = self._endings.get(receipt)
        if ending is None and (record := self._shelf.claimed.get(receipt)) is not None:
            ending = plan(settlement, record, self._clock(), fifo=self._fifo, kept=self._shelf.delayed)
            self._endings[receipt] = ending
        return ending

    def take(self, settlement: Settlement) -> Ending | bool:
        """Return an ending for its caller alone to carry out, or its result where there is one.

        Raises `BrokerUnavailable` where another thread has it and does not get on.
        """
        receipt = settlement.claim.receipt
        give_up_at = time.monotonic() + ANOTHER_AT_IT
        while (ending := self.plan(settlement)) is not None and ending.in_flight:
            left = give_up_at - time.monotonic()
            if left <= 0:
                raise BrokerUnavailable("SQS: the end of this claim is still on its way")
            self._lock.wait(left)
        if receipt in self.told:
            return self.told.pop(receipt)[1]
        if ending is None:
            return False
        ending.in_flight = True
        return ending

    def take_ripe(self, *, everything: bool) -> list[Ending]:
        """Return the endings that shall be carried out now: full batches, and all as soon as one has waited enough."""
        waiting = [ending for ending in self._endings.values() if not ending.in_flight]
        now = time.monotonic()
        if not (self._fifo or everything or any(now - each.since >= _linger(each) for each in waiting)):
            waiting = waiting[: len(waiting) // BATCH * BATCH]
        for ending in waiting:
            ending.in_flight = True
        return waiting

    def put_away(self, endings: Sequence[Ending], *, told: bool) -> None:
        """Note that nobody is at them any more. `told` says that the caller knows the results of what is done."""
        for ending in endings:
            ending.in_flight = False
        done = {id(ending) for ending in endings if ending.accepted is not None}
        for key, ending in list(self._endings.items()):
            if id(ending) in done:
                del self._endings[key]
                if ending.settlement is not None and not told:
                    self.told[key] = (ending.settlement, bool(ending.accepted))
        self._lock.notify_all()

    def messages(self, *, in_flight: bool = False) -> set[Message]:
        """Return the messages that endings are about; with `in_flight` only those that somebody is at."""
        return {ending.record.message for ending in self._endings.values() if ending.in_flight or not in_flight}


def _linger(ending: Ending) -> float:
    return SEND_LINGER if ending.sends else LINGER
