"""Starts workers and service threads, handles their crashes, and takes slots from slow attempts.

A worker thread that crashes gives its claim back immediately, so that no lease has to expire for it, and starts another
worker. It does so in its own thread, in `_run_worker`. A service thread restarts its loop after a crash, in
`_run_service`. The thread named `supervisor` only runs `_watch_slots`.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from sockudo_queue.core import delivery_state
from sockudo_queue.drivers.base import Requeue
from sockudo_queue.errors import BrokerError
from sockudo_queue.observability.reminder import Reminder
from sockudo_queue.pipeline.worker import LIVE_WITHIN, Worker, WorkerContext
from sockudo_queue.runtime.limits import start_thread, too_few_threads

TICK: Final = 0.025
"""Interval in seconds of the check for slow attempts."""
CRASH_LIMIT: Final = 10
CRASH_PERIOD: Final = 60.0
"""The daemon exits (code 4) after this many thread crashes within this many seconds."""
GAVE_UP_REASON: Final = f"{CRASH_LIMIT} threads crashed within {CRASH_PERIOD:g} s"
CRASH_PAUSE: Final = 0.5
MOVES_WITHIN: Final = 10.0
"""Seconds without that check after which `/livez` fails: without it, slow endpoints hold up the others."""
REMIND_AFTER: Final = 60.0
"""Minimum seconds between two log lines about a lack of threads, because every slow attempt runs into it again."""


class Supervisor:
    """Starts the workers, and the services passed to `keep`. Its threads are daemon threads and end with the process.

    Call `start` once. Other threads, such as main, log-writer, health and shutdown-work, are not started here;
    docs/architecture.md lists all threads.
    """

    def __init__(self, log: Any, *, slow: float, stopping: threading.Event | None = None) -> None:
        self.gave_up = threading.Event()
        self.stopping = stopping if stopping is not None else threading.Event()
        self.workers: dict[str, Worker] = {}
        self._log = log
        self._slow = slow
        self._released = threading.Event()
        self._names = itertools.count(1)
        self._crashes: deque[float] = deque(maxlen=CRASH_LIMIT)
        # Threads may crash at the same time. An exception while counting would prevent giving back the claim and the
        # restart.
        self._crashes_lock = threading.Lock()
        self._lack = Reminder(REMIND_AFTER)
        self._context: WorkerContext

    def bind(self, context: WorkerContext) -> None:
        """Set the context; its pool starts workers through `spawn`."""
        self._context = context

    def start(self) -> None:
        """Start the workers and the supervisor thread; all of them wait for `release`.

        Raises `StartError` if the system cannot start a thread for every slot.
        """
        self.keep("supervisor", self._watch_slots, MOVES_WITHIN)
        self._context.pool.fill()
        if self._context.pool.threads < self._context.pool.slots:
            raise too_few_threads()

    def release(self) -> None:
        """Let all threads begin. No thread uses the queue before all of them are started."""
        self._released.set()

    @property
    def is_claiming(self) -> bool:
        """Whether a worker may be receiving a claim that is not among the claims in flight yet."""
        return any(worker.claiming for worker in list(self.workers.values()))

    def spawn(self) -> None:
        """Start one worker thread. Raises `RuntimeError` or `MemoryError` if the system cannot start it."""
        worker = Worker(f"worker-{next(self._names)}", self._context)
        self.workers[worker.name] = worker
        try:
            threading.Thread(target=self._run_worker, args=(worker,), name=worker.name, daemon=True).start()
        except (RuntimeError, MemoryError):
            del self.workers[worker.name]
            if self._released.is_set():
                self._log_lack(worker.name)
            raise

    def _log_lack(self, name: str) -> None:
        if self._lack.is_due(time.monotonic()):
            self._log.warning("thread.not_started", thread=name, text="the system gives no more threads")

    def keep(self, name: str, serve: Callable[[], None], allowance: float = LIVE_WITHIN) -> None:
        """Run a service in its own thread after `release`, and restart it after a crash.

        `allowance` is the maximum number of seconds between two heartbeats. Raises `StartError`.
        """
        start_thread(threading.Thread(target=self._run_service, args=(name, serve, allowance), name=name, daemon=True))

    def _run_service(self, name: str, serve: Callable[[], None], allowance: float) -> None:
        self._released.wait()
        while True:
            # Run it once more after the stop began, even if it had not started before: a service finishes work on exit
            # that the stop waits for, such as giving back received records.
            is_last = self.stopping.is_set()
            self._context.beats.register(name, allowance)
            try:
                serve()
                break
            except BaseException as error:  # noqa: BLE001 - any failure is logged and the service restarted
                self._died(name, error)
            if is_last:
                break
            self.stopping.wait(1.0)
        self._context.beats.unregister(name)

    def _run_worker(self, worker: Worker) -> None:
        try:
            self._released.wait()
            worker.run()
        except BaseException as error:  # noqa: BLE001 - after any failure its claim is given back
            self._died(worker.name, error)
            self._give_claim_back(worker)
        finally:
            del self.workers[worker.name]
            self._context.pool.leave(worker.slot, is_waiting=worker.is_waiting)
            worker.forget()
        if self._crashes_within(CRASH_PAUSE) > 1:
            self.stopping.wait(CRASH_PAUSE)  # a cause that crashes every worker must not occupy a core
        self._context.pool.fill()

    def _give_claim_back(self, worker: Worker) -> None:
        if worker.current is None:
            return
        in_flight, delivery = worker.current
        if delivery is None:
            in_flight.abandon(lapsed=True)  # it crashed while offloading; any delivery may be the cause
        else:
            in_flight.finish(delivery, Requeue(delivery_state.encode(delivery.state), lapsed=True))
        settlement = in_flight.settlement
        if settlement is None:
            return  # other workers still process this job's other deliveries and settle it
        try:
            self._context.recorder.settle(settlement, repeated=True)
            self._context.pool.wake(1)  # claimable now, but a notifier may report it a second later
        except BrokerError as error:
            self._context.watch.failed(error)
            # If the claim stayed in flight, its lease would be renewed although no thread works on it.
            self._context.recorder.record(settlement, accepted=False, repeated=True)
        except Exception as error:  # noqa: BLE001 - the claim must not stay in flight
            self._log.error("job.failed", record=in_flight.claim.id, exc_info=error)
            self._context.recorder.record(settlement, accepted=False, repeated=True)

    def _died(self, name: str, error: BaseException) -> None:
        self._log.error("thread.crashed", thread=name, exc_info=error)
        with self._crashes_lock:
            self._crashes.append(time.monotonic())
        if self._crashes_within(CRASH_PERIOD) == CRASH_LIMIT:
            self.gave_up.set()

    def _crashes_within(self, seconds: float) -> int:
        since = time.monotonic() - seconds
        with self._crashes_lock:
            return sum(moment > since for moment in self._crashes)

    def _watch_slots(self) -> None:
        while not self.stopping.wait(TICK):
            self._context.beats.beat("supervisor")
            now = time.monotonic()
            if self._context.pool.threads < self._context.pool.slots and not self._crashes_within(CRASH_PAUSE):
                self._context.pool.fill()  # an earlier start of a thread failed
            self._context.isolation.update(now)
            self._context.dispatcher.enforce_deadlines()
            for worker in list(self.workers.values()):
                slot = worker.slot
                if slot.busy_since and now - slot.busy_since > self._slow and slot.admission is not None:
                    self._context.dispatcher.check_overdue(slot.admission)
                    self._context.pool.give_back(slot)
