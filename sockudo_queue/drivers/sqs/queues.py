"""Finds or creates the queue and its dead-letter queue on first use, and again after they were lost."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sockudo_queue.drivers.sqs.answers import number_of
from sockudo_queue.drivers.sqs.client import QueueExists, QueueMissing, SqsClient
from sockudo_queue.errors import BrokerUnavailable

FIFO_ENDING: Final = ".fifo"
DEAD_ENDING: Final = "-dead"
MAX_RECEIVES: Final = 1000
"""Receives after which SQS itself moves a message to the dead letters, on queues that we create. High, because the
daemon decides on dead letters, and a message that is put back at many stops is not a bad one."""
RETENTION_SECONDS: Final = 14 * 24 * 3600  # SQS's maximum
DEFAULT_LIMIT: Final = 262_144
"""Assumed message limit in bytes for a server that does not report one; every SQS accepts it."""
MIN_LIMIT: Final = 1024  # bytes; SQS allows no lower limit
MAX_URL_LENGTH: Final = 2048


@dataclass(frozen=True, slots=True)
class SqsQueue:
    """One queue; `max_bytes` limits a message's body and attributes together."""

    url: str
    max_bytes: int


@dataclass(frozen=True, slots=True)
class QueuePair:
    """The job queue and its dead-letter queue."""

    main: SqsQueue
    dead: SqsQueue


class QueueFinder:
    """Finds both queues and caches them. Safe from any thread; `pair` may block, and raises `BrokerError`."""

    def __init__(
        self, client: SqsClient, name: str, *, fifo: bool, url_prefix: str | None, visibility_seconds: int
    ) -> None:
        ending = FIFO_ENDING if fifo else ""
        self.name = name + ending
        self._dead_name = name + DEAD_ENDING + ending
        self._client = client
        self._url_prefix = url_prefix
        self._attributes = {
            "VisibilityTimeout": str(visibility_seconds),
            "MessageRetentionPeriod": str(RETENTION_SECONDS),
            "SqsManagedSseEnabled": "true",
        }
        if fifo:
            self._attributes |= {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
        self._lock = threading.Lock()
        self._found: QueuePair | None = None

    def pair(self) -> QueuePair:
        """Return both queues; find or create them if they are not cached."""
        found = self._found
        if found is None:
            with self._lock:
                found = self._found = self._found or self._find()
        return found

    def forget(self) -> None:
        """Find the queues again at the next use, because one of them has disappeared."""
        self._found = None

    def _find(self) -> QueuePair:
        main_url = self._url_of(self.name)
        if main_url is not None and (self._url_prefix is None or self._answers(main_url)):
            return QueuePair(self._queue(main_url), self._queue(self._dead_url()))
        if self._url_prefix is not None:
            # The prefix may point to another account, so the operator has to create the queue there.
            raise QueueMissing(f"SQS: there is no queue {self.name} under queue.sqs.queue_url_prefix; create it there")
        dead = self._dead_url()
        redrive = {"deadLetterTargetArn": self._attribute(dead, "QueueArn"), "maxReceiveCount": MAX_RECEIVES}
        return QueuePair(self._queue(self._make(self.name, RedrivePolicy=json.dumps(redrive))), self._queue(dead))

    def _dead_url(self) -> str:
        url = self._url_of(self._dead_name)
        if url is not None and (self._url_prefix is None or self._answers(url)):
            return url
        return self._make(self._dead_name)

    def _url_of(self, name: str) -> str | None:
        if self._url_prefix is not None:
            return self._url_prefix + name
        try:
            return _url_in(self._client.call("get_queue_url", QueueName=name))
        except QueueMissing:
            return None

    def _answers(self, url: str) -> bool:
        try:
            self._attribute(url, "QueueArn")
        except QueueMissing:
            return False
        return True

    def _make(self, name: str, **attributes: str) -> str:
        try:
            return _url_in(self._client.call("create_queue", QueueName=name, Attributes=self._attributes | attributes))
        except QueueExists:
            # Sockudo or another daemon has created it first. An existing queue is used as it is.
            return _url_in(self._client.call("get_queue_url", QueueName=name))

    def _queue(self, url: str) -> SqsQueue:
        limit = number_of(self._attribute(url, "MaximumMessageSize"))
        return SqsQueue(url, limit if limit >= MIN_LIMIT else DEFAULT_LIMIT)

    def _attribute(self, url: str, name: str) -> str:
        answer = self._client.call("get_queue_attributes", QueueUrl=url, AttributeNames=[name])
        attributes = answer.get("Attributes")
        return str(attributes.get(name, "")) if isinstance(attributes, Mapping) else ""


def _url_in(answer: Any) -> str:
    url = answer.get("QueueUrl")
    if not (isinstance(url, str) and url.startswith(("http://", "https://")) and len(url) <= MAX_URL_LENGTH):
        raise BrokerUnavailable("SQS: the response contains no queue URL")
    return url
