"""Calls of SQS in batches of valid size, with retries of failed entries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from sockudo_queue.drivers.sqs.client import BATCH, EntryFailed, SqsClient
from sockudo_queue.drivers.sqs.messages import size_of
from sockudo_queue.drivers.sqs.queues import SqsQueue

TRIES: Final = 3
"""Maximum calls for the failed entries of one batch."""

Item = TypeVar("Item")
Entry = dict[str, Any]


def in_batches(
    client: SqsClient,
    operation: str,
    url: str,
    items: Sequence[Item],
    entry_of: Callable[[Item], Entry],
    queue: SqsQueue | None = None,
) -> Iterator[tuple[Item, EntryFailed | None]]:
    """Call a batch operation for all items, and yield each with its result. Items with an empty entry are skipped.

    Pass `queue` if the entries are messages, whose size is limited. Raises `BrokerError` if a call fails as a whole;
    then no more calls are made, and items that were not yielded may have been done.
    """
    for batch in _cut([(item, entry) for item in items if (entry := entry_of(item))], queue):
        left = batch
        for tries_left in range(TRIES - 1, -1, -1):
            results = client.batch(operation, url, [entry for _, entry in left])
            again: list[tuple[Item, Entry]] = []
            for (item, entry), failure in zip(left, results, strict=True):
                if failure is None or failure.lost or failure.too_large or not tries_left:
                    yield item, failure
                else:
                    again.append((item, entry))
            left = again
            if not left:
                break


def _cut(entries: Sequence[tuple[Item, Entry]], queue: SqsQueue | None) -> Iterator[list[tuple[Item, Entry]]]:
    """Split into batches of ten, with at most the bytes of one message, which SQS also applies to a batch."""
    batch: list[tuple[Item, Entry]] = []
    size = 0
    for item, entry in entries:
        more = size_of(entry) if queue is not None else 0
        if batch and (len(batch) == BATCH or (queue is not None and size + more > queue.max_bytes)):
            yield batch
            batch, size = [], 0
        batch.append((item, entry))
        size += more
    if batch:
        yield batch
