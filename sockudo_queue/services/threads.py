"""The service threads beside the workers: notifiers, renewer, sampler, and those that keep the apps current.

Each is a loop that ends when the daemon is stopped, gives signs of life, and outlives every outage of the broker.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from sockudo_queue.apps.file_watcher import AppSource
from sockudo_queue.apps.stores.refresher import Keeper
from sockudo_queue.drivers.base import Prefetching
from sockudo_queue.errors import BrokerError, BrokerUnavailable, SourceRefused
from sockudo_queue.pipeline.broker_status import broker_backoff
from sockudo_queue.pipeline.supervisor import Supervisor
from sockudo_queue.pipeline.unknown_apps import UnknownApps
from sockudo_queue.pipeline.worker import LIVE_WITHIN, Workplace
from sockudo_queue.runtime.cpu_affinity import LOOK_EVERY, Placement
from sockudo_queue.services.peers import SurroundingsWatch
from sockudo_queue.services.sampler import Sampler
from sockudo_queue.services.settler import Tending

BELL_WAIT: Final = 1.0
"""Seconds that a notifier waits at most; also how soon it notices that it is stopped."""
BUSY_BELL_PAUSE: Final = 0.02
"""Seconds that a notifier rests while all workers are busy: they claim anyway, it only empties Sockudo's list."""
LAST_LOOK: Final = 0.5
"""Seconds that bringing the rest of Sockudo's list into safety may take when the daemon is stopped."""
SAMPLE_EVERY: Final = 5.0
UPKEEP_EVERY: Final = 10.0
RENEW_AGAIN: Final = 0.5
"""Seconds until a renewal that got no answer is tried again: leases run on, and the next answer may come in time."""
RELOAD_EVERY: Final = 1.0
"""Seconds between two looks at the file that the apps come from."""


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
        """Start them all. `renew_interval` is in seconds; each of `upkeep` gets the time, and may block for seconds."""
        if self._tending is not None:
            renew_interval = min(renew_interval, self._tending.driver.renew_seconds)
            self._start("settler", LIVE_WITHIN, self._tending.serve)
        for number, source in enumerate(self._place.driver.sources, 1):
            self._start(f"notifier-{number}", LIVE_WITHIN, self._ring, source)
        self._start("renewer", LIVE_WITHIN + renew_interval, self._renew, renew_interval)
        self._start("sampler", LIVE_WITHIN, self._sample)
        if placement is not None and placement.is_possible:
            self._start("cpu-affinity", LIVE_WITHIN, self._place_threads, placement)
        self._start("maintenance", LIVE_WITHIN, self._keep_house, upkeep)
        if app_source is not None:
            self._start("apps-file", LIVE_WITHIN, self._reload_apps, app_source, unknown_apps)
        if app_keeper is not None:
            self._start("app-store", LIVE_WITHIN, self._keep_apps, app_keeper)

    def watch_surroundings(self, watch: SurroundingsWatch) -> None:
        """Start the look around the queue, for a driver whose broker tells of it."""
        stopping, beats = self._place.stopping, self._place.beats
        self._start("peers", LIVE_WITHIN, lambda name: watch.serve(lambda: beats.beat(name), stopping))

    @property
    def is_busy(self) -> bool:
        """Tell whether a stop has to wait for what was received and is not given back."""
        return self._tending is not None and not self._tending.gave_back.is_set()

    def take_over(self, source: str) -> None:
        """Bring all of Sockudo's list into our keys: a Sockudo that is stopped together with us deletes it."""
        place, give_up_at = self._place, time.monotonic() + LAST_LOOK
        known, before = 0, -1
        # Each look brings over a part; the last one finds no more than the one before.
        while known > before and not place.watch.is_lost and time.monotonic() < give_up_at:
            try:
                known, before = place.driver.wait(source, 0.0), known
            except BrokerError as error:
                place.watch.failed(error)

    def _place_threads(self, name: str, placement: Placement) -> None:
        while not self._place.stopping.wait(LOOK_EVERY):
            self._place.beats.beat(name)
            placement.look()

    def _start(self, name: str, allowance: float, serve: Any, *arguments: Any) -> None:
        self._place.beats.register(name, allowance)
        self._supervisor.keep(name, lambda: serve(name, *arguments))

    def _ring(self, name: str, source: str) -> None:
        """Wait for work in one source and wake workers, for as long as the daemon runs."""
        place = self._place
        backoff = broker_backoff()
        longest = BELL_WAIT if self._tending is None else self._tending.driver.bell_seconds
        while not place.stopping.is_set():
            place.beats.beat(name)
            losses = place.watch.losses
            try:
                jobs = place.driver.wait(source, longest)
            except SourceRefused as refusal:
                place.watch.source_refused(losses, refusal)
                place.crew.ring(1)  # only a claim finds out whether it is taken again, or whether all are refused
                backoff.wait(place.stopping)
                continue
            except BrokerError as error:
                place.watch.failed(error)
                backoff.wait(place.stopping)
                continue
            backoff.reset()
            place.watch.source_worked(losses, source)
            if jobs:
                place.crew.ring(jobs)
                if not place.crew.someone_is_idle:
                    place.stopping.wait(BUSY_BELL_PAUSE)
        if self._tending is not None:
            self._tending.give_back()  # by now the notifier's last receive has ended
        self.take_over(source)

    def _renew(self, name: str, interval: float) -> None:
        """Renew the leases of all that is held, until the daemon puts it back."""
        pause = interval
        while not self._place.abandoned.wait(pause):
            self._place.beats.beat(name)
            try:
                self._renew_once()
            except BrokerError as error:
                self._place.watch.failed(error)
                pause = min(interval, RENEW_AGAIN)
            else:
                pause = interval

    def _renew_once(self) -> None:
        """Renew; a claim that is no longer ours is forgotten and will not be settled."""
        held = self._place.holdings.all()
        if not held and self._tending is None:
            return
        flags = self._place.driver.renew([dispatch.claim for dispatch in held])
        for dispatch, renewed in zip(held, flags, strict=True):
            # One that has a settlement by now may be gone because of it, and whoever settles it is told so.
            if not renewed and dispatch.settlement is None:
                self._place.ledger.record(dispatch.abandon(), accepted=False, repeated=False)

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

    def _keep_house(self, name: str, upkeep: Sequence[Callable[[float], object]]) -> None:
        """Let go of what nobody uses any more; never in a worker, since it may block."""
        while True:
            for work in upkeep:
                self._place.beats.beat(name)
                work(time.monotonic())
            if self._place.stopping.wait(UPKEEP_EVERY):
                return

    def _reload_apps(self, name: str, source: AppSource, unknown_apps: UnknownApps) -> None:
        """Take over a changed file of apps, whenever it changes or SIGHUP asks; nothing in flight is touched."""
        while not self._place.stopping.is_set():
            self._place.beats.beat(name)
            asked = self.reload_asked.wait(RELOAD_EVERY)
            self.reload_asked.clear()
            result = source.reload() if asked else source.poll()
            if result is None:
                continue
            for line in result.lines:
                self._log.warning("settings.warning" if result.applied else "apps.reload_failed", text=line)
            if result.applied:
                unknown_apps.forget()
                self._log.info("apps.reloaded")

    def _keep_apps(self, name: str, keeper: Keeper) -> None:
        """Talk to the store of apps, for as long as the daemon runs."""
        keeper.serve(self._place.stopping, lambda: self._place.beats.beat(name))
