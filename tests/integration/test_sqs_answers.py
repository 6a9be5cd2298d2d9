"""Answers of SQS with odd fields: such an entry is no result, and costs no thread and no other message."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator
from typing import Any, Final

import pytest

from sockudo_queue.drivers.base import Settlement
from sockudo_queue.drivers.sqs.client import SqsClient
from sockudo_queue.drivers.sqs.driver import SqsDriver
from sockudo_queue.drivers.sqs.queues import QueueFinder
from sockudo_queue.errors import BrokerError
from tests.faults.arrivals import Arrivals
from tests.faults.measures import SCALE, figure, scaled
from tests.helpers.jobs import job, jobs
from tests.helpers.receiver import Answer, Receiver, Request
from tests.helpers.sqs_daemon import daemon_on
from tests.helpers.sqs_server import CREDENTIALS, REGION
from tests.helpers.sqs_stub import SqsStub
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.timeout(900)

NAME: Final = "webhooks"
ODD_JOB: Final = job(999_999).decode()
ABSENT: Final = object()
VALUES: Final[tuple[Any, ...]] = (
    ABSENT,
    None,
    5,
    -1.5,
    True,
    [],
    ["0"],
    {},
    "",
    "x" * 200_000,
    "9" * 5_000,
    "other",
    "\ud800",
    "7\r\nA: b",
)
RECEIVED: Final = (
    "MessageId",
    "ReceiptHandle",
    "Body",
    "MD5OfBody",
    "Attributes",
    "Attributes.ApproximateReceiveCount",
    "Attributes.ApproximateFirstReceiveTimestamp",
    "Attributes.SentTimestamp",
    "Attributes.MessageGroupId",
    "MessageAttributes",
    *(
        f"MessageAttributes.sockudo-queue/{name}{part}"
        for name in ("record", "state", "claims", "lapses", "delay-ms", "encoding")
        for part in ("", ".StringValue", ".BinaryValue", ".DataType")
    ),
)
FIELDS: Final = (
    *(("ReceiveMessage", f"Messages.{field}") for field in ("", *RECEIVED)),
    *(
        (action, f"{part}.{field}" if field else part)
        for action in ("SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch")
        for part in ("Successful", "Failed")
        for field in ("", "Id", "Code", "SenderFault", "Message")
    ),
    ("ReceiveMessage", "Messages"),
)
Round = tuple[str, str, Any]
ROUNDS: Final[list[Round]] = [(action, field, value) for value in VALUES for action, field in FIELDS]


@pytest.fixture
def stub() -> Iterator[SqsStub]:
    with SqsStub() as started:
        yield started


def changed(record: Any, field: str, value: Any) -> Any:
    """Give a field, or the whole, another value."""
    if not field:
        return None if value is ABSENT else value
    name, _, rest = field.partition(".")
    name = name.replace("/", ".")
    if rest:
        inner = record.get(name)
        record[name] = changed(inner if isinstance(inner, dict) else {}, rest, value)
    elif value is ABSENT:
        record.pop(name, None)
    else:
        record[name] = value
    return record


class Corruption:
    """Puts one odd thing after the other into answers; what is honest in them stays beside it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next: Round | None = None

    def begin(self, following: Round) -> None:
        with self._lock:
            self._next = following

    @property
    def is_done(self) -> bool:
        return self._next is None

    def __call__(self, action: str, answer: Any) -> Any:
        with self._lock:
            if self._next is None or self._next[0] != action or not answer:
                return answer
            (_, field, value), self._next = self._next, None
        part, dot, inner = field.partition(".")
        if not dot:
            return changed(answer, part, value)
        entry = {"Id": "0", "Code": "InternalError", "SenderFault": False}
        if part == "Messages":
            # Another message than the honest ones: what becomes of it is the service's affair.
            entry = {"MessageId": "odd", "ReceiptHandle": "odd", "Body": ODD_JOB}
            entry |= {"Attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1751100000000"}}
            entry |= {"MessageAttributes": {}}
        # Beside the honest result of the same entry, an odd one.
        answer[part] = [changed(entry, inner, value), *answer.get(part, [])]
        return answer


def test_no_odd_field_costs_a_thread_or_an_honest_job(stub: SqsStub, receiver: Receiver) -> None:
    rounds = ROUNDS[:: max(len(ROUNDS) // scaled(1000, 60), 1)]
    arrivals, corruption = Arrivals(), Corruption()

    def answer(request: Request, nth: int) -> Answer:
        if nth % 5 == 0:
            return Answer(503)  # so that something is sent on, too
        taken = arrivals(request, nth)
        return Answer(delay=0.8) if nth % 7 == 0 else taken  # so that something is renewed

    receiver.answer(answer)
    stub.corrupt = corruption
    settings = {
        "QUEUE_SQS_VISIBILITY_TIMEOUT": "2",
        "QUEUE_MAX_ATTEMPTS": "1000",
        "QUEUE_DELIVERY_RETRY_INITIAL_BACKOFF_MS": "10",
        "QUEUE_DELIVERY_BREAKER_FAILURES": "1000",
        "QUEUE_DELIVERY_RETRY_MAX_ELAPSED_TIME_MS": "3600000",
    }
    pushed = 0
    with daemon_on(stub.url, NAME, receiver.url(), **settings) as daemon:
        daemon.wait_ready()
        for following in rounds:
            corruption.begin(following)
            while not corruption.is_done:
                stub.push(NAME, jobs(3, first=pushed + 1))
                pushed += 3
                eventually(lambda: corruption.is_done or arrivals.distinct >= pushed, 20, daemon.output)  # noqa: B023
        honest = set(range(1, pushed + 1))
        eventually(lambda: honest <= set(arrivals.by_number), 60, lambda: f"lost: {honest - set(arrivals.by_number)}")
        # A record with a state that no version writes stays in the queue.
        eventually(lambda: {message.body for message in stub.messages(NAME)} <= {ODD_JOB}, 30)
        assert daemon.running
        assert daemon.events("thread.crashed") == []
        assert daemon.events("job.failed") == []
        eventually(lambda: daemon.get("/readyz") == 200, 20, daemon.output)
    figure(f"SQS, {len(rounds)} odd fields in answers: {pushed} honest jobs, 0 lost, no thread ended")


@pytest.mark.parametrize("value", VALUES[:: 1 if SCALE >= 1 else 3], ids=lambda value: repr(value)[:20])
def test_odd_answers_about_the_queues_are_outages(
    stub: SqsStub, monkeypatch: pytest.MonkeyPatch, value: object
) -> None:
    for name, secret in CREDENTIALS.items():
        monkeypatch.setenv(name, secret)
    client = client_on(stub)
    for action, field in (
        ("GetQueueUrl", "QueueUrl"),
        ("CreateQueue", "QueueUrl"),
        ("GetQueueAttributes", "Attributes"),
        ("GetQueueAttributes", "Attributes.QueueArn"),
        ("GetQueueAttributes", "Attributes.MaximumMessageSize"),
        ("GetQueueAttributes", "Attributes.ApproximateNumberOfMessages"),
        ("SendMessage", "MessageId"),
        ("ReceiveMessage", "Messages"),
    ):
        stub.queues.clear()
        driver = driver_over(client)
        stub.corrupt = lambda asked, answer: changed(answer, field, value) if asked == action else answer  # noqa: B023
        for work in (
            driver.prepare,
            driver.depth,
            driver.ping,
            lambda: driver.put(job(1)),  # noqa: B023
            lambda: driver.wait(NAME, 0.0),  # noqa: B023
            lambda: list(driver.dead_letters.letters()),  # noqa: B023
        ):
            with contextlib.suppress(BrokerError):
                work()
        stub.corrupt = lambda _, answer: answer
        driver = driver_over(client)
        driver.prepare()
        stub.queues[NAME].clear()
        driver.put(job(2))
        claim = eventually(lambda: driver.next(None).claim)  # noqa: B023
        assert claim is not None
        assert claim.body == job(2)
        assert driver.settle([Settlement(claim)]) == [True]
    client.close()


@pytest.fixture
def without_collections() -> Iterator[None]:
    """Run a test without garbage collection: at the limit of recursion, finalizers of older garbage would fail too."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_collections")
@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("opening", [b"[", b'{"Messages":'])
def test_answer_that_is_nested_without_end_is_an_outage(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, status: int, opening: bytes
) -> None:
    for name, secret in CREDENTIALS.items():
        monkeypatch.setenv(name, secret)
    closing = {b"[": b"]"}.get(opening, b"}")
    body = b'{"Messages":' + opening * 100_000 + b"1" + closing * 100_000 + b"}"
    receiver.answer(lambda request, nth: Answer(status, body=body))
    client = SqsClient(region=REGION, endpoint_url=receiver.url("").rstrip("/"), slots=1, wait_seconds=1)
    with pytest.raises(BrokerError):
        client.call("receive_message", QueueUrl=receiver.url("/1/webhooks"))
    client.close()


def client_on(stub: SqsStub) -> SqsClient:
    return SqsClient(region=REGION, endpoint_url=stub.url, slots=1, wait_seconds=1)


def driver_over(client: SqsClient) -> SqsDriver:
    queues = QueueFinder(client, NAME, fifo=False, url_prefix=None, visibility_seconds=30)
    return SqsDriver(
        client,
        queues,
        fifo=False,
        group="default",
        visibility_seconds=30,
        max_messages=10,
        wait_seconds=1,
        concurrency=1,
    )
