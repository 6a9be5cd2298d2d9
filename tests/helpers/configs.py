"""App configuration in the format of Sockudo's own file."""

from __future__ import annotations

from typing import Any, Final

from tests.helpers.jobs import APP_ID, APP_KEY, APP_SECRET

EVENT_TYPES: Final = (
    "channel_occupied",
    "channel_vacated",
    "member_added",
    "member_removed",
    "client_event",
    "cache_miss",
    "subscription_count",
)


def webhook(url: str, **keys: Any) -> dict[str, Any]:
    """Return one webhook for every event, with further `keys` such as `name`, `filter` or `retry`."""
    return {"url": url, "event_types": list(EVENT_TYPES), **keys}


def app(
    *webhooks: dict[str, Any], app_id: str = APP_ID, key: str = APP_KEY, secret: str = APP_SECRET
) -> dict[str, Any]:
    """Return one app in the `policy` form; its default credentials are those of `jobs.job`."""
    return {"id": app_id, "key": key, "secret": secret, "enabled": True, "policy": {"webhooks": list(webhooks)}}


def config(*apps: dict[str, Any], **sections: Any) -> dict[str, Any]:
    """Return a whole file with these apps and further top-level sections such as `queue`."""
    return {"app_manager": {"driver": "memory", "array": {"apps": list(apps)}}, **sections}
