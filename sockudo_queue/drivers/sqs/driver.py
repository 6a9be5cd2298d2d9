"""The driver contract on Amazon SQS: one small buffer for all workers, filled by one receive at a time.

While the daemon is idle, its notifier waits in a long poll. A worker receives only if the buffer is empty and no other
thread receives. `flush` carries out in batches what `next` settles. All buffered messages are renewed together.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sockudo_queue.drivers.base import Claim, FlushResult, NextResult, Settlement
from sockudo_queue.drivers.sqs.answers import number_of
from sockudo_queue.drivers.sqs.client import QueueMissing, SqsClient
from sockudo_queue.drivers.sqs.dead_letters import SqsDeadLetterStore
from sockudo_queue.drivers.sqs.failure_backoff import FailureBackoff
from sockudo_queue.drivers.sqs.fetcher import Fetcher
from sockudo_queue.drivers.sqs.held import HeldMessages
from sockudo_queue.drivers.sqs.messages import OutgoingMessage
from sockudo_queue.drivers.sqs.ordering import FifoOrdering, StandardOrdering
from sockudo_queue.drivers.sqs.queues import QueueFinder
from sockudo_queue.drivers.sqs.settlement_plan import Ordering, SettlementTask
from sockudo_queue.drivers.sqs.settler import Settler
from sockudo_queue.errors import BrokerError, BrokerUnavailable

HELD_LIMIT: Final = 1000
"""Maximum buffered messages, including those that wait for an earlier one of their group."""
SAMPLE_SECONDS: Final = 30.0
BATCH_CHECK_INTERVAL: Final = 0.05
"""Seconds between two checks of settlements that wait to share a batch."""
COUNTS: Final = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


class SqsDriver:
    """One queue. Times are in seconds by `clock`, which tests can advance."""

    name = "sqs"

    def __init__(
        self,
        client: SqsClient,
        queues: QueueFinder,
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
        self.notifier_seconds = float(max(wait_seconds, 1))
        self.renew_seconds = visibility_seconds / 3
        self.sample_seconds = SAMPLE_SECONDS
        self._client = client
        self._queues = queues
        self._visibility = visibility_seconds
        self._wait_seconds = wait_seconds
        self._concurrency = concurrency
        self._clock = clock
        self._ordering: Ordering = FifoOrdering(group) if fifo else StandardOrdering()
        held = HeldMessages(clock, self._ordering)
        self._changed, self._buffer, self._settlements = held.changed, held.buffer, held.settlements
        self._failures = FailureBackoff()
        self._settler = Settler(client, queues, held)
        self._fetcher = Fetcher(
            client,
            queues,
            held,
            self._settler,
            self._failures,
            visibility_seconds=visibility_seconds,
            max_messages=max_messages,
        )
        self.dead_letters = SqsDeadLetterStore(client, queues, clock, self._ordering)
        self._is_flushed = False
        self._news_seen = 0
        self._news_flushed = 0

    # Claims

    def next(self, settlement: Settlement | None) -> NextResult:
        """See the contract. If `flush` is in use, it carries out the settlement later, and `accepted` is None."""
        accepted, asked = self._end(settlement) if settlement is not None else (True, False)
        try:
            claim, received_some = self._next_claim()
        except BrokerError:
            if settlement is None:
                raise
            # Retrying this settlement would be wrong; the notifier gets the same error and reports it.
            return NextResult(accepted, None, asked=asked)
        return NextResult(accepted, claim, asked=asked or received_some)

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Carry out settlements immediately, including those that `next` has queued."""
        wanted: list[SettlementTask | bool] = []
        mine: list[SettlementTask] = []
        with self._changed:
            try:
                for settlement in settlements:
                    wanted.append(self._settlements.take(settlement))
                    mine = [task for task in wanted if isinstance(task, SettlementTask)]
            except BrokerError:
                self._settlements.finish(mine, reported=True)
                raise
        self._carry_out(mine, reported=True)
        return [bool(task.accepted) if isinstance(task, SettlementTask) else task for task in wanted]

    def renew(self, claims: Sequence[Claim]) -> list[bool]:
        """Renew all buffered messages in batches, not only the given claims."""
        if self._failures.pause_of("renew"):
            self._failures.check("renew")
        with self._changed:
            settling = self._settlements.messages(in_flight=True)
            held = [message for message in self._buffer.messages.values() if message not in settling]
        with self._failures.watching("renew"):  # even without messages, so that an earlier failure is cleared
            if held:
                self._settler.renew(held, self._visibility)
        with self._changed:
            return [claim.receipt in self._buffer.claimed for claim in claims]

    # Methods of buffered drivers

    def prepare(self) -> None:
        """Find or create the queues and receive once, so that a missing permission shows at the start."""
        self._queues.pair()
        with self._fetcher.one_at_a_time:
            self._fetcher.receive(0)

    def flush(self, timeout: float) -> FlushResult:
        give_up_at = time.monotonic() + timeout
        with self._changed:
            self._is_flushed = True
            while not (batch := self._take_due()) and not self._settlements.results and not self._has_news():
                left = give_up_at - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(min(left, self._until_something()))
        if batch:
            with self._failures.watching("settle"):
                self._carry_out(batch, reported=False)
        with self._changed:
            ended = tuple(self._settlements.results.values())
            self._settlements.results.clear()
            claimable = self._buffer.claimable(self._clock()) if self._has_news() else 0
            self._news_flushed = self._buffer.news
        return FlushResult(ended, claimable)

    def give_back(self) -> None:
        self._settler.draining = True
        with self._fetcher.one_at_a_time:  # waits for a receive in progress, which may add messages
            with self._changed:
                settling = self._settlements.messages()
                idle = [message for message in self._buffer.idle() if message not in settling]
            self._settler.give_back(idle)

    # The rest of the contract

    def wait(self, source: str, timeout: float) -> int:
        """Receive with a long poll unless enough is buffered; return the number of claimable records."""
        assert source == self.sources[0]
        give_up_at = time.monotonic() + timeout
        while True:
            self._failures.check("receive")
            with self._changed:
                claimable = self._buffer.claimable(self._clock())
                left = give_up_at - time.monotonic()
                if claimable and self._buffer.news != self._news_seen:
                    self._news_seen = self._buffer.news
                    return claimable
                if not self._has_room():
                    if left <= 0:
                        return claimable
                    self._changed.wait(left)
                    continue
            with self._fetcher.one_at_a_time:
                got = self._fetcher.receive(min(self._wait_seconds, max(round(left), 0)))
            if not got:
                return self._rest(give_up_at)

    def put(self, body: bytes) -> None:
        # A random id, because two equal jobs are two jobs.
        entry = OutgoingMessage("", body).entry() | self._ordering.place(None, os.urandom(16).hex())
        self._client.call("send_message", QueueUrl=self._queues.pair().main.url, **entry)

    def depth(self) -> Mapping[str, int]:
        """Return SQS's approximate counts. Unclaimed records in the buffer count as ready, as with other drivers."""
        self._failures.check("depth")
        pair = self._queues.pair()
        ready, hidden, delayed = self._counts(pair.main.url)
        dead, dead_hidden, _ = self._counts(pair.dead.url)
        with self._changed:
            waiting, kept = self._buffer.claimable(self._clock()), self._buffer.delayed
        return {
            "ready": ready + waiting,
            "active": max(hidden - waiting - kept, 0),
            "delayed": delayed + kept,
            "held": 0,  # what is held is delayed here
            "dead-letter": dead + dead_hidden,
        }

    def peek(self) -> Sequence[bytes]:
        """Return the oldest job in the buffer: SQS cannot show a message without delivering it."""
        with self._changed:
            waiting = [record.message.received for record in self._buffer.waiting]
        return [min(waiting, key=lambda one: one.sent_ms).body] if waiting else []

    def ping(self) -> None:
        self._counts(self._queues.pair().main.url)

    def close(self) -> None:
        self._client.close()

    # Starting a claim

    def _next_claim(self) -> tuple[Claim | None, bool]:
        """Return a claim, and whether SQS was called and has answered."""
        if self._failures.pause_of("settle") or self._failures.pause_of("renew"):
            self._failures.check("claim")  # while settlements fail, do not claim more
        claim = self._take()
        if claim is not None or not self._fetcher.one_at_a_time.acquire(blocking=False):
            return claim, False
        try:
            with self._changed:
                has_room = self._has_room()
            if not has_room:
                return None, False
            self._failures.check("receive")
            self._fetcher.receive(0)
        finally:
            self._fetcher.one_at_a_time.release()
        return self._take(), True

    def _take(self) -> Claim | None:
        with self._changed:
            if self._settler.draining:
                return None
            record = self._buffer.take(self._clock())
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
                round(self._fetcher.server_ms()),
                ordered=self._ordering.is_ordered,
            )

    def _has_room(self) -> bool:
        """Return whether more may be received. Under the lock."""
        return (
            not self._settler.draining
            and self._buffer.claimable(self._clock()) <= self._concurrency
            and len(self._buffer.messages) < HELD_LIMIT
        )

    def _rest(self, give_up_at: float) -> int:
        """Wait after an empty receive: a server that answers immediately must not be polled in a busy loop."""
        with self._changed:
            left = give_up_at - time.monotonic()
            if left > 0 and not self._has_unseen_news():
                self._changed.wait(left)
            self._news_seen = self._buffer.news
            return self._buffer.claimable(self._clock())

    def _end(self, settlement: Settlement) -> tuple[bool | None, bool]:
        """Settle for `next`; return whether it was accepted (None: later), and whether SQS has answered."""
        with self._changed:
            if settlement.claim.receipt in self._settlements.results:
                return None, False
            task = self._settlements.plan(settlement)
            if task is None:
                return False, False
            if task.is_local and not task.in_flight and self._settler.is_ours(task.record.message):
                self._settler.keep(task, self._clock())
                task.accepted = True
                self._settlements.finish([task], reported=True)
                return True, False
            if self._is_flushed:
                self._changed.notify_all()
                return None, False
        return self.settle([settlement])[0], True

    def _until_something(self) -> float:
        """Return the seconds until `flush` may have work. Under the lock."""
        until = [1.0]
        if len(self._settlements):
            until.append(max(self._failures.pause_of("settle"), BATCH_CHECK_INTERVAL))
        if (due := self._buffer.until_due(self._clock())) is not None:
            until.append(due + 0.001)
        return min(until)

    def _take_due(self) -> list[SettlementTask]:
        """Take the settlements that are to be carried out now. Under the lock."""
        if self._failures.pause_of("settle"):
            return []
        return self._settlements.take_due(everything=self._settler.draining)

    def _carry_out(self, tasks: Sequence[SettlementTask], *, reported: bool) -> None:
        try:
            self._settler.carry_out(tasks)
        finally:
            with self._changed:
                self._settlements.finish(tasks, reported=reported)

    def _has_news(self) -> bool:
        return self._buffer.claimable(self._clock()) > 0 and self._buffer.news != self._news_flushed

    def _has_unseen_news(self) -> bool:
        return self._buffer.news != self._news_seen

    def _counts(self, url: str) -> tuple[int, int, int]:
        """Return the numbers of visible, hidden and delayed messages of a queue."""
        try:
            answer = self._client.call("get_queue_attributes", QueueUrl=url, AttributeNames=list(COUNTS))
        except QueueMissing:
            self._queues.forget()
            raise
        attributes = answer.get("Attributes") or {}
        if not isinstance(attributes, Mapping):
            raise BrokerUnavailable("SQS: the response contains no message counts")
        visible, hidden, delayed = (number_of(attributes.get(name)) for name in COUNTS)
        return visible, hidden, delayed
