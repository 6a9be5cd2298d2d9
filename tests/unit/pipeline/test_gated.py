"""Workers leave the Python gate for every call in which they may wait, and hold it again afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from sockudo_queue.pipeline.gated import GatedBatches, GatedEvent, GatedIsolation, GatedPool, GatedQueue
from sockudo_queue.pipeline.in_flight import ClaimsInFlight
from sockudo_queue.pipeline.pool import Slot, WorkerPool
from sockudo_queue.runtime.interpreter_lock import PythonGate
from tests.helpers.waiting import eventually


class Probe:
    """A gate with one place, and a call that ends when another thread has had it."""

    def __init__(self) -> None:
        self.gate = PythonGate(1)
        self.passed = threading.Event()

    def wait(self, *_: Any, **__: Any) -> Any:
        other = threading.Thread(target=self._pass, daemon=True)
        other.start()
        assert self.passed.wait(5), "the gate is held during a call that may wait"

    def _pass(self) -> None:
        self.gate.enter()
        self.gate.leave()
        self.passed.set()

    @property
    def is_held(self) -> bool:
        return self.gate._free == 0


class BatchingProbe:
    """A driver whose calls wait."""

    batches = True

    def __init__(self, probe: Probe) -> None:
        self.next = self.settle = self.next_batch = probe.wait


def pool_of(probe: Probe) -> GatedPool:
    pool = GatedPool(probe.gate, 1, 0, lambda: None)
    pool._threads = pool._waiting_count = 1
    return pool


def call_of(kind: str, probe: Probe, monkeypatch: pytest.MonkeyPatch) -> Callable[[], object]:
    """Return the gated call of a kind, in which `probe` waits."""
    if kind == "event":
        monkeypatch.setattr(threading.Event, "wait", replaced(probe, threading.Event.wait))
        return GatedEvent(probe.gate).wait
    if kind in ("begin", "wait"):
        monkeypatch.setattr(f"sockudo_queue.pipeline.isolation.Isolation.{kind}", probe.wait)
        isolation = GatedIsolation(probe.gate)
        return (lambda: isolation.begin("r/1")) if kind == "begin" else isolation.wait
    if kind == "work":
        monkeypatch.setattr(WorkerPool, "wait_for_work", probe.wait)
        return lambda: pool_of(probe).wait_for_work(0, 1.0)
    if kind == "batch":
        monkeypatch.setattr("sockudo_queue.pipeline.batches.Batches.wait_for_batch", probe.wait)
        recorder: Any = None
        claims = ClaimsInFlight()
        return GatedBatches(
            probe.gate, BatchingProbe(probe), claims, recorder, print, max_size=1, lease_seconds=30.0
        ).wait_for_batch
    queue = GatedQueue(probe.gate, cast(Any, BatchingProbe(probe)))
    return lambda: getattr(queue, kind)([])


def replaced(probe: Probe, original: Callable[..., bool]) -> Callable[..., bool]:
    """Return a `wait` that is the probe's for a `GatedEvent`, and the original for other events."""

    def wait(self: threading.Event, timeout: float | None = None) -> bool:
        if isinstance(self, GatedEvent):
            probe.wait()
            return True
        return original(self, timeout)

    return wait


@contextmanager
def entered(gate: PythonGate) -> Iterator[None]:
    gate.enter()
    yield
    gate.leave()


@pytest.mark.parametrize("kind", ["next", "settle", "next_batch", "event", "begin", "wait", "work", "batch"])
def test_worker_that_waits_does_not_hold_the_gate(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = Probe()
    call = call_of(kind, probe, monkeypatch)
    with entered(probe.gate):
        call()
        assert probe.passed.is_set()
        assert probe.is_held


@pytest.mark.parametrize("kind", ["next", "event", "begin", "work", "batch"])
def test_thread_without_the_gate_makes_the_same_calls_while_it_is_held(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = Probe()
    probe.passed.set()
    call = call_of(kind, probe, monkeypatch)
    with entered(probe.gate):
        service = threading.Thread(target=call, daemon=True)
        service.start()
        service.join(5)
        assert not service.is_alive()
        assert probe.is_held


def test_pool_lets_a_worker_hold_the_gate_only_while_it_has_a_task() -> None:
    probe = Probe()
    pool, slot = pool_of(probe), Slot()
    assert pool.wait_for_task(slot) is slot
    assert probe.is_held
    other = threading.Thread(target=pool.wait_for_task, args=(Slot(),), daemon=True)
    pool.rejoin()
    other.start()
    pool.stop()
    other.join(5)
    assert not other.is_alive(), "a worker that gets no task does not need the gate"
    pool.leave(slot, is_waiting=False)
    assert not probe.is_held


def test_worker_waits_for_its_next_task_without_the_gate() -> None:
    probe = Probe()
    pool, slot = pool_of(probe), Slot()
    ended: list[object] = []

    def work() -> None:
        pool.wait_for_task(slot)
        pool.rejoin()
        ended.append(pool.wait_for_task(slot))

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    eventually(lambda: slot.held and not probe.is_held)
    pool.stop()
    worker.join(5)
    assert ended == [None]
