"""What every form of the queue on Redis has in common: its name, its notifier, and what the driver asks of it.

A source is one form of the queue: the list that servers before 5.0 write, the list that the documentation names, or
Queue V2. `driver.RedisDriver` serves several side by side.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final, TypeVar

import msgspec

from sockudo_queue.core.cluster_keys import has_hash_tag
from sockudo_queue.core.controls import WebhookKey
from sockudo_queue.drivers.base import Claim, Disposition, RecordAudit, Retry, Settlement, StoredDeadLetter
from sockudo_queue.drivers.redis import replies
from sockudo_queue.drivers.redis.errors import CommandDenied, ServerRefused, WritesRefused
from sockudo_queue.drivers.redis.held import MAX_DUE, MAX_WEBHOOKS, PLACE_WIDTH, PLACES, place_of, places_of
from sockudo_queue.drivers.redis.link import Link, Script
from sockudo_queue.drivers.redis.server_clock import ServerClock
from sockudo_queue.errors import BrokerRefused, BrokerUnavailable

T = TypeVar("T")

BLOCK_SECONDS: Final = 1.0
"""The longest wait in the server; longer ones would only delay a stop and hide a dead link."""
BLOCK_MARGIN: Final = 1.0
"""How late the answer to a wait may be. A response timeout below the wait would make every quiet second a fault."""
MIN_WAIT: Final = 0.002
"""Redis 6.2 makes 0 of 0.001 s, and 0 means for ever."""
POLL_SECONDS: Final = 0.05
"""How often an idle source is asked on a server that cannot wait for it without changing it."""
MAX_CLAIMABLE: Final = 1_000_000
"""More than there are workers to wake."""
RENEW_LIMIT: Final = 500
PUT_BACK_BASE: Final = -1e15
"""Added to the time of a claim to make the score of what is put back: far below 0, and in the order of the claims."""
AUDIT_LIMIT: Final = 20_000
"""Records of a source that one audit looks at, where their number shows that something is wrong. That many take 60 to
170 ms of the server's time, on Redis 6.0 the most."""
RESTORE_BATCH_SIZE: Final = 2_000
"""Records that one audit puts back."""
RESCHEDULE_BATCH_SIZE: Final = 1_000
MAX_RESCHEDULES: Final = 100
MAX_DELAY_MS: Final = 30 * 86_400_000
"""No delay is longer, as retries end by then. After a far larger step, what is beyond it was stored before the step."""
MEASURED_WITHIN_MS: Final = 1_000
"""By how much a step may be larger than what was measured of it; what waited longest is moved all the same."""

FURTHER: Final = "further"
"""The key, beside a source, of a hash with the names of further keys that hold records. A version that adds such a key
puts its name there before the first record: the audit of a version that does not know the key would take the records
for lost, and put copies of them back. This version adds `held` with the first held record, and removes it with the last
one, so that the audit of an older version works again after a downgrade. Where it finds another name, its audit changes
nothing."""

AUDIT: Final = Script("audit")
RELEASE: Final = Script("release")
_RESCHEDULE: Final = Script("reschedule")

Arguments = list[str | bytes | int]


def own_key(source: str, part: str) -> str:
    """Return the name of one of our keys: in the cluster slot of its source, and outside every `PREFIX:queue:*`."""
    return f"sockudo-queue:{source if has_hash_tag(source) else '{' + source + '}'}:{part}"


def id_source() -> Callable[[], str]:
    """Return a maker of ids of 32 hexadecimal digits: random for the process, then counted. Safe from any thread.

    The last two digits are 00; a script that claims a batch counts in them.
    """
    # Each job needs one, and this calls no function of ours.
    return map(f"{os.urandom(10).hex()}{{:010x}}00".format, itertools.count()).__next__


class SourceOptions(msgspec.Struct, frozen=True):
    """How long claims last, how much is kept, and the longest delay that the settings name.

    How much is kept of completed jobs and of events is Queue V2's own, with Sockudo's defaults.
    """

    lease_ms: int
    dead_retention: int
    completed_retention: int = 1_000
    event_retention: int = 10_000
    max_delay_ms: int = 60_000


class SourceResult(msgspec.Struct, frozen=True):
    """What one source answers: as `base.NextResult`, with the server's clock."""

    accepted: bool
    claim: Claim | None
    trimmed: int
    now_ms: int
    lost: int = 0
    acked: Sequence[bool] = ()
    more: Sequence[Claim] = ()


class RedisSource(ABC):
    """One form of the queue. Safe from any thread, but for `wait`, which one notifier calls."""

    kind: ClassVar[str]
    """What it is called for people."""
    types: Mapping[str, str]
    """Each key of it, and the type that Redis must say it has."""
    active: str
    """The sorted set of claims, by the end of their leases."""
    delayed: str
    """The sorted set of what waits for its moment."""

    def __init__(self, key: str, link: Link, blocking_link: Link, terms: SourceOptions) -> None:
        self.key = key
        # The sorted set of deaths, `<id>/<n>` by the time of death (n tells the deaths of one record apart), and the
        # hash that holds what is dead, by id.
        self.dead, self.records = own_key(key, "dead"), own_key(key, "records")
        self.held = own_key(key, "held")
        self.has_work = False
        self.clock = ServerClock(terms.lease_ms)
        self._max_delay_ms = terms.max_delay_ms
        self._link = link
        self._blocking_link = blocking_link
        self._terms = terms
        self._due_at = 0.0  # monotonic; the first wait asks at once
        self._takes = itertools.count()
        self._new_id = id_source()
        self._can_block = True
        self._closed = threading.Event()

    def settle_and_claim(self, settlement: Settlement | None, what: str | None = None) -> SourceResult:
        """Settle and claim in one step. `what` is "none" to claim nothing; None lets fresh and due records take turns.

        "kept", which only lists know, claims nothing but what is in our own keys.
        """
        what = what or ("fresh" if next(self._takes) & 1 else "due")
        if settlement is not None and settlement.parts:
            self._note_delays(settlement.parts)
        return self._timed(partial(self._run_next, settlement, what, self.clock.expired_until()), what)

    def settle_and_claim_batch(
        self, settlements: Sequence[Settlement], max_claims: int, what: str | None = None
    ) -> SourceResult:
        """Settle several claims, as `base.BatchingDriver` describes, and claim up to `max_claims`; `what` as above."""
        what = what or ("fresh" if next(self._takes) & 1 else "due")
        return self._timed(partial(self._run_batch, settlements, max_claims, what, self.clock.expired_until()), what)

    def _timed(self, run: Callable[[], SourceResult], what: str) -> SourceResult:
        asked_at = time.monotonic()
        result = self._asked(run)
        self.clock.record_time(result.now_ms, asked_at)
        if what != "none":
            self.has_work = result.claim is not None
        return result

    def renew(self, claims: Sequence[Claim]) -> list[bool]:
        """Begin a new lease for each claim of this source that is still ours."""
        flags: list[bool] = []
        for start in range(0, len(claims), RENEW_LIMIT):
            receipts = [claim.receipt for claim in claims[start : start + RENEW_LIMIT]]
            flags += self._asked(partial(self._renew, receipts))
            self.clock.accepted()
        return flags

    def _asked(self, ask: Callable[[], T]) -> T:
        """Ask for what needs a lease. Where that fails, leases may expire meanwhile whose owners are alive."""
        try:
            return ask()
        except BrokerUnavailable:
            self.clock.not_answered()
            raise
        except BrokerRefused:
            self.clock.refused()
            raise

    def audit(self) -> RecordAudit:
        """Look for records that are out of reach, and bring them back. Changes nothing where all is well."""
        self._reschedule()
        return self._audit()

    def release(self, paused: Collection[WebhookKey]) -> int:
        """Make held deliveries due whose webhook is not paused; bounded work a call."""
        arguments: Arguments = [MAX_DUE, MAX_WEBHOOKS, PLACE_WIDTH, PLACES, *places_of(paused)]
        return self._link.run(RELEASE, self._released_keys, arguments, read=replies.count)

    @property
    def _released_keys(self) -> list[str]:
        """The keys of the script that releases; those of lists include `FURTHER`."""
        return [self.held, self.delayed]

    def count_held(self, webhook: WebhookKey) -> int:
        place = place_of(*webhook)
        return self._link.call("ZCOUNT", self.held, place, f"({place + PLACE_WIDTH}", read=replies.count)

    @abstractmethod
    def depth(self) -> Mapping[str, int]:
        """Count the records by state."""

    @abstractmethod
    def peek(self) -> bytes | None:
        """Return the body of the job that has waited longest, or None."""

    @abstractmethod
    def is_known(self) -> bool:
        """Tell whether anything of this form is stored now."""

    @abstractmethod
    def replay(self, letters: Sequence[StoredDeadLetter], states: Sequence[bytes]) -> list[bool]:
        """Make dead letters of this source ready again; few at a time, since their bodies travel."""

    def wait(self, timeout: float) -> int:
        """Wait for work, for at most the given seconds. Return how many records can be claimed now."""
        pause = min(timeout, BLOCK_SECONDS, self._due_at - time.monotonic())
        try:
            if pause > 0:
                self._pause(pause)
            claimable, until_due_ms = self._peek_counts()
        except BrokerUnavailable:
            self.clock.not_answered()
            raise
        except ServerRefused:  # others cannot renew their leases either
            self.clock.refused()
            raise
        self.clock.answered()
        self._due_at = time.monotonic() + until_due_ms / 1000 if until_due_ms >= 0 else float("inf")
        self.has_work = claimable > 0
        return min(claimable, MAX_CLAIMABLE)

    def close(self) -> None:
        """Cut short a wait that does not wait in the server, and disconnect."""
        self._closed.set()
        self._blocking_link.close()

    @abstractmethod
    def _audit(self) -> RecordAudit:
        """Compare the records with the sets that they must be in."""

    def _run_audit(self, *sets: str) -> RecordAudit:
        """Run the script that compares; `sets` are those of the records that are not dead."""
        keys = [self.records, self.dead, own_key(self.key, FURTHER), *sets]
        try:
            return RecordAudit(*self._link.run(AUDIT, keys, [AUDIT_LIMIT, RESTORE_BATCH_SIZE], read=replies.audit))
        except BrokerRefused:  # a rule without these commands is right for all else, and a claim meets what is worse
            return RecordAudit(0, 0, 0)

    def _reschedule(self) -> None:
        """Undo what a clock that was set back does to the moments that are stored."""
        set_back_ms = self.clock.set_back_ms()
        if not set_back_ms:
            return
        max_ms = MAX_DELAY_MS if set_back_ms > 2 * MAX_DELAY_MS else self._max_delay_ms
        maxima = [max_ms + MEASURED_WITHIN_MS, self._terms.lease_ms + MEASURED_WITHIN_MS]
        limits = [set_back_ms, RESCHEDULE_BATCH_SIZE, *maxima]
        for _ in range(MAX_RESCHEDULES):
            if not self._link.run(_RESCHEDULE, [self.delayed, self.active], limits, read=replies.count):
                break
        self.clock.made_good(set_back_ms)

    def _note_delays(self, parts: Sequence[Disposition]) -> None:
        """Remember the longest delay: a webhook can have a policy of its own."""
        for part in parts:
            if isinstance(part, Retry) and part.delay_ms > self._max_delay_ms:
                self._max_delay_ms = part.delay_ms

    @abstractmethod
    def _run_next(self, settlement: Settlement | None, what: str, expired_until: int) -> SourceResult:
        """Run the script that settles and claims; `expired_until` is as `ServerClock` says."""

    @abstractmethod
    def _run_batch(
        self, settlements: Sequence[Settlement], max_claims: int, what: str, expired_until: int
    ) -> SourceResult:
        """Run the same script for several settlements and up to `max_claims` claims."""

    @abstractmethod
    def _renew(self, receipts: Sequence[str]) -> list[bool]:
        """Run the script that renews; return a flag for each receipt."""

    @abstractmethod
    def _peek_counts(self) -> tuple[int, float]:
        """Return how much can be claimed, and the milliseconds until a record falls due (below 0: none will)."""

    @abstractmethod
    def _waiting_command(self, seconds: str) -> Sequence[str]:
        """Return the command that waits in the server for work of this source."""

    def _pause(self, seconds: float) -> None:
        if not self._can_block:
            self._closed.wait(min(seconds, POLL_SECONDS))
            return
        try:
            # A timeout of 0.000 would mean for ever.
            command = self._waiting_command(f"{max(seconds, MIN_WAIT):.3f}")
            self._blocking_link.call(*command, read=replies.wakeup)
        except (CommandDenied, WritesRefused):
            # A full Redis takes no BLMOVE, and a careful operator may not allow it; the source can still be asked.
            # Redis 6.0 with too few replicas takes no BLMOVE or BRPOP either, but every script.
            self._closed.wait(min(seconds, POLL_SECONDS))
        except BrokerRefused as refusal:
            if "unknown command" not in str(refusal).lower():
                raise
            self._can_block = False


def receipt_of(letter: StoredDeadLetter) -> bytes:
    """Return the receipt of a dead letter as it is stored."""
    return letter.token.encode(errors="surrogateescape")


def settlement_arguments(
    settlement: Settlement, of_part: Callable[[Settlement, int, Disposition], Arguments], *before: int
) -> Arguments:
    """Return the arguments of the scripts for a settlement with parts: the receipt, and the parts.

    `before` stands before the parts.
    """
    arguments: Arguments = [settlement.claim.receipt, len(settlement.parts), *before]
    for ordinal, part in enumerate(settlement.parts):
        arguments += of_part(settlement, ordinal, part)
    return arguments


def batch_arguments(settlements: Sequence[Settlement], of_settlement: Callable[[Settlement], Arguments]) -> Arguments:
    """Return the arguments of the scripts for several settlements, either acks or such with parts."""
    if not settlements or not settlements[0].parts:
        return [len(settlements), *[ack.claim.receipt for ack in settlements]]
    return [0, *itertools.chain.from_iterable(map(of_settlement, settlements))]


def batch_of(reply: Any, settlements: int, claim_of: Callable[[int, str, bytes, int], Claim]) -> SourceResult:
    """Return what the script of `next` says to several settlements and a wish for several claims."""
    acked, trimmed, now_ms, lost, claimed = replies.batch(reply, settlements)
    claims = [claim_of(now_ms, *each) for each in claimed]
    return SourceResult(True, claims[0] if claims else None, trimmed, now_ms, lost, acked, claims[1:])
