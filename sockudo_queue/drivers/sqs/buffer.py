"""The received messages in memory, with the unfinished records of each.

A message of a standard queue contains one record. A message of a FIFO queue contains one for each unfinished webhook,
because sending it again would lose its place. Of each group only the first message can be claimed.

Not thread-safe: the driver has the lock. Times are in seconds by the driver's clock.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from sockudo_queue.drivers.sqs.messages import ReceivedMessage

REMEMBERED: Final = 10_000
"""Maximum records and messages in a `RecentNumbers` of receipts or of returns."""


@dataclass(slots=True, eq=False)
class Message:
    """One message, hidden from other consumers until `until`. `handle` is that of its last receive."""

    received: ReceivedMessage
    handle: str
    got_at: float
    until: float
    records: list[Record] = field(default_factory=list)
    goes_back: bool = False  # once none of its records is claimed
    lost: bool = False

    @property
    def id(self) -> str:
        return self.received.message_id

    @property
    def group(self) -> str | None:
        return self.received.group

    @property
    def is_claimed(self) -> bool:
        return any(record.claimed for record in self.records)

    def others(self, record: Record) -> bool:
        """Return whether it contains a record other than this one."""
        return any(other is not record for other in self.records)


@dataclass(slots=True, eq=False)
class Record:
    """One record of a message. `claims` is the number of the last receipt."""

    message: Message
    id: str
    state: bytes
    claims: int
    lapses: int
    due: float = 0.0
    claimed: bool = False

    @property
    def receipt(self) -> str:
        return f"{self.id}/{self.claims}"


class RecentNumbers:
    """Numbers by name; the oldest are dropped."""

    def __init__(self) -> None:
        self._numbers: OrderedDict[str, int] = OrderedDict()

    def get(self, name: str) -> int:
        return self._numbers.get(name, 0)

    def set(self, name: str, number: int) -> None:
        self._numbers[name] = number
        self._numbers.move_to_end(name)
        if len(self._numbers) > REMEMBERED:
            self._numbers.popitem(last=False)


class MessageBuffer:
    """The buffered messages. `news` increases when another record becomes claimable."""

    def __init__(self) -> None:
        self.messages: dict[str, Message] = {}
        self.claimed: dict[str, Record] = {}
        self.news = 0
        self._back: deque[Record] = deque()
        self._ready: deque[Record] = deque()
        self._due: deque[Record] = deque()
        self._delayed: list[tuple[float, int, Record]] = []
        self._groups: dict[str, deque[Message]] = {}
        self._ordinals = itertools.count()
        self._turn = itertools.count()
        self._receipts = RecentNumbers()

    @property
    def delayed(self) -> int:
        """The number of records that wait for their time."""
        return len(self._delayed)

    @property
    def waiting(self) -> list[Record]:
        """The claimable records, without delayed ones and those behind another message of their group."""
        return [*self._back, *self._ready, *self._due]

    def idle(self) -> list[Message]:
        """Return the messages that may go back: neither they nor an earlier one of their group is claimed."""
        busy = {message for message in self.messages.values() if message.is_claimed or not message.records}
        groups = {message.group for message in busy} - {None}
        return [each for each in self.messages.values() if each not in busy and each.group not in groups]

    def add(self, message: Message, now: float) -> None:
        """Add a message that was just received."""
        self.messages[message.id] = message
        if message.group is not None:
            line = self._groups.setdefault(message.group, deque())
            line.append(message)
            if line[0] is not message:
                return
        self._place(message.records, now)

    def keep(self, record: Record, now: float, *, first: bool = False) -> None:
        """Make a record claimable, now or when it is due. `first`: before all others."""
        if first:
            self._back.append(record)
            self.news += 1
        else:
            self._place([record], now)

    def take(self, now: float) -> Record | None:
        """Claim the next record: first those put back to the front, then ready and due ones in turn."""
        while (record := self._next(now)) is not None:
            if record.message.until <= now:
                self.lose(record.message)  # its visibility expired here; SQS delivers it again
                continue
            record.claims = max(record.claims, self._receipts.get(record.id)) + 1
            self._receipts.set(record.id, record.claims)
            record.claimed = True
            self.claimed[record.receipt] = record
            return record
        return None

    def claimable(self, now: float) -> int:
        """Return the number of claimable records."""
        self._gather(now)
        return len(self._back) + len(self._ready) + len(self._due)

    def until_due(self, now: float) -> float | None:
        """Return the seconds until a delayed record is due; None if none is delayed."""
        return max(self._delayed[0][0] - now, 0.0) if self._delayed else None

    def end(self, record: Record) -> None:
        """End a claim and remove its record; the message stays."""
        self.claimed.pop(record.receipt, None)
        record.claimed = False
        if record in record.message.records:
            record.message.records.remove(record)

    def remove(self, message: Message, now: float) -> None:
        """Remove a message that was deleted or given back; the next of its group becomes claimable."""
        if self.messages.get(message.id) is not message:
            return
        del self.messages[message.id]
        self._drop_records(message)
        line = self._groups.get(message.group or "")
        if line is None:
            return
        was_first = line[0] is message
        line.remove(message)
        if not line:
            del self._groups[message.group or ""]
        elif was_first:
            self._place(line[0].records, now)

    def lose(self, message: Message) -> list[Message]:
        """Remove a message that is no longer ours, and those behind it in its group.

        The latter are returned: they must go back to the queue, because they may not be delivered before it.
        """
        message.lost = True
        line = list(self._groups.get(message.group or "", ()))
        behind: list[Message] = line[line.index(message) + 1 :] if message in line else []
        for other in (*reversed(behind), message):
            self.remove(other, float("-inf"))
        return behind

    def _place(self, records: Iterable[Record], now: float) -> None:
        for record in records:
            if record.due > now:
                heapq.heappush(self._delayed, (record.due, next(self._ordinals), record))
            else:
                self._ready.append(record)
        self.news += 1

    def _gather(self, now: float) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            self._due.append(heapq.heappop(self._delayed)[2])
            self.news += 1

    def _next(self, now: float) -> Record | None:
        self._gather(now)
        if self._back:
            return self._back.popleft()
        first, second = (self._ready, self._due) if next(self._turn) & 1 else (self._due, self._ready)
        queue = first or second
        return queue.popleft() if queue else None

    def _drop_records(self, message: Message) -> None:
        for record in message.records:
            self.claimed.pop(record.receipt, None)
        for queue in (self._back, self._ready, self._due):
            if any(record.message is message for record in queue):
                kept = [record for record in queue if record.message is not message]
                queue.clear()
                queue.extend(kept)
        if any(entry[2].message is message for entry in self._delayed):
            self._delayed = [entry for entry in self._delayed if entry[2].message is not message]
            heapq.heapify(self._delayed)
