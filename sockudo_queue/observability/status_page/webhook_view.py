"""The texts of the page of one webhook; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import urlencode

from sockudo_queue.core.controls import Pause, WebhookKey
from sockudo_queue.observability.metrics import WebhookFigures
from sockudo_queue.observability.status_page.wording import ago, count, moment

PATH: Final = "/webhook"
PAUSE: Final = f"{PATH}/pause"
RESUME: Final = f"{PATH}/resume"
TRY_NOW: Final = f"{PATH}/try-now"
OBEY_SECONDS: Final = 2
"""Seconds within which every daemon applies an action."""


class PausedLink(NamedTuple):
    """A paused webhook in the list of all paused webhooks."""

    app: str
    webhook: str
    link: str
    held: str


class WebhookView(NamedTuple):
    """The content of the page, from top to bottom. Without a webhook the page asks for one.

    `can_pause` is None if the driver cannot share pauses.
    """

    app: str
    webhook: str
    facts: Sequence[tuple[str, str]]
    can_pause: bool | None
    has_breaker: bool
    links: Sequence[tuple[str, str]]
    paused: Sequence[PausedLink]


def webhook_link(app: str, webhook: str) -> str:
    """Return the address of the page of one webhook."""
    return f"{PATH}?{urlencode({'app': app, 'webhook': webhook}, errors='replace')}"


def webhook_view(
    key: WebhookKey,
    figures: WebhookFigures | None,
    pauses: Mapping[WebhookKey, Pause] | None,
    held: Mapping[WebhookKey, int],
    links: Mapping[str, str],
    now: float,
) -> WebhookView:
    """Format the state of a webhook. `pauses` is None if the daemons cannot share pauses."""
    is_chosen = bool(key.webhook)
    query = urlencode({"app": key.app, "webhook": key.webhook}, errors="replace")
    return WebhookView(
        key.app,
        key.webhook,
        list(_facts(key, figures, pauses or {}, held, now)) if is_chosen else (),
        None if pauses is None else key not in pauses,
        is_chosen,
        [(name, f"{path}?{query}") for name, path in links.items()] if is_chosen else (),
        [PausedLink(*each.shown(), webhook_link(*each), count(held.get(each, 0))) for each in _paused(pauses, held)],
    )


def _paused(pauses: Mapping[WebhookKey, Pause] | None, held: Mapping[WebhookKey, int]) -> list[WebhookKey]:
    return sorted({*(pauses or ()), *held})


def _facts(
    key: WebhookKey,
    figures: WebhookFigures | None,
    pauses: Mapping[WebhookKey, Pause],
    held: Mapping[WebhookKey, int],
    now: float,
) -> Iterator[tuple[str, str]]:
    pause = pauses.get(key)
    if pause is not None:
        yield "Paused", f"{ago(pause.since_ms / 1000, now)}, {moment(pause.since_ms / 1000)}, by {pause.by}"
    elif key in held:
        yield "Paused", "in the app file (resume it there), or resumed a moment ago"
    else:
        yield "Paused", "no"
    if key in held:
        yield "Held deliveries", count(held[key])
    if figures is None:
        yield "Attempts", "none by this daemon since it started"
        return
    yield "Circuit", f"{figures.breaker}, in this daemon"
    yield "Attempts", f"{count(figures.delivered)} delivered, {count(figures.failed)} failed since the start"
    if figures.last_failure:
        yield "Last failure", f"{figures.last_failure}, {ago(figures.failed_at, now)}"
