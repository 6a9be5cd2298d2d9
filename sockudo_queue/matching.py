"""Which of an app's webhooks want which of a job's events; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sockudo_queue.apps import Webhook
from sockudo_queue.job import Event, Job


@dataclass(frozen=True, slots=True)
class Match:
    """One webhook together with the events that it wants from a job."""

    webhook: Webhook
    events: tuple[Event, ...]


def match(job: Job, webhooks: Iterable[Webhook]) -> list[Match]:
    """Return the matches of a job in the order of the webhooks; a webhook that wants nothing is left out."""
    matches = []
    for webhook in webhooks:
        events = tuple([event for event in job.events if _wants(webhook, event)])
        if events:
            matches.append(Match(webhook, events))
    return matches


def _wants(webhook: Webhook, event: Event) -> bool:
    return event.name in webhook.event_types
