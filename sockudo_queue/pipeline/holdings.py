"""What this process holds: every claim from its receipt until its settlement was taken."""

from __future__ import annotations

from sockudo_queue.pipeline.in_flight import Dispatch


class Holdings:
    """The claims that are ours now. Safe from any thread; each method is one step."""

    def __init__(self) -> None:
        self._by_receipt: dict[str, Dispatch] = {}

    def __len__(self) -> int:
        return len(self._by_receipt)

    def add(self, dispatch: Dispatch) -> None:
        self._by_receipt[dispatch.claim.receipt] = dispatch

    def drop(self, receipt: str) -> bool:
        """Forget a claim; True for whoever comes first, so that its end is counted once."""
        return self._by_receipt.pop(receipt, None) is not None

    def all(self) -> list[Dispatch]:
        """Return what is held at this moment."""
        return list(self._by_receipt.values())
