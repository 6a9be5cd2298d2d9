"""The state in memory: buffered messages, and settlements in progress."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sockudo_queue.drivers.sqs.buffer import MessageBuffer
from sockudo_queue.drivers.sqs.settlement_plan import Ordering
from sockudo_queue.drivers.sqs.settlement_queue import SettlementQueue


class HeldMessages:
    """The buffer and the settlements of one driver, under one lock.

    `changed` is that lock, and is notified of changes. It is never held during a call.
    """

    def __init__(self, clock: Callable[[], float], ordering: Ordering) -> None:
        self.clock = clock
        self.ordering = ordering
        self.changed = threading.Condition()
        self.buffer = MessageBuffer()
        self.settlements = SettlementQueue(self.buffer, self.changed, clock, ordering)
