"""Test events for webhooks, in the format of a server; pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from sockudo_queue.core import matching
from sockudo_queue.core.apps import Webhook
from sockudo_queue.core.hmac_keys import hmac_key
from sockudo_queue.core.job import Event, Job
from sockudo_queue.core.secret import Secret

CHANNEL: Final = "sockudo-queue-test"
"""Part of every test channel, so that receivers can recognise test events."""
FIRST_CHOICE: Final = "channel_occupied"

_FIELDS: Final[dict[str, dict[str, Any]]] = {
    "member_added": {"user_id": "test-user"},
    "member_removed": {"user_id": "test-user"},
    "member_updated": {"user_id": "test-user", "user_info": {}},
    "client_event": {"event": "client-test", "data": {}, "socket_id": "1.1"},
    "cache_miss": {"data": "{}"},
    "subscription_count": {"subscription_count": 1},
}
_KINDS: Final = {
    "member_added": "presence-",
    "member_removed": "presence-",
    "member_updated": "presence-",
    "client_event": "private-",
    "cache_miss": "cache-",
}
"""Required beginnings of the channels of an event."""


def event(name: str, channel: str) -> Event:
    """Return an event as a server would write it."""
    written = json.dumps({"name": name, "channel": channel, **_FIELDS.get(name, {})}, separators=(",", ":"))
    return Event(name, channel, msgspec.Raw(written.encode()))


def matching_event(webhook: Webhook, name: str | None, channel: str | None) -> Event | str:
    """Return an event that matches a webhook, or why there is none."""
    name = name or (FIRST_CHOICE if FIRST_CHOICE in webhook.event_types else min(webhook.event_types, default=None))
    if name is None:
        return "its event_types are empty"
    if name not in webhook.event_types:
        return f"{name} is not in its event_types"
    for candidate in [channel] if channel else _channels(webhook, name):
        found = event(name, candidate)
        if _wants(webhook, found):
            return found
    if channel:
        return f"its filter does not accept the channel {channel}"
    return "no channel was found that its filter accepts; set one with --channel"


def body(job_id: str, app_id: str, key: str, secret: Secret, time_ms: int, of: Event) -> bytes:
    """Return a job with one event, as a server enqueues it."""
    head = {"job_id": job_id, "app_key": key, "app_id": app_id, "app_secret": secret.revealed}
    payload = b'{"time_ms":%d,"events":[%b]}' % (time_ms, bytes(of.raw))
    written = json.dumps(head, separators=(",", ":"))[:-1].encode()
    said = json.dumps(f"{app_id}:{of.channel}:{of.name}").encode()
    return b'%b,"payload":%b,"original_signature":%b}' % (written, payload, said)


def _channels(webhook: Webhook, name: str) -> Iterator[str]:
    """Yield channels that a filter may accept, the likeliest first."""
    rules, kind = webhook.filter, _KINDS.get(name, "")
    if rules is None:
        yield kind + CHANNEL
        return
    spaces = [*(rules.channel_namespaces or ()), *filter(None, [rules.channel_namespace])]
    suffix = rules.channel_suffix or ""
    for begin in dict.fromkeys([rules.channel_prefix or kind, kind + (rules.channel_prefix or ""), ""]):
        for space in [f"{each}:" for each in spaces] or [""]:
            yield f"{begin}{space}{CHANNEL}{suffix}"
        yield f"{begin}{CHANNEL}{suffix}"


def _wants(webhook: Webhook, of: Event) -> bool:
    return bool(matching.match(Job("", "", hmac_key(""), 0, (of,), None, 0), [webhook]))
