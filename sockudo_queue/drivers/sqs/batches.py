"""Calls of SQS in batches that it takes, with the failed entries tried again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from sockudo_queue.drivers.sqs.client import BATCH, EntryFailed, SqsClient
from sockudo_queue.drivers.sqs.messages import size_of
from sockudo_queue.drivers.sqs.queues import SqsQueue

TRIES: Final = 3
"""Calls that the failed entries of one batch get."""

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
    """Call a batch operation for all items, and yield each with its result; those without an entry are left out.

    `queue` is given where entries are messages, which have a size. Raises `BrokerError` where a call fails as a whole:
    then nothing more is called, and what was not yielded may have been done.
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
    """Cut into batches of ten, and of no more bytes than one message may have, which is the limit of a batch too."""
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
