"""Replay of dead letters: which of them can be replayed, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, TypeVar

from sockudo_queue.core import delivery_state
from sockudo_queue.core.apps import App
from sockudo_queue.drivers.base import DeadLetterStore
from sockudo_queue.errors import AppStoreUnavailable, AppUnreadable
from sockudo_queue.operations.dead_letters import DeadLetterEntry

REPLAY_BATCH_SIZE: Final = 10
"""Maximum number of dead letters per call. It is small because a body may have a megabyte, and because progress is
reported per call."""
PURGE_BATCH_SIZE: Final = 500

FindApp = Callable[[str], App | None]
"""Finds an app by its id. May raise `AppStoreUnavailable` or `AppUnreadable`."""
T = TypeVar("T")


def replay(letters: DeadLetterStore, entries: Sequence[DeadLetterEntry], target: str | None = None) -> list[bool]:
    """Make dead letters ready again, with the same ids and their history. Returns one flag each, like the store.

    Each goes to the webhook of its failed delivery, or to `target`. Callers first exclude letters that have an
    `obstacle`.
    """
    states = [delivery_state.encode(delivery_state.replayed(_state(entry), target)) for entry in entries]
    return letters.replay([entry.letter for entry in entries], states)


def obstacle(
    entry: DeadLetterEntry, find_app: FindApp, target: str | None = None, *, takes_unreadable: bool = False
) -> str | None:
    """Return why a dead letter would fail again, or None."""
    if entry.state is None:
        return "written by a newer version of the daemon, which must replay them"
    if isinstance(entry.job, str) and not takes_unreadable:
        return "unreadable, so they would fail again; use --reason unreadable to replay them anyway"
    app, owed = _app_of(entry, find_app), target or entry.webhook
    if app is None or not owed or app.webhook(owed) is not None:
        return None
    if (invalid := app.invalid_webhook(owed)) is not None:
        return (
            f"webhook {owed} of app {app.id} is invalid; correct it, or use --to NAME to send them to another "
            f"webhook: {invalid.reason} ({invalid.place})"
        )
    has = ", ".join(webhook.name for webhook in app.webhooks) or "none"
    return f"app {app.id} no longer has a webhook {owed}; use --to NAME to send them to one of: {has}"


def groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of `size`, the last one perhaps shorter."""
    iterator = iter(items)
    return iter(lambda: list(islice(iterator, size)), [])


def _app_of(entry: DeadLetterEntry, find_app: FindApp) -> App | None:
    """Return the app, or None if it is unknown or unreadable: an outage of the database does not prevent a replay."""
    try:
        return find_app(entry.app) if entry.app else None
    except (AppStoreUnavailable, AppUnreadable):
        return None


def _state(entry: DeadLetterEntry) -> delivery_state.DeliveryState:
    assert entry.state is not None, "a letter of a newer version is no candidate"
    return entry.state
