"""Resolves a claim: decodes its job, finds the app, and matches the webhooks that receive events.

No attempt is made here, and no settlement is sent. If there is nothing to attempt (the job is unreadable, or its app is
unknown), the result already contains the settlement (`JobInFlight.settled`), and the worker sends it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from sockudo_queue.core import delivery_state, matching
from sockudo_queue.core import job as jobs
from sockudo_queue.core.apps import App, AppRegistry
from sockudo_queue.core.ceilings import DEFAULTS, MAX_ID_LENGTH, Ceilings
from sockudo_queue.core.delivery_state import DeliveryState
from sockudo_queue.core.job import Job
from sockudo_queue.delivery.admission.endpoint import Deferral
from sockudo_queue.drivers.base import Claim, Disposition, Requeue, Retry
from sockudo_queue.errors import AppStoreUnavailable, AppUnreadable, MalformedJob
from sockudo_queue.pipeline import deferrals
from sockudo_queue.pipeline.in_flight import JobInFlight, WebhookDelivery, dead_letter
from sockudo_queue.pipeline.index_cache import SMALL, IndexCache
from sockudo_queue.pipeline.large_jobs import LARGE, LargeJobs
from sockudo_queue.pipeline.matching_share import Interrupted, JobMatching, MatchingDeferred, MatchingShares
from sockudo_queue.pipeline.pattern_cache import PatternCache
from sockudo_queue.pipeline.paused import PausedWebhooks, hold, none_paused
from sockudo_queue.pipeline.unknown_apps import FIRST_MS, LookupSchedule, UnknownApps

NEWER_RECORD_DELAY_MS: Final = 60_000
"""Delay until the next claim of a record of a later version, which leaves it to a daemon that can read it."""
MANY: Final = 1_000
"""Number of event-webhook pairs above which the time of a whole match is measured; as many take about a millisecond."""
FEW_EVENTS: Final = MANY // SMALL
_MEASURED: Final = 0.002
"""Seconds of a measured match above which they are charged."""

GiveWay = Callable[[Claim, float, bool], bool]
"""Waits for the given seconds during matching; the flag gives the slot of the claim back. Returns False to stop."""


def _never_stop(_claim: Claim, _seconds: float, _off_slot: bool) -> bool:
    return True


class _Current(threading.local):
    """The claim that this thread is matching. `job` is None until a search is slow; most claims have no slow search."""

    claim: Claim | None
    give_way: GiveWay
    app: str
    job: JobMatching | None


class Resolver:
    """Resolves claims to attempts. Thread-safe."""

    def __init__(
        self,
        registry: AppRegistry,
        unknown_apps: UnknownApps,
        log: Any,
        *,
        max_lapses: int,
        unknown_app_budget_ms: int,
        ceilings: Ceilings = DEFAULTS,
        paused: PausedWebhooks | None = None,
    ) -> None:
        self._registry = registry
        self._unknown_apps = unknown_apps
        self._lookups = LookupSchedule()
        self._log = log
        self._paused = paused or none_paused()
        self._max_lapses = max_lapses
        self._ceilings = ceilings
        self.large_jobs = LargeJobs(ceilings.in_flight_bytes)
        self._matching = MatchingShares()
        self._current = _Current()
        self._patterns = PatternCache(ceilings.pattern_cache_kib, ceilings.pattern_kib, on_slow=self._searched)
        self._indexes = IndexCache()
        self._unknown_app_budget_ms = unknown_app_budget_ms

    def resolve(self, claim: Claim, give_way: GiveWay = _never_stop) -> JobInFlight:
        """Resolve a claim without attempting a delivery. `give_way` is called if matching takes long.

        Never raises: a job that causes an unexpected error becomes a dead letter, because it would crash every worker.
        """
        try:
            return self._resolve(claim, give_way)
        except Exception as error:  # noqa: BLE001 - any error may affect only this job
            self._log.error("job.failed", record=claim.id, exc_info=error)
            return self._dead_letter(claim, _state_of(claim) or DeliveryState(job=claim.id), "internal-error")

    def _resolve(self, claim: Claim, give_way: GiveWay) -> JobInFlight:
        state = _state_of(claim)
        if state is None:
            self._log.warning("record.newer_version", record=claim.id)
            return JobInFlight.settled(claim, Retry(b"", NEWER_RECORD_DELAY_MS))
        if state.budget_from is not None and state.budget_from > claim.now_ms():
            # With drivers that store the state in the job, a producer could write a budget that never ends.
            state = msgspec.structs.replace(state, budget_from=claim.now_ms())
        if claim.lapses >= self._max_lapses:
            return self._held_or_dead(claim, state, "worker-lost")
        if len(claim.body) > LARGE and (wait_ms := self.large_jobs.wait_ms(claim, jobs.app_of(claim.body))):
            return JobInFlight.settled(claim, Retry(b"", wait_ms))
        try:
            job = jobs.decode(claim.body, self._ceilings)
        except MalformedJob as fault:
            self._log.warning("job.unreadable", record=claim.id, bytes=len(claim.body), reason=str(fault))
            return self._held_or_dead(claim, state, "unreadable")
        if claim.state and len(state.job) > MAX_ID_LENGTH:
            self._log.warning(
                "job.unreadable", record=claim.id, bytes=len(claim.body), reason="its state has a long id"
            )
            return self._dead_letter(claim, state, "unreadable")
        if state.webhook is None:  # also a replayed job that was never decoded
            state = msgspec.structs.replace(state, job=job.job_id or state.job, app=job.app_id)
        elif state.app != job.app_id:  # a producer that writes the state could invent app ids
            state = msgspec.structs.replace(state, app=job.app_id)
        in_flight = self._of_known_job(claim, state, job, give_way)
        if in_flight.job is None:
            # Only its trace is used; the events of a large job use much memory.
            in_flight.job = msgspec.structs.replace(job, events=())
        return in_flight

    def _of_known_job(self, claim: Claim, state: DeliveryState, job: Job, give_way: GiveWay) -> JobInFlight:
        if state.webhook is not None:
            # Checked before anything that could end the delivery: a removed webhook may be restored before it is
            # resumed.
            if (job.app_id, state.webhook) in self._paused.webhooks:
                return JobInFlight.settled(claim, hold(claim, state, job.app_id, state.webhook))
            state = delivery_state.resumed(state, claim.now_ms())
        try:
            app = self._registry.find(job.app_id)
        except AppStoreUnavailable:
            return self._store_is_away(claim, state, job)
        except AppUnreadable:
            return self._unknown_app(claim, state, job, "unreadable-app")
        if state.webhook is None and (app is None or self._unknown_apps.is_counting):
            self._unknown_apps.record(job.app_id, known=app is not None, fresh=not claim.state)
        if app is None:
            return self._unknown_app(claim, state, job, "unknown-app")
        if app.is_over_ceiling:  # its webhooks are unknown, so the stored state is kept
            return self._dead_letter(claim, state, "webhook-invalid")
        return self._matched(claim, state, job, app, give_way)

    def _matched(self, claim: Claim, state: DeliveryState, job: Job, app: App, give_way: GiveWay) -> JobInFlight:
        """Match within the app's share of matching time."""
        accounts, current = self._matching, self._current
        if app.id != accounts.latest:
            accounts.switch_app(app.id)
        accounts.latest_at = claim.claimed_at
        current.claim, current.give_way, current.app, current.job = claim, give_way, app.id, None
        try:
            if app.id in accounts.accounts:
                accounts.check(app.id, time.monotonic())
            return (
                self._of_job(claim, state, job, app)
                if state.webhook is None
                else self._of_webhook(claim, state, job, app)
            )
        except MatchingDeferred as deferred:
            return _defer(claim, state, deferred.deferral)
        except Interrupted:
            return JobInFlight.settled(claim, Requeue())
        finally:
            if current.job is not None:
                accounts.end(current.job)
                self._patterns.forget()
            # A reference to the claim would keep it alive, and a large job would keep its room.
            current.claim, current.give_way, current.job = None, _never_stop, None

    def _searched(self, took: float) -> None:
        current = self._current
        if current.job is None:
            claim, give_way = current.claim, current.give_way
            assert claim is not None
            current.job = JobMatching(current.app, lambda seconds, off_slot: give_way(claim, seconds, off_slot))
        self._matching.charge(current.job, took, time.monotonic())

    def _pause(self) -> matching.Pause:
        """Return a callback that charges the processor time of a long match, except for searches already charged."""
        current, measured, counted = self._current, time.thread_time(), 0.0

        def pause() -> None:
            nonlocal measured, counted
            used = 0.0 if current.job is None else current.job.used
            took = time.thread_time() - measured
            if took < _MEASURED:
                return
            if took > used - counted:
                self._searched(took - (used - counted))
            measured, counted = time.thread_time(), 0.0 if current.job is None else current.job.used

        return pause

    def _of_webhook(self, claim: Claim, state: DeliveryState, job: Job, app: App) -> JobInFlight:
        assert state.webhook is not None
        webhook = app.webhook(state.webhook)
        if webhook is None:
            is_invalid = app.invalid_webhook(state.webhook) is not None
            return self._dead_letter(claim, state, "webhook-invalid" if is_invalid else "webhook-removed")
        pause = self._pause() if len(job.events) > MANY else None
        matches = matching.match(job, [webhook], self._patterns.finds, pause)
        if not matches:  # its filter has changed and excludes all events now
            return self._dead_letter(claim, state, "webhook-removed")
        return JobInFlight(claim, job, (WebhookDelivery(0, webhook, matches[0].events, state),))

    def _of_job(self, claim: Claim, state: DeliveryState, job: Job, app: App) -> JobInFlight:
        pause, many = None, app.webhooks[SMALL:]
        # Slices avoid function calls for ordinary jobs.
        if (many or app.invalid or job.events[FEW_EVENTS:]) and (
            (len(app.webhooks) + len(app.invalid)) * len(job.events) > MANY
        ):
            pause = self._pause()
        if not many:
            matches = matching.match(job, app.webhooks, self._patterns.finds, pause)
        else:
            matches = self._indexes.match(job, app, self._patterns.finds, pause)
        deliveries = [
            WebhookDelivery(ordinal, found.webhook, found.events, _fresh(state, job, found.webhook.name))
            for ordinal, found in enumerate(matches)
        ]
        decided: list[Disposition] = []
        paused = self._paused.webhooks
        if paused:
            decided = [
                hold(claim, delivery.state, app.id, delivery.webhook.name)
                for delivery in deliveries
                if (app.id, delivery.webhook.name) in paused
            ]
            deliveries = [delivery for delivery in deliveries if (app.id, delivery.webhook.name) not in paused]
        if app.invalid:
            decided += self._of_invalid(claim, state, job, app, pause)
        if not deliveries:
            return JobInFlight.settled(claim, *decided, splits=True)
        return JobInFlight(claim, job, tuple(deliveries), splits=True, decided=tuple(decided))

    def _of_invalid(
        self, claim: Claim, state: DeliveryState, job: Job, app: App, pause: matching.Pause | None
    ) -> list[Disposition]:
        """Return a dead letter for each invalid webhook that may match an event, for a replay after it is corrected.

        A paused webhook may be corrected before it is resumed, so its delivery is held.
        """
        parts: list[Disposition] = []
        for webhook in app.invalid:
            events = matching.possible_events(job, webhook, self._patterns.finds)
            if events:
                fresh = _fresh(state, job, webhook.name)
                is_paused = (app.id, webhook.name) in self._paused.webhooks
                parts.append(
                    hold(claim, fresh, app.id, webhook.name)
                    if is_paused
                    else dead_letter(fresh, claim, "webhook-invalid", events)
                )
            if pause is not None:
                pause()
        return parts

    def _unknown_app(self, claim: Claim, state: DeliveryState, job: Job, reason: str) -> JobInFlight:
        """Retry while the registry may still find the app; after the budget the job becomes a dead letter.

        If many jobs wait, the delay is longer than planned; the excess does not use up the budget. While most jobs are
        for unknown apps, the configuration is probably wrong, and the budget is suspended.
        """
        now, asked_ms = claim.now_ms(), _delay_until_known(state)
        delay_ms = self._lookups.delay_ms(now, asked_ms)
        began = state.budget_from if state.budget_from is not None else now
        stands_still = reason == "unknown-app" and self._unknown_apps.prevail
        began += delay_ms if stands_still else delay_ms - asked_ms
        waiting = _looked_for(state, job, began)
        if now + delay_ms - began > self._unknown_app_budget_ms:
            return self._dead_letter(claim, waiting, reason)
        return JobInFlight.settled(claim, Retry(delivery_state.encode(waiting), delay_ms))

    def _store_is_away(self, claim: Claim, state: DeliveryState, job: Job) -> JobInFlight:
        """Retry for as long as the app database is unavailable: no budget starts, and a running one is suspended.

        Most of these jobs are for known apps, so they do not use the schedule of jobs for unknown apps.
        """
        delay_ms = _delay_until_known(state)
        began = None if state.budget_from is None else state.budget_from + delay_ms
        return JobInFlight.settled(claim, Retry(delivery_state.encode(_looked_for(state, job, began)), delay_ms))

    def _held_or_dead(self, claim: Claim, state: DeliveryState, reason: str) -> JobInFlight:
        """Hold a delivery to a paused webhook before its job is decoded, else make it a dead letter."""
        if state.webhook is not None and (state.app, state.webhook) in self._paused.webhooks:
            return JobInFlight.settled(claim, hold(claim, state, state.app, state.webhook))
        return self._dead_letter(claim, state, reason)

    def _dead_letter(self, claim: Claim, state: DeliveryState, reason: str) -> JobInFlight:
        return JobInFlight.settled(claim, dead_letter(state, claim, reason))


def _delay_until_known(state: DeliveryState) -> int:
    """Return the milliseconds until the next look-up of an app: 1, 2, 4, … 60 s."""
    return min(FIRST_MS << min(state.attempts, 6), 60_000)


def _defer(claim: Claim, state: DeliveryState, deferral: Deferral) -> JobInFlight:
    guesses = state.guesses + 1 if deferral.grows else 0
    kept = msgspec.structs.replace(state, reserved=False, guesses=guesses)
    delay_ms = deferrals.delay_ms(deferral, state.guesses)
    return JobInFlight.settled(claim, Retry(delivery_state.encode(kept), delay_ms, durable=False))


def _fresh(state: DeliveryState, job: Job, webhook: str) -> DeliveryState:
    """Return the initial state of a webhook delivery. Look-ups of an unknown app do not count as its attempts."""
    return DeliveryState(state.job, job.app_id, webhook, history=state.history)


def _looked_for(state: DeliveryState, job: Job, began: int | None) -> DeliveryState:
    lookups = state.attempts + (state.webhook is None)  # the counter of a delivery is for attempts at its webhook
    return msgspec.structs.replace(state, app=job.app_id, attempts=lookups, budget_from=began)


def _state_of(claim: Claim) -> DeliveryState | None:
    """Return the state of a claimed record, a new state for a fresh job, or None if a later version wrote it."""
    try:
        return delivery_state.decode(claim.state) if claim.state else DeliveryState(job=claim.id)
    except delivery_state.NewerRecord:
        return None
