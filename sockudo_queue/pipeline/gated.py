"""The calls in which a worker may wait, each outside the Python gate. The other modules here do not know the gate.

A worker holds the gate while it has a task. For a thread that does not hold it, such as a service, nothing changes.
"""

from __future__ import annotations

import threading
from typing import Any

from sockudo_queue.drivers.base import BatchingDriver, Claim, Driver
from sockudo_queue.pipeline.batches import Batches
from sockudo_queue.pipeline.isolation import Isolation
from sockudo_queue.pipeline.pool import Slot, Task, WorkerPool
from sockudo_queue.runtime.interpreter_lock import PythonGate


class GatedQueue:
    """A driver's methods that settle and claim."""

    def __init__(self, gate: PythonGate, driver: Driver) -> None:
        self.next = gate.around(driver.next)
        self.settle = gate.around(driver.settle)
        if isinstance(driver, BatchingDriver):
            self.next_batch = gate.around(driver.next_batch)


class GatedEvent(threading.Event):
    """An event on which workers wait."""

    def __init__(self, gate: PythonGate) -> None:
        super().__init__()
        self._gate = gate

    def wait(self, timeout: float | None = None) -> bool:
        return self._gate.released(super().wait, timeout)


class GatedPool(WorkerPool):
    """A pool whose workers hold the gate from the arrival of a task until they wait for the next one."""

    def __init__(self, gate: PythonGate, *args: Any) -> None:
        super().__init__(*args)
        self._gate = gate

    def wait_for_task(self, slot: Slot) -> Task | Slot | None:
        self._gate.leave()
        task = super().wait_for_task(slot)
        if task is not None:
            self._gate.enter()
        return task

    def wait_for_work(self, seen: int, timeout: float) -> None:
        self._gate.released(super().wait_for_work, seen, timeout)

    def leave(self, slot: Slot, *, is_waiting: bool) -> None:
        self._gate.leave()
        super().leave(slot, is_waiting=is_waiting)


class GatedIsolation(Isolation):
    """An isolation for whose end workers wait."""

    def __init__(self, gate: PythonGate, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._gate = gate

    def begin(self, receipt: str) -> bool:
        return self._gate.released(super().begin, receipt)

    def wait(self) -> None:
        self._gate.released(super().wait)


class GatedBatches(Batches):
    """Batches for which workers wait while another worker fetches one."""

    def __init__(self, gate: PythonGate, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._gate = gate

    def wait_for_batch(self) -> Claim | None:
        return self._gate.released(super().wait_for_batch)
