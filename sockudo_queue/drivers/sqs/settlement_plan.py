"""Plans how a claim ends: what to send, what to keep here, and whether the message goes back. Makes no calls."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from sockudo_queue.drivers.base import DeadLetter, Hold, Requeue, Retry, Settlement
from sockudo_queue.drivers.sqs.buffer import Record
from sockudo_queue.drivers.sqs.messages import OutgoingMessage, ReceivedMessage
from sockudo_queue.errors import BrokerError

KEPT_LIMIT: Final = 200
"""Maximum records of a standard queue that wait for their time in memory; more of them wait in the queue."""

HELD_MS: Final = 900_000
"""Milliseconds until a held delivery is checked again for the end of the pause: the maximum delay of SQS."""
HELD_ORDERED_MS: Final = 10_000
"""The same on FIFO queues, where it waits in memory, so that a check costs no call."""


@dataclass(slots=True, eq=False)
class SendTask:
    """One record that must be sent before its original is deleted. `instead` is kept if it is too large to send."""

    to_dead_letters: bool
    outgoing: OutgoingMessage
    instead: Record | None = None
    done: bool = False
    deduplication_id: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(slots=True, eq=False)
class SettlementTask:
    """One settlement in progress. `settlement` is None if no worker waits for it."""

    settlement: Settlement | None
    record: Record
    sends: list[SendTask] = field(default_factory=list)
    keeps: list[tuple[Record, bool]] = field(default_factory=list)  # True: in front of all waiting records
    goes_back: bool = False
    since: float = field(default_factory=time.monotonic)
    in_flight: bool = False
    is_kept: bool = False  # its kept records are in the buffer; only the message's deletion or return is left
    accepted: bool | None = None
    error: BrokerError | None = None

    @property
    def is_local(self) -> bool:
        """Return whether it needs no call of SQS."""
        return bool(self.keeps) and not self.sends and not self.goes_back

    @property
    def leaves_nothing(self) -> bool:
        """Return whether the message is no longer needed: all of it is delivered or sent on."""
        unsent = any(not send.done for send in self.sends)
        return not (unsent or self.keeps or self.goes_back or self.record.message.others(self.record))


class Ordering(Protocol):
    """The behaviour that depends on the kind of queue; see `ordering`."""

    is_ordered: bool
    """Whether a record blocks later records of its group until it ends."""

    def place(self, group: str | None, deduplication_id: str) -> dict[str, Any]: ...
    def received(self, message: ReceivedMessage) -> ReceivedMessage: ...
    def keeps_retry(self, *, may_forget: bool) -> bool: ...
    def put_back(
        self, task: SettlementTask, part: Requeue, here: Record, outgoing: OutgoingMessage, *, splits: bool
    ) -> None: ...


def plan(settlement: Settlement, record: Record, now: float, ordering: Ordering, *, kept: int) -> SettlementTask:
    """Plan the end of a claim. `now` is in seconds by the driver's clock; `kept` counts records waiting in memory."""
    task = SettlementTask(settlement, record)
    for ordinal, part in enumerate(settlement.parts):
        state = part.state or record.state
        name, claims = (f"{record.id}.{ordinal}", 0) if settlement.splits else (record.id, record.claims)
        here = Record(record.message, name, state, claims, 0)
        outgoing = OutgoingMessage(name, record.message.received.body, state, claims)
        if isinstance(part, Hold):
            part = Retry(part.state, HELD_ORDERED_MS if ordering.is_ordered else HELD_MS)
        match part:
            case DeadLetter():
                task.sends.append(SendTask(True, replace(outgoing, origin=record.message.group)))
            case Retry(_, delay_ms):
                here.due = now + delay_ms / 1000
                may_forget = not (part.durable or settlement.splits)
                if ordering.keeps_retry(may_forget=may_forget and kept < KEPT_LIMIT):
                    task.keeps.append((here, False))
                else:
                    task.sends.append(SendTask(False, replace(outgoing, delay_ms=delay_ms), here))
            case Requeue():
                here.lapses = record.lapses + part.lapsed
                if part.lapsed:
                    task.keeps.append((here, True))
                else:
                    ordering.put_back(task, part, here, outgoing, splits=settlement.splits)
    return task


def sent_on(record: Record, delay_ms: int) -> SettlementTask:
    """Plan to send a record again whose due time was beyond SQS's maximum delay."""
    received = record.message.received
    outgoing = OutgoingMessage(record.id, received.body, record.state, received.claims, received.lapses, delay_ms)
    task = SettlementTask(None, record)
    task.sends.append(SendTask(False, outgoing, record))
    return task
