"""The composition root: builds every part from the settings, starts, waits for a signal, drains.

Only this module waits for signals. They are blocked before the first thread starts and awaited in the main thread, so
no handler ever interrupts other code.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from sockudo_queue import __version__
from sockudo_queue.apps.file_watcher import AppSource
from sockudo_queue.apps.stores.factory import make_refresher
from sockudo_queue.config import Settings
from sockudo_queue.core import alert
from sockudo_queue.core.apps import AppRegistry
from sockudo_queue.core.hosts import is_loopback
from sockudo_queue.delivery.admission.endpoint import EndpointRegistry
from sockudo_queue.delivery.admission.thread_budget import AdmissionLimits
from sockudo_queue.delivery.factory import DESCRIPTORS_OF_A_WORKER, DeliveryStack
from sockudo_queue.delivery.own_services import collector, page
from sockudo_queue.drivers.base import BatchingDriver, BufferedDriver, Driver, InProcess, PeerAware
from sockudo_queue.drivers.factory import make_driver, make_history
from sockudo_queue.errors import BrokerError, BrokerUnavailable, SockudoQueueError
from sockudo_queue.observability import logs
from sockudo_queue.observability.health import Health, Heartbeats
from sockudo_queue.observability.invalid_webhooks import log_invalid_webhooks
from sockudo_queue.observability.metrics import Metrics
from sockudo_queue.observability.status_page.history import StatusHistory
from sockudo_queue.observability.status_page.pages import StatusPages
from sockudo_queue.observability.tracing.spans import NO_TRACING, Tracing
from sockudo_queue.observability.web.application import Application
from sockudo_queue.observability.web.health_server import HealthServer
from sockudo_queue.observability.web.login import Credentials, LoginGate
from sockudo_queue.operations.controls import Controls, store_of
from sockudo_queue.pipeline.attempt_recorder import AttemptRecorder
from sockudo_queue.pipeline.batches import Batches
from sockudo_queue.pipeline.broker_status import BrokerWatch
from sockudo_queue.pipeline.dispatcher import Dispatcher
from sockudo_queue.pipeline.gated import GatedBatches, GatedEvent, GatedIsolation, GatedPool, GatedQueue
from sockudo_queue.pipeline.in_flight import ClaimsInFlight
from sockudo_queue.pipeline.paused import PausedWebhooks
from sockudo_queue.pipeline.resolve import Resolver
from sockudo_queue.pipeline.settlements import SettlementRecorder
from sockudo_queue.pipeline.supervisor import GAVE_UP_REASON, Supervisor
from sockudo_queue.pipeline.unknown_apps import UnknownApps
from sockudo_queue.pipeline.worker import LIVE_WITHIN, WorkerContext
from sockudo_queue.runtime import limits, signal_mask, signals
from sockudo_queue.runtime.cpu_affinity import CpuAffinity
from sockudo_queue.runtime.interpreter_lock import PythonGate
from sockudo_queue.runtime.service_manager import READY, STOPPING, ServiceManager
from sockudo_queue.services.alert_message import replica_name
from sockudo_queue.services.alerts import AlertOutbox
from sockudo_queue.services.attempt_history import AttemptHistory
from sockudo_queue.services.controls import ControlsWatch
from sockudo_queue.services.notifier import TAKE_OVER_SECONDS, take_over
from sockudo_queue.services.operator_pages import OperatorPages
from sockudo_queue.services.peers import PeerWatch
from sockudo_queue.services.sampler import Sampler
from sockudo_queue.services.threads import BackgroundThreads

if TYPE_CHECKING:
    from sockudo_queue.services.ingress import Ingress

LAST_PUT_BACK: Final = 2.0
"""Seconds that putting back claims may exceed the deadline if the broker does not answer."""

LAST_ENTRIES: Final = 1.0
"""Maximum seconds for storing the last entries of the attempt history during a stop."""
LAST_ALERTS: Final = 2.0
"""Maximum seconds that a stop waits for the receiver of alerts."""
LAST_ACTION: Final = 2.0
"""Maximum seconds that a stop waits for an action of the page, which ends after its current dead letters."""
LAST_EXPORT: Final = 5.0
"""Maximum seconds that a stop waits for the collector of spans."""

MIN_OTHER_DESCRIPTORS: Final = 24
"""Minimum descriptors for files, pages and their clients, service threads' connections, and look-ups."""

EXIT_STOPPED: Final = 0
EXIT_FORCED: Final = 1
EXIT_COULD_NOT_START: Final = 3
EXIT_GAVE_UP: Final = 4


def _in_time(work: Callable[[], None], seconds: float) -> bool:
    """Run `work` in its own thread and wait at most `seconds`: a hanging broker can block a call for much longer."""
    thread = threading.Thread(target=work, name="shutdown-work", daemon=True)
    try:
        thread.start()
    except (RuntimeError, MemoryError):  # without another thread there is no time limit
        work()
    else:
        thread.join(seconds)
    return not thread.is_alive()


def make_ingress(settings: Settings, driver: Driver) -> Ingress | None:
    """Build the HTTP endpoint of the memory driver; with other drivers, producers use the broker."""
    if not isinstance(driver, InProcess):
        return None
    from sockudo_queue.services.ingress import Ingress  # here, because importing it takes a tenth of the whole start

    return Ingress(driver.put, settings.memory.ingress_host, settings.memory.ingress_port)


class Daemon:
    """One running daemon. `run` blocks the main thread until the process must end."""

    def __init__(
        self,
        settings: Settings,
        registry: AppRegistry,
        app_source: AppSource | None = None,
        manager: ServiceManager | None = None,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        self._settings = settings
        self._manager = manager or ServiceManager({})
        self._tracing = tracing
        self._app_source = app_source
        self._log: Any = logs.get_logger().bind()  # bound once, not for every line
        self._gate = PythonGate()
        self._stack = DeliveryStack(settings, self._gate)
        self._driver = make_driver(settings, self._stack.protect_broker)
        self._metrics = Metrics(self._driver.name, settings.redis.queue_name)
        self._beats = Heartbeats()
        self._health = Health(self._beats)
        self._history = StatusHistory(self._metrics)
        self._attempts = self._make_attempt_history()
        self._alerts = self._make_alerts()
        self._raise_alert: alert.RaiseAlert = alert.ignore if self._alerts is None else self._alerts.put
        self._ingress = make_ingress(settings, self._driver)
        self._claims = ClaimsInFlight()
        self._paused = PausedWebhooks()
        self._attempt_recorder = self._make_attempt_recorder()
        queue = GatedQueue(self._gate, self._driver)
        self._recorder = SettlementRecorder(
            queue,
            self._claims,
            self._metrics,
            self._history,
            self._log,
            self._attempt_recorder,
            self._raise_alert,
        )
        self._watch = BrokerWatch(self._log, self._broker_changed, self._source_changed)
        self._abandoned = GatedEvent(self._gate)
        slow = settings.delivery.slow_ms / 1000
        self._supervisor = Supervisor(self._log, slow=slow, stopping=GatedEvent(self._gate))
        self._pool = GatedPool(self._gate, settings.workers, settings.delivery.max_slow, self._supervisor.spawn)
        self._unknown_apps = UnknownApps(self._log, partial(self._set_ready, "apps"))
        self._refresher = make_refresher(
            settings, registry, self._metrics, self._log, partial(self._set_ready, "app-store"), self._gate
        )
        self._registry = registry if self._refresher is None else self._refresher.registry
        self._dispatcher = self._make_dispatcher()
        batches = self._make_batches(queue)
        self._context = context = WorkerContext(
            self._pool,
            self._driver,
            batches or queue,
            self._make_resolver(),
            self._dispatcher,
            self._claims,
            self._recorder,
            self._watch,
            self._metrics,
            self._beats,
            self._supervisor.stopping,
            self._abandoned,
            GatedIsolation(
                self._gate,
                self._claims,
                lambda: self._supervisor.is_claiming,
                self._supervisor.stopping,
                slow=slow,
            ),
            tracing,
            self._paused,
            batches,
        )
        self._supervisor.bind(context)
        max_age_ms = settings.reliability.failed_max_age_ms
        sampler = Sampler(
            self._driver,
            self._metrics,
            self._history,
            self._log,
            max_age_ms=max_age_ms,
            raise_alert=self._raise_alert,
        )
        self._services = BackgroundThreads(context, self._supervisor, sampler, self._log)
        self._controls_watch = ControlsWatch(
            self._driver,
            self._paused,
            self._log,
            in_file=registry.paused_webhooks,
            close_breaker=self._dispatcher.close_breaker,
            wake=self._pool.wake,
            set_ready=partial(self._set_ready, "controls"),
            set_refused=self._controls_refused,
        )
        self.controls = Controls(
            store_of(self._driver),
            self._log,
            acted=self._controls_watch.wakes.set,
            try_here=self._dispatcher.close_breaker,
            in_file=registry.paused_webhooks,
        )
        self._credentials = self._make_credentials()
        self._operator_pages = OperatorPages(
            settings,
            self._credentials,
            self._driver,
            self._attempts,
            self.controls,
            self._metrics,
            self._registry.find,
            self._supervisor.stopping,
        )
        self._server = self._make_server()
        self._metrics.watch_slots(
            self._pool.slots, lambda: self._pool.busy, lambda: max(self._pool.threads - self._pool.slots, 0)
        )
        self._metrics.watch_heartbeats(self._beats.oldest_by_kind)
        self._metrics.watch_invalid_webhooks(self._registry.invalid_webhooks)
        self._metrics.watch_paused_webhooks(lambda: self._controls_watch.held)
        self._metrics.watch_log_drops(logs.dropped_lines)
        self._metrics.watch_spans(tracing.counts)
        for source in self._driver.sources:
            self._metrics.source_jobs(source, 0)
            self._metrics.source_refused(source, refused=False)
        if isinstance(driver := self._driver, InProcess):
            self._metrics.watch_evictions(lambda: driver.evicted)

    def run(self) -> int:
        """Run until a signal; return the exit code. The caller must leave by `os._exit`, without interpreter shutdown.

        Raises `SockudoQueueError` if the start failed; then no job was claimed.
        """
        signal_mask.block_signals()
        try:
            self._start()
        except SockudoQueueError:
            raise
        except BaseException as error:  # noqa: BLE001 - a bug of ours, or of a library
            self._log.critical("process.failed", exc_info=error)
            return EXIT_COULD_NOT_START
        try:
            return self._serve()
        except BaseException as error:  # noqa: BLE001 - this thread must not end without stopping the others
            self._log.critical("process.failed", exc_info=error)
            self._put_back()
            return EXIT_GAVE_UP

    def _start(self) -> None:
        """Bind the ports, start every thread, find the queue; only then release the threads."""
        descriptors = limits.set_up()
        limits.check_descriptors(self._min_descriptors)
        if (warning := self._stack.fit(descriptors)) is not None:
            self._log.warning("settings.warning", text=warning)
        log_invalid_webhooks(self._log, self._registry.invalid_webhooks())
        if self._settings.metrics.enabled:
            self._server.start()
            self._stack.protect(page(self._settings.metrics.host, self._server.port))
        if self._tracing.collector is not None:
            self._stack.protect(collector(*self._tracing.collector))
        if self._ingress is not None:
            self._ingress.bind()
            self._stack.protect(page(self._settings.memory.ingress_host, self._ingress.port))
        self._start_threads()
        self._prepare()
        if self._ingress is not None:
            self._log.info("ingress.started", host=self._settings.memory.ingress_host, port=self._ingress.port)
        port = self._server.port if self._settings.metrics.enabled else None
        self._log.info("daemon.started", version=__version__, pid=os.getpid(), driver=self._driver.name, port=port)
        if self._settings.driver == "none":
            self._log.info("daemon.idle", text="queue.driver is none: webhooks are disabled, nothing is delivered")
        self._supervisor.release()
        self._notify(READY)

    def _notify(self, state: str) -> None:
        """Notify the service manager. READY does not wait for the broker: a restart would not end its outage."""
        if (reason := self._manager.notify(state)) is not None:
            self._log.warning("settings.warning", text=reason)

    @property
    def _min_descriptors(self) -> int:
        """The descriptors that a start needs in addition to the open ones: for every slot and every other thread."""
        return self._settings.workers * DESCRIPTORS_OF_A_WORKER + len(self._driver.sources) + MIN_OTHER_DESCRIPTORS

    def _start_threads(self) -> None:
        """Start every thread that the daemon needs. Raises `StartError` if the system refuses one."""
        self._beats.watch(logs.THREAD, logs.is_alive)
        interval = self._settings.reliability.lease_renew_interval_ms / 1000
        upkeep = [*self._stack.upkeep, self._endpoints.forget_idle]
        if isinstance(driver := self._driver, PeerAware):
            upkeep.append(lambda _: driver.discover_servers())
        cpu_affinity = CpuAffinity() if self._settings.one_core else None
        self._services.start(interval, self._app_source, self._unknown_apps, upkeep, self._refresher, cpu_affinity)
        if self._ingress is not None:
            self._services.take_jobs(self._ingress)
        if self._attempts is not None:
            self._services.keep_attempts(self._attempts)
        if self._alerts is not None:
            self._services.send_alerts(self._alerts)
        self._services.watch_controls(self._controls_watch)
        self._watch_peers()
        self._supervisor.start()

    def _serve(self) -> int:
        """Wait for signals until one of them, or the supervisor, ends the daemon; return the exit code."""
        self._beats.register("main", LIVE_WITHIN)
        while not self._supervisor.gave_up.is_set():
            self._beats.beat("main")
            match signals.signalled(signals.STOP_SIGNALS | {signals.RELOAD_SIGNAL}, 0.5):
                case None:
                    continue
                case signals.RELOAD_SIGNAL:
                    self._services.reload_asked.set()
                    if self._refresher is not None:
                        self._refresher.expire()
                case _:
                    self._beats.unregister("main")
                    return self._drain()
        self._log.error("daemon.gave_up", reason=GAVE_UP_REASON)
        self._put_back()
        self._send_last_alerts(LAST_ALERTS)
        self._export_spans(LAST_EXPORT)
        return EXIT_GAVE_UP

    def _watch_peers(self) -> None:
        if not isinstance(self._driver, PeerAware):
            return
        lease_ms = self._settings.reliability.lease_duration_ms
        clock = partial(self._set_ready, "clock")
        self._services.watch_peers(PeerWatch(self._driver.peers, self._metrics, self._log, clock, lease_ms))

    def _prepare(self) -> None:
        """Prepare the driver. Permanent errors end the start here; temporary ones are retried later."""
        if isinstance(self._driver, BufferedDriver):
            losses = self._watch.losses
            try:
                self._driver.prepare()
            except BrokerUnavailable as error:
                self._watch.failed(error)
            else:
                self._watch.worked(losses)

    def _drain(self) -> int:
        """Finish what is in flight, within the deadline; put back the rest."""
        deadline = time.monotonic() + self._settings.reliability.shutdown_timeout_ms / 1000
        self._health.not_ready("draining", "the daemon is being stopped")
        self._supervisor.stopping.set()
        if self._ingress is not None:
            self._ingress.stop()
        self._pool.stop()
        self._log.info("daemon.draining", held=len(self._claims))
        self._notify(STOPPING)
        code = EXIT_STOPPED
        while self._is_busy and time.monotonic() < deadline:
            if signals.signalled(signals.STOP_SIGNALS, 0.01) is not None:
                code, deadline = EXIT_FORCED, time.monotonic()
                break
        if not self._put_back():
            code = EXIT_FORCED
        if code == EXIT_STOPPED:
            _in_time(self._take_over, TAKE_OVER_SECONDS)
        self._operator_pages.finish(LAST_ACTION)
        if self._attempts is not None:
            _in_time(self._attempts.flush, LAST_ENTRIES)
        if isinstance(self._driver, InProcess) and any(left := self._driver.depth().values()):
            self._log.warning("memory.lost", records=sum(left))
        self._send_last_alerts(min(deadline - time.monotonic(), LAST_ALERTS))
        self._export_spans(min(deadline - time.monotonic(), LAST_EXPORT))
        self._log.info("daemon.stopped", code=code)
        return code

    def _send_last_alerts(self, seconds: float) -> None:
        """Send the alerts that wait, for at most so long: a receiver that hangs must not hold up a stop."""
        if self._alerts is None:
            return
        if self._alerts.unsent():
            _in_time(self._alerts.close, max(seconds, 0.0))
        if unsent := self._alerts.unsent():
            self._log.warning("alert.lost", count=unsent)

    def _export_spans(self, seconds: float) -> None:
        """Export pending spans within `seconds`: a hanging collector must not delay a stop."""
        if self._tracing.collector is None:
            return
        _in_time(self._tracing.close, max(seconds, 0.0))
        if lost := self._tracing.unfinished():
            self._log.warning("tracing.spans_lost", spans=lost)

    @property
    def _is_busy(self) -> bool:
        """Return whether a stop has to wait."""
        return bool(self._claims or self._pool.threads or self._services.is_busy)

    def _put_back(self) -> bool:
        """Put back the remaining claims; False if the broker did not accept them, so their leases have to expire."""
        self._supervisor.stopping.set()
        self._abandoned.set()
        self._name_unfinished()
        return _in_time(self._put_back_all, LAST_PUT_BACK) and not self._claims

    def _name_unfinished(self) -> None:
        for in_flight in self._claims.all():
            for delivery in in_flight.unfinished:
                self._log.warning(
                    "delivery.interrupted",
                    job=delivery.state.job,
                    app=in_flight.job.app_id if in_flight.job else None,
                    webhook=delivery.webhook.name,
                    record=in_flight.claim.id,
                )

    def _put_back_all(self) -> None:
        repeated = False
        while (held := self._claims.all()) or self._supervisor.is_claiming:
            for in_flight in held:
                was_settling = in_flight.settlement is not None  # perhaps by its worker right now
                try:
                    self._recorder.settle(in_flight.abandon(), repeated=repeated or was_settling)
                except BrokerError as error:
                    self._watch.failed(error)
                    repeated = True
                    time.sleep(0.05)
                except Exception as error:  # noqa: BLE001 - one claim that cannot be put back must not block the others
                    self._log.error("job.failed", record=in_flight.claim.id, exc_info=error)
                    time.sleep(0.05)
            if not held:
                time.sleep(0.001)

    def _take_over(self) -> None:
        for source in self._driver.sources:
            take_over(self._context, source)

    def _set_ready(self, source: str, reason: str | None) -> None:
        if reason is None:
            self._health.ready(source)
        else:
            self._health.not_ready(source, reason)

    def _broker_changed(self, reason: str | None) -> None:
        self._metrics.broker_up(reason is None)
        if reason is not None or "broker" in self._health.reasons:
            self._raise_alert(alert.broker_changed(reason, time.time()))
        self._set_ready("broker", reason)
        if reason is not None:
            return
        if "starting" in self._health.reasons:
            self._health.ready("starting")
            self._log.info("daemon.ready")

    def _source_changed(self, source: str, reason: str | None) -> None:
        self._metrics.source_refused(source, refused=reason is not None)
        self._history.source_refused(source, reason)
        self._raise_alert(alert.source_changed(source, reason, time.time()))

    def _controls_refused(self, reason: str | None) -> None:
        self._metrics.controls_refused(refused=reason is not None)
        self._history.controls_refused(reason)

    def _make_credentials(self) -> Credentials:
        metrics = self._settings.metrics
        return Credentials(metrics.username, metrics.password, metrics.token)

    def _make_server(self) -> HealthServer:
        """Return the server of probes and pages; it is started only if enabled."""
        metrics, operator_pages = self._settings.metrics, self._operator_pages
        pages = StatusPages(
            self._history,
            self._health,
            self._driver.name,
            self._settings.redis.queue_name,
            has_attempts=operator_pages.has_attempts,
            is_for_operators=operator_pages.is_acting,
        )
        application = Application(
            self._metrics.registry,
            self._health,
            pages.by_path if metrics.status_page else None,
            LoginGate(self._credentials) if self._credentials else None,
            # Names of channels can be personal data, so these are there only behind a login.
            asking=operator_pages.by_path,
            actions=operator_pages.actions,
            guard=operator_pages.guard,
            open_metrics=not metrics.login_for_metrics,
            own_names_only=is_loopback(metrics.host),
        )
        return HealthServer(application, metrics.host, metrics.port, metrics.tls_cert_file, metrics.tls_key_file)

    @property
    def _max_crash_duplicates(self) -> int:
        """How many jobs are delivered and not settled at most: acks of a batch for each worker, and attempts."""
        settings = self._settings
        acks = settings.claim_batch if settings.claim_batch > 1 else 0
        return settings.workers * (acks + 1) + settings.delivery.max_slow

    def _make_batches(self, queue: GatedQueue) -> Batches | None:
        driver, settings = self._driver, self._settings
        if not isinstance(driver, BatchingDriver) or not driver.batches:
            return None
        self._metrics.crash_duplicates(self._max_crash_duplicates)
        if settings.claim_batch == 1:
            return None
        lease = settings.reliability.lease_duration_ms / 1000
        wake = self._pool.wake_idle
        return GatedBatches(
            self._gate,
            queue,
            self._claims,
            self._recorder,
            wake,
            max_size=settings.claim_batch,
            lease_seconds=lease,
        )

    def _make_resolver(self) -> Resolver:
        return Resolver(
            self._registry,
            self._unknown_apps,
            self._log,
            max_lapses=self._settings.reliability.max_attempts,
            unknown_app_budget_ms=self._settings.retry.max_elapsed_time_ms,
            ceilings=self._settings.limits.ceilings(),
            paused=self._paused,
        )

    def _make_attempt_history(self) -> AttemptHistory | None:
        """Return the history; also with the mode off if it is shared, since other daemons may have filled it."""
        is_off = self._settings.history.mode == "off"
        if self._settings.driver == "none" or (is_off and not self._settings.driver.startswith("redis")):
            return None
        history = AttemptHistory(make_history(self._settings), replica_name(), self._log)
        if not is_off:
            self._metrics.watch_history(lambda: history.written, lambda: history.dropped, lambda: history.is_taken)
        return history

    def _make_alerts(self) -> AlertOutbox | None:
        settings = self._settings.alerts
        sender = self._stack.alert_sender(settings)
        if sender is None:
            return None
        outbox = AlertOutbox(sender.post, replica_name(), self._log, reminder=settings.reminder_ms / 1000)
        self._metrics.watch_alerts(outbox.counts)
        return outbox

    def _make_attempt_recorder(self) -> AttemptRecorder | None:
        settings = self._settings.history
        if self._attempts is None or settings.mode == "off":
            return None
        return AttemptRecorder(self._attempts.append, every=settings.mode == "all", channels=settings.channels)

    def _make_dispatcher(self) -> Dispatcher:
        delivery = self._settings.delivery
        limits = AdmissionLimits(
            concurrency=self._settings.workers,
            max_slow=delivery.max_slow,
            slow=delivery.slow_ms / 1000,
            breaker_failures=delivery.breaker_failures,
            breaker_period=delivery.breaker_open_ms / 1000,
            breaker_max_period=delivery.breaker_max_open_ms / 1000,
        )
        self._endpoints = EndpointRegistry(limits)
        return Dispatcher(
            self._endpoints,
            self._stack.sender,
            self._metrics,
            self._log,
            self._supervisor.stopping,
            baggage=delivery.trace_baggage,
            recorder=self._attempt_recorder,
            raise_alert=self._raise_alert,
        )
