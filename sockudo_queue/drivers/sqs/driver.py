"""The contract of drivers on Amazon SQS: one small buffer for all workers, filled by one receive at a time.

While the daemon is idle, its bell sits in a long poll; a worker receives by itself only where the buffer is empty and
nobody else is at it. What `next` settles is carried out in batches by `tend`. Everything held is renewed together.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sockudo_queue.drivers.base import Claim, Settlement, Tended, Turn
from sockudo_queue.drivers.sqs.client import BATCH, QueueMissing, SqsClient
from sockudo_queue.drivers.sqs.dead import SqsDeadLetters
from sockudo_queue.drivers.sqs.messages import SYSTEM_ATTRIBUTES, Outgoing, Received, received
from sockudo_queue.drivers.sqs.queues import Queues
from sockudo_queue.drivers.sqs.settling import Ending, Settler
from sockudo_queue.drivers.sqs.shelf import Message, Record, Shelf
from sockudo_queue.drivers.sqs.trouble import Trouble
from sockudo_queue.errors import BrokerError

LINGER: Final = 0.5
"""Seconds for which the end of a claim waits for nine others, to share a call with them. On FIFO queues it does not:
the next message of its group waits for it."""
SEND_LINGER: Final = 0.1
"""The same for one that has something to send, whose delay begins with the sending."""
HELD_LIMIT: Final = 1000
"""Messages held at most, with those that cannot be begun because one before them in their group is not ended."""
FAR_AWAY: Final = 5.0
"""Seconds until a record is due, from which on it is sent on once more instead of being held."""
ROUNDING_MS: Final = 2
"""How far the times that SQS tells can be off, since they are whole milliseconds."""
CLOCKS_MAY_DIFFER: Final = 1.0
"""Seconds by which our idea of the time of SQS may be wrong."""
SAMPLE_SECONDS: Final = 30.0
COUNTS: Final = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


class SqsDriver:
    """One queue. Times inside are in seconds by `clock`, which a test can put forward."""

    name = "sqs"

    def __init__(
        self,
        client: SqsClient,
        queues: Queues,
        *,
        fifo: bool,
        group: str,
        visibility_seconds: int,
        max_messages: int,
        wait_seconds: int,
        concurrency: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sources: tuple[str, ...] = (queues.name,)
        self.bell_seconds = float(max(wait_seconds, 1))
        self.renew_seconds = visibility_seconds / 3
        self.sample_seconds = SAMPLE_SECONDS
        self._client = client
        self._queues = queues
        self._fifo = fifo
        self._group = group
        self._visibility = visibility_seconds
        self._max_messages = min(max_messages, BATCH)
        self._wait_seconds = wait_seconds
        self._concurrency = concurrency
        self._clock = clock
        self._changed = threading.Condition()
        self._receiving = threading.Lock()
        self._shelf = Shelf()
        self._settler = Settler(client, queues, self._shelf, self._changed, clock, fifo=fifo)
        self.dead_letters = SqsDeadLetters(client, queues, clock, fifo=fifo, group=group)
        self._trouble = Trouble()
        self._endings: dict[str, Ending] = {}  # by receipt, until they are done
        self._ended: dict[str, tuple[Settlement, bool]] = {}
        self._tended = False
        self._news_rung = 0
        self._news_tended = 0
        self._server_ahead_ms = (time.time() - clock()) * 1000  # until a message tells better

    # Claims

    def next(self, settled: Settlement | None) -> Turn:
        """As the contract says; with `tend` at work a settlement is taken over, and `accepted` is None."""
        accepted, asked = self._end(settled) if settled is not None else (True, False)
        try:
            claim, received_some = self._next_claim()
        except BrokerError:
            if settled is None:
                raise
            # This settlement must not be brought again; the bell runs into the same fault and tells of it.
            return Turn(accepted, None, asked=asked)
        return Turn(accepted, claim, asked=asked or received_some)

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Carry out at once, also what `next` has taken over."""
        wanted: list[Ending | bool] = [self._taken_out(settlement) for settlement in settlements]
        mine = [ending for ending in wanted if isinstance(ending, Ending)]
        try:
            self._settler.carry_out(mine)
        finally:
            self._put_away(mine, told=True)
        return [bool(ending.accepted) if isinstance(ending, Ending) else ending for ending in wanted]

    def renew(self, claims: Sequence[Claim]) -> list[bool]:
        """Renew everything that is held, the given claims and the rest, in batches."""
        if self._trouble.pause_of("renew"):
            self._trouble.check("renew")
        with self._changed:
            ending = {id(ending.record.message) for ending in self._endings.values() if ending.in_flight}
            held = [message for message in self._shelf.messages.values() if id(message) not in ending]
        with self._trouble.watching("renew"):  # also where nothing is left to renew, which ends its trouble
            if held:
                self._settler.renew(held, self._visibility)
        with self._changed:
            return [claim.receipt in self._shelf.claimed for claim in claims]

    # What prefetching drivers do besides

    def prepare(self) -> None:
        """Find or make the queues, and receive for the first time, so that a missing permission shows at the start."""
        self._queues.pair()
        with self._receiving:
            self._receive(0)

    def tend(self, timeout: float) -> Tended:
        give_up_at = time.monotonic() + timeout
        with self._changed:
            self._tended = True
            while not (batch := self._ripe()) and not self._ended and not self._has_news():
                left = give_up_at - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(min(left, self._until_something()))
            for ending in batch:
                ending.in_flight = True
        if batch:
            try:
                with self._trouble.watching("settle"):
                    self._settler.carry_out(batch)
            finally:
                self._put_away(batch, told=False)
        with self._changed:
            ended, self._ended = tuple(self._ended.values()), {}
            claimable = self._shelf.claimable(self._clock()) if self._has_news() else 0
            self._news_tended = self._shelf.news
        return Tended(ended, claimable)

    def give_back(self) -> None:
        self._settler.draining = True
        with self._receiving:  # a receive that is on its way still brings messages
            with self._changed:
                unclaimed = self._shelf.unclaimed()
                settling = {id(ending.record.message) for ending in self._endings.values()}
            self._settler.give_back([message for message in unclaimed if id(message) not in settling])

    # The rest of the contract

    def wait(self, source: str, timeout: float) -> int:
        """Receive with a long poll, unless enough is held; ring for whatever became claimable meanwhile."""
        assert source == self.sources[0]
        give_up_at = time.monotonic() + timeout
        while True:
            self._trouble.check("receive")
            with self._changed:
                claimable = self._shelf.claimable(self._clock())
                left = give_up_at - time.monotonic()
                if claimable and self._shelf.news != self._news_rung:
                    self._news_rung = self._shelf.news
                    return claimable
                if not self._has_room():
                    if left <= 0:
                        return claimable
                    self._changed.wait(left)
                    continue
            with self._receiving:
                got = self._receive(min(self._wait_seconds, max(round(left), 0)))
            if not got:
                return self._rest(give_up_at)

    def put(self, body: bytes) -> None:
        entry = Outgoing("", body).entry()
        if self._fifo:
            # Two equal jobs are two jobs.
            entry |= {"MessageGroupId": self._group, "MessageDeduplicationId": os.urandom(16).hex()}
        self._client.call("send_message", QueueUrl=self._queues.pair().main.url, **entry)

    def depth(self) -> Mapping[str, int]:
        """Count as SQS does, which is approximately; what is in our buffer counts as ready, as it would elsewhere."""
        self._trouble.check("depth")
        pair = self._queues.pair()
        ready, hidden, delayed = self._counts(pair.main.url)
        dead, dead_hidden, _ = self._counts(pair.dead.url)
        with self._changed:
            waiting, kept = self._shelf.claimable(self._clock()), self._shelf.delayed
        return {
            "ready": ready + waiting,
            "active": max(hidden - waiting - kept, 0),
            "delayed": delayed + kept,
            "dead-letter": dead + dead_hidden,
        }

    def peek(self) -> bytes | None:
        """Return the oldest job in the buffer: SQS shows nothing without handing it out."""
        with self._changed:
            waiting = [record.message.received for record in self._shelf.waiting]
        return min(waiting, key=lambda one: one.sent_ms).body if waiting else None

    def ping(self) -> None:
        self._counts(self._queues.pair().main.url)

    def close(self) -> None:
        self._client.close()

    # How a claim begins

    def _next_claim(self) -> tuple[Claim | None, bool]:
        """Return a claim, and whether SQS was asked and has answered."""
        if self._trouble.pause_of("settle") or self._trouble.pause_of("renew"):
            self._trouble.check("claim")  # what cannot be settled shall not become more
        claim = self._take()
        if claim is not None or not self._receiving.acquire(blocking=False):
            return claim, False
        try:
            with self._changed:
                has_room = self._has_room()
            if not has_room:
                return None, False
            self._trouble.check("receive")
            self._receive(0)
        finally:
            self._receiving.release()
        return self._take(), True

    def _take(self) -> Claim | None:
        with self._changed:
            if self._settler.draining:
                return None
            record = self._shelf.take(self._clock())
            if record is None:
                return None
            if self._has_room():
                self._changed.notify_all()
            return Claim(
                self.sources[0],
                record.receipt,
                record.message.received.body,
                record.state,
                record.lapses,
                round(self._server_ms()),
                ordered=self._fifo,
            )

    def _has_room(self) -> bool:
        """Tell whether more may be received. Under the lock."""
        return (
            not self._settler.draining
            and self._shelf.claimable(self._clock()) <= self._concurrency
            and len(self._shelf.messages) < HELD_LIMIT
        )

    def _receive(self, wait_seconds: int) -> int:
        """Receive once, under the lock of receiving; return how many messages came."""
        with self._trouble.watching("receive"):
            try:
                answer = self._client.call(
                    "receive_message",
                    QueueUrl=self._queues.pair().main.url,
                    MaxNumberOfMessages=self._max_messages,
                    WaitTimeSeconds=wait_seconds,
                    VisibilityTimeout=self._visibility,
                    MessageAttributeNames=["All"],
                    MessageSystemAttributeNames=SYSTEM_ATTRIBUTES,
                )
            except QueueMissing:
                self._queues.forget()
                raise
        messages = [each for each in map(received, answer.get("Messages") or ()) if each is not None]
        behind: list[Message] = []
        with self._changed:
            self._learn_clock(messages)
            for each in messages:
                behind += self._shelve(each)
            if messages:
                self._changed.notify_all()
        if behind:
            self._settler.give_back(behind)
        return len(messages)

    def _shelve(self, each: Received) -> list[Message]:
        """Take up one message; return those that must go back because of it. Under the lock."""
        now = self._clock()
        behind: list[Message] = []
        known = self._shelf.messages.get(each.message_id)
        if known is not None and known.until > now:
            # SQS hands out a message twice now and then; the newest handle is the one that counts.
            known.handle, known.until = each.handle, now + self._visibility
            return behind
        if known is not None:
            behind = self._shelf.lose(known)
        message = Message(each, each.handle, now, now + self._visibility)
        due_in = (each.sent_ms + each.delay_ms - ROUNDING_MS - self._server_ms()) / 1000 if each.delay_ms else 0.0
        lapses = each.lapses + self._lapses_of(each)
        record = Record(message, each.record_id, each.state, each.claims + each.receives - 1, lapses, now + due_in)
        message.records.append(record)
        if due_in > FAR_AWAY and not self._fifo:
            self._shelf.messages[message.id] = message
            self._endings[f"{message.id} sent on"] = self._settler.send_on(record, round(due_in * 1000))
        else:
            self._shelf.add(message, now)
        return behind

    def _lapses_of(self, each: Received) -> int:
        """Return how many receives have lapsed: those that nobody put back.

        Others' put-backs cannot be seen. But they come soon after a receive, and a lapse takes its whole visibility.
        """
        unsettled = each.receives - 1 - self._settler.given_back.get(each.message_id)
        if not each.first_received_ms:
            return max(unsettled, 0)
        passed = (self._server_ms() - each.first_received_ms) / 1000 + CLOCKS_MAY_DIFFER
        return max(min(unsettled, int(passed / self._visibility)), 0)

    def _learn_clock(self, messages: Sequence[Received]) -> None:
        """Learn the time of SQS from messages that were received for the first time just now."""
        fresh = [each.first_received_ms for each in messages if each.receives == 1 and each.first_received_ms]
        if fresh:
            self._server_ahead_ms = max(fresh) - self._clock() * 1000

    def _server_ms(self) -> float:
        return self._clock() * 1000 + self._server_ahead_ms

    def _rest(self, give_up_at: float) -> int:
        """Wait out a receive that brought nothing: a server that answers at once must not be asked in a hot loop."""
        with self._changed:
            left = give_up_at - time.monotonic()
            if left > 0 and not self._has_news_to_ring():
                self._changed.wait(left)
            self._news_rung = self._shelf.news
            return self._shelf.claimable(self._clock())

    # How a claim ends

    def _end(self, settled: Settlement) -> tuple[bool | None, bool]:
        """Settle for `next`; return whether it was accepted, and whether SQS has answered."""
        with self._changed:
            if settled.claim.receipt in self._ended:
                return None, False
            ending = self._planned(settled)
            if ending is None:
                return False, False
            if self._tended:
                self._changed.notify_all()
                return None, False
        return self.settle([settled])[0], True

    def _planned(self, settlement: Settlement) -> Ending | None:
        """Return the ending of a claim, planned now or before; None where the claim is not ours. Under the lock."""
        receipt = settlement.claim.receipt
        ending = self._endings.get(receipt)
        if ending is None and (record := self._shelf.claimed.get(receipt)) is not None:
            ending = self._endings[receipt] = self._settler.plan(settlement, record)
        return ending

    def _taken_out(self, settlement: Settlement) -> Ending | bool:
        """Return an ending for its caller alone to carry out, or its result where there is one."""
        receipt = settlement.claim.receipt
        with self._changed:
            while (ending := self._planned(settlement)) is not None and ending.in_flight:
                self._changed.wait()
            if receipt in self._ended:
                return self._ended.pop(receipt)[1]
            if ending is None:
                return False
            ending.in_flight = True
            return ending

    def _put_away(self, endings: Sequence[Ending], *, told: bool) -> None:
        """Take what is done off the list; `told` says that its caller knows the result."""
        with self._changed:
            for ending in endings:
                ending.in_flight = False
            done = {id(ending) for ending in endings if ending.accepted is not None}
            for key, ending in list(self._endings.items()):
                if id(ending) in done:
                    del self._endings[key]
                    if ending.settlement is not None and not told:
                        self._ended[key] = (ending.settlement, bool(ending.accepted))
            self._changed.notify_all()

    def _ripe(self) -> list[Ending]:
        """Return the endings that shall be carried out now. Under the lock."""
        if self._trouble.pause_of("settle"):
            return []
        waiting = [ending for ending in self._endings.values() if not ending.in_flight]
        now = time.monotonic()
        if self._fifo or self._settler.draining or any(now - each.since >= _linger(each) for each in waiting):
            return waiting
        return waiting[: len(waiting) // BATCH * BATCH]

    def _until_something(self) -> float:
        """Return the seconds until `tend` may have something to do. Under the lock."""
        until = [1.0]
        if self._endings:
            until.append(max(self._trouble.pause_of("settle"), SEND_LINGER / 2))
        if (due := self._shelf.until_due(self._clock())) is not None:
            until.append(due + 0.001)
        return min(until)

    def _has_news(self) -> bool:
        return self._shelf.claimable(self._clock()) > 0 and self._shelf.news != self._news_tended

    def _has_news_to_ring(self) -> bool:
        return self._shelf.news != self._news_rung

    def _counts(self, url: str) -> tuple[int, int, int]:
        """Return how many messages of a queue are visible, hidden and delayed."""
        try:
            answer = self._client.call("get_queue_attributes", QueueUrl=url, AttributeNames=list(COUNTS))
        except QueueMissing:
            self._queues.forget()
            raise
        attributes = answer.get("Attributes") or {}
        visible, hidden, delayed = (int(attributes.get(name) or 0) for name in COUNTS)
        return visible, hidden, delayed


def _linger(ending: Ending) -> float:
    return SEND_LINGER if ending.sends else LINGER
