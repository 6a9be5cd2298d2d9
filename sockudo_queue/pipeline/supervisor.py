"""Starts workers and service threads, handles their failures, and takes slots from slow attempts.

A worker thread that fails gives its claim back at once, so that no lease has to run out for it, and starts another
worker. It does so itself, in `_run_worker`. A service thread that fails starts its loop again, in `_run_service`. The
thread named `supervisor` only runs `_watch_slots`.
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
"""Seconds between two looks at attempts that may have become slow."""
DEATHS: Final = 10
DEATHS_WITHIN: Final = 60.0
"""So many deaths of threads within so many seconds, and the daemon gives up (exit code 4)."""
GAVE_UP_REASON: Final = f"{DEATHS} threads crashed within {DEATHS_WITHIN:g} s"
DEATH_PAUSE: Final = 0.5
MOVES_WITHIN: Final = 10.0
"""Seconds without a look at the attempts, after which `/livez` fails: slow endpoints hold up the others meanwhile."""
REMIND_AFTER: Final = 60.0
"""Seconds between two lines about a lack of threads, which is met again with every attempt that turns slow."""


class Supervisor:
    """Starts the workers, and the services that are given to `keep`. Its threads are daemons and end with the process.

    Call `start` once. Other threads, such as main, log-writer, health and shutdown-work, are not started here; the
    table of threads in docs/architecture.md has all.
    """

    def __init__(self, log: Any, *, slow: float) -> None:
        self.gave_up = threading.Event()
        self.stopping = threading.Event()
        self.workers: dict[str, Worker] = {}
        self._log = log
        self._slow = slow
        self._released = threading.Event()
        self._names = itertools.count(1)
        self._deaths: deque[float] = deque(maxlen=DEATHS)
        # Threads die together; one that failed over the count would not give its claim back, nor be started again.
        self._deaths_lock = threading.Lock()
        self._lack = Reminder(REMIND_AFTER)
        self._context: WorkerContext

    def bind(self, context: WorkerContext) -> None:
        """Take over the pool of a context; the pool asks for its workers through `spawn`."""
        self._context = context

    def start(self) -> None:
        """Start the workers and what watches them; all of them wait for `release`.

        Raises `StartError` where the system does not give every slot a thread.
        """
        self.keep("supervisor", self._watch_slots, MOVES_WITHIN)
        self._context.pool.fill()
        if self._context.pool.threads < self._context.pool.slots:
            raise too_few_threads()

    def release(self) -> None:
        """Let every thread begin: nothing touches the queue before all of them are there."""
        self._released.set()

    @property
    def is_claiming(self) -> bool:
        """Tell whether a worker may be about to get a claim that is not among the claims in flight yet."""
        return any(worker.claiming for worker in list(self.workers.values()))

    def spawn(self) -> None:
        """Start one worker thread. Raises `RuntimeError` where the system gives no more threads."""
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
        """Run a service in a thread of its own from `release` on, and start it again if it dies.

        `allowance` is how many seconds may pass between two signs of life. Raises `StartError`.
        """
        start_thread(threading.Thread(target=self._run_service, args=(name, serve, allowance), name=name, daemon=True))

    def _run_service(self, name: str, serve: Callable[[], None], allowance: float) -> None:
        self._released.wait()
        while True:
            # It is served once more after the stop has begun, and also if it could not begin before: a service does at
            # its end what a stop waits for, such as giving back what was received.
            is_last = self.stopping.is_set()
            self._context.beats.register(name, allowance)
            try:
                serve()
                break
            except BaseException as error:  # noqa: BLE001 - whatever ended it, it is logged and started again
                self._died(name, error)
            if is_last:
                break
            self.stopping.wait(1.0)
        self._context.beats.unregister(name)

    def _run_worker(self, worker: Worker) -> None:
        try:
            self._released.wait()
            worker.run()
        except BaseException as error:  # noqa: BLE001 - whatever ended it, its claim is given back
            self._died(worker.name, error)
            self._give_claim_back(worker)
        finally:
            del self.workers[worker.name]
            self._context.pool.leave(worker.slot, is_waiting=worker.is_waiting)
            worker.forget()
        if self._deaths_within(DEATH_PAUSE) > 1:
            self.stopping.wait(DEATH_PAUSE)  # what kills worker after worker must not keep a core busy
        self._context.pool.fill()

    def _give_claim_back(self, worker: Worker) -> None:
        if worker.current is None:
            return
        in_flight, delivery = worker.current
        if delivery is None:
            in_flight.abandon(lapsed=True)  # it died while it handed the deliveries out; it is not known which
        else:
            in_flight.finish(delivery, Requeue(delivery_state.encode(delivery.state), lapsed=True))
        settlement = in_flight.settlement
        if settlement is None:
            return  # other workers are still at this job's other deliveries, and settle it
        try:
            self._context.recorder.settle(settlement, repeated=True)
            self._context.pool.wake(1)  # it can be claimed at once, and no notifier would tell for up to a second
        except BrokerError as error:
            self._context.watch.failed(error)
            # Held on to, its lease would be renewed for as long as we run, with nobody at work on it.
            self._context.recorder.record(settlement, accepted=False, repeated=True)
        except Exception as error:  # noqa: BLE001 - as above
            self._log.error("job.failed", record=in_flight.claim.id, exc_info=error)
            self._context.recorder.record(settlement, accepted=False, repeated=True)

    def _died(self, name: str, error: BaseException) -> None:
        self._log.error("thread.crashed", thread=name, exc_info=error)
        with self._deaths_lock:
            self._deaths.append(time.monotonic())
        if self._deaths_within(DEATHS_WITHIN) == DEATHS:
            self.gave_up.set()

    def _deaths_within(self, seconds: float) -> int:
        since = time.monotonic() - seconds
        with self._deaths_lock:
            return sum(moment > since for moment in self._deaths)

    def _watch_slots(self) -> None:
        while not self.stopping.wait(TICK):
            self._context.beats.beat("supervisor")
            now = time.monotonic()
            if self._context.pool.threads < self._context.pool.slots and not self._deaths_within(DEATH_PAUSE):
                self._context.pool.fill()  # the system had no thread to give when it was asked
            self._context.isolation.look(now)
            self._context.dispatcher.enforce_deadlines()
            for worker in list(self.workers.values()):
                slot = worker.slot
                if slot.busy_since and now - slot.busy_since > self._slow and slot.admission is not None:
                    self._context.dispatcher.look_at(slot.admission)
                    self._context.pool.give_back(slot)
