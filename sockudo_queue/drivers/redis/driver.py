"""The driver on Redis: every form of the queue that a Sockudo may write, served side by side.

A claim is settled with the source that it came from. Of several sources none starves, and one that refuses (because of
rules for its keys, or a key of another type) does not stop the others.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from sockudo_queue.core.controls import WebhookKey
from sockudo_queue.drivers.base import Batch, Claim, Finding, NextResult, RecordAudit, Settlement
from sockudo_queue.drivers.redis import replies
from sockudo_queue.drivers.redis.controls import RedisControls
from sockudo_queue.drivers.redis.dead_letters import RedisDeadLetterStore
from sockudo_queue.drivers.redis.errors import ServerBusy, ServerRefused, WritesRefused, is_of_size
from sockudo_queue.drivers.redis.inspection import Inspection
from sockudo_queue.drivers.redis.link import Link
from sockudo_queue.drivers.redis.peers import RedisPeers
from sockudo_queue.drivers.redis.source import RedisSource, SourceResult
from sockudo_queue.errors import (
    BrokerError,
    BrokerRefused,
    BrokerUnavailable,
    SettlementRefused,
    SourceRefused,
    SourceUnavailable,
)

T = TypeVar("T")

IN_A_ROW: Final = 64
"""Claims from one source in a row while another may have work."""
REFUSED_PAUSE: Final = 2.0
"""Seconds for which a source that refuses, or whose server is silent, is left out of claims while others are served."""
EMPTY_FOR: Final = 0.1
"""Seconds for which a source that had nothing gets no turn beside another one, unless its notifier finds a job."""


class _SourceStatus:
    """A source, whether it takes our commands, and whether its server answers."""

    def __init__(self, source: RedisSource) -> None:
        self.source = source
        self.refusal: BrokerRefused | None = None
        self.refused_at = 0.0
        self.silent_at = float("-inf")
        self.empty_at = float("-inf")

    @property
    def may_have_work(self) -> bool:
        """Tell whether a claim may find something here."""
        return self.source.has_work or time.monotonic() - self.empty_at >= EMPTY_FOR

    @property
    def is_resting(self) -> bool:
        """Tell whether the last claim was refused, or not answered, a moment ago."""
        last = self.silent_at if self.refusal is None else max(self.refused_at, self.silent_at)
        return time.monotonic() - last < REFUSED_PAUSE


class RedisDriver:
    """Records, leases and receipts: nothing is lost at a crash, and a late settle matches nothing."""

    batches = True

    def __init__(
        self, link: Link, sources: Sequence[RedisSource], put_list: str, name: str = "redis", prefix: str = ""
    ) -> None:
        """Serve the sources, which must speak over `link`. Jobs that are `put` go to the list `put_list`.

        `prefix` is what the queues have in common that the decisions of operators hold for.
        """
        self.name = name
        self._link = link
        self._statuses = {source.key: _SourceStatus(source) for source in sources}
        self._put_list = put_list
        self._trimmed: deque[int] = deque()
        self._lost: deque[int] = deque()
        self._last_source, self._in_a_row = "", 0
        self.sources: tuple[str, ...] = tuple(self._statuses)
        # In turns, so that none of three sources starves.
        self._others = {key: [*self.sources[n + 1 :], *self.sources[:n]] for n, key in enumerate(self.sources)}
        self.dead_letters = RedisDeadLetterStore(link, sources)
        self.peers = RedisPeers(link, sources)
        self.controls = RedisControls(link, prefix)

    def next(self, settlement: Settlement | None) -> NextResult:
        if settlement is None:
            result = NextResult(True, first_of(self._claim_anywhere(self._in_order())))
        else:
            result = self._settle_and_claim(settlement)
        if self._trimmed or self._lost:
            return msgspec.structs.replace(result, trimmed=taken(self._trimmed), lost=taken(self._lost))
        return result

    def next_batch(self, settlements: Sequence[Settlement], max_claims: int) -> Batch:
        if settlements:
            accepted, claims = self._settle_and_claim_batch(settlements, max_claims)
        else:
            accepted, claims = [], self._claim_anywhere(self._in_order(), max_claims)
        if not max_claims:  # what was counted is left for a call whose caller counts it
            return Batch(accepted, claims)
        return Batch(accepted, claims, taken(self._trimmed), taken(self._lost))

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        return [self._ask(settlement.claim.source, settlement, "none").accepted for settlement in settlements]

    def renew(self, claims: Sequence[Claim]) -> list[bool]:
        """See `base.Driver`. What a source refuses to renew counts as ours until a settle says otherwise."""
        flags: dict[str, bool] = {}
        refusals: list[BrokerRefused] = []
        silence: BrokerUnavailable | None = None
        by_source = {key: [claim for claim in claims if claim.source == key] for key in self._statuses}
        asked = {key: mine for key, mine in by_source.items() if mine}
        for key, mine in asked.items():
            try:
                flags.update(zip((claim.receipt for claim in mine), self._source(key).renew(mine), strict=True))
            except BrokerRefused as refusal:
                refusals.append(self._refused(key, refusal))
            except BrokerUnavailable as error:
                silence = self._silent(key, error)  # the leases of the other sources run on, too
        if silence is not None:
            raise silence
        if refusals and len(refusals) == len(asked):
            raise refusals[0]
        return [flags.get(claim.receipt, True) for claim in claims]

    def wait(self, source: str, timeout: float) -> int:
        """See `base.Driver`. Raises `SourceRefused` while the source refuses claims, or if it refuses to be asked."""
        status = self._statuses[source]
        if (known := status.refusal) is not None:
            raise SourceRefused(source, str(known))
        try:
            claimable = status.source.wait(timeout)
        except BrokerRefused as refusal:
            if self._is_of_all(refusal):
                raise
            raise SourceRefused(source, str(refusal)) from None
        except BrokerUnavailable as error:
            raise self._silent(source, error) from None
        status.silent_at = float("-inf")
        return claimable

    def discover_servers(self) -> None:
        """Look for servers that have joined, and report them to the owner of the link. Never raises; may block."""
        self._link.discover_servers()

    def put(self, body: bytes) -> None:
        self._link.call("RPUSH", self._put_list, body, read=replies.count)

    def depth(self) -> Mapping[str, int]:
        total = dict.fromkeys(("ready", "active", "delayed", "held", "dead-letter"), 0)
        for counts in self._answers(lambda source: source.depth()):
            for state, count in counts.items():
                total[state] += count
        return total

    def peek(self) -> Sequence[bytes]:
        return [body for body in self._answers(lambda source: source.peek()) if body is not None]

    def release(self, paused: Collection[WebhookKey]) -> int:
        """See `base.Parking`. A source that refuses, or whose server alone is silent, does not stop the others."""
        moved = 0
        fault: BrokerError | None = None
        for key, status in self._statuses.items():
            try:
                moved += status.source.release(paused)
            except BrokerRefused as refusal:
                fault = self._refused(key, refusal)
            except BrokerUnavailable as silence:
                fault = self._silent(key, silence)
        if fault is not None and not moved:
            raise fault
        return moved

    def held(self, webhooks: Sequence[WebhookKey]) -> Sequence[int]:
        """See `base.Parking`. A source that refuses is left out."""
        columns = self._answers(lambda source: [source.count_held(webhook) for webhook in webhooks])
        return [sum(counts) for counts in zip(*columns, strict=True)]

    def audit(self) -> RecordAudit:
        """See `base.Auditable`. A source that refuses is left out."""
        audits = self._answers(lambda source: source.audit())
        return RecordAudit(*(sum(column) for column in zip(*audits, strict=True)))

    def inspect(self) -> Iterator[Finding]:
        """See `base.Inspectable`."""
        return Inspection(self._link, [status.source for status in self._statuses.values()]).findings()

    def ping(self) -> None:
        for source in self._statuses if self._link.is_apart else (self._put_list,):
            self._link.call("PING", near=source, read=replies.PONG)

    def close(self) -> None:
        for status in self._statuses.values():
            status.source.close()
        self._link.close()

    def _source(self, key: str) -> RedisSource:
        return self._statuses[key].source

    def _settle_and_claim(self, settlement: Settlement) -> NextResult:
        key = settlement.claim.source
        others = self._others[key]
        if self._is_turn_of_another(key):
            result, rest = self._ask(key, settlement, "none"), self._in_order()
        elif self._ends_row(key, 1):
            self._in_a_row = 0
            result, rest = self._ask(key, settlement, "none"), [*others, key]
        else:
            result, rest = self._ask(key, settlement), others
        if result.claim is not None or not rest:
            return NextResult(result.accepted, result.claim)
        try:
            return NextResult(result.accepted, first_of(self._claim_anywhere(rest)))
        except BrokerError:
            # The settlement was taken; that must not get lost with a second call. The next one will meet the fault.
            return NextResult(result.accepted, None)

    def _settle_and_claim_batch(
        self, settlements: Sequence[Settlement], max_claims: int
    ) -> tuple[Sequence[bool], Sequence[Claim]]:
        key = settlements[0].claim.source
        others, room = self._others[key], max_claims
        if max_claims and self._is_turn_of_another(key):
            acked = self._ask(key, None, "none", settlements, 0).acked
            try:
                return acked, self._claim_anywhere(self._in_order(), max(min(max_claims, IN_A_ROW - self._in_a_row), 1))
            except BrokerError:
                return acked, []  # as above
        if max_claims and self._ends_row(key, max_claims):
            room = max(IN_A_ROW - self._in_a_row, 0)
        result = self._ask(key, None, None if room else "none", settlements, room)
        if result.claim is not None:
            return result.acked, [result.claim, *result.more]
        if not max_claims or not others:
            return result.acked, []
        if not room:
            self._in_a_row = 0
        try:
            return result.acked, self._claim_anywhere(others if room else [*others, key], max_claims)
        except BrokerError:
            return result.acked, []  # as above

    def _ends_row(self, key: str, claims: int) -> bool:
        """Tell whether this number of further claims ends the row of a source.

        A new row begins where no other source waits for its turn.
        """
        others = self._others[key]
        if not others or key != self._last_source or self._in_a_row + claims <= IN_A_ROW:
            return False
        if any(self._statuses[other].may_have_work for other in others):
            return True
        self._in_a_row = 0
        return False

    def _is_turn_of_another(self, key: str) -> bool:
        """Tell whether another source has a row of claims that is not over. Settlements of `key` must not end it."""
        last = self._last_source
        return last not in {"", key} and self._in_a_row < IN_A_ROW and self._source(last).has_work

    def _in_order(self) -> list[str]:
        """Return the sources in the order in which they are asked.

        Those whose notifier found jobs go first, and of them the one whose row of claims is not over. The one that has
        had its row goes last.
        """
        last = self._last_source
        tired = last if self._in_a_row >= IN_A_ROW else None
        keys = [last, *self._others[last]] if last else self.sources
        return sorted(keys, key=lambda key: (key == tired, not self._source(key).has_work))

    def _claim_anywhere(self, keys: Sequence[str], max_claims: int = 1) -> Sequence[Claim]:
        """Claim from the first source that has something. Raises a refusal only where every source refuses."""
        willing = [key for key in keys if not self._statuses[key].is_resting]
        silence: BrokerUnavailable | None = None
        answered = False
        for key in willing or keys:
            try:
                result = self._ask(key, None, max_claims=max_claims)
            except SourceRefused:
                continue
            except SourceUnavailable as error:
                silence = error
                continue
            if result.claim is not None:
                return [result.claim, *result.more]
            answered = True
        if silence is not None and not answered:
            raise silence
        return []  # the notifier of the source reports a server that does not answer

    def _ask(
        self,
        key: str,
        settlement: Settlement | None,
        what: str | None = None,
        batch: Sequence[Settlement] = (),
        max_claims: int = 1,
    ) -> SourceResult:
        """Ask one source. Raises `SourceRefused` where it alone refuses, and `BrokerRefused` where all of them do."""
        status = self._statuses[key]
        try:
            if batch or max_claims != 1:
                result = status.source.settle_and_claim_batch(batch, max_claims, what)
            else:
                result = status.source.settle_and_claim(settlement, what)
        except BrokerRefused as refusal:
            if settlement is not None and self._refuses_only(settlement, refusal):
                raise SettlementRefused(key, str(refusal)) from None
            raise self._refused(key, refusal) from None
        except BrokerUnavailable as error:
            raise self._silent(key, error) from None
        if what != "none":
            status.refusal = None
        if result.trimmed:
            self._trimmed.append(result.trimmed)
        if result.lost:
            self._lost.append(result.lost)
        if result.claim is None and what != "none":
            status.empty_at = time.monotonic()
        if result.claim is not None:
            claimed = 1 + len(result.more)
            self._in_a_row = self._in_a_row + claimed if key == self._last_source else claimed
            self._last_source = key
        return result

    def _refused(self, key: str, refusal: BrokerRefused) -> BrokerRefused:
        """Note a refusal, and return it as that of this source alone if others do not refuse."""
        if self._is_of_all(refusal):
            return refusal
        status = self._statuses[key]
        status.refusal, status.refused_at = refusal, time.monotonic()
        if all(other.refusal is not None for other in self._statuses.values()):
            return refusal
        return SourceRefused(key, str(refusal))

    def _refuses_only(self, settlement: Settlement, refusal: BrokerRefused) -> bool:
        """Tell whether the server refuses a settlement for its size, and takes the same script without one.

        The script without one writes next to nothing. So that it is taken says nothing of a missing right, or a key of
        another type, which other settlements will meet as well.
        """
        if self._is_of_all(refusal) or not is_of_size(refusal):
            return False
        try:
            self._source(settlement.claim.source).settle_and_claim(None, "none")
        except BrokerError:
            return False
        return True

    def _is_of_all(self, refusal: BrokerRefused) -> bool:
        """Tell whether a refusal is of every source; of several servers each has its own disk, replicas and scripts."""
        if self._link.is_apart and isinstance(refusal, WritesRefused | ServerBusy):
            return False
        return isinstance(refusal, ServerRefused)

    def _silent(self, key: str, error: BrokerUnavailable) -> BrokerUnavailable:
        """Note that no answer came, and return that as of this source alone where others are on other servers."""
        if not self._link.is_apart:
            return error
        # Its last word is no refusal any more: its notifier asks again, and so hears when it is back, to refuse or not.
        self._statuses[key].refusal, self._statuses[key].silent_at = None, time.monotonic()
        return SourceUnavailable(key, str(error))

    def _answers(self, ask: Callable[[RedisSource], T]) -> list[T]:
        """Ask every source, and leave out those that refuse unless all of them do."""
        answers: list[T] = []
        refusal: BrokerRefused | None = None
        for status in self._statuses.values():
            try:
                answers.append(ask(status.source))
            except BrokerRefused as error:
                if self._is_of_all(error):
                    raise
                refusal = refusal or error
        if refusal is not None and not answers:
            raise refusal
        return answers


def first_of(claims: Sequence[Claim]) -> Claim | None:
    """Return the first claim, or None where there is none."""
    return claims[0] if claims else None


def taken(counts: deque[int]) -> int:
    """Return the sum of what was counted since the last call; each count is returned to one caller."""
    total = 0
    while counts:
        try:
            total += counts.popleft()
        except IndexError:
            break
    return total
