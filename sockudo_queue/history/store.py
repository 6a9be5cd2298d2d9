"""The interfaces of attempt history stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple, Protocol, runtime_checkable

from sockudo_queue.errors import BrokerRefused
from sockudo_queue.history.figures import HistoryFigures
from sockudo_queue.history.search import Criteria, Page, Position

ENTRY_BYTES: Final = 300
"""The size limit of a history, in bytes per entry of its maximum length; includes the overhead of the items."""
ITEM_BYTES: Final = 100
"""Overhead of an item in a Redis stream, in bytes."""


class OutOfMemory(BrokerRefused):
    """The server has no memory for more entries."""


class EntryLoss(StrEnum):
    """Why entries were dropped."""

    FULL = "full"  # the buffer of this process is full
    UNAVAILABLE = "unavailable"  # the store did not answer, so the entries may or may not be stored
    REFUSED = "refused"
    MEMORY = "memory"  # the store has no memory left


class PurgeResult(NamedTuple):
    """The number of removed entries, and the reasons of sources that refused; entries of those may remain."""

    entries: int
    refused: tuple[str, ...] = ()


class HistoryStore(Protocol):
    """Stores items by source. Thread-safe. Methods raise `BrokerError` if they use a server."""

    sources: tuple[str, ...]
    """Names of the sources that may have stored entries."""

    def write(self, source: str, items: Sequence[bytes], lost: int) -> bool:
        """Append all items or none, within the limits. `lost` entries were dropped since the last call.

        Returns whether older items remain that `note` has to remove. Raises `OutOfMemory`, `BrokerUnavailable` (the
        items may have been stored) or `BrokerRefused`.
        """

    def note(self, source: str) -> bool:
        """Store the mode of this daemon and remove items over the limits. Returns whether more of them remain.

        Does nothing if no entry was ever stored.
        """

    def make_room(self, source: str) -> None:
        """Drop older entries because the server has no memory left."""

    def give_way(self, source: str) -> None:
        """Drop older entries if the server will soon run out of memory."""

    def search(self, criteria: Criteria, limit: int, before: Position | None, is_over: Callable[[], bool]) -> Page:
        """Return the newest matching entries; see `search.search`."""

    def figures(self) -> HistoryFigures:
        """Return figures about the stored entries; see `HistoryFigures`."""

    def purge(self, app: str) -> PurgeResult:
        """Remove all entries of an app."""

    def close(self) -> None:
        """Close the connections."""


@runtime_checkable
class SharedHistory(HistoryStore, Protocol):
    """A store on a server. Other processes can read and follow it."""

    def refused_commands(self) -> list[str]:
        """Return the commands that the history needs and the server refuses. Raises `BrokerUnavailable`."""

    def search(
        self,
        criteria: Criteria,
        limit: int,
        before: Position | None,
        is_over: Callable[[], bool],
        up_to: Mapping[str, str] = ...,
    ) -> Page:
        """Search like every store, but skip items of a source after the id that `up_to` has for it."""

    def newest(self, source: str) -> str:
        """Return the id of the newest item of a source, or `0-0` if there is none."""

    def after(self, source: str, item_id: str) -> Iterator[tuple[str, bytes]]:
        """Yield the items of a source after an id as texts, the oldest first, each with the id of its last item."""
