"""Reports invalid webhooks. Every report is bounded, whatever the owners of apps configure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice, starmap
from typing import Any, Final

from sockudo_queue.core.apps import InvalidByApp, InvalidWebhook

SHOWN: Final = 100
"""Maximum invalid webhooks that are named in one report; the others are counted."""


def first(invalid: InvalidByApp, limit: int = SHOWN) -> Iterator[tuple[str, InvalidWebhook]]:
    """Yield the first ones, each with its app id, made valid Unicode."""
    return islice(chain.from_iterable(starmap(_of_app, invalid.items())), limit)


def _of_app(app: str, webhooks: tuple[InvalidWebhook, ...]) -> Iterator[tuple[str, InvalidWebhook]]:
    shown = app.encode(errors="backslashreplace").decode()  # a lone surrogate would break every page and scrape
    return ((shown, webhook) for webhook in webhooks)


def count(invalid: InvalidByApp) -> int:
    return sum(map(len, invalid.values()))


def log_invalid_webhooks(log: Any, invalid: InvalidByApp) -> None:
    """Log a line for each of them; one more line gives the number above `SHOWN`."""
    for app, webhook in first(invalid):
        log.error("webhook.invalid", app=app, webhook=webhook.name, text=f"{webhook.place}: {webhook.reason}")
    more = count(invalid) - SHOWN
    if more > 0:
        log.error("webhook.invalid", app=None, webhook=None, text=f"{more:,} more webhooks are invalid")
