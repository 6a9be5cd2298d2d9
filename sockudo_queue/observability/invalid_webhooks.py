"""Reports webhooks that cannot be called as they are configured; every report is bounded, whatever an owner writes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice, starmap
from typing import Any, Final

from sockudo_queue.core.apps import InvalidByApp, InvalidWebhook

SHOWN: Final = 100
"""Invalid webhooks that are named in one report; the others are counted."""


def first(invalid: InvalidByApp, limit: int = SHOWN) -> Iterator[tuple[str, InvalidWebhook]]:
    """Yield the first ones, each with the id of its app, which is valid Unicode here."""
    return islice(chain.from_iterable(starmap(_of_app, invalid.items())), limit)


def _of_app(app: str, webhooks: tuple[InvalidWebhook, ...]) -> Iterator[tuple[str, InvalidWebhook]]:
    shown = app.encode(errors="backslashreplace").decode()  # a lone surrogate would spoil every page and scrape
    return ((shown, webhook) for webhook in webhooks)


def count(invalid: InvalidByApp) -> int:
    return sum(map(len, invalid.values()))


def log_invalid_webhooks(log: Any, invalid: InvalidByApp) -> None:
    """Log a line for each of them; what is more than `SHOWN` is counted in a last line."""
    for app, webhook in first(invalid):
        log.error("webhook.invalid", app=app, webhook=webhook.name, text=f"{webhook.place}: {webhook.reason}")
    more = count(invalid) - SHOWN
    if more > 0:
        log.error("webhook.invalid", app=None, webhook=None, text=f"{more:,} more webhooks are invalid")
