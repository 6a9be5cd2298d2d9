"""What a store of the history does, and what it says of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple, Protocol, runtime_checkable

from sockudo_queue.errors import BrokerRefused
from sockudo_queue.history.figures import HistoryFigures
from sockudo_queue.history.search import Criteria, Page, Position

ENTRY_BYTES: Final = 300
"""The bytes of a history are at most this times its length, with what each item takes besides."""
ITEM_BYTES: Final = 100
"""What each item takes besides its text in a stream of Redis."""


class OutOfMemory(BrokerRefused):
    """The server has no memory for more entries."""


class Loss(StrEnum):
    """Why entries were dropped."""

    FULL = "full"  # the buffer of this process
    UNAVAILABLE = "unavailable"  # the store did not answer, so whether it has them is not known
    REFUSED = "refused"
    MEMORY = "memory"  # the store has none left


class Purged(NamedTuple):
    """How many entries were removed, and the reasons of sources that refused, whose entries may still be there."""

    entries: int
    refused: tuple[str, ...] = ()


class HistoryStore(Protocol):
    """Keeps items, by source. Safe from any thread. Raises `BrokerError` where it asks a server."""

    sources: tuple[str, ...]
    """Whose entries may be stored from before."""

    def write(self, source: str, items: Sequence[bytes], lost: int) -> bool:
        """Append items, within the caps; all or none. `lost` entries were dropped since the last call.

        Returns whether older items are left that `note` has to remove. Raises `OutOfMemory`, `BrokerUnavailable` (they
        may have been stored) or `BrokerRefused`.
        """

    def note(self, source: str) -> bool:
        """Note the mode of this daemon, and remove items over the caps; return whether there are more of them.

        Where nothing is stored there is nothing to note.
        """

    def make_room(self, source: str) -> None:
        """Drop older entries because the server has no memory left."""

    def give_way(self, source: str) -> None:
        """Drop older entries if the server will soon have no memory left."""

    def search(self, criteria: Criteria, limit: int, before: Position | None, is_over: Callable[[], bool]) -> Page:
        """Return the newest entries that are wanted, see `search.search`."""

    def figures(self) -> HistoryFigures:
        """Return what the store says of itself."""

    def purge(self, app: str) -> Purged:
        """Remove all entries of an app."""

    def close(self) -> None:
        """Close connections."""


@runtime_checkable
class SharedHistory(HistoryStore, Protocol):
    """A store on a server, which other processes can read and follow."""

    def refused_commands(self) -> list[str]:
        """Return the commands that the history needs and that the server refuses. Raises `BrokerUnavailable`."""

    def search(
        self,
        criteria: Criteria,
        limit: int,
        before: Position | None,
        is_over: Callable[[], bool],
        up_to: Mapping[str, str] = ...,
    ) -> Page:
        """Search as every store does, but no items of a source after the id that `up_to` has for it."""

    def newest(self, source: str) -> str:
        """Return the id of the newest item of a source; `0-0` where there is none."""

    def after(self, source: str, item_id: str) -> Iterator[tuple[str, bytes]]:
        """Yield the items of a source after an id, the oldest first, as texts, each with the id of its last item."""
