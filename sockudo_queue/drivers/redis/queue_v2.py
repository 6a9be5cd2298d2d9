"""Queue V2, as Sockudo from 5.0 on keeps it: our claims lie in its own keys, under its own rules, beside its workers.

See `lua/v2_queue.lua` for the keys, and `queue_v2_payload` for what a job looks like there. One round trip settles one
claim and makes the next. Whether a claim is ours is decided by the word in `tokens`, inside the script that ends it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote_from_bytes

from sockudo_queue.drivers.base import Back, Claim, Dead, DeadLetter, Later, Part, Settlement
from sockudo_queue.drivers.redis import replies
from sockudo_queue.drivers.redis.dead_letters import WithheldLetter, receipt_of
from sockudo_queue.drivers.redis.link import Link, Script
from sockudo_queue.drivers.redis.parser import Oversized
from sockudo_queue.drivers.redis.queue_v2_payload import closed, opened
from sockudo_queue.drivers.redis.replies import Reader
from sockudo_queue.drivers.redis.source import Arguments, RedisSource, SourceTurn, Terms, settlement_arguments

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
WORD_MARK: Final = "sq-"
"""How our words in `tokens` begin, which tells our claims from those of Sockudo's workers."""

_OUR_WORD: Final = re.compile(WORD_MARK + r"[0-9a-f]+-\d{1,17}")

_PUT_BACK_BASE: Final = -(8 * 10**15)
"""Added to the microsecond of a claim, which ends its word, to make the score of what is put back: below 0, and in the
order of the claims."""
_PRINTABLE: Final = "".join(chr(code) for code in range(0x21, 0x7F) if code != ord("%"))
"""What stands for itself where an id is shown; all else is %XX."""

_NEXT: Final = Script("v2_queue", "v2_retention", "v2_settle", "v2_frames", "v2_claim")
_RENEW: Final = Script("v2_renew")
_LOOK: Final = Script("v2_look")
_REPLAY: Final = Script("v2_queue", "v2_replay")


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

    def __init__(self, base: str, link: Link, patient: Link, terms: Terms) -> None:
        super().__init__(base, link, patient, terms)
        self.keys = {part: f"{base}:{part}" for part in V2_PARTS}
        self._all_keys = (*self.keys.values(), self.dead, self.records)
        self.types = dict(zip(self._all_keys, (*V2_PARTS.values(), "zset", "hash"), strict=True))
        self._look_keys = [
            self.keys[part] for part in ("wait", "inline-wait", "inline-wait-count", "delayed", "active", "notify")
        ]

    def depth(self) -> Mapping[str, int]:
        call, keys, count = self._link.call, self.keys, replies.count
        framed = call("GET", keys["inline-wait-count"], read=replies.optional)
        return {
            "ready": call("LLEN", keys["wait"], read=count) + _said(framed),
            "active": call("ZCARD", keys["active"], read=count),
            "delayed": call("ZCARD", keys["delayed"], read=count),
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

    def replay(self, letters: Sequence[DeadLetter], states: Sequence[bytes]) -> list[bool]:
        arguments = self._terms_for("none")
        for letter, state in zip(letters, states, strict=True):
            payload = b"" if isinstance(letter, WithheldLetter) else closed(letter.body, state or letter.state)
            arguments += [receipt_of(letter), payload]
        return self._link.run(_REPLAY, self._all_keys, arguments, read=replies.flags(len(letters)))

    def _settle_and_claim(self, settled: Settlement | None, what: str, read: Reader[SourceTurn]) -> SourceTurn:
        is_ack = settled is not None and not settled.parts
        arguments = self._terms_for(what) + settlement_arguments(settled, _part_arguments, is_ack=is_ack)
        return self._link.run(_NEXT, self._all_keys, arguments, read=read)

    def _renew(self, receipts: Sequence[str]) -> list[bool]:
        keys = [self.keys["active"], self.keys["tokens"]]
        arguments: Arguments = [self._terms.lease_ms, *receipts]
        return self._link.run(_RENEW, keys, arguments, read=replies.flags(len(receipts)))

    def _look(self) -> tuple[int, float]:
        _, claimable, until_due_ms = self._link.run(_LOOK, self._look_keys, [], read=replies.look)
        return claimable, until_due_ms

    def _waiting_command(self, seconds: str) -> Sequence[str]:
        # All words are alike, so either end will do; Sockudo's workers use BLPOP, which tells them from us.
        return ("BRPOP", self.keys["notify"], seconds)

    def _terms_for(self, what: str) -> Arguments:
        terms = self._terms
        word = WORD_MARK + self._new_id()
        kept = (terms.dead_retention, terms.completed_retention, terms.event_retention)
        return [word, terms.lease_ms, what, *kept]

    def _claim_of(self, now_ms: int, receipt: str, value: bytes, lapses: int) -> Claim:
        shown_id, _, word = receipt.rpartition("/")
        if not _OUR_WORD.fullmatch(word):
            raise replies.UnexpectedReply
        state, body = opened(value, shown_id)
        return Claim(self.key, receipt, body, state, lapses, now_ms)


def _part_arguments(settlement: Settlement, ordinal: int, part: Part) -> Arguments:
    """Return what the script wants to know of one part: kind, id, number, payload or record."""
    claim = settlement.claim
    assert settlement.splits or len(settlement.parts) == 1, "a share has one webhook and leaves one part at most"
    own = f"{claim.id}.{ordinal}" if settlement.splits else claim.id
    state = part.state or claim.state
    match part:
        case Later(_, delay_ms):
            kind, number = "later", str(delay_ms)
        case Back(_, lapsed):
            kind, number = "lapsed" if lapsed else "back", str(_PUT_BACK_BASE + int(claim.receipt.rpartition("-")[2]))
        case Dead():
            # A claim without a body and a state may have been made without its payload; then that is kept as it is.
            is_withheld = not claim.body and not claim.state
            return ["dead", own, 0, b"\x01" + state + (b"" if is_withheld else b"\n" + claim.body)]
    # An envelope names the id that it was made for, so only the record itself can keep what is stored.
    changes = settlement.splits or state != claim.state
    return [kind, own, number, closed(claim.body, state) if changes else b""]


def _said(framed: bytes | Oversized | None) -> int:
    """Return how many jobs are packed in frames, by what those who pack them say; nothing where that is no number."""
    try:
        return replies.digits(framed)
    except replies.ODD:
        return 0


def _first_body(frame: bytes) -> bytes:
    """Return the first body of a frame; see `lua/v2_frames.lua`."""
    if frame[:1] == b"B":
        end = 9 + int.from_bytes(frame[5:9], "big")
        return frame[9 + 33 : end]
    return frame[33:]
