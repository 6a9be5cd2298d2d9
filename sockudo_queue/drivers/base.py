"""The whole contract between the daemon and a queue. A driver moves bytes and does not parse jobs.

A driver may read and write the broker's own format around a job, such as the envelope of Queue V2. It returns the job's
bytes unchanged and does not read the app or the events in them.

A driver stores *records*. A record is one job as it arrived, or one webhook delivery of a job. Its body is the job's
bytes. Its state is bytes that the driver stores and does not parse: `core.delivery_state` encodes and decodes them for
the pipeline and the commands. The state is empty for a job that no worker has processed yet. Each record is exactly one
of: ready, active (claimed under a lease), delayed, held, dead, or gone (acked). `next` and `next_batch` are the only
methods that claim.

Every method may raise `errors.BrokerUnavailable` (the command may or may not have run) or `errors.BrokerRefused`
(nothing was done). A driver never repeats a command: only the caller knows whether running it twice is harmless. All
methods but `close` are thread-safe.
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
    """One record that this process holds under a lease.

    `receipt` is `<id>/` and a part that is unique to this claim, so a settlement that arrives too late matches nothing.
    `lapses` counts the claims of this record whose lease expired, and those that were given back for a crashed worker
    (`Requeue.lapsed`). `Retry` resets the count to 0, and `Requeue` keeps it. `server_ms` is the broker's clock at the
    time of the claim. `ordered` means that other records cannot begin before this one has ended. Without a lease
    (`leased` False) the record is already removed from the broker, so no other worker can get it.
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
        """The record's id. The id of a job's own record is the stable id of the job."""
        return self.receipt.rpartition("/")[0]

    def now_ms(self) -> int:
        """The broker's clock now, estimated from the time of the claim."""
        return self.server_ms + round((time.monotonic() - self.claimed_at) * 1000)

    def __repr__(self) -> str:
        return f"Claim({self.receipt}, {len(self.body)} bytes)"


class Retry(msgspec.Struct, frozen=True):
    """Keep a delivery and make it claimable again after a delay. An empty state leaves the state unchanged.

    `durable` False means that a crash may lose the new state without harm, so a driver with expensive writes may keep
    it in memory.
    """

    state: bytes
    delay_ms: int
    durable: bool = True


class Requeue(msgspec.Struct, frozen=True):
    """Put a delivery back in front of all waiting records, in the order of the claims. No attempt was made.

    An empty state leaves the state unchanged. `lapsed` adds one to the record's count of lapses: the worker thread that
    held the claim crashed, and the claim is given back before its lease expires.
    """

    state: bytes = b""
    lapsed: bool = False


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Keep a delivery as a dead letter. The state contains the reason too.

    `details` is the state before encoding, and `events` are those of the delivery if they are known. Both are for the
    log, the counters and the attempt history; a driver ignores them.
    """

    state: bytes
    reason: str
    details: DeliveryState | None = field(default=None, compare=False, repr=False)
    events: Sequence[Event] = field(default=(), compare=False, repr=False)


class Hold(msgspec.Struct, frozen=True):
    """Keep a delivery until its webhook is resumed. No attempt was made.

    A driver that can park records (`Parking`) does not return it from `next` before `release`; any other driver treats
    it as a `Retry` with a long delay.
    """

    state: bytes
    app: str
    webhook: str


Disposition = Retry | Requeue | DeadLetter | Hold


class Settlement(msgspec.Struct, frozen=True):
    """The end of a claim, with the records that remain of it. No parts is an ack.

    If a record that already is one webhook delivery is settled with one part, it keeps its id (`splits` is False).
    Otherwise every part becomes a new record, `<id>.<ordinal>`. A settlement is atomic.
    """

    claim: Claim
    parts: tuple[Disposition, ...] = ()
    splits: bool = False


class NextResult(msgspec.Struct, frozen=True):
    """The result of `next`: whether the settlement was accepted, and a claim.

    `accepted` False means that the claim no longer belonged to this process. None means that the driver has queued the
    settlement, and `BufferedDriver.flush` will return its result. `trimmed` counts dead letters that were removed to
    make room for newer ones since the last call, also those in `settle`. `lost` counts records that were found without
    their body. `asked` False means that the driver did not call the broker.
    """

    accepted: bool | None
    claim: Claim | None
    trimmed: int = 0
    asked: bool = True
    lost: int = 0


class Batch(msgspec.Struct, frozen=True):
    """The result of `next_batch`: a flag for each settlement, claims, and counts as in `NextResult`."""

    accepted: Sequence[bool]
    claims: Sequence[Claim]
    trimmed: int = 0
    lost: int = 0


@runtime_checkable
class BatchingDriver(Protocol):
    """A driver that can settle and claim several jobs in one call."""

    batches: bool
    """Whether batching is enabled. It needs leases, because without one a claim cannot be given back."""

    def next_batch(self, settlements: Sequence[Settlement], max_claims: int) -> Batch:
        """Settle claims of one source and claim up to `max_claims` jobs in one round trip.

        With `max_claims` 0 it only settles, like `Driver.settle`, but atomically. The settlements are either acks of
        claims without a lapse, or all of them give claims back (`Requeue`).
        The claims after the first are fresh jobs of the same source: at most half of the jobs that wait there, and
        about ten thousand bytes. Only the first claim counts as begun: if the lease of another one expires, that is not
        a lapse, and the record is claimed alone the next time.
        """


class FlushResult(NamedTuple):
    """The result of `BufferedDriver.flush`: settlements with their results, and how many records became claimable."""

    ended: Sequence[tuple[Settlement, bool]] = ()
    claimable: int = 0


@runtime_checkable
class BufferedDriver(Protocol):
    """Additional methods of a driver whose broker bills or delays every call.

    The driver receives more records than are claimed, and executes settlements in batches.
    """

    notifier_seconds: float
    """Duration of one `wait` of the notifier; an idle daemon makes one call per wait."""
    renew_seconds: float
    """Interval of lease renewals. It also applies while no record is claimed, because `renew` also renews received
    records that are not claimed yet."""
    sample_seconds: float
    """Minimum interval between two queries of the queue depth."""

    def prepare(self) -> None:
        """Find or create the queues. Raises `BrokerRefused` for errors that waiting cannot fix."""

    def flush(self, timeout: float) -> FlushResult:
        """Execute the settlements that `next` has queued, and report records that have become claimable.

        Returns as soon as there is a result, and after `timeout` seconds at the latest. Before the first call of
        `flush`, `next` does not queue settlements.
        """

    def give_back(self) -> None:
        """Stop claiming and receiving, and immediately give back received records that were not claimed."""


class StoredDeadLetter(msgspec.Struct, frozen=True):
    """One record that is stored because its delivery was given up.

    `token` identifies this one dead letter: a record that is replayed and fails again gets another token, so an
    operation with an old token cannot affect the new dead letter. Its format is private to the driver. `died_ms` is the
    time by the broker's clock.
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
    """The dead letters of a queue, for commands, the page and retention.

    The driver does not parse the state here either. `replay` and `purge` are atomic per letter and compare its token:
    of two concurrent calls, only one succeeds.
    """

    def letters(self) -> Iterator[StoredDeadLetter]:
        """Yield each letter that exists during the whole iteration, exactly once, the oldest first.

        Reads the broker in small pages. Letters that are added or removed meanwhile may or may not be included. The
        caller may replay and purge yielded letters while it iterates. SQS keeps no order.
        """

    def newest(self, until_ms: int | None = None) -> Iterator[StoredDeadLetter]:
        """Yield letters for display: the newest first, and none that died after `until_ms`.

        Otherwise like `letters`, but a letter may be missing while others are removed. SQS keeps no order here either.
        """

    def find(self, record_id: str) -> StoredDeadLetter | None:
        """Return the letter of a record, or None."""

    def replay(self, letters: Sequence[StoredDeadLetter], states: Sequence[bytes]) -> list[bool]:
        """Make letters ready again, with the same id and the given state, behind the records that are already due.

        Returns one flag each, False if that dead letter no longer exists. An empty state leaves the state unchanged.
        """

    def purge(self, letters: Sequence[StoredDeadLetter]) -> list[bool]:
        """Delete letters. Returns one flag each, False if that dead letter no longer exists."""

    def drop_older(self, age_ms: int) -> int:
        """Delete letters that are older than this by the broker's clock, and return how many; bounded work per call.

        More may remain: a caller repeats the call until it returns 0. A broker that expires them on its own always
        returns 0.
        """


class QueueFormat(msgspec.Struct, frozen=True):
    """One format of the queue that a driver serves, identified by its source.

    `known` means that data in this format is stored.
    """

    source: str
    kind: str
    known: bool


class PeerSigns(msgspec.Struct, frozen=True):
    """Signs of Sockudo's own workers on the queue. No signs do not prove that there are none.

    `claims` counts claims that belong to no sockudo-queue daemon. `clients` counts connections that wait for jobs as
    Sockudo's workers do; None if the broker does not report it. `hosts` are the hosts of those clients.
    """

    claims: int
    clients: int | None
    hosts: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.claims or self.clients)


CLOCKS: Final = {"this-host": "this host", "sockudo": "Sockudo"}
"""The clocks that are compared with the broker's clock: the value in series and log lines, and the words in texts."""


class Skew(msgspec.Struct, frozen=True):
    """How many milliseconds a clock is ahead of the broker's; negative means behind. `whose` is a key of `CLOCKS`."""

    whose: str
    ahead_ms: int

    @property
    def owner(self) -> str:
        """Return the owner of the clock, for display."""
        return CLOCKS[self.whose]


class Peers(Protocol):
    """Information of a broker about its other clients. Not every driver has it."""

    def formats(self) -> Sequence[QueueFormat]:
        """Return the formats of the queue that this driver serves."""

    def signs(self) -> PeerSigns:
        """Look for Sockudo's own workers."""

    def skews(self) -> Sequence[Skew]:
        """Compare the clocks of `CLOCKS` with the broker's."""

    def evictions(self) -> Sequence[str]:
        """Return the reasons why the broker may drop stored jobs when it is full.

        Raises `BrokerRefused` if the query is not allowed.
        """


@runtime_checkable
class PeerAware(Protocol):
    """A driver whose broker is shared and can report its other clients."""

    peers: Peers

    def discover_servers(self) -> None:
        """Query the current servers of the broker. May block; never raises.

        New servers are reported to the callback that was passed when the driver was built.
        """


@runtime_checkable
class Parking(Protocol):
    """A driver that parks held deliveries, so that they cost nothing while they wait."""

    def release(self, paused: Collection[WebhookKey]) -> int:
        """Make held deliveries due whose webhook is not in `paused`, a limited number per call. Returns how many.

        A caller repeats the call until it returns 0. The next call continues an interrupted one.
        """

    def held(self, webhooks: Sequence[WebhookKey]) -> Sequence[int]:
        """Count the held deliveries of each webhook."""


class ControlStore(Protocol):
    """Pauses and requests of operators, shared by all daemons on the queue. Methods raise `BrokerError`."""

    def version(self) -> bytes:
        """Return a value that differs after each change."""

    def read(self) -> ControlState:
        """Return all current pauses and requests."""

    def pause(self, webhook: WebhookKey, by: str) -> bool:
        """Pause a webhook. Returns False if it is already paused."""

    def resume(self, webhook: WebhookKey, by: str) -> bool:
        """Resume a webhook. Returns False if it is not paused."""

    def try_now(self, webhook: WebhookKey, by: str) -> bool:
        """Ask every daemon to close the breaker of a webhook. Always returns True."""


@runtime_checkable
class Controllable(Protocol):
    """A driver whose broker stores pauses and requests of operators."""

    controls: ControlStore


class RecordAudit(NamedTuple):
    """The number of damaged records, of which another client or an eviction removed a part.

    `lost` were deleted because their body is missing. `restored` were in no set and were added to one again.
    `unreachable` are in no set and were not changed.
    """

    lost: int
    restored: int
    unreachable: int


@runtime_checkable
class Auditable(Protocol):
    """A driver whose broker can lose a part of a record, by eviction or by a mistaken manual command."""

    def audit(self) -> RecordAudit:
        """Find and restore damaged records, with bounded work per call. Raises `BrokerError`."""


@runtime_checkable
class InProcess(Protocol):
    """A driver that keeps its jobs in the memory of this process.

    They arrive over HTTP and are lost when the process ends.
    """

    evicted: int
    """Number of ready jobs that were dropped because the driver was full; it never decreases."""


class FindingLevel(StrEnum):
    """The severity of a finding: no problem, a possible problem, or a problem."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Finding(NamedTuple):
    """The result of one check, for display: the subject, and for a problem also what to do."""

    level: FindingLevel
    subject: str
    text: str


@runtime_checkable
class Inspectable(Protocol):
    """A driver whose broker the command `check` can inspect."""

    def inspect(self) -> Iterable[Finding]:
        """Inspect the broker's state and the permissions of this client. Changes nothing. Raises `BrokerError`."""


class Driver(Protocol):
    """One kind of queue."""

    name: str
    """The value of `queue.driver`, and of the label `backend` of the series."""

    sources: tuple[str, ...]
    """The sources that `wait` accepts; each gets one notifier thread. Empty if `next` itself waits (at most one
    second), as with Redis at-most-once."""

    def next(self, settlement: Settlement | None) -> NextResult:
        """Settle the previous claim and take the next one in one round trip.

        The order is: an expired claim, then records that were put back, then alternately ready and due records. Does
        not wait for work unless `sources` is empty.
        """

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Settle without claiming. Returns one flag each, False if the claim no longer belonged to this process."""

    def renew(self, claims: Sequence[Claim]) -> list[bool]:
        """Start a new lease for each claim. Returns False for a claim that was lost and must not be settled."""

    def wait(self, source: str, timeout: float) -> int:
        """Wait at most `timeout` seconds for work in a source. Returns how many records can be claimed there now."""

    def put(self, body: bytes) -> None:
        """Append a job in the format that Sockudo writes."""

    def depth(self) -> Mapping[str, int]:
        """Count the records of all daemons by state: `ready`, `active`, `delayed`, `held`, `dead-letter`."""

    def peek(self) -> Sequence[bytes]:
        """Return the body of the longest waiting job of each source that has one. Nothing is claimed."""

    def ping(self) -> None:
        """Check that the broker answers."""

    @property
    def dead_letters(self) -> DeadLetterStore:
        """The store of dead letters."""

    def close(self) -> None:
        """Close connections. Stored jobs are not changed."""
