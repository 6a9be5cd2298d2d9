"""Slots, spare workers and wake-ups: decides which threads may work on fresh jobs, and wakes idle ones.

`concurrency` counts slots, not threads. An attempt that takes longer than `slow` gives its slot back and continues; a
spare worker takes the slot, so that slow endpoints do not block the others. The pool never has more threads than slots
plus `max_slow`; if there is no thread for a slot, the slow attempt keeps it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from sockudo_queue.delivery.admission.endpoint import Admission
from sockudo_queue.pipeline.in_flight import JobInFlight, WebhookDelivery

SPARE_IDLE_SECONDS: Final = 30.0
"""Seconds that a spare worker waits for a task before its thread ends."""

KEPT_PART: Final = 4
"""One of this many spare workers is not used for jobs with many webhooks: if all of their deliveries hang, threads
remain for the slots of other jobs."""

Task = tuple[JobInFlight, WebhookDelivery]


class Slot:
    """A worker's slot, if `held`. Only its worker writes `busy_since` (monotonic, 0 when idle).

    `admission` is that of the latest attempt; the attempt is running while `busy_since` is not 0.
    """

    __slots__ = ("admission", "busy_since", "held")

    def __init__(self) -> None:
        self.held = False
        self.busy_since = 0.0
        self.admission: Admission | None = None


class WorkerPool:
    """The slots and the threads that wait for one. Thread-safe."""

    def __init__(self, slots: int, max_slow: int, spawn: Callable[[], None]) -> None:
        self.slots = slots
        self.wakeups = 0
        self._max_threads = slots + max_slow
        self._kept = max_slow // KEPT_PART
        self._spawn = spawn
        self._lock = threading.Lock()
        self._waiting = threading.Condition(self._lock)
        self._woken = threading.Condition(self._lock)
        self._free = slots
        self._threads = 0
        self._waiting_count = 0
        self._idle_count = 0
        self._tasks: deque[Task] = deque()
        self._stopping = False

    @property
    def threads(self) -> int:
        """Number of workers, including spare workers."""
        return self._threads

    @property
    def in_use(self) -> int:
        """Number of slots that workers hold."""
        return self.slots - self._free

    @property
    def busy(self) -> int:
        """Number of slots whose workers are not waiting for a wake-up."""
        with self._lock:
            return self.slots - self._free - self._idle_count

    @property
    def has_idle_worker(self) -> bool:
        """Whether a worker with a slot waits for a wake-up."""
        return self._idle_count > 0

    def fill(self) -> None:
        """Start workers until every free slot has one."""
        while True:
            with self._lock:
                if self._stopping or self._spare() >= 0 or not self._reserve():
                    return
            if not self._start():
                return

    def wait_for_task(self, slot: Slot) -> Task | Slot | None:
        """Wait for a delivery of another worker's job, or for a slot. Returns None if the worker has to end."""
        with self._lock:
            while True:
                if self._tasks:
                    self._waiting_count -= 1
                    return self._tasks.popleft()
                if self._stopping:
                    self._waiting_count -= 1
                    return None
                if self._free:
                    self._free -= 1
                    self._waiting_count -= 1
                    slot.held = True
                    return slot
                timed_out = not self._waiting.wait(SPARE_IDLE_SECONDS)
                if timed_out and not self._tasks and not self._free and self._threads > self.slots:
                    self._waiting_count -= 1
                    return None

    def rejoin(self) -> None:
        """Record that a worker is about to call `wait_for_task` again."""
        with self._lock:
            self._waiting_count += 1

    def leave(self, slot: Slot, *, is_waiting: bool) -> None:
        """Record that a worker's thread has ended, for any reason, and free its slot."""
        with self._lock:
            self._threads -= 1
            self._waiting_count -= is_waiting
            if slot.held:
                slot.held = False
                self._free += 1
                self._waiting.notify()

    def try_take(self, slot: Slot) -> bool:
        """Take a slot if one is free."""
        with self._lock:
            if slot.held:
                return True
            if not self._free or self._stopping:
                return False
            self._free -= 1
            slot.held = True
            return True

    def give_back(self, slot: Slot) -> bool:
        """Pass a slot to another worker, starting one if needed. Returns False, keeping the slot, if there is none."""

        def free() -> None:
            slot.held = False
            self._free += 1

        return self._pass_on(lambda: slot.held, free)

    def offload(self, task: Task) -> bool:
        """Let another worker attempt a delivery. Returns False if none is free and none can be started."""
        return self._pass_on(
            lambda: self._max_threads - self._threads + self._spare() > self._kept, lambda: self._tasks.append(task)
        )

    def wake(self, jobs: int) -> None:
        """Wake as many idle workers as there are jobs."""
        with self._lock:
            self.wakeups += 1
            self._woken.notify(jobs)

    def wake_idle(self, jobs: int) -> None:
        """Wake as many idle workers as there are jobs; does nothing if none is idle."""
        if self._idle_count:
            self.wake(jobs)

    def wait_for_work(self, seen: int, timeout: float) -> None:
        """Wait at most `timeout` seconds for a wake-up since `wakeups` had the value `seen`."""
        with self._lock:
            self._idle_count += 1
            try:
                if self.wakeups == seen and not self._stopping:
                    self._woken.wait(timeout)
            finally:
                self._idle_count -= 1

    def stop(self) -> None:
        """Wake all threads; no new work begins after this."""
        with self._lock:
            self._stopping = True
            self._waiting.notify_all()
            self._woken.notify_all()

    def _pass_on(self, is_ours: Callable[[], bool], release: Callable[[], None]) -> bool:
        """Release a slot or task to a waiting worker, starting one if needed. Returns False if there is none.

        Both functions are called under the lock.
        """
        while True:
            with self._lock:
                if self._stopping or not is_ours():
                    return False
                if self._spare() > 0:
                    release()
                    self._waiting.notify()
                    return True
                if not self._reserve():
                    return False
            if not self._start():
                return False

    def _spare(self) -> int:
        """Return the number of waiting workers beyond those needed for free slots and tasks. Caller holds the lock."""
        return self._waiting_count - self._free - len(self._tasks)

    def _reserve(self) -> bool:
        """Count one more thread, if the limit allows it. Caller holds the lock."""
        if self._threads >= self._max_threads:
            return False
        self._threads += 1
        self._waiting_count += 1  # it will call `wait_for_task`, so no second thread is started for it
        return True

    def _start(self) -> bool:
        """Start the reserved thread. Returns False if the system has no thread or no memory for it."""
        try:
            self._spawn()
        except (RuntimeError, MemoryError):
            with self._lock:
                self._threads -= 1
                self._waiting_count -= 1
            return False
        return True
