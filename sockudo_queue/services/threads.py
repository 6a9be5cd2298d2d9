"""Starts the background threads.

Each sends heartbeats, survives every outage of the broker, and ends when the daemon stops. `every` is the loop of
threads with periodic work. Notifier, settler and app store have their own loops, because they wait for events.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from sockudo_queue.apps.file_watcher import AppSource
from sockudo_queue.drivers.base import BufferedDriver
from sockudo_queue.pipeline.supervisor import Supervisor
from sockudo_queue.pipeline.unknown_apps import UnknownApps
from sockudo_queue.pipeline.worker import LIVE_WITHIN, WorkerContext
from sockudo_queue.runtime.cpu_affinity import CHECK_INTERVAL, CpuAffinity
from sockudo_queue.services import alerts
from sockudo_queue.services.apps_file import RELOAD_INTERVAL, AppsReload
from sockudo_queue.services.attempt_history import FLUSH_SECONDS, AttemptHistory
from sockudo_queue.services.batch_flusher import BatchFlusher
from sockudo_queue.services.controls import ControlsWatch
from sockudo_queue.services.lease_renewer import LeaseRenewer
from sockudo_queue.services.notifier import Notifier
from sockudo_queue.services.peers import PeerWatch
from sockudo_queue.services.sampler import SAMPLE_INTERVAL, Sampler
from sockudo_queue.services.settler import SettlerThread

if TYPE_CHECKING:
    from sockudo_queue.apps.stores.refresher import AppCacheRefresher
    from sockudo_queue.services.ingress import Ingress


UPKEEP_INTERVAL: Final = 10.0
"""Seconds between two rounds of maintenance."""


class BackgroundThreads:
    """Starts the service threads of one daemon."""

    def __init__(self, context: WorkerContext, supervisor: Supervisor, sampler: Sampler, log: Any) -> None:
        self.reload_asked = threading.Event()
        self._context = context
        self._supervisor = supervisor
        self._sampler = sampler
        self._log = log
        driver = context.driver
        self._settler = SettlerThread(driver, context) if isinstance(driver, BufferedDriver) else None

    def start(
        self,
        renew_interval: float,
        app_source: AppSource | None,
        unknown_apps: UnknownApps,
        upkeep: Sequence[Callable[[float], object]],
        refresher: AppCacheRefresher | None = None,
        cpu_affinity: CpuAffinity | None = None,
    ) -> None:
        """Start all threads; they begin when the supervisor releases them. Raises `StartError`.

        `renew_interval` is in seconds. Each function in `upkeep` gets the monotonic time, and may block for seconds.
        """
        if self._settler is not None:
            renew_interval = min(renew_interval, self._settler.driver.renew_seconds)
            self._start("settler", LIVE_WITHIN, self._settler.serve)
        for number, source in enumerate(self._context.driver.sources, 1):
            self._start(f"notifier-{number}", LIVE_WITHIN, Notifier(self._context, source, self._settler).serve)
        if (batches := self._context.batches) is not None:
            self._start("batch-flusher", LIVE_WITHIN, BatchFlusher(self._context, batches).serve)
        renewer = LeaseRenewer(self._context, renew_interval, always=self._settler is not None)
        self.every(
            "renewer",
            lambda: renewer.pause,
            renewer.renew,
            until=self._context.abandoned,
            allowance=LIVE_WITHIN + renew_interval,
        )
        every = SAMPLE_INTERVAL if self._settler is None else self._settler.driver.sample_seconds
        self.every("sampler", lambda: every, partial(self._sampler.try_sample, self._context.watch.failed))
        if cpu_affinity is not None and cpu_affinity.is_possible:
            self.every("cpu-affinity", lambda: CHECK_INTERVAL, cpu_affinity.update)
        self.every("maintenance", lambda: UPKEEP_INTERVAL, partial(self._keep_up, upkeep))
        if app_source is not None:
            reload = AppsReload(app_source, unknown_apps, self.reload_asked, self._log)
            self.every("apps-file", lambda: RELOAD_INTERVAL, reload.poll, wakes=self.reload_asked)
        if refresher is not None:
            self._serve("app-store", refresher.serve)

    def take_jobs(self, ingress: Ingress) -> None:
        """Start accepting jobs over HTTP, for the memory driver."""
        beats = self._context.beats
        self._start("ingress", LIVE_WITHIN, lambda name: ingress.serve(lambda: beats.beat(name)))

    def watch_peers(self, watch: PeerWatch) -> None:
        """Start monitoring the queue's environment, for a driver that supports it."""
        self.every("peers", lambda: watch.pause, watch.try_poll)

    def every(
        self,
        name: str,
        seconds: Callable[[], float],
        work: Callable[[], object],
        *,
        until: threading.Event | None = None,
        wakes: threading.Event | None = None,
        allowance: float = LIVE_WITHIN,
    ) -> None:
        """Start a thread that calls `work` repeatedly, with pauses of `seconds()` seconds. Raises `StartError`.

        It ends with the daemon, or when `until` is set. `wakes` ends a pause early. `allowance` is the maximum number
        of seconds between two heartbeats.
        """
        beats, end = self._context.beats, until or self._context.stopping

        def serve(thread: str) -> None:
            while not end.is_set():
                beats.beat(thread)
                work()
                (wakes or end).wait(seconds())

        self._start(name, allowance, serve)

    def watch_controls(self, watch: ControlsWatch) -> None:
        """Start what lets this daemon obey operators; workers claim nothing before its first poll."""
        self.every("controls", lambda: watch.pause, watch.poll, wakes=watch.wakes)

    def keep_attempts(self, attempts: AttemptHistory) -> None:
        """Start storing the attempt history; attempts that end during a stop are stored, too."""
        self.every(
            "history",
            lambda: FLUSH_SECONDS,
            attempts.flush,
            until=self._context.abandoned,
            wakes=attempts.wakes,
            allowance=3 * LIVE_WITHIN,  # each source may wait for an answer
        )

    def send_alerts(self, outbox: alerts.AlertOutbox) -> None:
        """Start what sends alerts, also those of a stop."""
        self.every("alerts", lambda: alerts.FLUSH_SECONDS, outbox.flush, until=self._context.abandoned)

    @property
    def is_busy(self) -> bool:
        """Return whether a stop must wait until received records are given back."""
        return self._settler is not None and not self._settler.gave_back.is_set()

    def _keep_up(self, upkeep: Sequence[Callable[[float], object]]) -> None:
        """Free unused resources, such as idle connections to endpoints. Not in a worker, because it may block."""
        for work in upkeep:
            self._context.beats.beat("maintenance")
            work(time.monotonic())

    def _start(self, name: str, allowance: float, serve: Callable[[str], None]) -> None:
        self._supervisor.keep(name, lambda: serve(name), allowance)

    def _serve(self, name: str, serve: Callable[[Callable[[], None], threading.Event], None]) -> None:
        beats, stopping = self._context.beats, self._context.stopping
        self._start(name, LIVE_WITHIN, lambda _name: serve(lambda: beats.beat(name), stopping))
