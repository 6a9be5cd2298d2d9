"""The jobs and webhooks of the stored data in `tests/data/stored`.

Every job is named by its channel, which states its fate. A webhook selects events by type, so a job with events of two
types belongs to two webhooks, each of which receives only its own event.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from tests.helpers.jobs import APP_ID, TIME_MS, job, webhook_body

EVENT_TYPES: Final = {
    "orders": "channel_occupied",
    "audit": "channel_vacated",
    "stalled": "member_added",
    "removed": "member_removed",
    "down": "cache_miss",
}
"""The webhooks by name, each with the one event type it wants."""
LATER_APP: Final = "later"
NEVER_APP: Final = "never"
"""Two apps that were not configured in the daemon that wrote the data."""

NOT_JSON: Final = b'{"app_key":"shop-key","app_id":"shop","payl'
NOT_TEXT: Final = b"\xff\x00\xfe no text \x01\n"
NOT_TEXT_AGAIN: Final = b"\xfe replayed, and unreadable for ever"
"""Bodies that are not jobs. The last one was replayed, so it is dead-lettered a second time where the data is read."""
BROKEN_FRAME: Final = b"B\x00\x00\x00\x02\x00\x00\x00\x05Jshort"
"""An element of `inline-wait` whose header announces more records than it holds."""

_CHANNEL: Final = re.compile(rb'"channel":"([a-z0-9-]+)"')


def event_of(case: str, webhook: str) -> bytes:
    """Return an event whose bytes no encoder would reproduce."""
    text = b'"text":"Gr\xc3\xbc\xc3\x9fe \\u2028 \\/ \xf0\x9f\x98\x80","amount":1e+16'
    return b'{"channel":"%b","name":"%b",%b}' % (case.encode(), EVENT_TYPES[webhook].encode(), text)


def job_of(case: str, *webhooks: str, app_id: str = APP_ID) -> bytes:
    """Return a job for these webhooks, without an id of Sockudo's."""
    return job(events=[event_of(case, each) for each in webhooks], app_id=app_id, time_ms=TIME_MS)


def sent_to(webhook: str, case: str) -> bytes:
    """Return the expected body for a webhook."""
    return webhook_body(events=[event_of(case, webhook)], time_ms=TIME_MS)


def case_of(body: bytes) -> str:
    """Return the name of the job whose event is in the body of a job or a webhook; empty if there is none."""
    found = _CHANNEL.search(body)
    return found[1].decode() if found else ""


def hook(name: str, url: str, retry: Mapping[str, Any]) -> dict[str, Any]:
    """Return one webhook of the app file."""
    return {"name": name, "url": url, "event_types": [EVENT_TYPES[name]], "retry": dict(retry)}
