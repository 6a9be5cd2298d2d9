"""Receiving: messages from the queue into the buffer, one receive at a time for all threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from sockudo_queue.drivers.sqs.buffer import Message, Record
from sockudo_queue.drivers.sqs.client import BATCH, SqsClient
from sockudo_queue.drivers.sqs.failure_backoff import FailureBackoff
from sockudo_queue.drivers.sqs.held import HeldMessages
from sockudo_queue.drivers.sqs.messages import Received
from sockudo_queue.drivers.sqs.queues import QueueFinder
from sockudo_queue.drivers.sqs.receiving import receive
from sockudo_queue.drivers.sqs.settlement_plan import sent_on
from sockudo_queue.drivers.sqs.settler import Settler

FAR_AWAY: Final = 5.0
"""Seconds until a record is due, from which on it is sent on once more instead of being held."""
ROUNDING_MS: Final = 2
"""How far the times that SQS tells can be off, since they are whole milliseconds."""
CLOCKS_DIFFER_MS: Final = 24 * 3_600_000
"""By how much the clock of SQS can be off from ours; it takes no signature that is minutes off."""
CLOCKS_MAY_DIFFER: Final = 1.0
"""Seconds by which our idea of the time of SQS may be wrong."""


class Fetcher:
    """Receives for one driver. The caller of `receive` holds `one_at_a_time`."""

    def __init__(
        self,
        client: SqsClient,
        queues: QueueFinder,
        held: HeldMessages,
        settler: Settler,
        failures: FailureBackoff,
        *,
        visibility_seconds: int,
        max_messages: int,
    ) -> None:
        self.one_at_a_time = threading.Lock()
        self._client = client
        self._queues = queues
        self._buffer = held.buffer
        self._settlements = held.settlements
        self._settler = settler
        self._failures = failures
        self._changed = held.changed
        self._clock = clock = held.clock
        self._visibility = visibility_seconds
        self._max_messages = min(max_messages, BATCH)
        self._ordering = held.ordering
        self._server_ahead_ms = (time.time() - clock()) * 1000  # until a message tells better

    def receive(self, wait_seconds: int) -> int:
        """Receive once, with a long poll of so many seconds; return how many messages came."""
        with self._failures.watching("receive"):
            messages = receive(
                self._client,
                self._queues,
                attrgetter("main"),
                most=self._max_messages,
                wait_seconds=wait_seconds,
                visibility_seconds=self._visibility,
            )
        behind: list[Message] = []
        with self._changed:
            self._learn_clock(messages)
            for each in messages:
                behind += self._take_up(each)
            if messages:
                self._changed.notify_all()
        if behind:
            self._settler.give_back(behind)
        return len(messages)

    def server_ms(self) -> float:
        """Return the time of SQS, in milliseconds since 1970, as far as it can be told without asking."""
        return self._clock() * 1000 + self._server_ahead_ms

    def _take_up(self, each: Received) -> list[Message]:
        """Take up one message; return those that must go back because of it. Under the lock."""
        now = self._clock()
        behind: list[Message] = []
        each = self._ordering.received(each)
        known = self._buffer.messages.get(each.message_id)
        if known is not None and known.received.body != each.body:
            return behind  # two messages cannot have one id; this one comes again
        if known is not None and known.until > now:
            # SQS hands out a message twice now and then; the newest handle is the one that counts.
            known.handle, known.until = each.handle, now + self._visibility
            return behind
        if known is not None:
            behind = self._buffer.lose(known)
        message = Message(each, each.handle, now, now + self._visibility)
        due_in = (each.sent_ms + each.delay_ms - ROUNDING_MS - self.server_ms()) / 1000 if each.delay_ms else 0.0
        lapses = each.lapses + self._lapses_of(each)
        record = Record(message, each.record_id, each.state, each.claims + each.receives - 1, lapses, now + due_in)
        message.records.append(record)
        if due_in > FAR_AWAY and not self._ordering.is_ordered:
            self._buffer.messages[message.id] = message
            self._settlements.add(f"{message.id} sent on", sent_on(record, round(due_in * 1000)))
        else:
            self._buffer.add(message, now)
        return behind

    def _lapses_of(self, each: Received) -> int:
        """Return how many receives have lapsed: those that nobody put back.

        Others' put-backs cannot be seen. But they come soon after a receive, and a lapse takes its whole visibility.
        """
        unsettled = each.receives - 1 - self._settler.given_back.get(each.message_id)
        if not each.first_received_ms:
            return max(unsettled, 0)
        passed = (self.server_ms() - each.first_received_ms) / 1000 + CLOCKS_MAY_DIFFER
        return max(min(unsettled, int(passed / self._visibility)), 0)

    def _learn_clock(self, messages: Sequence[Received]) -> None:
        """Learn the time of SQS from messages that were received for the first time just now."""
        here_ms = time.time() * 1000
        fresh = [
            each.first_received_ms
            for each in messages
            if each.receives == 1 and abs(each.first_received_ms - here_ms) < CLOCKS_DIFFER_MS
        ]
        if fresh:
            self._server_ahead_ms = max(fresh) - self._clock() * 1000
