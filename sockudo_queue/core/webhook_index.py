"""Finds the webhooks that may want an event without checking every webhook of the app; pure.

Webhooks are indexed by event type, and within a type by the required start of a channel's name (`channel_prefix`, or
the literal start of an anchored `channel_pattern`), or else by namespace. A webhook that is found may still not match:
its filter decides, as it does without an index.
"""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from sockudo_queue.core.apps import Filter, Webhook
from sockudo_queue.core.channel_pattern import literal_beginning
from sockudo_queue.core.job import Event, Job
from sockudo_queue.core.matching import (
    Finds,
    Match,
    Pause,
    filtered,
    find_pattern,
    namespace_of,
    wanted_namespaces,
)

_EVENT_BATCH_SIZE: Final = 100
"""Events that are looked up between two calls of `pause`."""
_WORTH_SHARING: Final = 10
"""Minimum events of a match for which its tuple is shared between webhooks."""


class WebhookIndex:
    """The webhooks of one app, in their order. Memory is proportional to them and to their event types.

    Webhooks with the same event types and the same prefix or namespaces form a group that is looked up once.
    """

    def __init__(self, webhooks: Sequence[Webhook]) -> None:
        self._webhooks = webhooks
        self._by_type: dict[str, _Lookup] = {}
        self._groups: list[list[int]] = []
        self._group_of: list[int] = []
        group_of: dict[tuple[frozenset[str], str, frozenset[str] | None], int] = {}
        for number, webhook in enumerate(webhooks):
            key = (webhook.event_types, *_beginning_or_namespaces(webhook.filter))
            group = group_of.setdefault(key, len(self._groups))
            if group == len(self._groups):
                self._groups.append([])
                for name in webhook.event_types:
                    self._by_type.setdefault(name, _Lookup()).add(group, key[1], key[2])
            self._groups[group].append(number)
            self._group_of.append(group)

    def match(self, job: Job, finds: Finds = find_pattern, pause: Pause | None = None) -> list[Match]:
        """Return what `matching.match` returns for all webhooks of the app."""
        events_of = self._events_of_groups(job, pause)
        shared: dict[tuple[int, int, int], tuple[Event, ...]] = {}
        matches = []
        for number in sorted([number for group in events_of for number in self._groups[group]]):
            webhook, events = self._webhooks[number], events_of[self._group_of[number]]
            if webhook.filter is not None:
                events = filtered(events, webhook.filter, finds)
            if events:
                matches.append(Match(webhook, _shared(events, shared)))
            if pause is not None:
                pause()
        return matches

    def _events_of_groups(self, job: Job, pause: Pause | None) -> dict[int, list[Event]]:
        events_of: defaultdict[int, list[Event]] = defaultdict(list)
        for start in range(0, len(job.events), _EVENT_BATCH_SIZE):
            for event in job.events[start : start + _EVENT_BATCH_SIZE]:
                lookup = self._by_type.get(event.name)
                if lookup is not None:
                    for group in lookup.candidates(event.channel):
                        events_of[group].append(event)
            if pause is not None:
                pause()
        return events_of


class _Lookup:
    """The groups that want one event type. `candidates` returns each group at most once."""

    def __init__(self) -> None:
        self._always: list[int] = []
        self._by_beginning: dict[str, list[int]] = {}
        self._lengths: list[int] = []
        self._by_namespace: dict[str, list[int]] = {}

    def add(self, group: int, beginning: str, namespaces: frozenset[str] | None) -> None:
        if beginning:
            self._by_beginning.setdefault(beginning, []).append(group)
            if len(beginning) not in self._lengths:
                insort(self._lengths, len(beginning))
        elif namespaces is not None:
            for namespace in namespaces:
                self._by_namespace.setdefault(namespace, []).append(group)
        else:
            self._always.append(group)

    def candidates(self, channel: str) -> Sequence[int]:
        if not self._lengths and not self._by_namespace:
            return self._always
        found = [*self._always]
        for length in self._lengths:
            if length > len(channel):
                break
            found += self._by_beginning.get(channel[:length], ())
        if self._by_namespace:
            found += self._by_namespace.get(namespace_of(channel) or "", ())
        return found


def _beginning_or_namespaces(rules: Filter | None) -> tuple[str, frozenset[str] | None]:
    """Return the longest text that a channel must begin with, or else the wanted namespaces (None: all of them)."""
    if rules is None:
        return "", None
    beginning = max(rules.channel_prefix or "", literal_beginning(rules.channel_pattern or ""), key=len)
    return beginning, None if beginning else wanted_namespaces(rules)


def _shared(events: list[Event], shared: dict[tuple[int, int, int], tuple[Event, ...]]) -> tuple[Event, ...]:
    """Return the events as a tuple, shared between webhooks with the same events: there may be a thousand of each."""
    fresh = tuple(events)
    if len(fresh) < _WORTH_SHARING:
        return fresh
    known = shared.setdefault((len(fresh), id(fresh[0]), id(fresh[-1])), fresh)
    return known if known == fresh else fresh
