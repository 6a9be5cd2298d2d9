"""Queue V2, as Sockudo from 5.0 on keeps it: our claims lie in its own keys, under its own rules, beside its workers.

See `lua/v2_queue.lua` for the keys, and `queue_v2_payload` for what a job looks like there. One round trip settles one
claim and makes the next. Whether a claim is ours is decided by the word in `tokens`, inside the script that ends it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote_from_bytes

from sockudo_queue.drivers.base import Back, Claim, Dead, DeadLetter, Later, Part, Settlement
from sockudo_queue.drivers.redis.link import Link, Script
from sockudo_queue.drivers.redis.queue_v2_payload import closed, opened
from sockudo_queue.drivers.redis.source import Arguments, RedisSource, Terms, settlement_arguments

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
        call, keys = self._link.call, self.keys
        framed = call("GET", keys["inline-wait-count"])
        return {
            "ready": call("LLEN", keys["wait"]) + (int(framed) if framed and framed.isdigit() else 0),
            "active": call("ZCARD", keys["active"]),
            "delayed": call("ZCARD", keys["delayed"]),
            "dead-letter": call("ZCARD", self.dead),
        }

    def peek(self) -> bytes | None:
        waiting = self._link.call("LINDEX", self.keys["wait"], -1)
        if waiting is not None:
            payload = self._link.call("HGET", self.keys["jobs"], waiting)
            return None if payload is None else opened(payload, quote_from_bytes(waiting, _PRINTABLE))[1]
        frame = self._link.call("LINDEX", self.keys["inline-wait"], -1)
        return None if frame is None else _first_body(frame)

    def is_known(self) -> bool:
        return bool(self._link.call("EXISTS", *self._all_keys, near=self.key))

    def replay(self, letters: Sequence[DeadLetter], states: Sequence[bytes]) -> list[bool]:
        arguments = self._terms_for("none")
        for letter, state in zip(letters, states, strict=True):
            arguments += [letter.token, closed(letter.body, state or letter.state)]
        return [*map(bool, self._link.run(_REPLAY, self._all_keys, arguments))]

    def _settle_and_claim(self, settled: Settlement | None, what: str) -> Any:
        is_ack = settled is not None and not settled.parts
        arguments = self._terms_for(what) + settlement_arguments(settled, _part_arguments, is_ack=is_ack)
        return self._link.run(_NEXT, self._all_keys, arguments)

    def _renew(self, receipts: Sequence[str]) -> Any:
        keys = [self.keys["active"], self.keys["tokens"]]
        return self._link.run(_RENEW, keys, [self._terms.lease_ms, *receipts])

    def _look(self) -> tuple[int, float]:
        claimable, until_due_ms = self._link.run(_LOOK, self._look_keys, [])
        return claimable, until_due_ms

    def _waiting_command(self, seconds: str) -> Sequence[str]:
        # All words are alike, so either end will do; Sockudo's workers use BLPOP, which tells them from us.
        return ("BRPOP", self.keys["notify"], seconds)

    def _terms_for(self, what: str) -> Arguments:
        terms = self._terms
        word = WORD_MARK + self._new_id()
        kept = (terms.dead_retention, terms.completed_retention, terms.event_retention)
        return [word, terms.lease_ms, what, *kept]

    def _claim_of(self, now_ms: int, receipt: bytes, value: bytes, lapses: int) -> Claim:
        text = receipt.decode()
        state, body = opened(value, text.rpartition("/")[0])
        return Claim(self.key, text, body, state, lapses, now_ms)


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
            return ["dead", own, 0, b"\x01" + state + b"\n" + claim.body]
    # An envelope names the id that it was made for, so only the record itself can keep what is stored.
    changes = settlement.splits or state != claim.state
    return [kind, own, number, closed(claim.body, state) if changes else b""]


def _first_body(frame: bytes) -> bytes:
    """Return the first body of a frame; see `lua/v2_frames.lua`."""
    if frame[:1] == b"B":
        end = 9 + int.from_bytes(frame[5:9], "big")
        return frame[9 + 33 : end]
    return frame[33:]
