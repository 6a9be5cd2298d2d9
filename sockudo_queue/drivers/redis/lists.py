"""Redis lists, as every Sockudo before 5.0 writes them; our own keys beside each list keep what was taken from it.

The documentation names the list `{prefix}queue:{name}`; every released server before 5.0 writes `{prefix}:queue:{name}`
(by default with two colons). Both are sources and both are watched all the time. See `lua/next.lua` for the keys and
for how a claim is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from sockudo_queue.drivers.base import (
    Claim,
    DeadLetter,
    Disposition,
    Hold,
    RecordAudit,
    Requeue,
    Retry,
    Settlement,
    StoredDeadLetter,
)
from sockudo_queue.drivers.redis import replies
from sockudo_queue.drivers.redis.held import place_of
from sockudo_queue.drivers.redis.link import Link, Script
from sockudo_queue.drivers.redis.source import (
    FURTHER,
    PUT_BACK_BASE,
    Arguments,
    RedisSource,
    SourceOptions,
    SourceResult,
    batch_arguments,
    batch_of,
    own_key,
    receipt_of,
    settlement_arguments,
)

KEY_PARTS: Final = ("ready", "records", "active", "delayed", "lapses", "dead", "held", FURTHER)
"""Our keys beside a list, in the order of the scripts' KEYS."""
_TYPES: Final = ("list", "list", "hash", "zset", "zset", "hash", "zset", "zset", "hash")
"""Of the list and of our keys beside it."""
GATHER_LIMIT: Final = 500
"""Maximum number of bodies that one call moves into `ready`, in chunks of `GATHER_CHUNK`, and at most about
`GATHER_BYTES` bytes. A call is so short that no other client notices it."""
GATHER_CHUNK: Final = 50
GATHER_BYTES: Final = 1_000_000

_NEXT: Final = Script("claims", "next")
_GATHER: Final = Script("gather")
_RENEW: Final = Script("renew")
_REPLAY: Final = Script("dead_replay")


def source_keys(prefix: str, queue: str) -> tuple[str, ...]:
    """Return the lists that may hold jobs: the one that servers write, and the one that the documentation names."""
    return (f"{prefix}:queue:{queue}", f"{prefix}queue:{queue}")


class ListSource(RedisSource):
    """One list and our keys beside it."""

    kind = "list, Sockudo up to 4.7"

    def __init__(self, key: str, link: Link, blocking_link: Link, terms: SourceOptions) -> None:
        super().__init__(key, link, blocking_link, terms)
        self._ready, self.active = own_key(key, "ready"), own_key(key, "active")
        self.delayed, self.lapses = own_key(key, "delayed"), own_key(key, "lapses")
        self._claim_keys = (key, *(own_key(key, part) for part in KEY_PARTS))
        self.types = dict(zip(self._claim_keys, _TYPES, strict=True))

    def depth(self) -> Mapping[str, int]:
        call, count = self._link.call, replies.count
        return {
            "ready": call("LLEN", self.key, read=count) + call("LLEN", self._ready, read=count),
            "active": call("ZCARD", self.active, read=count),
            "delayed": call("ZCARD", self.delayed, read=count),
            "held": call("ZCARD", self.held, read=count),
            "dead-letter": call("ZCARD", self.dead, read=count),
        }

    def peek(self) -> bytes | None:
        for key in (self._ready, self.key):
            body = self._link.call("LINDEX", key, 0, read=replies.optional)
            if body is not None:
                return body if isinstance(body, bytes) else None
        return None

    def is_known(self) -> bool:
        return self._link.call("EXISTS", *self._claim_keys, near=self.key, read=replies.count) > 0

    def replay(self, letters: Sequence[StoredDeadLetter], states: Sequence[bytes]) -> list[bool]:
        pairs = zip(letters, states, strict=True)
        arguments: Arguments = []
        for letter, state in pairs:
            arguments += [receipt_of(letter), state]
        keys = [self.dead, self.records, self.delayed]
        return self._link.run(_REPLAY, keys, arguments, read=replies.flags(len(letters)))

    @property
    def _released_keys(self) -> list[str]:
        return [*super()._released_keys, own_key(self.key, FURTHER)]

    def _audit(self) -> RecordAudit:
        return self._run_audit(self.delayed, self.active, self.held)

    def _run_next(self, settlement: Settlement | None, what: str, expired_until: int) -> SourceResult:
        terms, read = self._terms, replies.SETTLED_AND_CLAIMED
        arguments: Arguments = [self._new_id(), terms.lease_ms, what, terms.dead_retention, expired_until, 1]
        if settlement is None:
            arguments.append(0)
            read = replies.CLAIMED
        elif settlement.parts or settlement.claim.lapses:
            arguments += (0, *settlement_arguments(settlement, part_arguments))
        else:
            arguments += (1, settlement.claim.receipt)
        accepted, trimmed, now_ms, lost, claimed = self._link.run(_NEXT, self._claim_keys, arguments, read=read)
        if claimed is None:
            return SourceResult(accepted, None, trimmed, now_ms, lost)
        receipt, value, lapses = claimed
        return SourceResult(accepted, self._claim_of(now_ms, receipt, value, lapses), trimmed, now_ms, lost)

    def _run_batch(
        self, settlements: Sequence[Settlement], max_claims: int, what: str, expired_until: int
    ) -> SourceResult:
        terms = self._terms
        arguments: Arguments = [self._new_id(), terms.lease_ms, what, terms.dead_retention, expired_until, max_claims]
        arguments += batch_arguments(settlements, partial(settlement_arguments, of_part=part_arguments))
        read = partial(batch_of, settlements=len(settlements), claim_of=self._claim_of)
        return self._link.run(_NEXT, self._claim_keys, arguments, read=read)

    def _claim_of(self, now_ms: int, receipt: str, value: bytes, lapses: int) -> Claim:
        state, body = split_value(value)
        return Claim(self.key, receipt, body, state, lapses, now_ms)

    def _renew(self, receipts: Sequence[str]) -> list[bool]:
        arguments: Arguments = [self._terms.lease_ms, *receipts]
        return self._link.run(_RENEW, [self.active], arguments, read=replies.flags(len(receipts)))

    def _peek_counts(self) -> tuple[int, float]:
        keys = [self.key, self._ready, self.active, self.delayed]
        limits = [GATHER_LIMIT, GATHER_CHUNK, GATHER_BYTES]
        moved, claimable, until_due_ms = self._link.run(_GATHER, keys, limits, read=replies.peek_counts)
        return claimable, 0 if moved >= GATHER_LIMIT else until_due_ms

    def _waiting_command(self, seconds: str) -> Sequence[str]:
        # The head of the list moves onto itself: nothing changes, so a lost answer loses nothing.
        return ("BLMOVE", self.key, self.key, "LEFT", "LEFT", seconds)


def split_value(value: bytes) -> tuple[bytes, bytes]:
    """Return the state and the body of a record's value, which is a body, or 0x01, state, LF, body."""
    if value[:1] != b"\x01":
        return b"", value
    state, _, body = value[1:].partition(b"\n")
    return state, body


def part_arguments(settlement: Settlement, ordinal: int, part: Disposition) -> Arguments:
    """Return what the scripts want to know of one part: kind, receipt, number, state."""
    claim = settlement.claim
    assert settlement.splits or len(settlement.parts) == 1, "a delivery has one webhook and leaves one part at most"
    receipt = f"{claim.id}.{ordinal}/0" if settlement.splits else claim.receipt
    match part:
        case Retry(state, delay_ms):
            return ["later", receipt, delay_ms, state]
        case Requeue(state, lapsed):
            return ["lapsed" if lapsed else "back", receipt, f"{PUT_BACK_BASE + claim.server_ms:.0f}", state]
        case DeadLetter(state, _):
            return ["dead", receipt, 0, state]
        case Hold(state, app, webhook):
            return ["held", receipt, place_of(app, webhook), state]
