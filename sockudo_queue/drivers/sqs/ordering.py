"""The differences between the two kinds of queues: only a FIFO queue keeps an order, within each group."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sockudo_queue.drivers.base import Requeue
from sockudo_queue.drivers.sqs.buffer import Record
from sockudo_queue.drivers.sqs.messages import OutgoingMessage, ReceivedMessage
from sockudo_queue.drivers.sqs.settlement_plan import SendTask, SettlementTask


class StandardOrdering:
    """Messages are independent, so a record may be sent again."""

    is_ordered = False

    def place(self, group: str | None, deduplication_id: str) -> dict[str, Any]:  # noqa: ARG002 - see `FifoOrdering`
        """Return the fields for sending an entry: its group and deduplication id."""
        return {}

    def received(self, message: ReceivedMessage) -> ReceivedMessage:
        """Return the message without its group, which here names a tenant and implies no order."""
        return replace(message, group=None)

    def keeps_retry(self, *, may_forget: bool) -> bool:
        """Return whether a record waits for its retry in memory instead of in the queue."""
        return may_forget

    def put_back(
        self, task: SettlementTask, part: Requeue, here: Record, outgoing: OutgoingMessage, *, splits: bool
    ) -> None:
        """Plan to put a record back: through its message, or through a new one if its state has changed."""
        if splits or (part.state and part.state != task.record.state):
            task.sends.append(SendTask(False, replace(outgoing, lapses=here.lapses), here))
        else:
            task.goes_back = True


class FifoOrdering:
    """A record that is sent again would lose its place, so it stays in its message until that is deleted."""

    is_ordered = True

    def __init__(self, group: str) -> None:
        """`group` is the group of messages without their own."""
        self._group = group

    def place(self, group: str | None, deduplication_id: str) -> dict[str, Any]:
        return {"MessageGroupId": group or self._group, "MessageDeduplicationId": deduplication_id}

    def received(self, message: ReceivedMessage) -> ReceivedMessage:
        return message

    def keeps_retry(self, *, may_forget: bool) -> bool:  # noqa: ARG002 - it must always keep them
        return True

    def put_back(
        self,
        task: SettlementTask,
        part: Requeue,  # noqa: ARG002 - the message does not change
        here: Record,
        outgoing: OutgoingMessage,  # noqa: ARG002 - nothing is sent
        *,
        splits: bool,  # noqa: ARG002 - all parts stay in one message
    ) -> None:
        task.keeps.append((here, False))
        task.goes_back = True
