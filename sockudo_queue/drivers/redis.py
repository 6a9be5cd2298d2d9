"""Redis lists, as every Sockudo before 5.0 writes them; our own keys beside each list keep what was taken from it.

The documentation names the list `{prefix}queue:{name}`; every released server before 5.0 writes `{prefix}:queue:{name}`
(by default with two colons). Both are sources and both are watched all the time. See `lua/next.lua` for the keys and
for how a claim is made.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sockudo_queue.drivers.base import Back, Claim, Dead, Later, Part, Settlement, Turn
from sockudo_queue.drivers.redis_dead import RedisDeadLetters, split_value
from sockudo_queue.drivers.redis_link import CommandDenied, RedisLink, Script
from sockudo_queue.errors import BrokerError, BrokerRefused

KEY_PARTS: Final = ("ready", "records", "active", "delayed", "lapses", "dead")
GATHER_LIMIT: Final = 500
"""Bodies that one call moves into `ready`, so many at once and until so many bytes are moved: short enough that no
other client notices it."""
GATHER_CHUNK: Final = 50
GATHER_BYTES: Final = 1_000_000
IN_A_ROW: Final = 64
"""Claims from one source in a row while another may have work."""
BLOCK_SECONDS: Final = 1.0
"""The longest wait in the server; longer ones would only delay a stop and hide a dead link."""
BLOCK_MARGIN: Final = 1.0
"""How late the answer to a wait may be. A response timeout below the wait would make every quiet second a fault."""
POLL_SECONDS: Final = 0.05
"""How often an idle source is asked on a server that cannot wait for a list without changing it (before 6.2)."""
RENEW_LIMIT: Final = 500
CLOCK_NOISE_MS: Final = 5
"""A difference between clocks that does not count: answers take their time, and claims must stay in order."""
PUT_BACK_BASE: Final = -1e15
"""Added to the time of a claim to make the score of what is put back: far below 0, and in the order of the claims."""

_NEXT: Final = Script("next")
_GATHER: Final = Script("gather")
_RENEW: Final = Script("renew")


def source_keys(prefix: str, queue: str) -> tuple[str, ...]:
    """Return the lists that may hold jobs: the one that servers write, and the one that the documentation names."""
    return (f"{prefix}:queue:{queue}", f"{prefix}queue:{queue}")


def own_key(source: str, part: str) -> str:
    """Return the name of one of our keys: in the cluster slot of its source, and outside every `PREFIX:queue:*`."""
    opening = source.find("{")
    tagged = opening >= 0 and source.find("}", opening + 1) > opening + 1
    return f"sockudo-queue:{source if tagged else '{' + source + '}'}:{part}"


@dataclass(slots=True)
class Source:
    """One list and our keys beside it, with what its bell knows."""

    key: str
    ready: str = field(init=False)
    records: str = field(init=False)
    active: str = field(init=False)
    delayed: str = field(init=False)
    lapses: str = field(init=False)
    dead: str = field(init=False)
    rung: bool = False
    due_at: float = 0.0  # monotonic; the first wait asks at once
    turns: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        for part in KEY_PARTS:
            setattr(self, part, own_key(self.key, part))

    @property
    def claim_keys(self) -> tuple[str, ...]:
        return (self.key, self.ready, self.records, self.active, self.delayed, self.lapses, self.dead)


class IdSource:
    """Makes ids of 32 hexadecimal digits: random for the process, then counted. Safe from any thread."""

    def __init__(self) -> None:
        self._prefix = os.urandom(12).hex()
        self._counter = itertools.count()

    def __call__(self) -> str:
        return f"{self._prefix}{next(self._counter) & 0xFFFFFFFF:08x}"


class RedisListDriver:
    """Lists with records, leases and receipts: nothing is lost at a crash, and a late settle matches nothing."""

    name = "redis"

    def __init__(self, link: RedisLink, sources: Sequence[str], *, lease_ms: int, dead_retention: int) -> None:
        self._link = link
        self._patient = link.patient(BLOCK_SECONDS + BLOCK_MARGIN)
        self._sources = {key: Source(key) for key in sources}
        self._claim_keys = {key: source.claim_keys for key, source in self._sources.items()}
        self._lease_ms = lease_ms
        self._dead_retention = dead_retention
        self._new_id = IdSource()
        self._server_ahead_ms = 0.0  # of this process's monotonic clock
        self._trimmed: deque[int] = deque()
        self._last_source, self._in_a_row = "", 0
        self._can_block = True
        self._closed = threading.Event()
        self.sources: tuple[str, ...] = tuple(sources)
        self.dead_letters = RedisDeadLetters(link, tuple(self._sources.values()))

    def next(self, settled: Settlement | None) -> Turn:
        turn = self._claim_anywhere(self._in_order()) if settled is None else self._settle_and_claim(settled)
        return turn._replace(trimmed=self._take_trimmed()) if self._trimmed else turn

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        return [self._run(settlement.claim.source, settlement, "none").accepted for settlement in settlements]

    def renew(self, claims: Sequence[Claim]) -> list[bool]:
        flags: dict[str, bool] = {}
        for key, source in self._sources.items():
            receipts = [claim.receipt for claim in claims if claim.source == key]
            for chunk in (receipts[i : i + RENEW_LIMIT] for i in range(0, len(receipts), RENEW_LIMIT)):
                reply = self._link.run(_RENEW, [source.active], [self._lease_ms, *chunk])
                flags.update(zip(chunk, map(bool, reply), strict=True))
        return [flags[claim.receipt] for claim in claims]

    def wait(self, source: str, timeout: float) -> int:
        state = self._sources[source]
        pause = min(timeout, BLOCK_SECONDS, state.due_at - time.monotonic())
        if pause > 0:
            self._pause(state, pause)
        keys = [state.key, state.ready, state.active, state.delayed]
        moved, claimable, until_due = self._link.run(_GATHER, keys, [GATHER_LIMIT, GATHER_CHUNK, GATHER_BYTES])
        if moved >= GATHER_LIMIT:
            until_due = 0
        state.due_at = time.monotonic() + until_due / 1000 if until_due >= 0 else float("inf")
        state.rung = claimable > 0
        return int(claimable)

    def put(self, body: bytes) -> None:
        self._link.call("RPUSH", self.sources[0], body)

    def depth(self) -> Mapping[str, int]:
        total = dict.fromkeys(("ready", "active", "delayed", "dead-letter"), 0)
        for source in self._sources.values():
            for state, command, key in (
                ("ready", "LLEN", source.key),
                ("ready", "LLEN", source.ready),
                ("active", "ZCARD", source.active),
                ("delayed", "ZCARD", source.delayed),
                ("dead-letter", "ZCARD", source.dead),
            ):
                total[state] += self._link.call(command, key)
        return total

    def peek(self) -> bytes | None:
        for source in self._sources.values():
            for key in (source.ready, source.key):
                body = self._link.call("LINDEX", key, 0)
                if body is not None:
                    return bytes(body)
        return None

    def ping(self) -> None:
        self._link.call("PING")

    def close(self) -> None:
        self._closed.set()
        self._link.close()
        self._patient.close()

    def _settle_and_claim(self, settled: Settlement) -> Turn:
        key = settled.claim.source
        others = [other for other in self.sources if other != key]
        if others and self._in_a_row >= IN_A_ROW:
            self._in_a_row = 0
            turn, rest = self._run(key, settled, "none"), [*others, key]
        else:
            turn, rest = self._run(key, settled), others
        if turn.claim is not None or not rest:
            return turn
        try:
            return Turn(turn.accepted, self._claim_anywhere(rest).claim)
        except BrokerError:
            # The settlement was taken; that must not get lost with a second call. The next one will meet the fault.
            return turn

    def _in_order(self) -> list[str]:
        """The sources whose bell has rung go first; the one that has had its row of claims goes last."""
        tired = self._last_source if self._in_a_row >= IN_A_ROW else None
        return sorted(self.sources, key=lambda key: (key == tired, not self._sources[key].rung))

    def _claim_anywhere(self, keys: Sequence[str]) -> Turn:
        """Claim from the first source that has something. One that refuses does not stop the others."""
        refusal: BrokerRefused | None = None
        for key in keys:
            try:
                turn = self._run(key, None)
            except BrokerRefused as error:
                refusal = refusal or error
                continue
            if turn.claim is not None:
                return turn
        if refusal is not None:
            raise refusal
        return Turn(True, None)

    def _run(self, key: str, settled: Settlement | None, what: str | None = None) -> Turn:
        """Run `next.lua`. `what` is its word for what may be claimed; None lets ready and due records take turns."""
        source = self._sources[key]
        what = what or ("fresh" if next(source.turns) & 1 else "due")
        arguments = [self._new_id(), self._lease_ms, what, self._dead_retention, *_arguments_of(settled)]
        flags, trimmed, now_ms, *claimed = self._link.run(_NEXT, self._claim_keys[key], arguments)
        ahead_ms = now_ms - time.monotonic() * 1000
        if abs(ahead_ms - self._server_ahead_ms) > CLOCK_NOISE_MS:
            self._server_ahead_ms = ahead_ms
        if trimmed:
            self._trimmed.append(trimmed)
        claim = claim_of(key, now_ms, *claimed) if claimed[0] is not None else None
        if what != "none":
            source.rung = claim is not None
        if claim is not None:
            self._in_a_row = self._in_a_row + 1 if key == self._last_source else 1
            self._last_source = key
        return Turn(settled is None or bool(flags[0]), claim)

    def _take_trimmed(self) -> int:
        """Return the dead letters trimmed since the last call; each is told to one caller."""
        total = 0
        while self._trimmed:
            try:
                total += self._trimmed.popleft()
            except IndexError:
                break
        return total

    def _pause(self, source: Source, seconds: float) -> None:
        """Wait for a job in a list without changing it: its head moves onto itself, so a lost answer loses nothing."""
        if not self._can_block:
            self._closed.wait(min(seconds, POLL_SECONDS))
            return
        try:
            # A timeout of 0.000 would mean for ever.
            self._patient.call("BLMOVE", source.key, source.key, "LEFT", "LEFT", f"{max(seconds, 0.001):.3f}")
        except CommandDenied:
            # A full Redis takes no BLMOVE, and a careful operator may not allow it; the list can still be asked.
            self._closed.wait(min(seconds, POLL_SECONDS))
        except BrokerRefused as refusal:
            if "unknown command" not in str(refusal).lower():
                raise
            self._can_block = False


def claim_of(source: str, now_ms: int, receipt: bytes, value: bytes, lapses: int) -> Claim:
    """Make a claim of the last parts of what `next.lua` answers."""
    state, body = split_value(value)
    return Claim(source, receipt.decode(), body, state, lapses, now_ms)


def _arguments_of(settled: Settlement | None) -> list[str | bytes | int]:
    if settled is None:
        return [0]
    if not settled.parts:
        return [1, settled.claim.receipt]
    arguments: list[str | bytes | int] = [0, settled.claim.receipt, len(settled.parts)]
    for ordinal, part in enumerate(settled.parts):
        arguments += part_arguments(settled, ordinal, part)
    return arguments


def part_arguments(settlement: Settlement, ordinal: int, part: Part) -> list[str | bytes | int]:
    """Return what the scripts want to know of one part: kind, receipt, number, state."""
    claim = settlement.claim
    assert settlement.splits or len(settlement.parts) == 1, "a share has one webhook and leaves one part at most"
    receipt = f"{claim.id}.{ordinal}/0" if settlement.splits else claim.receipt
    match part:
        case Later(state, delay_ms):
            return ["later", receipt, delay_ms, state]
        case Back(state, lapsed):
            return ["lapsed" if lapsed else "back", receipt, f"{PUT_BACK_BASE + claim.server_ms:.0f}", state]
        case Dead(state, _):
            return ["dead", receipt, 0, state]
