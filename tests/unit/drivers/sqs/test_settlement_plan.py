"""Plans of settlements, by tables."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from sockudo_queue.drivers.base import Claim, DeadLetter, Disposition, Hold, Requeue, Retry, Settlement
from sockudo_queue.drivers.sqs.buffer import Message, Record
from sockudo_queue.drivers.sqs.messages import MAX_DELAY_SECONDS, ReceivedMessage
from sockudo_queue.drivers.sqs.ordering import FifoOrdering, StandardOrdering
from sockudo_queue.drivers.sqs.settlement_plan import (
    HELD_MS,
    HELD_ORDERED_MS,
    KEPT_LIMIT,
    SettlementTask,
    plan,
    sent_on,
)

NOW = 100.0


class Case(NamedTuple):
    """A settlement, and the ids of records sent to the queue, sent to the dead letters, and kept here."""

    parts: tuple[Disposition, ...]
    splits: bool = False
    fifo: bool = False
    sent: tuple[str, ...] = ()
    dead: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    goes_back: bool = False


CASES = {
    "an ack": Case(()),
    "a failed share": Case((Retry(b"s", 1000),), sent=("r",)),
    "a deferral": Case((Retry(b"s", 1000, durable=False),), kept=("r",)),
    "a job of which one webhook is owed": Case((Retry(b"s", 1000, durable=False),), splits=True, sent=("r.0",)),
    "shares of all kinds": Case(
        (Retry(b"a", 1), DeadLetter(b"b", "x"), Requeue(b"c")), splits=True, sent=("r.0", "r.2"), dead=("r.1",)
    ),
    "untouched at a stop": Case((Requeue(),), goes_back=True),
    "at a stop with the state that it came with": Case((Requeue(b"before"),), goes_back=True),
    "at a stop with another state": Case((Requeue(b"s"),), sent=("r",)),
    "what a dead worker held": Case((Requeue(b"s", lapsed=True),), kept=("r",)),
    "a dead letter": Case((DeadLetter(b"s", "x"),), dead=("r",)),
    "a failed share of a group": Case((Retry(b"s", 1000),), fifo=True, kept=("r",)),
    "shares of a group": Case(
        (Retry(b"a", 1), DeadLetter(b"b", "x")), splits=True, fifo=True, kept=("r.0",), dead=("r.1",)
    ),
    "a share of a paused webhook": Case((Hold(b"s", "app", "hook"),), sent=("r",)),
    "the same of a group": Case((Hold(b"s", "app", "hook"),), fifo=True, kept=("r",)),
    "a group at a stop": Case((Requeue(b"s"),), fifo=True, kept=("r",), goes_back=True),
}


def record(group: str | None = None) -> Record:
    received = ReceivedMessage("m", "h", b"body", "r", b"before", 2, 1, 0, 1, 0, 0, group, None)
    return Record(Message(received, "h", 0.0, 30.0), "r", b"before", 3, 1)


def planned(case: Case, kept: int = 0) -> SettlementTask:
    mine = record("group" if case.fifo else None)
    claim = Claim("q", mine.receipt, b"body", b"before", 0, 0)
    ordering = FifoOrdering("default") if case.fifo else StandardOrdering()
    return plan(Settlement(claim, case.parts, case.splits), mine, NOW, ordering, kept=kept)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_settlement_is_planned_by_its_dispositions(case: Case) -> None:
    task = planned(case)

    assert tuple(s.outgoing.record_id for s in task.sends if not s.to_dead_letters) == case.sent
    assert tuple(s.outgoing.record_id for s in task.sends if s.to_dead_letters) == case.dead
    assert tuple(kept.id for kept, _ in task.keeps) == case.kept
    assert task.goes_back == case.goes_back
    assert task.is_local == bool(case.kept and not case.sent and not case.dead and not case.goes_back)
    assert task.leaves_nothing == (not case.parts)


def test_sent_record_keeps_its_claims_and_a_split_one_restarts_at_0() -> None:
    [send] = planned(Case((Retry(b"", 5000),))).sends
    assert (send.outgoing.claims, send.outgoing.state, send.outgoing.delay_ms) == (3, b"before", 5000)

    [share] = planned(Case((Retry(b"s", 0),), splits=True)).sends
    assert (share.outgoing.claims, share.outgoing.state) == (0, b"s")


def test_put_back_counts_the_lapse_and_a_retry_clears_lapses() -> None:
    [(lapsed, first)] = planned(Case((Requeue(lapsed=True),))).keeps
    assert (lapsed.lapses, first) == (2, True)
    [(released, first)] = planned(Case((Retry(b"s", 1, durable=False),))).keeps
    assert (released.lapses, first, released.due) == (0, False, NOW + 0.001)


def test_retry_above_the_memory_limit_waits_in_the_queue() -> None:
    deferral = Case((Retry(b"s", 1000, durable=False),))
    assert planned(deferral, KEPT_LIMIT - 1).is_local
    assert planned(deferral, KEPT_LIMIT).sends


def test_dead_letter_keeps_its_original_group() -> None:
    [send] = planned(Case((DeadLetter(b"s", "x"),), fifo=True)).sends
    assert send.outgoing.origin == "group"


def test_record_due_after_the_maximum_delay_is_sent_again_unchanged() -> None:
    [send] = sent_on(record(), (MAX_DELAY_SECONDS + 60) * 1000).sends
    assert (send.outgoing.record_id, send.outgoing.state, send.outgoing.claims, send.outgoing.lapses) == (
        "r",
        b"before",
        2,
        1,
    )
    assert send.outgoing.delay_ms == 960_000


def test_held_delivery_is_checked_again_after_the_maximum_delay_of_a_message() -> None:
    [send] = planned(Case((Hold(b"s", "app", "hook"),))).sends
    assert (send.outgoing.delay_ms, send.outgoing.state) == (HELD_MS, b"s")
    assert HELD_MS == MAX_DELAY_SECONDS * 1000
    [(kept, is_first)] = planned(Case((Hold(b"s", "app", "hook"),), fifo=True)).keeps
    assert (kept.due, is_first) == (NOW + HELD_ORDERED_MS / 1000, False)
