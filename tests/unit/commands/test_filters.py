"""Webhooks that can never be called: each report is correct, and webhooks that can be called are not reported."""

from __future__ import annotations

from typing import Any

import pytest

from sockudo_queue.commands import samples
from sockudo_queue.commands.filters import never_called_reason
from sockudo_queue.core import matching
from sockudo_queue.core.apps import Filter, Webhook
from sockudo_queue.core.hmac_keys import hmac_key
from sockudo_queue.core.job import Job
from sockudo_queue.drivers.redis.inspection import HISTORY_SCRIPTS, LIST_SCRIPTS, TRIALS, V2_SCRIPTS, commands_of


def hook(*events: str, **rules: Any) -> Webhook:
    return Webhook("w", frozenset(events or ("channel_occupied",)), filter=Filter(**rules))


@pytest.mark.parametrize(
    ("events", "rules"),
    [
        (["channel_occupied"], {"channel_prefix": "a-", "channel_pattern": "^b"}),
        (["channel_occupied"], {"channel_prefix": "a-", "channel_pattern": r"^b\.x+"}),
        (["channel_occupied"], {"channel_suffix": "-x", "channel_pattern": "-y$"}),
        (["member_added", "member_removed"], {"channel_prefix": "private-"}),
        (["cache_miss"], {"channel_prefix": "presence-room"}),
        (["subscription_count"], {"channel_prefix": "presence-"}),
        (["member_updated"], {"channel_pattern": "^private-"}),
    ],
)
def test_webhook_that_can_never_be_called_is_reported(events: list[str], rules: dict[str, Any]) -> None:
    assert never_called_reason(hook(*events, **rules)) is not None


@pytest.mark.parametrize(
    ("events", "rules", "channel"),
    [
        (["channel_occupied"], {"channel_prefix": "a-", "channel_pattern": "^a"}, "a-1"),
        (["channel_occupied"], {"channel_prefix": "abc", "channel_pattern": "^abd?"}, "abc"),
        (["channel_occupied"], {"channel_prefix": "abc", "channel_pattern": r"^ab\-*c"}, "abc"),
        (["channel_occupied"], {"channel_prefix": "b", "channel_pattern": "^a|b"}, "b"),
        (["channel_occupied"], {"channel_prefix": "b", "channel_pattern": "(?i)^B"}, "b"),
        (["channel_occupied"], {"channel_prefix": "a.b", "channel_pattern": r"^a\.b"}, "a.b"),
        (["channel_occupied"], {"channel_suffix": "5", "channel_pattern": r"\d$"}, "5"),
        (["channel_occupied"], {"channel_suffix": "y", "channel_pattern": "[xy]$"}, "y"),
        (["channel_occupied"], {"channel_suffix": "a", "channel_pattern": "(?:a|b)$"}, "a"),
        (["channel_occupied"], {"channel_suffix": "aa", "channel_pattern": "a{2}$"}, "aa"),
        (["member_added", "client_event"], {"channel_prefix": "private-"}, "private-x"),
        (["member_added"], {"channel_prefix": "pres"}, "presence-x"),
        (["cache_miss"], {"channel_prefix": "private-"}, "private-cache-x"),
        (["subscription_count"], {"channel_prefix": "p"}, "private-x"),
        (["something_new"], {"channel_prefix": "presence-"}, "presence-x"),
    ],
)
def test_webhook_that_can_be_called_is_not_reported(events: list[str], rules: dict[str, Any], channel: str) -> None:
    webhook = hook(*events, **rules)
    happened = tuple(samples.event(name, channel) for name in events)
    assert matching.match(Job("", "", hmac_key(""), 0, happened, None, 0), [webhook])
    assert never_called_reason(webhook) is None


def test_every_command_of_every_script_can_be_tried() -> None:
    needed = {*commands_of(LIST_SCRIPTS), *commands_of(V2_SCRIPTS), *commands_of(HISTORY_SCRIPTS)}
    assert {"HSET", "ZADD", "XADD"} <= needed
    assert needed <= TRIALS.keys()
