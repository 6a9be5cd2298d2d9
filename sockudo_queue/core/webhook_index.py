"""Finds the webhooks that may want an event without looking at every webhook of the app; pure.

Webhooks are sorted by event type, and in each by the text that a channel must begin with (`channel_prefix`, or the
beginning of an anchored `channel_pattern`), or else by namespace. What is found may still not match: the filter itself
decides, as it does without an index.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Sequence

from sockudo_queue.core.apps import Webhook
from sockudo_queue.core.channel_pattern import literal_beginning
from sockudo_queue.core.job import Event, Job
from sockudo_queue.core.matching import (
    Finds,
    Match,
    filtered,
    find_pattern,
    namespace_of,
    wanted_namespaces,
)


class WebhookIndex:
    """The webhooks of one app, in their order. Takes memory in proportion to them and to their event types."""

    def __init__(self, webhooks: Sequence[Webhook]) -> None:
        self._webhooks = webhooks
        self._by_type: dict[str, _Lookup] = {}
        for number, webhook in enumerate(webhooks):
            for name in webhook.event_types:
                self._by_type.setdefault(name, _Lookup()).add(number, webhook)

    def match(self, job: Job, finds: Finds = find_pattern) -> list[Match]:
        """Return what `matching.match` returns for all webhooks of the app."""
        events_of: dict[int, list[Event]] = {}
        for event in job.events:
            lookup = self._by_type.get(event.name)
            if lookup is not None:
                for number in lookup.candidates(event.channel):
                    events_of.setdefault(number, []).append(event)
        matches = []
        for number in sorted(events_of):
            webhook, events = self._webhooks[number], events_of[number]
            if webhook.filter is not None:
                events = filtered(events, webhook.filter, finds)
            if events:
                matches.append(Match(webhook, tuple(events)))
        return matches


class _Lookup:
    """The webhooks that want one type of event, by number. Each is in one place, so none is found twice."""

    def __init__(self) -> None:
        self._always: list[int] = []
        self._by_beginning: dict[str, list[int]] = {}
        self._lengths: list[int] = []
        self._by_namespace: dict[str, list[int]] = {}

    def add(self, number: int, webhook: Webhook) -> None:
        rules = webhook.filter
        beginnings = (
            () if rules is None else (rules.channel_prefix or "", literal_beginning(rules.channel_pattern or ""))
        )
        beginning = max(beginnings, key=len, default="")
        namespaces = None if rules is None else wanted_namespaces(rules)
        if beginning:
            self._by_beginning.setdefault(beginning, []).append(number)
            if len(beginning) not in self._lengths:
                insort(self._lengths, len(beginning))
        elif namespaces is not None:
            for namespace in namespaces:
                self._by_namespace.setdefault(namespace, []).append(number)
        else:
            self._always.append(number)

    def candidates(self, channel: str) -> Iterator[int]:
        yield from self._always
        for length in self._lengths:
            if length > len(channel):
                break
            yield from self._by_beginning.get(channel[:length], ())
        if self._by_namespace:
            yield from self._by_namespace.get(namespace_of(channel) or "", ())
