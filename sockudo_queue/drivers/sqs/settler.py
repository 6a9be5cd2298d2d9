"""Carries out settlements in batches: first sends everything that is still owed, then deletes the original.

In that order a crash in between duplicates a webhook but never loses one. A settlement that failed half-way records its
progress, so that a retry does not send the same message twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

from sockudo_queue.drivers.sqs.batches import in_batches
from sockudo_queue.drivers.sqs.buffer import Message, RecentNumbers
from sockudo_queue.drivers.sqs.client import EntryFailed, QueueMissing, SqsClient
from sockudo_queue.drivers.sqs.held import HeldMessages
from sockudo_queue.drivers.sqs.messages import MAX_DELAY_SECONDS, OutgoingMessage, fits
from sockudo_queue.drivers.sqs.queues import QueueFinder, QueuePair, SqsQueue
from sockudo_queue.drivers.sqs.settlement_plan import SendTask, SettlementTask
from sockudo_queue.errors import BrokerError

VISIBILITY: Final = "change_message_visibility_batch"
MAX_HOLD_SECONDS: Final = 12 * 3600.0
"""Maximum seconds from its receive for which SQS hides a message."""


class Settler:
    """Carries out settlements and gives messages back."""

    def __init__(self, client: SqsClient, queues: QueueFinder, held: HeldMessages) -> None:
        self.given_back = RecentNumbers()
        """How often we gave each message back: such a receive does not count as a lapse."""
        self.draining = False
        self._client = client
        self._queues = queues
        self._buffer = held.buffer
        self._changed = held.changed
        self._clock = held.clock
        self._ordering = held.ordering

    def carry_out(self, tasks: Sequence[SettlementTask]) -> None:
        """Carry out the rest of each; those with `accepted` set are done, the others may be retried.

        Raises the first `BrokerError`, after it has done as much as possible.
        """
        for task in tasks:
            task.error = None
        live = [task for task in tasks if self._may_go_on(task)]
        if live:
            try:
                pair = self._queues.pair()
                self._send(live, pair)
                self._finish([task for task in live if task.error is None], pair.main)
            except QueueMissing:
                self._queues.forget()
                raise
        for task in live:
            if task.error is not None:
                raise task.error

    def renew(self, messages: Sequence[Message], seconds: int) -> None:
        """Hide messages from other consumers for `seconds` from now; drop those that are no longer ours."""
        url = self._queues.pair().main.url
        began = self._clock()

        def renewal(message: Message) -> dict[str, Any]:
            left = int(message.got_at + MAX_HOLD_SECONDS - began)
            return {**_handle(message), "VisibilityTimeout": min(seconds, left)} if left > 0 else {}

        # Lapsed messages are not renewed: another consumer may have them, and SQS would not report that.
        lapsed = [message for message in messages if message.until <= began]
        ours = [message for message in messages if message.until > began]
        for message, failure in in_batches(self._client, VISIBILITY, url, ours, renewal):
            if failure is None:
                with self._changed:
                    message.until = began + min(seconds, message.got_at + MAX_HOLD_SECONDS - began)
            elif failure.lost:
                lapsed.append(message)
        for message in lapsed:
            self._lose(message)

    def _lose(self, message: Message) -> None:
        """Drop a message that is no longer ours, and give back those behind it in its group."""
        with self._changed:
            behind = self._buffer.lose(message)
        if behind:
            self.give_back(behind)

    def give_back(self, messages: Sequence[Message]) -> None:
        """Make messages visible immediately, keeping the order of each group. Raises `BrokerError`."""
        url = self._queues.pair().main.url
        # Last of a group first: a group is delivered again as soon as its first message is visible.
        in_order = sorted(messages, key=lambda message: message.got_at)
        for message, failure in in_batches(
            self._client, "change_message_visibility_batch", url, in_order[::-1], _to_visible
        ):
            with self._changed:
                if failure is None:
                    self.given_back.set(message.id, self.given_back.get(message.id) + 1)
                self._buffer.remove(message, self._clock())
                self._changed.notify_all()

    def is_ours(self, message: Message) -> bool:
        """Return whether a message can still be settled."""
        return not message.lost and self._clock() < message.until

    def _may_go_on(self, task: SettlementTask) -> bool:
        """Return whether a settlement's message is still ours; if not, mark the settlement as refused."""
        message = task.record.message
        if self.is_ours(message):
            return True
        task.accepted = False
        leaves_nothing = task.leaves_nothing
        self._lose(message)
        if leaves_nothing and not self._ordering.is_ordered:
            # Everything is delivered or sent on. If no other consumer has the message yet, deleting it avoids a
            # duplicate; if one has, its results are in messages of their own. A failure of this call does no harm.
            with contextlib.suppress(BrokerError):
                self._client.batch("delete_message_batch", self._queues.pair().main.url, [_handle(message)])
        return False

    def _send(self, tasks: Sequence[SettlementTask], pair: QueuePair) -> None:
        for queue, to_dead_letters in ((pair.dead, True), (pair.main, False)):
            waiting: list[tuple[SettlementTask, SendTask]] = [
                (task, send)
                for task in tasks
                for send in task.sends
                if not send.done and send.to_dead_letters is to_dead_letters
            ]
            entries = [(task, send, self._entry(task, send, queue)) for task, send in waiting]
            sent = in_batches(self._client, "send_message_batch", queue.url, entries, _entry_in, queue)
            for (task, send, _), failure in sent:
                if failure is None:
                    send.done = True
                elif failure.too_large and send.instead is not None:
                    self._keep_instead(task, send)
                else:
                    if failure.too_large:
                        send.outgoing = _bare(send.outgoing)  # the queue's real limit is lower than it reported
                    task.error = failure.error

    def _entry(self, task: SettlementTask, send: SendTask, queue: SqsQueue) -> dict[str, Any] | None:
        """Return the entry to send; None if the record is kept here because it is too large for the queue."""
        entry = send.outgoing.entry()
        if not fits(entry, queue):
            if send.instead is not None:
                self._keep_instead(task, send)
                return None
            entry = _bare(send.outgoing).entry()
        # A FIFO queue only sends dead letters, each into its own group. A retry uses the same deduplication id, so a
        # lost response causes no duplicate.
        entry |= self._ordering.place(send.deduplication_id, send.deduplication_id)
        if send.outgoing.delay_ms:
            entry["DelaySeconds"] = min(send.outgoing.delay_ms // 1000, MAX_DELAY_SECONDS)
        return entry

    def _keep_instead(self, task: SettlementTask, send: SendTask) -> None:
        """Keep the message itself, because a copy with the new state would be too large."""
        send.done = True
        assert send.instead is not None
        task.keeps.append((send.instead, False))

    def _finish(self, tasks: Iterable[SettlementTask], queue: SqsQueue) -> None:
        deletes: list[SettlementTask] = []
        backs: list[SettlementTask] = []
        with self._changed:
            now = self._clock()
            for task in tasks:
                message = task.record.message
                if not task.is_kept:
                    self.keep(task, now)
                if not message.records:
                    deletes.append(task)
                elif (message.goes_back or self.draining) and not message.is_claimed:
                    backs.append(task)
                else:
                    task.accepted = True
        deleted = in_batches(self._client, "delete_message_batch", queue.url, deletes, _handle_in)
        for task, failure in deleted:
            self._deleted(task, failure)
        self.give_back([task.record.message for task in backs])
        for task in backs:
            task.accepted = True
        if self.draining and self._ordering.is_ordered:
            # Messages behind a claimed one must not go back before it ends, or they would be delivered first.
            with self._changed:
                idle = self._buffer.idle()
            self.give_back(idle)

    def keep(self, task: SettlementTask, now: float) -> None:
        """End a record's claim in the buffer, and add the records to keep. Under the lock."""
        message = task.record.message
        self._buffer.end(task.record)
        task.is_kept = True
        message.goes_back |= task.goes_back
        for record, first in task.keeps:
            message.records.append(record)
            self._buffer.keep(record, now, first=first)
        if task.goes_back and not task.keeps and not task.sends:
            message.records.append(task.record)  # it stays until the message is given back
        self._changed.notify_all()

    def _deleted(self, task: SettlementTask, failure: EntryFailed | None) -> None:
        message = task.record.message
        if failure is not None and not failure.lost:
            task.error = failure.error
            return
        task.accepted = failure is None
        if failure is not None:
            self._lose(message)
        with self._changed:
            self._buffer.remove(message, self._clock())
            self._changed.notify_all()


def _bare(outgoing: OutgoingMessage) -> OutgoingMessage:
    """Return a dead letter without id and state, because it is too large otherwise."""
    return OutgoingMessage("", outgoing.body, origin=outgoing.origin)


def _handle(message: Message) -> dict[str, Any]:
    return {"ReceiptHandle": message.handle}


def _to_visible(message: Message) -> dict[str, Any]:
    return {"ReceiptHandle": message.handle, "VisibilityTimeout": 0}


def _handle_in(task: SettlementTask) -> dict[str, Any]:
    return _handle(task.record.message)


def _entry_in(item: tuple[SettlementTask, SendTask, dict[str, Any] | None]) -> dict[str, Any]:
    return item[2] or {}
