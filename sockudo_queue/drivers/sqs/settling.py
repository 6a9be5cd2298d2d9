"""Ends of claims, carried out in batches: first everything that is owed is sent, then the original is deleted.

In that order a crash in the middle leaves a webhook twice and never not at all. An ending that could not be carried out
remembers how far it got, so that it can be tried again without sending twice what was sent.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sockudo_queue.drivers.base import Back, Dead, Later, Settlement
from sockudo_queue.drivers.sqs.client import BATCH, EntryFailed, QueueMissing, SqsClient
from sockudo_queue.drivers.sqs.messages import LONGEST_DELAY, Outgoing, fits, size_of
from sockudo_queue.drivers.sqs.queues import Pair, Queue, Queues
from sockudo_queue.drivers.sqs.shelf import Memory, Message, Record, Shelf
from sockudo_queue.errors import BrokerError

KEPT_LIMIT: Final = 200
"""Records of a standard queue that may wait for their time in our memory; more of them wait in the queue."""
LONGEST_HOLD: Final = 12 * 3600.0
"""Seconds from its receive, after which SQS hides a message no longer."""
TRIES: Final = 3
"""Calls that the failed entries of one batch get before the ending is put off."""


@dataclass(slots=True, eq=False)
class Send:
    """One record that has to be sent before its original may go. `instead` is kept where the queue finds it too big."""

    to_dead_letters: bool
    outgoing: Outgoing
    instead: Record | None = None
    done: bool = False
    deduplication_id: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(slots=True, eq=False)
class Ending:
    """The end of one claim on its way. `settlement` is None for one that nobody waits for."""

    settlement: Settlement | None
    record: Record
    sends: list[Send] = field(default_factory=list)
    keeps: list[tuple[Record, bool]] = field(default_factory=list)  # True: before everything that waits
    goes_back: bool = False
    since: float = field(default_factory=time.monotonic)
    in_flight: bool = False
    ended: bool = False  # its record is off the shelf; what is left is the message's deletion
    accepted: bool | None = None
    error: BrokerError | None = None

    @property
    def is_ack(self) -> bool:
        """Tell whether nothing at all is left of the record."""
        return not (self.sends or self.keeps or self.goes_back)


class Settler:
    """Plans endings and carries them out. `lock` guards the shelf; it is never held during a call."""

    def __init__(
        self,
        client: SqsClient,
        queues: Queues,
        shelf: Shelf,
        lock: threading.Condition,
        clock: Callable[[], float],
        *,
        fifo: bool,
    ) -> None:
        self.given_back = Memory()
        """How often we gave each message back: such a receive is no lapse."""
        self.draining = False
        self._client = client
        self._queues = queues
        self._shelf = shelf
        self._lock = lock
        self._clock = clock
        self._fifo = fifo

    def plan(self, settlement: Settlement, record: Record) -> Ending:
        """Decide what has to be sent and what is kept here. Under the lock."""
        ending = Ending(settlement, record)
        for ordinal, part in enumerate(settlement.parts):
            state = part.state or record.state
            name, claims = (f"{record.id}.{ordinal}", 0) if settlement.splits else (record.id, record.claims)
            kept = Record(record.message, name, state, claims, 0)
            outgoing = Outgoing(name, record.message.received.body, state, claims)
            match part:
                case Dead():
                    ending.sends.append(Send(True, replace(outgoing, origin=record.message.group)))
                case Later(_, delay_ms):
                    kept.due = self._clock() + delay_ms / 1000
                    may_forget = not (part.durable or settlement.splits)
                    if self._fifo or (may_forget and self._shelf.delayed < KEPT_LIMIT):
                        ending.keeps.append((kept, False))
                    else:
                        ending.sends.append(Send(False, replace(outgoing, delay_ms=delay_ms), kept))
                case Back():
                    kept.lapses = record.lapses + part.lapsed
                    self._plan_back(ending, part, kept, outgoing, splits=settlement.splits)
        return ending

    def _plan_back(self, ending: Ending, part: Back, kept: Record, outgoing: Outgoing, *, splits: bool) -> None:
        changed = splits or (part.state and part.state != ending.record.state)
        if part.lapsed:
            ending.keeps.append((kept, True))
        elif self._fifo:
            ending.keeps.append((kept, False))
            ending.goes_back = True
        elif changed:
            ending.sends.append(Send(False, replace(outgoing, lapses=kept.lapses), kept))
        else:
            ending.goes_back = True

    def send_on(self, record: Record, delay_ms: int) -> Ending:
        """Plan to send a record once more whose time is further away than SQS can delay it."""
        received = record.message.received
        outgoing = Outgoing(record.id, received.body, record.state, received.claims, received.lapses, delay_ms)
        ending = Ending(None, record)
        ending.sends.append(Send(False, outgoing, record))
        return ending

    def carry_out(self, endings: Sequence[Ending]) -> None:
        """Carry out what is left of each; those with `accepted` set are done, for the others it may be tried again.

        Raises the first `BrokerError`, after everything that could be done.
        """
        for ending in endings:
            ending.error = None
        live = [ending for ending in endings if self._is_ours(ending)]
        if live:
            try:
                pair = self._queues.pair()
                self._send(live, pair)
                self._finish([ending for ending in live if ending.error is None], pair.main)
            except QueueMissing:
                self._queues.forget()
                raise
        for ending in live:
            if ending.error is not None:
                raise ending.error

    def renew(self, messages: Sequence[Message], seconds: int) -> None:
        """Hide messages from others for so many seconds from now on; those that are not ours any more are lost."""
        url = self._queues.pair().main.url
        began = self._clock()

        def renewal(message: Message) -> dict[str, Any]:
            left = int(message.got_at + LONGEST_HOLD - began)
            return {**_handle(message), "VisibilityTimeout": min(seconds, left)} if left > 0 else {}

        # What has lapsed is not asked for again: somebody else may have it, and SQS would not tell.
        lapsed = [message for message in messages if message.until <= began]
        ours = [message for message in messages if message.until > began]
        for message, failure in self._batches("change_message_visibility_batch", url, ours, renewal):
            if failure is None:
                with self._lock:
                    message.until = began + min(seconds, message.got_at + LONGEST_HOLD - began)
            elif failure.lost:
                lapsed.append(message)
        for message in lapsed:
            self._lose(message)

    def _lose(self, message: Message) -> None:
        """Forget a message that is not ours any more, and give back those behind it in its group."""
        with self._lock:
            behind = self._shelf.lose(message)
        if behind:
            self.give_back(behind)

    def give_back(self, messages: Sequence[Message]) -> None:
        """Make messages visible for everybody at once, those of one group in order. Raises `BrokerError`."""
        url = self._queues.pair().main.url
        # The last of a group first: as soon as its first one is visible, the group is open.
        in_order = sorted(messages, key=lambda message: message.got_at)
        for message, failure in self._batches("change_message_visibility_batch", url, in_order[::-1], _to_visible):
            with self._lock:
                if failure is None:
                    self.given_back.set(message.id, self.given_back.get(message.id) + 1)
                self._shelf.remove(message, self._clock())
                self._lock.notify_all()

    def _is_ours(self, ending: Ending) -> bool:
        """Tell whether the message can still be settled; if not, the ending is done, and refused."""
        message = ending.record.message
        if not message.lost and self._clock() < message.until:
            return True
        ending.accepted = False
        self._lose(message)
        if ending.is_ack and not self._fifo:
            # Everything is delivered. If nobody has the message yet, this spares its receivers a second time; if
            # somebody has, that one's results stand in messages of their own. Where it fails, it is as without it.
            with contextlib.suppress(BrokerError):
                self._client.batch("delete_message_batch", self._queues.pair().main.url, [_handle(message)])
        return False

    def _send(self, endings: Sequence[Ending], pair: Pair) -> None:
        for queue, to_dead_letters in ((pair.dead, True), (pair.main, False)):
            waiting: list[tuple[Ending, Send]] = [
                (ending, send)
                for ending in endings
                for send in ending.sends
                if not send.done and send.to_dead_letters is to_dead_letters
            ]
            entries = [(ending, send, self._entry(ending, send, queue)) for ending, send in waiting]
            for (ending, send, _), failure in self._batches(
                "send_message_batch", queue.url, entries, lambda e: e[2] or {}, queue
            ):
                if failure is None:
                    send.done = True
                elif failure.too_large and send.instead is not None:
                    self._keep_instead(ending, send)
                else:
                    if failure.too_large:
                        send.outgoing = _bare(send.outgoing)  # the queue's limit is not the one that it told
                    ending.error = failure.error

    def _entry(self, ending: Ending, send: Send, queue: Queue) -> dict[str, Any] | None:
        """Return the entry to send; None where the record stays here because the queue would not take it."""
        entry = send.outgoing.entry()
        if not fits(entry, queue):
            if send.instead is not None:
                self._keep_instead(ending, send)
                return None
            entry = _bare(send.outgoing).entry()
        if self._fifo:
            # Only dead letters are sent from a FIFO queue, each into a group of its own. The id stays the same when an
            # ending is tried again, so that a lost answer doubles nothing.
            entry |= {"MessageGroupId": send.deduplication_id, "MessageDeduplicationId": send.deduplication_id}
        elif send.outgoing.delay_ms:
            entry["DelaySeconds"] = min(send.outgoing.delay_ms // 1000, LONGEST_DELAY)
        return entry

    def _keep_instead(self, ending: Ending, send: Send) -> None:
        """Hold on to the message itself, in place of a copy with its state that would be too large."""
        send.done = True
        assert send.instead is not None
        ending.keeps.append((send.instead, False))

    def _finish(self, endings: Iterable[Ending], queue: Queue) -> None:
        deletes: list[Ending] = []
        backs: list[Ending] = []
        with self._lock:
            now = self._clock()
            for ending in endings:
                message = ending.record.message
                if not ending.ended:
                    self._shelve(ending, now)
                if not message.records:
                    deletes.append(ending)
                elif (message.goes_back or self.draining) and not message.is_claimed:
                    backs.append(ending)
                else:
                    ending.accepted = True
        for ending, failure in self._batches(
            "delete_message_batch", queue.url, deletes, lambda e: _handle(e.record.message)
        ):
            self._deleted(ending, failure)
        self.give_back([ending.record.message for ending in backs])
        for ending in backs:
            ending.accepted = True

    def _shelve(self, ending: Ending, now: float) -> None:
        """Take the claimed record off the shelf and put there what is kept of it. Under the lock."""
        message = ending.record.message
        self._shelf.end(ending.record)
        ending.ended = True
        message.goes_back |= ending.goes_back
        for record, first in ending.keeps:
            message.records.append(record)
            self._shelf.keep(record, now, first=first)
        if ending.goes_back and not ending.keeps and not ending.sends:
            message.records.append(ending.record)  # it stays until it is given back
        self._lock.notify_all()

    def _deleted(self, ending: Ending, failure: EntryFailed | None) -> None:
        message = ending.record.message
        if failure is not None and not failure.lost:
            ending.error = failure.error
            return
        ending.accepted = failure is None
        if failure is not None:
            self._lose(message)
        with self._lock:
            self._shelf.remove(message, self._clock())
            self._lock.notify_all()

    def _batches(
        self,
        operation: str,
        url: str,
        items: Sequence[Any],
        entry_of: Callable[[Any], dict[str, Any]],
        queue: Queue | None = None,
    ) -> Iterator[tuple[Any, EntryFailed | None]]:
        """Send items in batches that SQS takes, failed ones again; yield each with its result.

        Items without an entry are left out.
        """
        for batch in _cut([(item, entry) for item in items if (entry := entry_of(item))], queue):
            left = batch
            for tries_left in range(TRIES - 1, -1, -1):
                results = self._client.batch(operation, url, [entry for _, entry in left])
                again: list[tuple[Any, dict[str, Any]]] = []
                for (item, entry), failure in zip(left, results, strict=True):
                    if failure is None or failure.lost or failure.too_large or not tries_left:
                        yield item, failure
                    else:
                        again.append((item, entry))
                left = again
                if not left:
                    break


def _cut(
    entries: Sequence[tuple[Any, dict[str, Any]]], queue: Queue | None
) -> Iterator[list[tuple[Any, dict[str, Any]]]]:
    """Cut into batches of ten, and of no more bytes than one message may have, which is the limit of a batch too."""
    batch: list[tuple[Any, dict[str, Any]]] = []
    size = 0
    for item, entry in entries:
        more = size_of(entry) if queue is not None else 0
        if batch and (len(batch) == BATCH or (queue is not None and size + more > queue.max_bytes)):
            yield batch
            batch, size = [], 0
        batch.append((item, entry))
        size += more
    if batch:
        yield batch


def _bare(outgoing: Outgoing) -> Outgoing:
    """Return a dead letter that is too large otherwise: it keeps its text and loses its history."""
    return Outgoing("", outgoing.body, origin=outgoing.origin)


def _handle(message: Message) -> dict[str, Any]:
    return {"ReceiptHandle": message.handle}


def _to_visible(message: Message) -> dict[str, Any]:
    return {"ReceiptHandle": message.handle, "VisibilityTimeout": 0}
