"""Webhooks whose filters no event can match; pure.

Contradictions between prefix and namespaces are reported by the settings. These checks need knowledge of events and
patterns. They do not find every case, but what they report is certain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from sockudo_queue.core.apps import App, Filter, Webhook
from sockudo_queue.drivers.base import Finding, FindingLevel

PRESENCE: Final = "presence-"
CACHE_KINDS: Final = ("cache-", "private-cache-", "presence-cache-", "private-encrypted-cache-")
# Each event occurs only on channels that begin with one of these.
KINDS: Final = {
    "member_added": (PRESENCE,),
    "member_removed": (PRESENCE,),
    "member_updated": (PRESENCE,),
    "cache_miss": CACHE_KINDS,
}
NOWHERE: Final = {"subscription_count": PRESENCE}
"""Channels on which an event never occurs."""
_LITERAL: Final = re.compile(r"(?:[A-Za-z0-9_=@,;:/-]|\\[^A-Za-z0-9])*")
_MAY_BE_MISSING: Final = ("?", "*", "{")


def filter_findings(apps: Iterable[App]) -> Iterator[Finding]:
    """Yield a warning for each webhook that no event can reach."""
    for app in apps:
        for webhook in app.webhooks:
            reason = never_called_reason(webhook)
            if reason is not None:
                yield Finding(FindingLevel.WARNING, f"app {app.id!r}, webhook {webhook.name}", f"filter.{reason}")


def never_called_reason(webhook: Webhook) -> str | None:
    """Return why a webhook can never be called, or None if that is unknown."""
    rules = webhook.filter
    if rules is None:
        return None
    return _pattern_reason(rules) or _event_reason(webhook, rules.channel_prefix or _beginning(rules) or "")


def _pattern_reason(rules: Filter) -> str | None:
    beginning, prefix = _beginning(rules), rules.channel_prefix or ""
    if beginning is not None and not (beginning.startswith(prefix) or prefix.startswith(beginning)):
        return (
            f"channel_pattern: matches only channels that begin with {beginning!r}, but channel_prefix is {prefix!r}; "
            "no channel matches both"
        )
    end, suffix = _end(rules), rules.channel_suffix or ""
    if end is not None and not (end.endswith(suffix) or suffix.endswith(end)):
        return (
            f"channel_pattern: matches only channels that end in {end!r}, but channel_suffix is {suffix!r}; "
            "no channel matches both"
        )
    return None


def _event_reason(webhook: Webhook, beginning: str) -> str | None:
    """Compare the event types with the required beginning of every channel."""
    if not beginning or not webhook.event_types:
        return None
    if any(_happens(event, beginning) for event in webhook.event_types):
        return None
    kinds = sorted({kind for event in webhook.event_types for kind in KINDS.get(event, ())})
    only = f"they occur only on channels that begin with {' or '.join(kinds)}" if kinds else "they never occur there"
    return f"channel_prefix: none of its event_types occurs on channels that begin with {beginning!r}: {only}"


def _happens(event: str, beginning: str) -> bool:
    if beginning.startswith(NOWHERE.get(event, "\0")):
        return False
    kinds = KINDS.get(event)
    return kinds is None or any(beginning.startswith(kind) or kind.startswith(beginning) for kind in kinds)


def _beginning(rules: Filter) -> str | None:
    """Return the literal text at the beginning of a pattern, if there is one."""
    pattern = rules.channel_pattern
    if pattern is None or not pattern.startswith("^") or "|" in pattern:
        return None
    found = _LITERAL.match(pattern, 1)
    assert found is not None
    literal, rest = found[0], pattern[found.end() :]
    if rest.startswith(_MAY_BE_MISSING):
        literal = literal[: -2 if literal[-2:-1] == "\\" else -1]
    return _plain(literal)


def _end(rules: Filter) -> str | None:
    """Return the literal text at the end of a pattern, if there is one."""
    pattern = rules.channel_pattern
    if pattern is None or not pattern.endswith("$") or pattern.endswith("\\$") or "|" in pattern:
        return None
    found = re.search(r"[A-Za-z0-9_=@,;:/-]*$", pattern[:-1])
    assert found is not None
    if found.start() and pattern[found.start() - 1] in "\\{[(,":  # inside of something else
        return None
    return found[0]


def _plain(literal: str) -> str:
    return re.sub(r"\\(.)", r"\1", literal)
