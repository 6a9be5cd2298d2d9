"""The contract between the daemon and an app store: ids in, rows out. A store never parses the content of a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Row:
    """One app as it is stored. Both texts are JSON or absent, and contain secrets; the app's own secret is never read.

    `size` is the bytes of the larger text if the store omitted both because one exceeds the ceiling, else 0.
    """

    id: str
    policy: str | bytes | None = field(default=None, repr=False)
    webhooks: str | bytes | None = field(default=None, repr=False)
    size: int = 0


class AppStore(Protocol):
    """One kind of database. For one thread at a time; every call ends within some seconds."""

    name: str
    """A name for operators, with the place and without secrets: `pgsql applications at db:5432/sockudo`."""

    batch: int
    """Maximum ids of one `fetch`."""

    def fetch(self, ids: Sequence[str]) -> list[Row]:
        """Return the rows of the given ids that exist. Raises `errors.AppStoreUnavailable`."""

    def sample(self, limit: int) -> list[str]:
        """Return at most `limit` existing ids. Raises `errors.AppStoreUnavailable`."""

    def close(self) -> None:
        """Close the connection; the next call opens another."""
