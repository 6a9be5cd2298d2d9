"""The dead letters of an SQS queue: messages in a queue of their own, which can only be read by receiving them.

So a walk receives them with a short visibility timeout, and at its end makes the unused ones visible again. While one
tool holds a letter, other tools do not see it. On a FIFO queue each letter has its own group, because a group with a
message in flight delivers no other; the original group is in an attribute.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

from sockudo_queue.drivers.base import StoredDeadLetter
from sockudo_queue.drivers.sqs.answers import number_of
from sockudo_queue.drivers.sqs.client import BATCH, SqsClient
from sockudo_queue.drivers.sqs.messages import OutgoingMessage, ReceivedMessage
from sockudo_queue.drivers.sqs.queues import QueueFinder
from sockudo_queue.drivers.sqs.receiving import receive
from sockudo_queue.drivers.sqs.settlement_plan import Ordering
from sockudo_queue.errors import BrokerError

HOLD_SECONDS: Final = 60
"""Seconds for which a walk hides a letter: enough for a tool to process a handful of them."""
SAFE_SECONDS: Final = 5.0
"""Seconds of `HOLD_SECONDS` that must be left when an operation on a letter starts."""
EMPTY_RECEIVES: Final = 3
"""Empty receives that end a walk although SQS counts letters: a receive may query only some of its servers."""


@dataclass(frozen=True, slots=True)
class _Held:
    """One received letter, usable until `until` by the driver's clock."""

    received: ReceivedMessage
    until: float


class SqsDeadLetterStore:
    """Safe from any thread. Letters that a walk has received are hidden from others until the walk ends."""

    def __init__(self, client: SqsClient, queues: QueueFinder, clock: Callable[[], float], ordering: Ordering) -> None:
        self._client = client
        self._queues = queues
        self._clock = clock
        self._ordering = ordering
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}

    def letters(self) -> Generator[StoredDeadLetter, None, None]:
        for each in self._walk():
            yield StoredDeadLetter(
                each.record_id, self._queues.name, each.message_id, each.sent_ms, each.body, each.state
            )

    def newest(self, until_ms: int | None = None) -> Generator[StoredDeadLetter, None, None]:
        for letter in self.letters():
            if until_ms is None or letter.died_ms <= until_ms:
                yield letter

    def find(self, record_id: str) -> StoredDeadLetter | None:
        with contextlib.closing(self.letters()) as walk:
            return next((letter for letter in walk if letter.id == record_id), None)

    def replay(self, letters: Sequence[StoredDeadLetter], states: Sequence[bytes]) -> list[bool]:
        """Send each to the queue, then delete the dead letter. A crash in between leaves it in both queues."""
        state_of = {letter.token: state for letter, state in zip(letters, states, strict=True)}
        flags: dict[str, bool] = {}
        for batch in self._held_batches(letters):
            entries = [self._again(held.received, state_of[held.received.message_id]) for held in batch]
            results = self._client.batch("send_message_batch", self._queues.pair().main.url, entries)
            sent = [held for held, failure in zip(batch, results, strict=True) if failure is None]
            flags |= self._delete(sent)
            for failure in results:
                if failure is not None:
                    raise failure.error
        return [flags.get(letter.token, False) for letter in letters]

    def purge(self, letters: Sequence[StoredDeadLetter]) -> list[bool]:
        flags: dict[str, bool] = {}
        for batch in self._held_batches(letters):
            flags |= self._delete(batch)
        return [flags.get(letter.token, False) for letter in letters]

    def drop_older(self, age_ms: int) -> int:
        """Do nothing: SQS itself deletes letters after the queue's retention period."""
        del age_ms
        return 0

    def _walk(self) -> Generator[ReceivedMessage, None, None]:
        """Receive every letter once; at the end, release those still held."""
        seen: set[str] = set()
        empty = 0
        try:
            while empty < EMPTY_RECEIVES:
                fresh = [each for each in self._receive(1 if empty else 0) if each.message_id not in seen]
                seen.update(each.message_id for each in fresh)
                yield from fresh
                empty = 0 if fresh else empty + 1
                if empty and not self._visible():
                    break
        finally:
            self._release(seen)

    def _receive(self, wait_seconds: int) -> list[ReceivedMessage]:
        began = self._clock()
        messages = receive(
            self._client,
            self._queues,
            attrgetter("dead"),
            max_messages=BATCH,
            wait_seconds=wait_seconds,
            visibility_seconds=HOLD_SECONDS,
        )
        with self._lock:
            self._held |= {each.message_id: _Held(each, began + HOLD_SECONDS - SAFE_SECONDS) for each in messages}
        return messages

    def _visible(self) -> int:
        """Return the approximate number of letters that can be received."""
        name = "ApproximateNumberOfMessages"
        url = self._queues.pair().dead.url
        answer = self._client.call("get_queue_attributes", QueueUrl=url, AttributeNames=[name])
        attributes = answer.get("Attributes")
        return number_of(attributes.get(name)) if isinstance(attributes, Mapping) else 0

    def _release(self, tokens: set[str]) -> None:
        """Make letters visible again; if that fails, their visibility timeout does it."""
        with self._lock:
            held = [self._held.pop(token) for token in tokens if token in self._held]
        entries = [{"ReceiptHandle": each.received.handle, "VisibilityTimeout": 0} for each in held]
        with contextlib.suppress(BrokerError):
            for first in range(0, len(entries), BATCH):
                part = entries[first : first + BATCH]
                self._client.batch("change_message_visibility_batch", self._queues.pair().dead.url, part)

    def _held_batches(self, letters: Sequence[StoredDeadLetter]) -> Iterator[list[_Held]]:
        """Yield the requested letters, ten at a time: those held already, then those that a walk receives."""
        wanted = {letter.token for letter in letters}
        ready = self._take(wanted)
        yield from _batches(ready)
        missing = wanted - {held.received.message_id for held in ready}
        if not missing:
            return
        with contextlib.closing(self._walk()) as walk:
            for each in walk:
                if each.message_id in missing:
                    missing.discard(each.message_id)
                    yield from _batches(self._take({each.message_id}))
                if not missing:
                    return

    def _take(self, tokens: set[str]) -> list[_Held]:
        with self._lock:
            now = self._clock()
            return [held for token in tokens if (held := self._held.get(token)) is not None and now < held.until]

    def _delete(self, batch: Sequence[_Held]) -> dict[str, bool]:
        if not batch:
            return {}
        entries = [{"ReceiptHandle": held.received.handle} for held in batch]
        results = self._client.batch("delete_message_batch", self._queues.pair().dead.url, entries)
        flags = {}
        for held, failure in zip(batch, results, strict=True):
            if failure is not None and not failure.lost:
                raise failure.error
            flags[held.received.message_id] = failure is None
        with self._lock:
            for token in flags:
                self._held.pop(token, None)
        return flags

    def _again(self, letter: ReceivedMessage, state: bytes) -> dict[str, Any]:
        """Return the entry that sends a letter back to the queue, behind all waiting messages."""
        entry = OutgoingMessage(letter.record_id, letter.body, state or letter.state, letter.claims).entry()
        # The deduplication id is this letter's message id: another death of the same job is not a duplicate.
        return entry | self._ordering.place(letter.origin, letter.message_id)


def _batches(held: Sequence[_Held]) -> Iterator[list[_Held]]:
    for first in range(0, len(held), BATCH):
        yield list(held[first : first + BATCH])
