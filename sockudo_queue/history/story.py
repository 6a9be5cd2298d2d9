"""The story of one job: the attempts of each webhook and their result; pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from sockudo_queue.core.outcome import Verdict
from sockudo_queue.history.entry import DEAD_LETTER, Entry


class WebhookStory(msgspec.Struct, frozen=True):
    """The entries of one job and one webhook, the oldest first."""

    app: str
    webhook: str
    entries: tuple[Entry, ...]

    @property
    def ending(self) -> str:
        """The state after the last entry: `delivered`, `dead-letter`, `refused` or `failed`.

        A `failed` delivery may be retried. A `refused` delivery becomes a dead letter, unless the daemon stopped before
        that.
        """
        match self.entries[-1].row.outcome:
            case Verdict.DELIVERED | "dead-letter" as outcome:
                return outcome
            case Verdict.PERMANENT:
                return "refused"
            case _:
                return "failed"

    @property
    def was_delivered(self) -> bool:
        """Whether any attempt was delivered, even if later entries failed."""
        return any(entry.row.outcome == Verdict.DELIVERED for entry in self.entries)


def stories(entries: Iterable[Entry]) -> list[WebhookStory]:
    """Group the entries of one job by app and webhook, in the order of their first entries.

    An attempt and the dead letter that follows it may have the same time; the dead letter is sorted last.
    """
    by_webhook: dict[tuple[str, str], list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: (entry.row.at, entry.row.outcome == DEAD_LETTER)):
        by_webhook.setdefault((entry.app, entry.row.webhook), []).append(entry)
    return [WebhookStory(app, webhook, tuple(found)) for (app, webhook), found in by_webhook.items()]
