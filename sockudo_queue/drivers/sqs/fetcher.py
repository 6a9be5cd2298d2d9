"""Receives messages from the queue into the buffer, one receive at a time for all threads."""

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
from sockudo_queue.drivers.sqs.messages import ReceivedMessage
from sockudo_queue.drivers.sqs.queues import QueueFinder
from sockudo_queue.drivers.sqs.receiving import receive
from sockudo_queue.drivers.sqs.settlement_plan import sent_on
from sockudo_queue.drivers.sqs.settler import Settler

MAX_HELD_SECONDS: Final = 5.0
"""Seconds until due above which a record is sent again with a delay instead of being held."""
ROUNDING_MS: Final = 2
"""Maximum rounding error of SQS's timestamps, which are whole milliseconds."""
CLOCKS_DIFFER_MS: Final = 24 * 3_600_000
"""Maximum difference between SQS's clock and ours: SQS refuses signatures that are minutes off, so more is wrong."""
CLOCKS_MAY_DIFFER: Final = 1.0
"""Maximum error, in seconds, of our estimate of SQS's time."""


class Fetcher:
    """Receives for one driver. Callers of `receive` must hold `one_at_a_time`."""

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
        self._server_ahead_ms = (time.time() - clock()) * 1000  # until a message gives a better value

    def receive(self, wait_seconds: int) -> int:
        """Receive once, with a long poll of `wait_seconds`; return the number of messages."""
        with self._failures.watching("receive"):
            messages = receive(
                self._client,
                self._queues,
                attrgetter("main"),
                max_messages=self._max_messages,
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
        """Return the estimated time of SQS, in milliseconds since 1970."""
        return self._clock() * 1000 + self._server_ahead_ms

    def _take_up(self, each: ReceivedMessage) -> list[Message]:
        """Add one message to the buffer; return those that must go back because of it. Under the lock."""
        now = self._clock()
        behind: list[Message] = []
        each = self._ordering.received(each)
        known = self._buffer.messages.get(each.message_id)
        if known is not None and known.received.body != each.body:
            return behind  # two messages cannot share an id; this one will be received again
        if known is not None and known.until > now:
            # SQS sometimes delivers a message twice; the newest handle is the valid one.
            known.handle, known.until = each.handle, now + self._visibility
            return behind
        if known is not None:
            behind = self._buffer.lose(known)
        message = Message(each, each.handle, now, now + self._visibility)
        due_in = (each.sent_ms + each.delay_ms - ROUNDING_MS - self.server_ms()) / 1000 if each.delay_ms else 0.0
        lapses = each.lapses + self._lapses_of(each)
        record = Record(message, each.record_id, each.state, each.claims + each.receives - 1, lapses, now + due_in)
        message.records.append(record)
        if due_in > MAX_HELD_SECONDS and not self._ordering.is_ordered:
            self._buffer.messages[message.id] = message
            self._settlements.add(f"{message.id} sent on", sent_on(record, round(due_in * 1000)))
        else:
            self._buffer.add(message, now)
        return behind

    def _lapses_of(self, each: ReceivedMessage) -> int:
        """Return how many earlier receives have lapsed, that is, were not given back.

        Returns by other consumers cannot be seen. But they follow soon after a receive, and a lapse takes the whole
        visibility timeout, so the time that has passed limits the number of lapses.
        """
        unsettled = each.receives - 1 - self._settler.given_back.get(each.message_id)
        if not each.first_received_ms:
            return max(unsettled, 0)
        passed = (self.server_ms() - each.first_received_ms) / 1000 + CLOCKS_MAY_DIFFER
        return max(min(unsettled, int(passed / self._visibility)), 0)

    def _learn_clock(self, messages: Sequence[ReceivedMessage]) -> None:
        """Estimate SQS's time from messages that were just received for the first time."""
        here_ms = time.time() * 1000
        fresh = [
            each.first_received_ms
            for each in messages
            if each.receives == 1 and abs(each.first_received_ms - here_ms) < CLOCKS_DIFFER_MS
        ]
        if fresh:
            self._server_ahead_ms = max(fresh) - self._clock() * 1000
