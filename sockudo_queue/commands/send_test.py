"""`send-test`: send a signed test event to the webhooks of an app.

By default it calls the webhooks directly, as the daemon would, and prints each answer, to help set up a receiver. With
`--queue` the event goes through the queue and the daemon.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sockudo_queue.commands import samples
from sockudo_queue.commands.apps import AppCredentials, app_lookup, credentials_of
from sockudo_queue.commands.attempts import WebhookCaller
from sockudo_queue.commands.context import EXIT_NO, driver_of, load, page_address
from sockudo_queue.commands.terminal import print_error, print_json, print_line, table
from sockudo_queue.config import LoadedSettings
from sockudo_queue.core.apps import Webhook
from sockudo_queue.core.job import Event
from sockudo_queue.core.outcome import Outcome
from sockudo_queue.errors import SettingsError


@dataclass(frozen=True)
class Result:
    """Result for one webhook: an outcome, or the reason why it was not called."""

    webhook: str
    event: str | None = None
    channel: str | None = None
    delivered: bool | None = None
    status: int | None = None
    reason: str | None = None
    detail: str | None = None
    milliseconds: float | None = None
    skipped: str | None = None


def send_test(options: argparse.Namespace) -> int:
    """Call the webhooks of an app, or add a job for them to the queue."""
    loaded, inline = load(options)
    with app_lookup(loaded, inline) as apps:
        app = apps.find(options.app)
    if app is None:
        known = ", ".join(each.id for each in inline[:20]) or "none"
        raise SettingsError([f"send-test: no app has the id {options.app!r}; the file has: {known}"])
    webhooks = [each for each in app.webhooks if options.webhook in (None, each.name)]
    if options.webhook and (invalid := app.invalid_webhook(options.webhook)) is not None:
        raise SettingsError(
            [f"send-test: webhook {invalid.name} of app {app.id!r} is invalid: {invalid.reason} ({invalid.place})"]
        )
    if not webhooks:
        names = ", ".join(each.name for each in app.webhooks) or "none"
        raise SettingsError([f"send-test: app {app.id!r} has no such webhook; it has: {names}"])
    credentials = credentials_of(loaded.apps_document, app.id, options)
    job_id = f"test-{os.urandom(8).hex()}"
    if options.queue:
        return _through_queue(options, loaded, webhooks, credentials, job_id)
    return _from_here(options, loaded, webhooks, credentials, job_id)


def _from_here(
    options: argparse.Namespace,
    loaded: LoadedSettings,
    webhooks: Sequence[Webhook],
    credentials: AppCredentials,
    job_id: str,
) -> int:
    attempts = WebhookCaller(loaded.settings)
    results = [_call(attempts, webhook, credentials, job_id, options) for webhook in webhooks]
    called = [result for result in results if result.skipped is None]
    if options.json:
        print_json({"job": job_id, "webhooks": [asdict(result) for result in results]})
    else:
        for line in table(("WEBHOOK", "EVENT", "CHANNEL", "RESULT"), [_row(result) for result in results]):
            print_line(line)
        if called:
            print_line(f"X-Sockudo-Job-Id was {job_id}")
    return 0 if called and all(result.delivered for result in called) else EXIT_NO


def _call(
    attempts: WebhookCaller, webhook: Webhook, credentials: AppCredentials, job_id: str, options: argparse.Namespace
) -> Result:
    event = samples.matching_event(webhook, options.event, options.channel)
    if isinstance(event, str):
        return Result(webhook.name, skipped=event)
    outcome, took = attempts.post(webhook, credentials, job_id, [event])
    return _result(webhook, event, outcome, took * 1000)


def _result(webhook: Webhook, event: Event, outcome: Outcome, milliseconds: float) -> Result:
    return Result(
        webhook.name,
        event.name,
        event.channel,
        outcome.delivered,
        outcome.status,
        None if outcome.delivered else outcome.reason,
        outcome.detail or None,
        round(milliseconds, 1),
    )


def _row(result: Result) -> tuple[str, str, str, str]:
    if result.skipped is not None:
        text = f"not called: {result.skipped}"
    elif result.delivered:
        text = f"ok: {result.status} in {result.milliseconds:,.0f} ms"
    else:
        detail = f" ({result.detail})" if result.detail else ""
        text = f"failed: {result.reason}{detail} after {result.milliseconds:,.0f} ms"
    return result.webhook, result.event or "-", result.channel or "-", text


def _through_queue(
    options: argparse.Namespace,
    loaded: LoadedSettings,
    webhooks: Sequence[Webhook],
    credentials: AppCredentials,
    job_id: str,
) -> int:
    if loaded.settings.driver in ("memory", "none"):
        print_error(f"send-test --queue: not possible with the driver {loaded.settings.driver}")
        return EXIT_NO
    wanted = [samples.matching_event(webhook, options.event, options.channel) for webhook in webhooks]
    event = next((each for each in wanted if not isinstance(each, str)), None)
    if event is None:
        print_error(f"send-test --queue: no webhook accepts the event: {wanted[0]}")
        return EXIT_NO
    # The job has one event. All webhooks of the app that want it get it, as with a job of a server.
    body = samples.body(job_id, options.app, credentials.key, credentials.secret, round(time.time() * 1000), event)
    with driver_of(loaded) as driver:
        driver.put(body)
    if options.json:
        print_json({"job": job_id, "event": event.name, "channel": event.channel, "queued": True})
    else:
        print_line(f"queued {event.name} on channel {event.channel} as job {job_id}")
        print_line(f"see the result in the daemon's log (delivery.attempted) or at {page_address(loaded)}")
    return 0
