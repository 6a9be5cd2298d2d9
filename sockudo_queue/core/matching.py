"""Decides which webhooks of an app want which events of a job; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

import msgspec

from sockudo_queue.core.apps import Filter, InvalidWebhook, Webhook
from sockudo_queue.core.ceilings import DEFAULTS
from sockudo_queue.core.channel_pattern import PatternError, Search, compile_pattern
from sockudo_queue.core.job import Event, Job

# In Sockudo's order: the first prefix that fits is removed, and only that one.
_TYPE_PREFIXES: Final = (
    "private-encrypted-cache-",
    "private-cache-",
    "presence-cache-",
    "cache-",
    "private-encrypted-",
    "presence-",
    "private-",
)

# Apps share most of their filters. Compiled patterns are cached separately, with a limit in bytes.
_CACHED_FILTERS: Final = 1024
_MAX_CACHED_NAMESPACES: Final = 50
_COMPILED_PATTERNS: Final = 16

Finds = Callable[[str, str], bool]
"""Returns whether a pattern is found in a channel's name; an invalid pattern is found nowhere, as in Sockudo."""

Pause = Callable[[], None]
"""Called between steps while matching many events and webhooks. An exception that it raises ends the match."""


class Match(msgspec.Struct, frozen=True):
    """One webhook together with the events that it wants from a job."""

    webhook: Webhook
    events: tuple[Event, ...]


@lru_cache(maxsize=_COMPILED_PATTERNS)
def _search(pattern: str) -> Search | None:
    try:
        return compile_pattern(pattern)
    except PatternError:
        return None


def find_pattern(pattern: str, channel: str) -> bool:
    """Search with one of the few patterns that are cached here. Callers with many patterns bring a larger cache."""
    search = _search(pattern)
    return search is not None and search(channel)


def match(
    job: Job, webhooks: Iterable[Webhook], finds: Finds = find_pattern, pause: Pause | None = None
) -> list[Match]:
    """Return the matches of a job in the order of the webhooks; a webhook without a matching event is left out."""
    matches = []
    for webhook in webhooks:
        wanted, rules = webhook.event_types, webhook.filter
        events = [event for event in job.events if event.name in wanted]
        if rules is not None and events:
            events = filtered(events, rules, finds)
        if events:
            matches.append(Match(webhook, tuple(events)))
        if pause is not None:
            pause()
    return matches


def filtered(events: Iterable[Event], rules: Filter, finds: Finds) -> list[Event]:
    """Return the events on channels that a filter accepts, in their order."""
    # With many webhooks the prefix excludes most events, and it is the cheapest check.
    prefix = rules.channel_prefix or ""
    likely = [event for event in events if event.channel.startswith(prefix)]
    if not likely:
        return likely
    accepted = _accepted(rules, likely, finds)
    return [event for event in likely if event.channel in accepted]


def _accepted(rules: Filter, events: Iterable[Event], finds: Finds) -> set[str]:
    """Return the channels that a filter accepts; each channel is checked once, whatever its number of events."""
    # An acceptor with many namespaces is not cached: a thousand of those would take a hundred megabytes.
    is_long = len(rules.channel_namespaces or ()) > _MAX_CACHED_NAMESPACES
    accepts = _acceptor.__wrapped__(rules) if is_long else _acceptor(rules)
    return {channel for channel in {event.channel for event in events} if accepts(channel, finds)}


def possible_events(job: Job, webhook: InvalidWebhook, finds: Finds = find_pattern) -> list[Event]:
    """Return the events of a job that an invalid webhook may want; its unreadable parts match every event."""
    wanted = webhook.event_types
    events = [event for event in job.events if wanted is None or event.name in wanted]
    return events if webhook.filter is None else filtered(events, webhook.filter, finds)


def check_filter(rules: Filter, max_kib: int = DEFAULTS.pattern_kib) -> str | None:
    """Return why a filter is invalid, in one line that names the key, or None. An invalid filter matches no events."""
    if rules.channel_pattern is None:
        return None
    try:
        compile_pattern(rules.channel_pattern, max_kib)
    except PatternError as fault:
        return f"channel_pattern: {fault}"
    return None


def contradiction(rules: Filter) -> str | None:
    """Return why a valid filter can never match, in one line, or None.

    Exact for prefix, suffix and namespaces; a suffix never contradicts them. Patterns are not analysed.
    """
    wanted = wanted_namespaces(rules)
    if wanted is None:
        return None
    if rules.channel_namespaces == ():
        return "channel_namespaces: the list is empty, so no channel matches"
    if not wanted:
        return "channel_namespace: not in channel_namespaces, so no channel matches"
    possible = [name for name in wanted if name and ":" not in name]
    if not possible:
        return "channel_namespace: a namespace is the text before the first ':'; it is never empty and contains no ':'"
    if not any(_can_start(name, rules.channel_prefix or "") for name in possible):
        return "channel_prefix: channels with this prefix are in none of the configured namespaces"
    return None


@lru_cache(maxsize=_CACHED_FILTERS)
def _acceptor(rules: Filter) -> Callable[[str, Finds], bool]:
    prefix, suffix = rules.channel_prefix or "", rules.channel_suffix or ""
    pattern = rules.channel_pattern
    namespaces = wanted_namespaces(rules)

    def accepts(channel: str, finds: Finds) -> bool:
        return (
            channel.startswith(prefix)
            and channel.endswith(suffix)
            and (namespaces is None or namespace_of(channel) in namespaces)
            and (pattern is None or finds(pattern, channel))
        )

    return accepts


def wanted_namespaces(rules: Filter) -> frozenset[str] | None:
    """Return the namespaces that a filter lets through, or None where it lets all of them through."""
    one = None if rules.channel_namespace is None else frozenset({rules.channel_namespace})
    several = None if rules.channel_namespaces is None else frozenset(rules.channel_namespaces)
    if one is None or several is None:
        return several if one is None else one
    return one & several


def namespace_of(channel: str) -> str | None:
    """Return the text before the first colon of a channel's name, without the prefix of the channel's type."""
    name, colon, _ = channel.partition(":")
    if not colon:
        return None
    # No type prefix contains a colon, so the prefix can be removed from the part before it.
    for prefix in _TYPE_PREFIXES:
        if name.startswith(prefix):
            return name[len(prefix) :] or None
    return name or None


def _can_start(namespace: str, prefix: str) -> bool:
    """Return whether a channel of that namespace can start with the prefix; any text may follow the colon."""
    heads = [f"{kind}{namespace}:" for kind in ("", *_TYPE_PREFIXES)]
    return any(head.startswith(prefix) or prefix.startswith(head) for head in heads if namespace_of(head) == namespace)
