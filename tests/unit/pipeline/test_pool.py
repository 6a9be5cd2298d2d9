"""Slots and spare workers: no slot is lost or made, and threads stay within their limit, whatever happens at once."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from sockudo_queue.pipeline.pool import Slot, Task, WorkerPool
from tests.helpers.waiting import eventually

TASK = cast(Task, (object(), object()))


class Hands:
    """Worker threads that do as a test says with what `wait_for_task` gives them."""

    def __init__(self, slots: int, max_slow: int, work: Callable[[Hands, Slot, Any], None]) -> None:
        self.pool = WorkerPool(slots, max_slow, self.spawn)
        self.peak = 0
        self.failed: list[BaseException] = []
        self.threads: list[threading.Thread] = []
        self.refuse = False
        self._work = work
        self._lock = threading.Lock()
        self._running = 0

    def spawn(self) -> None:
        if self.refuse:
            raise RuntimeError("can't start new thread")
        thread = threading.Thread(target=self._run, daemon=True)
        with self._lock:
            self._running += 1
            self.peak = max(self.peak, self._running)
            self.threads.append(thread)
        thread.start()

    def _run(self) -> None:
        slot, is_waiting = Slot(), True
        try:
            while (got := self.pool.wait_for_task(slot)) is not None:
                is_waiting = False
                self._work(self, slot, got)
                self.pool.rejoin()
                is_waiting = True
            is_waiting = False
        except BaseException as error:  # noqa: BLE001 - a test looks at it
            self.failed.append(error)
        finally:
            with self._lock:
                self._running -= 1
            self.pool.leave(slot, is_waiting=is_waiting)
            self.pool.fill()

    def stop(self) -> None:
        self.pool.stop()
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()


class BusyHands(Hands):
    """Worker threads that are started at once, and keep what they get until they are stopped."""

    def __init__(self, slots: int, max_slow: int) -> None:
        super().__init__(slots, max_slow, lambda _hands, _slot, got: self._keep(got))
        self.got: list[Any] = []
        self._gate = threading.Event()
        self.pool.fill()
        eventually(lambda: len(self.slots) == slots)

    @property
    def slots(self) -> list[Slot]:
        return [got for got in self.got if isinstance(got, Slot)]

    def stop(self) -> None:
        self._gate.set()
        super().stop()

    def _keep(self, got: Any) -> None:
        self.got.append(got)
        self._gate.wait(10)


def hold(hands: Hands, slot: Slot, got: Any) -> None:
    """Keep a slot until it is taken away, or for good."""
    while slot.held and not hands.pool._stopping:
        hands.pool.wait_for_work(hands.pool.wakeups, 0.01)


def is_consistent(pool: WorkerPool) -> bool:
    return 0 <= pool._free <= pool.slots and 0 <= pool._waiting_count <= pool.threads


def test_every_slot_gets_a_worker() -> None:
    hands = Hands(5, 3, hold)
    hands.pool.fill()

    eventually(lambda: hands.pool.in_use == 5)
    assert hands.pool.threads == 5
    hands.pool.fill()
    assert hands.pool.threads == 5
    hands.stop()
    assert hands.pool.threads == 0


def test_a_slot_given_back_goes_to_a_spare_worker_up_to_the_limit() -> None:
    hands = BusyHands(2, 3)

    for number in range(3):
        assert hands.pool.give_back(hands.slots[number])
        eventually(lambda: hands.pool.in_use == 2)
    eventually(lambda: len(hands.slots) == 5)
    assert not hands.pool.give_back(hands.slots[4])  # no worker is left that could take it
    assert hands.slots[4].held
    assert not hands.pool.give_back(hands.slots[0])  # it has none

    assert hands.pool.threads == 5
    hands.stop()
    assert hands.pool.in_use == 0


def test_a_worker_takes_a_slot_again_only_if_one_is_free() -> None:
    pool = WorkerPool(1, 1, lambda: None)
    first, second = Slot(), Slot()

    assert pool.try_take(first)
    assert pool.try_take(first)  # it has it
    assert not pool.try_take(second)
    assert pool.in_use == 1
    assert pool.give_back(first)
    assert pool.try_take(second)
    assert not pool.give_back(first)  # it has none, although a spare worker could take one
    assert pool.in_use == 1
    assert not pool.try_take(first)
    pool.stop()
    assert pool.try_take(second)
    assert not pool.try_take(first)


def test_a_delivery_is_offloaded_as_long_as_there_is_a_thread() -> None:
    hands = BusyHands(1, 2)

    assert [hands.pool.offload(TASK) for _ in range(3)] == [True, True, False]

    eventually(lambda: hands.got[1:] == [TASK, TASK])
    assert hands.pool.threads == 3
    hands.stop()


def test_deliveries_of_jobs_with_many_webhooks_leave_threads_to_pass_slots_on_to() -> None:
    """They may all hang, and their threads are gone before anything is known of it."""
    hands = BusyHands(2, 8)

    assert sum(hands.pool.offload(TASK) for _ in range(20)) == 6

    assert all(hands.pool.give_back(slot) for slot in hands.slots[:2])
    eventually(lambda: len(hands.slots) == 4)
    hands.stop()


def test_slot_whose_worker_waits_for_work_is_not_busy() -> None:
    pool = WorkerPool(2, 0, lambda: None)
    assert pool.try_take(Slot())
    assert pool.try_take(Slot())
    assert pool.busy == 2
    idle = threading.Thread(target=pool.wait_for_work, args=(pool.wakeups, 10.0))
    idle.start()
    eventually(lambda: pool.busy == 1)
    pool.wake(1)
    idle.join(10)
    assert pool.busy == 2


def test_deliveries_go_before_slots() -> None:
    pool = WorkerPool(1, 2, lambda: None)
    assert pool.offload(TASK)
    slot = Slot()

    assert pool.wait_for_task(slot) == TASK
    assert not slot.held
    pool.rejoin()
    assert pool.wait_for_task(slot) is slot
    assert slot.held


def test_deliveries_that_were_offloaded_are_taken_although_it_stops() -> None:
    pool = WorkerPool(1, 2, lambda: None)
    pool.offload(TASK)
    pool.stop()

    assert pool.wait_for_task(Slot()) == TASK
    pool.rejoin()
    assert pool.wait_for_task(Slot()) is None
    assert not pool.offload(TASK)


def test_a_worker_that_dies_frees_its_slot_and_is_replaced() -> None:
    deaths = threading.Semaphore(4)

    def work(hands: Hands, slot: Slot, got: Any) -> None:
        if deaths.acquire(blocking=False):
            raise ValueError("dies")
        hold(hands, slot, got)

    hands = Hands(2, 2, work)
    hands.pool.fill()

    eventually(lambda: len(hands.failed) == 4 and hands.pool.in_use == 2)
    eventually(lambda: hands.pool.threads == 2)
    assert is_consistent(hands.pool)
    hands.stop()


def test_the_slot_of_a_dead_worker_wakes_a_spare_one_at_once() -> None:
    """Not only when the spare worker has rested for half a minute."""
    gate = threading.Event()
    taken: list[Slot] = []

    def work(hands: Hands, slot: Slot, got: Any) -> None:
        if got is slot:
            taken.append(slot)
            gate.wait(10)
            if len(taken) == 1:
                raise ValueError("dies")

    hands = Hands(1, 1, work)
    hands.pool.fill()
    eventually(lambda: len(taken) == 1)
    hands.pool.offload(TASK)
    eventually(lambda: hands.pool.threads == 2 and hands.pool._waiting_count == 1 and not hands.pool._tasks)

    gate.set()

    eventually(lambda: len(taken) == 2, 5)
    hands.stop()


def test_thread_that_cannot_be_started_affects_no_other() -> None:
    hands = BusyHands(2, 4)
    first = hands.slots[0]
    hands.refuse = True

    for _ in range(3):
        assert not hands.pool.give_back(first)
        assert not hands.pool.offload(TASK)
    assert first.held
    assert (hands.pool.threads, hands.pool.in_use, len(hands.pool._tasks)) == (2, 2, 0)
    assert is_consistent(hands.pool)

    hands.refuse = False
    assert hands.pool.give_back(first)
    assert hands.pool.offload(TASK)
    eventually(lambda: len(hands.got) == 4)
    hands.stop()


def test_spare_workers_end_when_they_are_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sockudo_queue.pipeline.pool.SPARE_IDLE_SECONDS", 0.05)
    gate = threading.Event()

    def work(hands: Hands, slot: Slot, got: Any) -> None:
        if got is slot:
            hold(hands, slot, got)
        else:
            gate.wait(10)

    hands = Hands(2, 4, work)
    hands.pool.fill()
    eventually(lambda: hands.pool.in_use == 2)
    for _ in range(3):
        assert hands.pool.offload(TASK)
    assert hands.pool.threads == 5
    gate.set()

    eventually(lambda: hands.pool.threads == 2)
    assert hands.pool.in_use == 2
    hands.stop()


def test_wakeup_wakes_as_many_workers_as_there_are_jobs() -> None:
    pool = WorkerPool(3, 0, lambda: None)
    woken: list[int] = []

    def wait(seen: int) -> None:
        pool.wait_for_work(seen, 10)
        woken.append(seen)

    waiting = [threading.Thread(target=wait, args=(pool.wakeups,), daemon=True) for _ in range(3)]
    for thread in waiting:
        thread.start()
    eventually(lambda: pool._idle_count == 3)
    assert pool.has_idle_worker

    pool.wake(2)
    eventually(lambda: len(woken) == 2)
    assert pool.has_idle_worker
    pool.stop()
    eventually(lambda: len(woken) == 3)
    assert not pool.has_idle_worker


def test_wakeup_between_the_look_and_the_wait_is_not_lost() -> None:
    pool = WorkerPool(1, 0, lambda: None)
    seen = pool.wakeups
    pool.wake(1)
    started = time.monotonic()

    pool.wait_for_work(seen, 10)

    assert time.monotonic() - started < 1


def test_wait_for_work_is_bounded() -> None:
    pool = WorkerPool(1, 0, lambda: None)
    started = time.monotonic()

    pool.wait_for_work(pool.wakeups, 0.05)

    assert 0.04 < time.monotonic() - started < 1


@pytest.mark.parametrize("seed", range(4))
def test_slots_and_threads_are_conserved_under_random_work(seed: int) -> None:
    deliveries_done = threading.Semaphore(0)
    handed = 0
    handed_lock = threading.Lock()
    wrong: list[str] = []
    deadline = time.monotonic() + 1.0

    def work(hands: Hands, slot: Slot, got: Any) -> None:
        nonlocal handed
        chance = random.Random(f"{seed} {threading.get_ident()} {time.monotonic_ns()}")
        if got is not slot:
            deliveries_done.release()
            return
        while time.monotonic() < deadline and hands.pool.try_take(slot):
            if hands.pool.in_use > hands.pool.slots or hands.pool.threads > hands.pool.slots + 6:
                wrong.append("too many")
            match chance.randrange(5):
                case 0 | 1:
                    hands.pool.give_back(slot)
                case 2:
                    if hands.pool.offload(TASK):
                        with handed_lock:
                            handed += 1
                case 3:
                    hands.pool.wake(1)
                case _:
                    hands.pool.wait_for_work(hands.pool.wakeups, 0.001)
            if chance.random() < 0.01:
                raise ValueError("dies")
        hold(hands, slot, got)  # a worker parks with a slot only when it is stopped

    hands = Hands(3, 6, work)
    hands.pool.fill()
    taker = threading.Thread(target=_take_slots_away, args=(hands, deadline), daemon=True)
    taker.start()
    taker.join(10)
    eventually(lambda: time.monotonic() > deadline and is_consistent(hands.pool))
    hands.stop()

    assert not wrong
    assert hands.peak <= 9
    assert {type(error) for error in hands.failed} <= {ValueError}
    assert hands.pool.in_use == 0
    assert hands.pool.threads == 0
    assert hands.pool._waiting_count == 0
    assert sum(deliveries_done.acquire(blocking=False) for _ in range(handed + 1)) == handed


def _take_slots_away(hands: Hands, deadline: float) -> None:
    """As the supervisor does: fill the pool and look at the clock."""
    while time.monotonic() < deadline:
        hands.pool.fill()
        threading.Event().wait(0.001)
