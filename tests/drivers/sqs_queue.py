"""A queue of SQS under test: what Sockudo and the clock do to it, and what is stored."""

from __future__ import annotations

import time
import uuid
from contextlib import ExitStack
from functools import cache
from typing import Any

from sockudo_queue.drivers.sqs.client import SqsClient
from sockudo_queue.drivers.sqs.driver import SqsDriver
from sockudo_queue.drivers.sqs.messages import OutgoingMessage
from sockudo_queue.drivers.sqs.queues import QueueFinder
from tests.drivers.conformance import LEASE_SECONDS, RETENTION, Kept
from tests.helpers.http_proxy import HttpProxy
from tests.helpers.sqs_server import REGION, SqsServer, unused_name

BATCH_BYTES = 900_000


@cache
def client_to(url: str) -> SqsClient:
    """Return a client; making one takes longer than most tests."""
    return SqsClient(region=REGION, endpoint_url=url, slots=5, wait_seconds=1)


class SqsQueue:
    """One queue in one server. On a FIFO queue each pushed job has a group of its own, unless `group` names one.

    Time stands still, but for `advance`, so that a slow machine cannot make a lease lapse; see `let_time_pass`.
    """

    def __init__(self, server: SqsServer, cleanup: ExitStack, *, fifo: bool = False, max_messages: int = 1) -> None:
        self.server = server
        server.stop_clock()
        self._now: float | None = time.monotonic()
        self.fifo = fifo
        self.group: str | None = None
        self.max_messages = max_messages
        self.name = unused_name()
        self.queues: QueueFinder | None = None
        self._finders: dict[tuple[str, int], QueueFinder] = {}
        self._ahead = 0.0
        self._cleanup = cleanup

    def driver(self, *, lease: float = LEASE_SECONDS, retention: int = RETENTION) -> SqsDriver:
        """Make an instance. SQS counts whole seconds, and keeps dead letters by age alone."""
        del retention
        return self.over(self.server.url, lease=lease)

    def over(self, url: str, *, lease: float = LEASE_SECONDS, max_messages: int | None = None) -> SqsDriver:
        client = client_to(url)
        seconds = max(round(lease), 1)
        queues = self._finder(url, seconds)
        driver = SqsDriver(
            client,
            queues,
            fifo=self.fifo,
            group="default",
            visibility_seconds=seconds,
            max_messages=max_messages or self.max_messages,
            wait_seconds=1,
            concurrency=5,
            clock=self._clock,
        )
        self.queues = self.queues or queues
        return driver

    def _finder(self, url: str, seconds: int) -> QueueFinder:
        """Return what finds the queues; instances share it, because it makes more calls than most tests."""
        if (url, seconds) not in self._finders:
            self._finders[url, seconds] = QueueFinder(
                client_to(url), self.name, fifo=self.fifo, url_prefix=None, visibility_seconds=seconds
            )
        return self._finders[url, seconds]

    def lossy(self) -> LossyQueue:
        proxy = self._cleanup.enter_context(HttpProxy(self.server.port))
        return LossyQueue(self.over(proxy.url), proxy)

    def _clock(self) -> float:
        return (time.monotonic() if self._now is None else self._now) + self._ahead

    def let_time_pass(self) -> None:
        """Let the clock run, for a test that is about real time."""
        self.server.run_clock()
        self._now = None

    @property
    def url(self) -> str:
        if self.queues is None:
            self.driver()
        assert self.queues is not None
        return self.queues.pair().main.url

    @property
    def dead_url(self) -> str:
        assert self.url
        assert self.queues is not None
        return self.queues.pair().dead.url

    def push(self, *bodies: bytes) -> None:
        batch: list[dict[str, Any]] = []
        size = 0
        for body in bodies:
            entry = OutgoingMessage("", body).entry()
            if batch and (len(batch) == 10 or size + len(entry["MessageBody"]) > BATCH_BYTES):
                self._send(batch)
                batch, size = [], 0
            batch.append(entry)
            size += len(entry["MessageBody"])
        self._send(batch)

    def _send(self, batch: list[dict[str, Any]]) -> None:
        entries = [{"Id": str(number), **entry, **self._fifo_ids()} for number, entry in enumerate(batch)]
        answer = self.server.client.send_message_batch(QueueUrl=self.url, Entries=entries)
        assert not answer.get("Failed"), answer

    def _fifo_ids(self) -> dict[str, str]:
        unique = uuid.uuid4().hex
        return {"MessageGroupId": self.group or unique, "MessageDeduplicationId": unique} if self.fifo else {}

    def advance(self, seconds: float) -> None:
        self._ahead += seconds
        self.server.advance(seconds)

    def is_empty(self) -> bool:
        return not any(self.counts(self.url)) and not any(self.counts(self.dead_url))

    def counts(self, url: str) -> tuple[int, int, int]:
        """Return how many messages are visible, hidden and delayed."""
        names = ["", "NotVisible", "Delayed"]
        wanted = [f"ApproximateNumberOfMessages{name}" for name in names]
        answer = self.server.client.get_queue_attributes(QueueUrl=url, AttributeNames=wanted)
        visible, hidden, delayed = (int(answer["Attributes"][name]) for name in wanted)
        return visible, hidden, delayed

    def dead_letters(self) -> list[Kept]:
        letters = self.over(self.server.url).dead_letters.letters()
        return [Kept(letter.id, letter.body, letter.state) for letter in letters]


class LossyQueue:
    """An instance behind a proxy."""

    def __init__(self, driver: SqsDriver, proxy: HttpProxy) -> None:
        self.driver = driver
        self.proxy = proxy

    def lose_reply(self) -> None:
        self.driver.ping()  # the queues are known: what is lost is the reply that a test means
        self.proxy.lose_reply()

    def cut_off(self) -> None:
        self.proxy.cut_off()

    def heal(self) -> None:
        self.proxy.heal()
