"""Queue V2, as Sockudo from 5.0 on keeps it: our claims lie in its own keys, under its own rules, beside its workers.

See `lua/v2_queue.lua` for the keys, and `queue_v2_payload` for what a job looks like there. One round trip settles one
claim and makes the next. Whether a claim is ours is decided by the word in `tokens`, inside the script that ends it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import quote_from_bytes

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
from sockudo_queue.drivers.redis.dead_letters import WithheldDeadLetter
from sockudo_queue.drivers.redis.errors import ODD
from sockudo_queue.drivers.redis.held import place_of
from sockudo_queue.drivers.redis.link import Link, Script
from sockudo_queue.drivers.redis.parser import Oversized
from sockudo_queue.drivers.redis.queue_v2_payload import AS_STORED, Piece, opened, pieces, start_of, whole
from sockudo_queue.drivers.redis.source import (
    Arguments,
    RedisSource,
    SourceOptions,
    SourceResult,
    batch_arguments,
    batch_of,
    receipt_of,
    settlement_arguments,
)
from sockudo_queue.errors import BrokerRefused

V2_PARTS: Final[Mapping[str, str]] = {
    "jobs": "hash",
    "wait": "list",
    "inline-wait": "list",
    "inline-wait-count": "string",
    "delayed": "zset",
    "active": "zset",
    "tokens": "hash",
    "attempts": "hash",
    "max-attempts": "hash",
    "failures": "hash",
    "completed": "zset",
    "notify": "list",
    "events": "stream",
}
"""The keys, in the order of the scripts' KEYS, and their types."""
CLAIM_PREFIX: Final = "sq-"
"""The beginning of our values in `tokens`, which tells our claims from those of Sockudo's workers."""

_OUR_TOKEN: Final = re.compile(CLAIM_PREFIX + r"[0-9a-f]+-\d{1,17}")

_PUT_BACK_BASE: Final = -(8 * 10**15)
"""Added to the microsecond of a claim, which ends its word, to make the score of what is put back: below 0, and in the
order of the claims."""
_PRINTABLE: Final = "".join(chr(code) for code in range(0x21, 0x7F) if code != ord("%"))
"""What stands for itself where an id is shown; all else is %XX."""

_NEXT: Final = Script("claims", "v2_queue", "v2_retention", "v2_settle", "v2_frames", "v2_claim")
_RENEW: Final = Script("v2_renew")
_PEEK: Final = Script("v2_peek")
_REPLAY: Final = Script("claims", "v2_queue", "v2_replay")
_AUDIT: Final = Script("v2_audit")
SOCKUDOS_DEAD: Final = "dlq"
"""The key of Sockudo's own dead letters; we only count them."""


class V2Claim(Claim):
    """A claim that knows where its body lies in the payload that is stored: `start` of `size` bytes, or -1."""

    start: int = -1
    size: int = 0


def v2_base(prefix: str, queue: str) -> str | None:
    """Return what all keys of the queue begin with, or None where Sockudo 5 refuses the prefix."""
    prefix = prefix.strip().rstrip(":")
    if not prefix or "{" in prefix or "}" in prefix:
        return None
    name = re.sub(rb"[^A-Za-z0-9_.:-]", lambda found: b"%%%02X" % found[0][0], queue.encode()).decode()
    return f"{prefix}:v2:{{{name}}}"


class V2Source(RedisSource):
    """One queue of Sockudo 5 and, in its slot, our own keys for what has died."""

    kind = "Queue V2, Sockudo 5"

    def __init__(self, base: str, link: Link, blocking_link: Link, terms: SourceOptions) -> None:
        super().__init__(base, link, blocking_link, terms)
        self.keys = {part: f"{base}:{part}" for part in V2_PARTS}
        self._all_keys = (*self.keys.values(), self.dead, self.records, self.held)
        self.types = dict(zip(self._all_keys, (*V2_PARTS.values(), "zset", "hash", "zset"), strict=True))
        self.active, self.delayed = self.keys["active"], self.keys["delayed"]
        self._read_claimed = partial(self._read, settlements=0)
        self._read_settled_and_claimed = partial(self._read, settlements=1)
        self._peek_keys = [
            self.keys[part] for part in ("wait", "inline-wait", "inline-wait-count", "delayed", "active", "notify")
        ]

    def depth(self) -> Mapping[str, int]:
        call, keys, count = self._link.call, self.keys, replies.count
        framed = call("GET", keys["inline-wait-count"], read=replies.optional)
        return {
            "ready": call("LLEN", keys["wait"], read=count) + _declared_count(framed),
            "active": call("ZCARD", keys["active"], read=count),
            "delayed": call("ZCARD", keys["delayed"], read=count),
            "held": call("ZCARD", self.held, read=count),
            "dead-letter": call("ZCARD", self.dead, read=count),
        }

    def peek(self) -> bytes | None:
        call = self._link.call
        waiting = call("LINDEX", self.keys["wait"], -1, read=replies.optional)
        if isinstance(waiting, bytes):
            payload = call("HGET", self.keys["jobs"], waiting, read=replies.optional)
            return opened(payload, quote_from_bytes(waiting, _PRINTABLE))[1] if isinstance(payload, bytes) else None
        if waiting is not None:
            return None
        frame = call("LINDEX", self.keys["inline-wait"], -1, read=replies.optional)
        return None if frame is None else _first_body(frame if isinstance(frame, bytes) else frame.head)

    def is_known(self) -> bool:
        return self._link.call("EXISTS", *self._all_keys, near=self.key, read=replies.count) > 0

    def replay(self, letters: Sequence[StoredDeadLetter], states: Sequence[bytes]) -> list[bool]:
        arguments = self._terms_for("none", 0)
        for letter, state in zip(letters, states, strict=True):
            piece = AS_STORED
            if not isinstance(letter, WithheldDeadLetter):
                piece = pieces(letter.body, 0)(state or letter.state)
            arguments += [receipt_of(letter), *piece]
        return self._link.run(_REPLAY, self._all_keys, arguments, read=replies.flags(len(letters)))

    def _audit(self) -> RecordAudit:
        """See `RedisSource.audit`. What Sockudo's keys hold is counted, and left to its own rules."""
        ours = self._run_audit()
        keys = self.keys
        read = [keys[part] for part in ("jobs", "wait", "delayed", "active", "completed")]
        try:
            adrift = self._link.run(_AUDIT, [*read, f"{self.key}:{SOCKUDOS_DEAD}", self.held], [], read=replies.count)
        except BrokerRefused:  # a rule without that key is right for all else
            adrift = 0
        return RecordAudit(ours.lost, ours.restored, ours.unreachable + adrift)

    def _run_next(self, settlement: Settlement | None, what: str, expired_until: int) -> SourceResult:
        arguments, read = self._terms_for(what, expired_until), self._read_settled_and_claimed
        if settlement is None:
            arguments.append(0)
            read = self._read_claimed
        elif settlement.parts:
            arguments += (0, *_settlement_arguments(settlement))
        else:
            arguments += (1, settlement.claim.receipt)
        return self._link.run(_NEXT, self._all_keys, arguments, read=read)

    def _run_batch(
        self, settlements: Sequence[Settlement], max_claims: int, what: str, expired_until: int
    ) -> SourceResult:
        arguments = self._terms_for(what, expired_until, max_claims)
        arguments += batch_arguments(settlements, _settlement_arguments)
        read = partial(batch_of, settlements=len(settlements), claim_of=self._claim_of)
        return self._link.run(_NEXT, self._all_keys, arguments, read=read)

    def _renew(self, receipts: Sequence[str]) -> list[bool]:
        keys = [self.keys["active"], self.keys["tokens"]]
        arguments: Arguments = [self._terms.lease_ms, *receipts]
        return self._link.run(_RENEW, keys, arguments, read=replies.flags(len(receipts)))

    def _peek_counts(self) -> tuple[int, float]:
        _, claimable, until_due_ms = self._link.run(_PEEK, self._peek_keys, [], read=replies.peek_counts)
        return claimable, until_due_ms

    def _waiting_command(self, seconds: str) -> Sequence[str]:
        # All words are alike, so either end will do; Sockudo's workers use BLPOP, which tells them from us.
        return ("BRPOP", self.keys["notify"], seconds)

    def _terms_for(self, what: str, expired_until: int, max_claims: int = 1) -> Arguments:
        terms = self._terms
        word = CLAIM_PREFIX + self._new_id()
        kept = (terms.dead_retention, terms.completed_retention, terms.event_retention)
        return [word, terms.lease_ms, what, *kept, expired_until, max_claims]

    def _read(self, reply: Any, settlements: int) -> SourceResult:
        accepted, trimmed, now_ms, lost, claimed = replies.settled_and_claimed(reply, settlements)
        return SourceResult(accepted, claimed and self._claim_of(now_ms, *claimed), trimmed, now_ms, lost)

    def _claim_of(self, now_ms: int, receipt: str, value: bytes, lapses: int) -> Claim:
        shown_id, _, word = receipt.rpartition("/")
        if not _OUR_TOKEN.fullmatch(word):
            raise replies.UnexpectedReply
        state, body = opened(value, shown_id)
        return V2Claim(self.key, receipt, body, state, lapses, now_ms, start=start_of(value, body), size=len(value))


def _settlement_arguments(settlement: Settlement) -> Arguments:
    size = settlement.claim.size if isinstance(settlement.claim, V2Claim) else 0
    return settlement_arguments(settlement, _parts_of(settlement.claim), size)


def _parts_of(claim: Claim) -> Callable[[Settlement, int, Disposition], Arguments]:
    """Return a function for the arguments of one part of a claim: kind, id, number, and the piece that is stored.

    A claim without a body and a state may have been made without its payload; then that is kept as it is.
    """
    start = claim.start if isinstance(claim, V2Claim) else -1
    is_withheld = not claim.body and not claim.state
    payload_of = pieces(claim.body, start)

    def arguments(settlement: Settlement, ordinal: int, part: Disposition) -> Arguments:
        assert settlement.splits or len(settlement.parts) == 1, "a delivery has one webhook and leaves one part at most"
        own = f"{claim.id}.{ordinal}" if settlement.splits else claim.id
        state = part.state or claim.state
        match part:
            case Retry(_, delay_ms):
                kind, number = "later", str(delay_ms)
            case Requeue(_, lapsed):
                kind = "lapsed" if lapsed else "back"
                number = str(_PUT_BACK_BASE + int(claim.receipt.rpartition("-")[2]))
            case Hold(_, app, webhook):
                kind, number = "held", str(place_of(app, webhook))
            case DeadLetter():
                return ["dead", own, 0, *_dead_piece(state, claim.body, start, is_withheld=is_withheld)]
        # An envelope names the id that it was made for, so only the record itself can keep what is stored.
        changes = settlement.splits or state != claim.state
        return [kind, own, number, *(payload_of(state) if changes else AS_STORED)]

    return arguments


def _dead_piece(state: bytes, body: bytes, start: int, *, is_withheld: bool) -> Piece:
    before = b"\x01" + state + b"\n"
    if is_withheld:
        return Piece(before, 1, -1, b"")
    if start < 0:
        return whole(before + body)
    return Piece(before, start + 1, start + len(body) - 1, body[-1:])


def _declared_count(framed: bytes | Oversized | None) -> int:
    """Return the number of jobs that the frames declare, or 0 if it is not a number."""
    try:
        return replies.digits(framed)
    except ODD:
        return 0


def _first_body(frame: bytes) -> bytes:
    """Return the first body of a frame; see `lua/v2_frames.lua`."""
    if frame[:1] == b"B":
        end = 9 + int.from_bytes(frame[5:9], "big")
        return frame[9 + 33 : end]
    return frame[33:]
