"""Test events: of a type the webhook accepts, on a channel that passes its filter, in the server's format."""

from __future__ import annotations

from typing import Any

import pytest

from sockudo_queue.apps.parsing.webhooks import EVENT_TYPES
from sockudo_queue.commands import samples
from sockudo_queue.core import job as jobs
from sockudo_queue.core import matching
from sockudo_queue.core.apps import Filter, Webhook
from sockudo_queue.core.hmac_keys import hmac_key
from sockudo_queue.core.job import Event
from sockudo_queue.core.secret import Secret


def hook(*events: str, **rules: Any) -> Webhook:
    return Webhook("w", frozenset(events), filter=Filter(**rules) if rules else None)


@pytest.mark.parametrize("name", sorted(EVENT_TYPES))
def test_every_event_type_makes_a_job_that_is_delivered(name: str) -> None:
    webhook = hook(name)
    event = samples.matching_event(webhook, None, None)
    assert isinstance(event, Event)
    read = jobs.decode(samples.body("id-1", 'app "1"', "k", Secret("s"), 5, event))
    assert (read.job_id, read.app_id, read.app_key, read.signing_key, read.time_ms) == (
        "id-1",
        'app "1"',
        "k",
        hmac_key("s"),
        5,
    )
    [match] = matching.match(read, [webhook])
    assert match.events[0].name == name
    assert samples.CHANNEL in match.events[0].channel


@pytest.mark.parametrize(
    ("event", "rules", "channel"),
    [
        ("member_added", {}, "presence-sockudo-queue-test"),
        ("member_added", {"channel_prefix": "presence-room"}, "presence-roomsockudo-queue-test"),
        ("client_event", {"channel_prefix": "private-", "channel_suffix": "-x"}, "private-sockudo-queue-test-x"),
        ("channel_occupied", {"channel_namespace": "chat"}, "chat:sockudo-queue-test"),
        ("member_added", {"channel_namespaces": ("a", "b")}, "presence-a:sockudo-queue-test"),
        ("channel_occupied", {"channel_pattern": "queue-test$"}, "sockudo-queue-test"),
    ],
)
def test_channel_that_passes_the_filter_is_found(event: str, rules: dict[str, Any], channel: str) -> None:
    found = samples.matching_event(hook(event, **rules), None, None)
    assert isinstance(found, Event)
    assert found.channel == channel


def test_reason_why_the_webhook_accepts_no_event_is_returned() -> None:
    assert samples.matching_event(hook(), None, None) == "its event_types are empty"
    assert samples.matching_event(hook("cache_miss"), "member_added", None) == "member_added is not in its event_types"
    picky = hook("cache_miss", channel_pattern="^orders-[0-9]+$")
    assert "--channel" in str(samples.matching_event(picky, None, None))
    assert samples.matching_event(picky, None, "orders-x") == "its filter does not accept the channel orders-x"
    assert isinstance(samples.matching_event(picky, None, "orders-7"), Event)
