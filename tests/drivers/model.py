"""A model of the contract of drivers: what is stored after every step, computed here and compared with the broker's.

Hypothesis makes up the steps: two instances, and one whose replies get lost, push, claim, settle in every way, renew,
die, and let time pass or jump back. After each step every record must be exactly one of ready, active, delayed or dead,
with the body, the state and the count of lapses that the model says; what was acked or purged must be nowhere.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sockudo_queue.drivers.base import Claim, DeadLetter, Disposition, Driver, NextResult, Requeue, Retry, Settlement
from sockudo_queue.errors import BrokerUnavailable
from tests.drivers.conformance import FAR, LEASE_SECONDS, SUSPECT, DriverUnderTest, Lossy

BODIES: Final = (b"job", b"\x01{\nodd", b"")
STATES: Final = (b"", b'{"job":"a"}', b"two")
FOREVER_AGO: Final = float("-inf")
ROUNDING: Final = 0.002  # brokers count in milliseconds

parts = st.one_of(
    st.builds(Retry, st.sampled_from(STATES), st.sampled_from((0, 5_000, 90_000))),
    st.builds(Requeue, st.sampled_from(STATES), st.booleans()),
    st.builds(DeadLetter, st.sampled_from(STATES), st.just("exhausted")),
)
some = st.integers(0, 50)
seconds = st.sampled_from((1, 20, 61, 100))


@dataclass(slots=True)
class Stored:
    """Everything that a queue holds, by state. Keys are ids, or receipts of what is active."""

    ready: Counter[bytes] = field(default_factory=Counter)
    active: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    delayed: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    dead: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    lapses: dict[str, int] = field(default_factory=dict)


class Observed(DriverUnderTest, Protocol):
    """A queue whose storage can be read behind the driver's back."""

    can_step_back: bool
    """Whether the broker's clock can jump back; `advance` then takes less than 0."""

    def stored(self) -> Stored:
        """Read all of it; fail where one record is in two states, or in none."""

    def close(self) -> None:
        """Close its instances and whatever they went through."""


@dataclass(slots=True)
class _Record:
    """One record that was claimed at least once. A time is a range: the exact time of a command is not known."""

    body: bytes
    state: bytes
    receipt: str
    """That of its last claim, or empty."""
    status: str
    lapses: int = 0
    earliest: float = FOREVER_AGO  # end of the lease, or when it is due
    latest: float = FOREVER_AGO


class QueueMachine(RuleBasedStateMachine):
    """The steps. A subclass or a factory sets `make_queue`."""

    make_queue: Callable[[], Observed]

    def __init__(self) -> None:
        super().__init__()
        self.queue = self.make_queue()
        self.drivers = [self.queue.driver(), self.queue.driver()]
        self.lossy: Lossy = self.queue.lossy()
        self.ready: Counter[bytes] = Counter()
        self.records: dict[str, _Record] = {}
        self.held: list[Claim] = []  # also what is not ours any more
        self.receipts: set[str] = set()
        self.ahead = 0.0

    # Steps

    @rule(body=st.sampled_from(BODIES), count=st.integers(1, 3), through=st.booleans())
    def push(self, body: bytes, count: int, through: bool) -> None:
        self.ready[body] += count
        if through:
            for _ in range(count):
                self.drivers[0].put(body)
        else:
            self.queue.push(*[body] * count)

    @rule(which=st.integers(0, 1))
    def claim(self, which: int) -> None:
        self._next(self.drivers[which], None)

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 1), index=some, kept=st.lists(parts, max_size=3), claims=st.booleans())
    def settle(self, which: int, index: int, kept: list[Disposition], claims: bool) -> None:
        """End a claim, ours or not any more, in any way, with or without taking the next."""
        settlement = self._settlement(index, kept)
        if claims:
            self._next(self.drivers[which], settlement)
        else:
            before = self._now()
            accepted = self.drivers[which].settle([settlement])
            assert accepted == [self._settled(settlement, before)]

    @precondition(lambda self: self.held)
    @rule(indices=st.lists(some, min_size=1, max_size=3, unique=True))
    def renew(self, indices: list[int]) -> None:
        claims = list({id(claim): claim for claim in map(self._held_at, indices)}.values())
        before = self._now()
        flags = self.drivers[0].renew(claims)
        assert flags == [self._is_ours(claim) for claim in claims]
        for claim in claims:
            if self._is_ours(claim):
                self._set_span(self.records[claim.id], before, LEASE_SECONDS)

    @rule(which=st.integers(0, 1))
    def crash(self, which: int) -> None:
        """Another process replaces one that knew its claims; those are never settled."""
        self.drivers[which].close()
        self.drivers[which] = self.queue.driver()
        self.held = self.held[::2]

    @rule()
    def lose_the_reply_to_a_claim(self) -> None:
        self._lose(lambda driver: driver.next(None))

    @precondition(lambda self: self.held)
    @rule(index=some, kept=st.lists(parts, max_size=3), again=st.booleans())
    def lose_the_reply_to_a_settlement(self, index: int, kept: list[Disposition], again: bool) -> None:
        settlement = self._settlement(index, kept)
        before = self._now()
        self.lossy.lose_reply()
        self._adopt_unknown(before)  # getting ready to lose a reply may claim something
        settlement_ran = self._now()
        try:
            self.lossy.driver.settle([settlement])
        except BrokerUnavailable:
            self._settled(settlement, settlement_ran)
        else:
            raise AssertionError("the reply came")
        if again:
            before = self._now()
            assert self.drivers[0].settle([settlement]) == [self._settled(settlement, before)]

    @rule(step=seconds)
    def let_time_pass(self, step: int) -> None:
        self.queue.advance(step)
        self.ahead += step

    @precondition(lambda self: self.queue.can_step_back)
    @rule(step=seconds)
    def let_the_clock_jump_back(self, step: int) -> None:
        self.queue.advance(-step)
        self.ahead -= step

    @rule(replays=st.booleans(), state=st.sampled_from(STATES))
    def act_on_dead_letters(self, replays: bool, state: bytes) -> None:
        letters = list(itertools.islice(self.drivers[0].dead_letters.letters(), 2))
        assert {letter.id for letter in letters} <= {name for name, it in self.records.items() if it.status == "dead"}
        before = self._now()
        if not replays:
            assert self.drivers[1].dead_letters.purge(letters) == [True] * len(letters)
        else:
            assert self.drivers[1].dead_letters.replay(letters, [state] * len(letters)) == [True] * len(letters)
        assert self.drivers[0].dead_letters.purge(letters) == [False] * len(letters)
        for letter in letters:
            record = self.records[letter.id]
            if not replays:
                del self.records[letter.id]
                continue
            record.status, record.state, record.lapses = "delayed", state or record.state, 0
            self._set_span(record, before, 0)

    # What must be true

    @invariant()
    def every_record_is_in_one_state_and_as_it_should_be(self) -> None:
        assert self.queue.stored() == self._expected()

    @invariant()
    def depth_agrees(self) -> None:
        expected = self._expected()
        assert self.drivers[0].depth() == {
            "ready": expected.ready.total(),
            "active": len(expected.active),
            "delayed": len(expected.delayed),
            "held": 0,
            "dead-letter": len(expected.dead),
        }

    def teardown(self) -> None:
        """Whatever happened, all that is owed can be claimed in the end, and then nothing is left."""
        self.queue.advance(FAR)
        self.ahead += FAR
        result = self._next(self.drivers[0], None)
        while result.claim is not None:
            result = self._next(self.drivers[0], Settlement(result.claim))
        dead = self.drivers[0].dead_letters
        for letter in list(dead.letters()):
            assert dead.purge([letter]) == [True]
            del self.records[letter.id]
        assert self.records == {}
        assert not self.ready.total()
        assert self.queue.is_empty()
        self.queue.close()

    # The model

    def _next(self, driver: Driver, settlement: Settlement | None) -> NextResult:
        before = self._now()
        result = driver.next(settlement)
        accepted = settlement is None or self._settled(settlement, before)
        assert result.accepted == accepted
        if result.claim is None:
            assert not self._claimable(before)
        else:
            claim = result.claim
            self._claimed(claim.receipt, claim.body, claim.state, before)
            assert self.records[claim.id].lapses == claim.lapses
            self.held.append(claim)
        return result

    def _claimed(self, receipt: str, body: bytes, state: bytes, before: float) -> None:
        assert receipt not in self.receipts, "two claims have one receipt"
        self.receipts.add(receipt)
        name = receipt.rpartition("/")[0]
        record = self.records.get(name)
        if record is None:
            assert state == b""
            assert self.ready[body] > 0
            self.ready[body] -= 1
            record = self.records[name] = _Record(body, b"", "", "active")
        else:
            assert record.status in ("active", "delayed")
            assert record.earliest <= self._now() + ROUNDING
            record.lapses += record.status == "active"
        assert (record.body, record.state) == (body, state)
        record.receipt, record.status = receipt, "active"
        self._set_span(record, before, LEASE_SECONDS)

    def _lose(self, ask: Callable[[Driver], object]) -> None:
        before = self._now()
        self.lossy.lose_reply()
        try:
            ask(self.lossy.driver)
        except BrokerUnavailable:
            self._adopt_unknown(before)
        else:
            raise AssertionError("the reply came")

    def _adopt_unknown(self, before: float) -> None:
        """Read from the storage which claims were made whose reply was lost; they lapse, or are found lapsed."""
        known = self._expected().active
        for receipt, (body, state) in self.queue.stored().active.items():
            if receipt not in known:
                self._claimed(receipt, body, state, before)

    def _settlement(self, index: int, kept: list[Disposition]) -> Settlement:
        claim = self._held_at(index)
        splits = len(kept) > 1 or (bool(kept) and not claim.state and index % 2 == 0)
        if splits and "." in claim.id:
            kept, splits = kept[:1], False  # a share is one webhook's
        return Settlement(claim, tuple(kept), splits)

    def _settled(self, settlement: Settlement, before: float) -> bool:
        """Carry out a settlement in the model; False where the claim is not ours."""
        claim = settlement.claim
        if not self._is_ours(claim):
            return False
        record = self.records.pop(claim.id)
        for ordinal, part in enumerate(settlement.parts):
            name = f"{claim.id}.{ordinal}" if settlement.splits else claim.id
            kept = self.records[name] = _Record(record.body, part.state or record.state, "", "delayed")
            match part:
                case Retry(_, delay_ms):
                    self._set_span(kept, before, delay_ms / 1000)
                case Requeue(_, lapsed):
                    kept.lapses = record.lapses + lapsed
                    if kept.lapses >= SUSPECT:
                        kept.latest = self._now()
                case DeadLetter():
                    kept.status = "dead"
        return True

    def _is_ours(self, claim: Claim) -> bool:
        record = self.records.get(claim.id)
        return record is not None and record.status == "active" and record.receipt == claim.receipt

    def _claimable(self, now: float) -> bool:
        """Return whether there was certainly something to claim."""
        waiting = [it.latest for it in self.records.values() if it.status != "dead"]
        return self.ready.total() > 0 or any(latest + ROUNDING < now for latest in waiting)

    def _expected(self) -> Stored:
        expected = Stored(ready=+self.ready)
        for name, record in self.records.items():
            key = record.receipt if record.status == "active" else name
            getattr(expected, record.status)[key] = (record.body, record.state)
            if record.lapses:
                expected.lapses[name] = record.lapses
        return expected

    def _held_at(self, index: int) -> Claim:
        return self.held[index % len(self.held)]

    def _now(self) -> float:
        return time.monotonic() + self.ahead

    def _set_span(self, record: _Record, before: float, wait: float) -> None:
        record.earliest, record.latest = before + wait, self._now() + wait
