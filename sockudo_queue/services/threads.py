"""Starts the threads beside the workers.

Each is a loop that ends when the daemon stops, gives signs of life, and outlives every outage of the broker.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from sockudo_queue.apps.file_watcher import AppSource
from sockudo_queue.apps.stores.refresher import Keeper
from sockudo_queue.drivers.base import Prefetching
from sockudo_queue.errors import BrokerError, BrokerUnavailable
from sockudo_queue.pipeline.supervisor import Supervisor
from sockudo_queue.pipeline.unknown_apps import UnknownApps
from sockudo_queue.pipeline.worker import LIVE_WITHIN, Workplace
from sockudo_queue.runtime.cpu_affinity import LOOK_EVERY, Placement
from sockudo_queue.services.apps_file import AppsFileService
from sockudo_queue.services.lease_renewer import LeaseRenewer
from sockudo_queue.services.notifier import Notifier
from sockudo_queue.services.peers import SurroundingsWatch
from sockudo_queue.services.sampler import Sampler
from sockudo_queue.services.settler import Tending

if TYPE_CHECKING:
    from sockudo_queue.services.ingress import Ingress

SAMPLE_EVERY: Final = 5.0
UPKEEP_EVERY: Final = 10.0


class Services:
    """Starts the service threads of one daemon."""

    def __init__(self, place: Workplace, supervisor: Supervisor, sampler: Sampler, log: Any) -> None:
        self.reload_asked = threading.Event()
        self._place = place
        self._supervisor = supervisor
        self._sampler = sampler
        self._log = log
        driver = place.driver
        self._tending = Tending(driver, place) if isinstance(driver, Prefetching) else None

    def start(
        self,
        renew_interval: float,
        app_source: AppSource | None,
        unknown_apps: UnknownApps,
        upkeep: Sequence[Callable[[float], object]],
        app_keeper: Keeper | None = None,
        placement: Placement | None = None,
    ) -> None:
        """Start them all, to begin when the supervisor lets them. Raises `StartError`.

        `renew_interval` is in seconds; each of `upkeep` gets the time, and may block for seconds.
        """
        if self._tending is not None:
            renew_interval = min(renew_interval, self._tending.driver.renew_seconds)
            self._start("settler", LIVE_WITHIN, self._tending.serve)
        for number, source in enumerate(self._place.driver.sources, 1):
            self._start(f"notifier-{number}", LIVE_WITHIN, Notifier(self._place, source, self._tending).serve)
        renewer = LeaseRenewer(self._place, renew_interval, always=self._tending is not None)
        self._start("renewer", LIVE_WITHIN + renew_interval, renewer.serve)
        self._start("sampler", LIVE_WITHIN, self._sample)
        if placement is not None and placement.is_possible:
            self._start("cpu-affinity", LIVE_WITHIN, self._place_threads, placement)
        self._start("maintenance", LIVE_WITHIN, self._maintain, upkeep)
        if app_source is not None:
            self._serve("apps-file", AppsFileService(app_source, unknown_apps, self.reload_asked, self._log).serve)
        if app_keeper is not None:
            self._serve("app-store", lambda beat, stopping: app_keeper.serve(stopping, beat))

    def take_jobs(self, ingress: Ingress) -> None:
        """Start what takes jobs over HTTP, for the memory driver."""
        beats = self._place.beats
        self._start("ingress", LIVE_WITHIN, lambda name: ingress.serve(lambda: beats.beat(name)))

    def watch_surroundings(self, watch: SurroundingsWatch) -> None:
        """Start the look around the queue, for a driver whose broker tells of it."""
        self._serve("peers", watch.serve)

    @property
    def is_busy(self) -> bool:
        """Tell whether a stop has to wait for what was received and is not given back."""
        return self._tending is not None and not self._tending.gave_back.is_set()

    def _start(self, name: str, allowance: float, serve: Any, *arguments: Any) -> None:
        self._supervisor.keep(name, lambda: serve(name, *arguments), allowance)

    def _serve(self, name: str, serve: Callable[[Callable[[], None], threading.Event], None]) -> None:
        beats, stopping = self._place.beats, self._place.stopping
        self._start(name, LIVE_WITHIN, lambda _name: serve(lambda: beats.beat(name), stopping))

    def _sample(self, name: str) -> None:
        """Ask the broker for its depth now and then, so that a scrape need not."""
        place = self._place
        interval = SAMPLE_EVERY if self._tending is None else self._tending.driver.sample_seconds
        while True:
            place.beats.beat(name)
            try:
                self._sampler.look()
            except BrokerUnavailable:
                pass  # those who wait for work meet this too, and sooner; they tell of it, and of its end
            except BrokerError as error:
                place.watch.failed(error)
            # That reading goes well tells little: a replica and a server that cannot write to its disk can be read.
            if place.stopping.wait(interval):
                return

    def _place_threads(self, name: str, placement: Placement) -> None:
        while not self._place.stopping.wait(LOOK_EVERY):
            self._place.beats.beat(name)
            placement.look()

    def _maintain(self, name: str, upkeep: Sequence[Callable[[float], object]]) -> None:
        """Let go of what is unused; never in a worker, since it may block."""
        while True:
            for work in upkeep:
                self._place.beats.beat(name)
                work(time.monotonic())
            if self._place.stopping.wait(UPKEEP_EVERY):
                return
