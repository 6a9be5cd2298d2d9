"""The contract between the daemon and a store of apps: ids in, rows out; a store never reads what is in a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Row:
    """One app as it is stored. Both texts are JSON or absent, and hold secrets; the app's own secret is never read.

    `size`: the bytes of the larger one, where the store left it out because it has more than the store may return.
    """

    id: str
    policy: str | bytes | None = field(default=None, repr=False)
    webhooks: str | bytes | None = field(default=None, repr=False)
    size: int = 0


class AppStore(Protocol):
    """One kind of database. For one thread at a time; every call ends within some seconds."""

    name: str
    """What a person calls it, with its place and without secrets: `pgsql applications at db:5432/sockudo`."""

    batch: int
    """The most ids that one `fetch` may be asked for."""

    def fetch(self, ids: Sequence[str]) -> list[Row]:
        """Return the rows of those of the ids that exist. Raises `errors.AppStoreUnavailable`."""

    def sample(self, limit: int) -> list[str]:
        """Return at most so many of the ids that exist. Raises `errors.AppStoreUnavailable`."""

    def close(self) -> None:
        """Close the connection; the next call opens another."""
