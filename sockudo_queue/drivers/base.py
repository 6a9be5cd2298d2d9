"""The whole contract between the daemon and a queue: a driver moves bytes and never looks at what is in a job.

A driver may read and write the broker's own format around a job, such as the envelope of Queue V2. It hands out the
job's bytes as they came, and does not read the app or the events in them.

A driver keeps *records*. A record is one job as it came, or one webhook delivery of it. Its body is the job's bytes.
Its state is bytes that the driver stores and does not read: `core.delivery_state` encodes and decodes them for the
pipeline and the commands. The state is empty for a job that nobody has worked on. Each record is exactly one of: ready,
active (claimed under a lease), delayed, held, dead, or gone (acked). `next` is the only method that claims.

Every method may raise `errors.BrokerUnavailable` (the command may or may not have run) or `errors.BrokerRefused`
(nothing was done). No driver repeats a command by itself: only the caller knows whether twice is as good as once.
All methods but `close` may be called from any thread at the same time.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, Protocol, runtime_checkable

import msgspec

from sockudo_queue.core.controls import ControlState, WebhookKey
from sockudo_queue.core.delivery_state import DeliveryState
from sockudo_queue.core.job import Event


class Claim(msgspec.Struct, eq=False, weakref=True):
    """One record held by us under a lease.

    `receipt` is `<id>/` and a word that no other claim of the record has, so a settle that comes too late matches
    nothing.
    `lapses` counts the claims of this record whose lease ended, and those that were given back for a dead worker
    (`Requeue.lapsed`). `Retry` sets the count to 0, and `Requeue` keeps it. `server_ms` is the broker's clock at the
    time of the claim.
    `ordered` says that others cannot begin before this record has ended. Without a lease (`leased` False) the record is
    gone from the broker, and nothing gives it to another worker.
    """

    source: str
    receipt: str
    body: bytes
    state: bytes
    lapses: int
    server_ms: int
    ordered: bool = False
    claimed_at: float = msgspec.field(default_factory=time.monotonic)
    leased: bool = True

    @property
    def id(self) -> str:
        """The record's id; a job's own record gives the job its stable id."""
        return self.receipt.rpartition("/")[0]

    def now_ms(self) -> int:
        """The broker's clock now, as far as it can be told without asking."""
        return self.server_ms + round((time.monotonic() - self.claimed_at) * 1000)

    def __repr__(self) -> str:
        return f"Claim({self.receipt}, {len(self.body)} bytes)"


@dataclass(frozen=True, slots=True)
class Retry:
    """Keep a delivery and hand it out again after a delay. An empty state leaves the state as it is.

    `durable` False: the new state says nothing that a crash may not forget, so a driver for which writing is dear may
    keep it in memory.
    """

    state: bytes
    delay_ms: int
    durable: bool = True


@dataclass(frozen=True, slots=True)
class Requeue:
    """Put a delivery back before everything that waits, in the order of the claims; no attempt was made.

    An empty state leaves the state as it is. `lapsed` adds one to the record's count of lapses: the worker thread that
    held the claim has died, and has given it back before the lease ended.
    """

    state: bytes = b""
    lapsed: bool = False


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Keep a delivery as a dead letter. The reason stands in the state too.

    `details` is the state before it was encoded, and `events` are those of the delivery where they are known, for the
    log, the counts and the attempt history; a driver does not look at them.
    """

    state: bytes
    reason: str
    details: DeliveryState | None = field(default=None, compare=False, repr=False)
    events: Sequence[Event] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep a delivery until its webhook is resumed; no attempt was made.

    A driver that can park records (`Parking`) does not hand it out before `release`; any other treats it as a `Retry`
    with a long delay.
    """

    state: bytes
    app: str
    webhook: str


Disposition = Retry | Requeue | DeadLetter | Hold


class Settlement(msgspec.Struct, frozen=True):
    """The end of a claim: what is kept of its record. No parts is an ack.

    One part for a record that already is one webhook delivery keeps its id (`splits` is False); otherwise every part
    becomes a record of its own, `<id>.<ordinal>`. All of it happens in one step or not at all.
    """

    claim: Claim
    parts: tuple[Disposition, ...] = ()
    splits: bool = False


class NextResult(msgspec.Struct, frozen=True):
    """What `next` returns: whether the settlement was taken (False: the claim was not ours any more), and a claim.

    `accepted` None: the driver has taken over the settlement, and `BufferedDriver.flush` will tell its end. `trimmed`
    counts the dead letters that gave way to newer ones since the last turn, also those in `settle`; `lost` counts the
    records that were found without their body. `asked` False: the broker had no part in this turn.
    """

    accepted: bool | None
    claim: Claim | None
    trimmed: int = 0
    asked: bool = True
    lost: int = 0


class Batch(msgspec.Struct, frozen=True):
    """What `next_batch` returns: a flag for each ack, claims, and the rest as in `NextResult`."""

    acked: Sequence[bool]
    claims: Sequence[Claim]
    trimmed: int = 0
    lost: int = 0


@runtime_checkable
class BatchingDriver(Protocol):
    """A driver that can settle and claim several jobs in one call."""

    batches: bool
    """Whether it does; without leases there is nothing that could be given back."""

    def next_batch(self, acks: Sequence[Settlement], most: int) -> Batch:
        """Settle acks and claim up to `most` jobs in one round trip; with 0 as `Driver.settle` does.

        All acks are of one source, and of claims without a lapse. Behind the first claim there are only fresh jobs of
        its source, at most half of those that wait there, and some ten thousand bytes of them. Only the first counts as
        begun: where the lease of another one expires, that is no lapse, and the record is claimed alone the next time.
        """


class Flushed(NamedTuple):
    """What `BufferedDriver.flush` returns: settlements with their ends, and how many records can newly be claimed."""

    ended: Sequence[tuple[Settlement, bool]] = ()
    claimable: int = 0


@runtime_checkable
class BufferedDriver(Protocol):
    """What a driver offers in addition if its broker bills or delays every call.

    It holds more records than are claimed, and carries out settlements in batches.
    """

    notifier_seconds: float
    """How long its notifier waits: one call of an idle daemon."""
    renew_seconds: float
    """How often everything held has to be renewed, also without a claim; `renew` renews what is not claimed too."""
    sample_seconds: float
    """How often the broker may be asked for the depth."""

    def prepare(self) -> None:
        """Find or make what must be there. Raises `BrokerRefused` for what no waiting cures."""

    def flush(self, timeout: float) -> Flushed:
        """Carry out the settlements that `next` has taken over, and tell of records whose time has come.

        Returns as soon as there is something to tell, and after `timeout` seconds at the latest. Until it is called for
        the first time, `next` takes over nothing.
        """

    def give_back(self) -> None:
        """Claim and receive no more, and give back at once what was received and not begun."""


@dataclass(frozen=True, slots=True)
class StoredDeadLetter:
    """One record that is kept because it was given up.

    `token` names this one death: a record that is replayed and dies again has another, so nothing that is done with an
    old one can touch the new. What is in it is the driver's affair. `died_ms` is the broker's clock then.
    """

    id: str
    source: str
    token: str
    died_ms: int
    body: bytes
    state: bytes

    def __repr__(self) -> str:
        return f"DeadLetter({self.id}, {len(self.body)} bytes)"


class DeadLetterStore(Protocol):
    """The dead letters of a queue, for tools and for retention. Here, too, a driver does not read the state.

    `replay` and `purge` are one step per letter that compares its token: of two who do it at once, one does it.
    """

    def letters(self) -> Iterator[StoredDeadLetter]:
        """Return each letter that is there from the beginning to the end of the walk, once, the oldest first.

        Asks the broker bit by bit, so that no page is large; letters that come or go meanwhile may or may not be among
        them. The caller may replay and purge what it is given while it walks. SQS keeps no order.
        """

    def newest(self, until_ms: int | None = None) -> Iterator[StoredDeadLetter]:
        """Return letters for a person to look at: the newest first, none that died after `until_ms`.

        As `letters` otherwise, but one may be left out while others are taken away. SQS keeps no order here either.
        """

    def find(self, record_id: str) -> StoredDeadLetter | None:
        """Return the letter of one record."""

    def replay(self, letters: Sequence[StoredDeadLetter], states: Sequence[bytes]) -> list[bool]:
        """Make letters ready again, under the same id and with the given state, behind what is due already.

        One flag each, False where that death is no longer there. An empty state leaves the state as it is.
        """

    def purge(self, letters: Sequence[StoredDeadLetter]) -> list[bool]:
        """Remove letters for good; one flag each, False where that death is no longer there."""

    def drop_older(self, age_ms: int) -> int:
        """Remove what died longer ago than this, by the broker's clock, and return how many; bounded work a call.

        More may be left: a caller repeats it until it returns 0. A broker that does this by itself always returns 0.
        """


@dataclass(frozen=True, slots=True)
class QueueFormat:
    """One form of the queue that a driver serves, named by its source; `known` says that something of it is stored."""

    source: str
    kind: str
    known: bool


@dataclass(frozen=True, slots=True)
class Signs:
    """Signs of Sockudo's own workers on the queue; none is no proof that there are none.

    `claims` are held by somebody who is none of us. `clients` wait for jobs as its workers do; None where the broker
    does not say. `hosts` are where those clients come from.
    """

    claims: int
    clients: int | None
    hosts: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.claims or self.clients)


CLOCKS: Final = {"this-host": "this host", "sockudo": "Sockudo"}
"""Whose clocks are compared with the broker's: the value in series and log lines, and the words in texts."""


@dataclass(frozen=True, slots=True)
class Skew:
    """By how many milliseconds a clock is ahead of the broker's; below 0 it is behind. `whose` is a key of `CLOCKS`."""

    whose: str
    ahead_ms: int

    @property
    def owner(self) -> str:
        """Return whose clock it is, in words for a person."""
        return CLOCKS[self.whose]


class Peers(Protocol):
    """What a broker tells about those who share it; not every driver has that."""

    def formats(self) -> Sequence[QueueFormat]:
        """Return the forms of the queue that are served."""

    def signs(self) -> Signs:
        """Look for Sockudo's own workers."""

    def skews(self) -> Sequence[Skew]:
        """Compare clocks."""

    def evictions(self) -> Sequence[str]:
        """Say why the broker may drop stored jobs when it is full. Raises `BrokerRefused` where it may not be asked."""


@runtime_checkable
class PeerAware(Protocol):
    """A driver whose broker is shared, and shows who else uses it."""

    peers: Peers

    def look_around(self) -> None:
        """Ask which servers the broker has now; whoever built the driver hears of new ones. May block; never raises."""


@runtime_checkable
class Parking(Protocol):
    """A driver that parks held deliveries, so that they cost nothing while they wait."""

    def release(self, paused: Collection[WebhookKey]) -> int:
        """Make held deliveries due whose webhook is not among `paused`, some at a time; return how many.

        A caller repeats it until it returns 0. Whatever was interrupted before is taken up by the next call.
        """

    def held(self, webhooks: Sequence[WebhookKey]) -> Sequence[int]:
        """Count the held deliveries of each webhook."""


class ControlStore(Protocol):
    """What operators have decided, shared by all daemons on the queue. Methods raise `BrokerError`."""

    def version(self) -> bytes:
        """Return a word that is another one after each change."""

    def read(self) -> ControlState:
        """Return everything that is in force."""

    def pause(self, webhook: WebhookKey, by: str) -> bool:
        """Pause a webhook; False where it is paused already."""

    def resume(self, webhook: WebhookKey, by: str) -> bool:
        """Resume a webhook; False where it is not paused."""

    def try_now(self, webhook: WebhookKey, by: str) -> bool:
        """Ask every daemon to close the breaker of a webhook; always True."""


@runtime_checkable
class Controllable(Protocol):
    """A driver whose broker keeps the decisions of operators."""

    controls: ControlStore


class RecordAudit(NamedTuple):
    """What was found wrong with stored records: something else has removed a part of them.

    `lost` were removed for want of their body, `restored` were in no set and are in one again, and `unreachable` are in
    none and were left alone.
    """

    lost: int
    restored: int
    unreachable: int


@runtime_checkable
class Auditable(Protocol):
    """A driver whose broker can lose a part of a record, by eviction or by a hand that went astray."""

    def audit(self) -> RecordAudit:
        """Look for such records and bring them back, with bounded work. Raises `BrokerError`."""


@runtime_checkable
class InProcess(Protocol):
    """A driver that keeps its jobs in this process: they arrive over HTTP, and are lost when the process ends."""

    evicted: int
    """How many ready jobs were dropped because the driver was full; it never decreases."""


class Level(StrEnum):
    """What a finding means: all is well, it can go wrong, or it does go wrong."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Finding(NamedTuple):
    """One thing that was looked at, for a person: what, and what to do where it is not well."""

    level: Level
    subject: str
    text: str


@runtime_checkable
class Inspectable(Protocol):
    """A driver whose broker can be looked at by `check`."""

    def inspect(self) -> Iterable[Finding]:
        """Look at the broker's state and at what we may do there; changes nothing. Raises `BrokerError`."""


class Driver(Protocol):
    """One kind of queue."""

    name: str
    """The value of `queue.driver`, and the label `backend` of the series."""

    sources: tuple[str, ...]
    """What `wait` can wait for: one notifier for each. Empty where `next` itself waits (at most one second), as with
    Redis at-most-once."""

    def next(self, settled: Settlement | None) -> NextResult:
        """Settle the previous claim and take the next one in one round trip.

        Takes a lapsed claim first, then what was put back, then ready and due records in turn. Does not wait for work
        unless `sources` is empty.
        """

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Settle without claiming; one flag each, False where the claim was no longer ours."""

    def renew(self, claims: Sequence[Claim]) -> list[bool]:
        """Begin a new lease for each claim; False where it is no longer ours and must not be settled."""

    def wait(self, source: str, timeout: float) -> int:
        """Wait at most `timeout` seconds for work in a source; return how many records can be claimed there now."""

    def put(self, body: bytes) -> None:
        """Append a job as Sockudo would."""

    def depth(self) -> Mapping[str, int]:
        """Count all records by state, not only ours: `ready`, `active`, `delayed`, `held`, `dead-letter`."""

    def peek(self) -> Sequence[bytes]:
        """Return the body of the job that has waited longest, of each source that has any. Nothing is taken."""

    def ping(self) -> None:
        """Ask the broker for a sign of life."""

    @property
    def dead_letters(self) -> DeadLetterStore:
        """What was given up and is kept."""

    def close(self) -> None:
        """Close connections. Never touches stored jobs."""
