"""Faults of SQS: the same process backs off, is not ready, recovers and delivers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Final

import pytest

from tests.faults.arrivals import Arrivals
from tests.faults.measures import SCALE, figure, scaled
from tests.helpers import sqs_stub
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import jobs, numbers
from tests.helpers.receiver import Answer, Receiver
from tests.helpers.sqs_daemon import daemon_on
from tests.helpers.sqs_server import CREDENTIALS
from tests.helpers.sqs_stub import Fault, SqsStub
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.timeout(180)

NAME: Final = "webhooks"
EVERY_FAULT: Final = {
    "throttled": sqs_stub.THROTTLED,
    "too many in flight": sqs_stub.OVER_LIMIT,
    "500": sqs_stub.BROKEN,
    "503": sqs_stub.UNAVAILABLE,
    "a page of HTML": sqs_stub.HTML,
    "truncated JSON": sqs_stub.TRUNCATED,
    "a closed connection": sqs_stub.CLOSED,
    "expired credentials": sqs_stub.EXPIRED,
    "access denied": sqs_stub.DENIED,
    "a queue that is gone": sqs_stub.DELETED,
}
FAULTS: Final = dict(list(EVERY_FAULT.items())[:: 1 if SCALE >= 1 else 4])


@pytest.fixture
def stub() -> Iterator[SqsStub]:
    with SqsStub() as started:
        yield started


@pytest.fixture
def daemon(stub: SqsStub, receiver: Receiver) -> Iterator[DaemonProcess]:
    with daemon_on(stub.url, NAME, receiver.url()) as started:
        yield started.wait_ready()


def test_daemon_survives_each_fault(daemon: DaemonProcess, stub: SqsStub, receiver: Receiver) -> None:
    pid = daemon.pid
    slowest = ("", 0.0)
    for number, (name, fault) in enumerate(FAULTS.items(), 1):
        stub.fail(fault)
        eventually(lambda: daemon.get("/readyz") == 503, 10, lambda: f"{name}\n{daemon.output()}")  # noqa: B023
        assert daemon.get("/livez") == 200
        stub.push(NAME, jobs(1, first=number))
        stub.fail(None)
        healed = time.monotonic()
        receiver.wait_for(number, 20)
        slowest = max(slowest, (name, time.monotonic() - healed), key=lambda each: each[1])
        eventually(lambda: daemon.get("/readyz") == 200, 10, daemon.output)
        time.sleep(1.1)  # failures within a second after an outage belong to it, and would not be logged

    assert daemon.pid == pid
    assert daemon.running
    assert len(daemon.events("broker.lost")) == len(FAULTS)
    eventually(lambda: not stub.messages(NAME), 5)
    figure(f"SQS, {len(FAULTS)} faults: the slowest delivery came {slowest[1]:.1f} s after its end ({slowest[0]})")


def test_a_queue_that_is_gone_costs_few_calls_and_lines(daemon: DaemonProcess, stub: SqsStub) -> None:
    seconds = scaled(30, 5)
    lines, began = len(daemon.log_lines()), time.monotonic()
    stub.fail(sqs_stub.DELETED)
    time.sleep(seconds)  # how little happens meanwhile is what is measured
    calls, logged = stub.count(since=began), len(daemon.log_lines()) - lines
    assert (daemon.get("/readyz"), daemon.get("/livez")) == (503, 200)

    assert calls < 15, stub.counts()
    assert logged < 10, daemon.output()
    figure(f"SQS, a queue that was gone for {seconds} s: {calls} calls, {logged} lines")


def test_message_that_cannot_be_deleted_is_delivered_once(
    daemon: DaemonProcess, stub: SqsStub, receiver: Receiver
) -> None:
    stub.fail(sqs_stub.DENIED, "DeleteMessageBatch")
    stub.push(NAME, jobs(40))
    receiver.wait_for(10, 10)
    eventually(lambda: daemon.get("/readyz") == 503, 10)
    eventually(lambda: stub.count("DeleteMessageBatch") >= 2, 20)
    assert stub.count("DeleteMessageBatch") <= 10
    before = receiver.count
    stub.fail(None)
    receiver.wait_for(40, 30)
    eventually(lambda: not stub.messages(NAME), 10)

    assert before < 40, "it went on although nothing could be settled"
    assert Counter(number for request in receiver.requests for number in numbers(request.body)) == dict.fromkeys(
        range(1, 41), 1
    )


def test_failed_entries_of_batches_are_tried_again(daemon: DaemonProcess, stub: SqsStub, receiver: Receiver) -> None:
    script = Arrivals()
    receiver.answer(lambda request, nth: Answer(500) if nth % 4 == 0 else script(request, nth))
    seen: Counter[str] = Counter()

    def sometimes(action: str, _entry: object) -> str | None:
        seen[action] += 1
        return "InternalError" if seen[action] % 3 == 0 else None

    stub.entry_faults = sometimes
    stub.push(NAME, jobs(30))
    script.wait_for_all(30, 40, daemon.output)
    eventually(lambda: not stub.messages(NAME), 20)

    assert seen["DeleteMessageBatch"] > 30
    assert seen["SendMessageBatch"] > 7
    assert script.duplicates == 0


def test_lost_receipt_is_logged_and_harmless(stub: SqsStub, receiver: Receiver) -> None:
    """Another consumer has the message now: its result is not settled, and nothing fails because of it."""
    receiver.answer(lambda _request, nth: Answer(delay=2.0 if nth == 1 else 0.0))
    with daemon_on(stub.url, NAME, receiver.url(), QUEUE_SQS_VISIBILITY_TIMEOUT="1") as daemon:
        daemon.wait_ready()
        stub.entry_faults = lambda action, _: "MessageNotInflight" if action.startswith("Change") else None
        stub.push(NAME, jobs(1))
        eventually(lambda: daemon.events("lease.lost"), 10, daemon.output)
        stub.entry_faults = lambda action, _: None
        receiver.wait_for(2, 10)
        eventually(lambda: not stub.messages(NAME), 10)
        assert not daemon.events("thread.crashed")


def test_long_delivery_is_not_repeated(stub: SqsStub, receiver: Receiver) -> None:
    visibility = 2 if SCALE >= 1 else 1
    receiver.answer(lambda _request, _nth: Answer(delay=3.0 * visibility))
    with daemon_on(stub.url, NAME, receiver.url(), QUEUE_SQS_VISIBILITY_TIMEOUT=str(visibility)) as daemon:
        daemon.wait_ready()
        stub.push(NAME, jobs(2))
        eventually(lambda: not stub.messages(NAME), 15, daemon.output)
        renewals = stub.count("ChangeMessageVisibilityBatch")

    setup = f"SQS, visibility {visibility} s and a receiver that takes three times that"
    figure(f"{setup}: {receiver.count} POSTs of 2 jobs, {renewals} renewals")
    assert receiver.count == 2
    assert renewals >= 5


def test_batches_keep_the_bill_small(daemon: DaemonProcess, stub: SqsStub, receiver: Receiver) -> None:
    count = 1000
    began = time.monotonic()
    for first in range(0, count, 10):
        stub.push(NAME, jobs(10, first=first + 1))
    receiver.wait_for(count, 60)
    calls = stub.count("ReceiveMessage", "DeleteMessageBatch", since=began)
    eventually(lambda: not stub.messages(NAME), 10)

    figure(f"SQS, {count} messages: {calls} receives and deletes up to the last delivery")
    assert calls <= 220, stub.counts()


def test_an_idle_daemon_makes_one_call_a_wait(daemon: DaemonProcess, stub: SqsStub) -> None:
    at_start = stub.count("ReceiveMessage")
    eventually(lambda: stub.count("ReceiveMessage") >= at_start + 2)  # the calls of the start are over by then
    began = time.monotonic()
    time.sleep(3)  # nothing happens, which is what is measured
    assert stub.count(since=began) <= 5, stub.counts()


def test_unstarted_messages_are_given_back_at_a_stop(daemon: DaemonProcess, stub: SqsStub, receiver: Receiver) -> None:
    receiver.answer(lambda _request, _nth: Answer(delay=1.5))
    stub.push(NAME, jobs(60))
    eventually(lambda: sum(message.is_hidden for message in stub.messages(NAME)) >= 6)
    daemon.terminate()
    assert daemon.wait(20) == 0, daemon.output()

    left = stub.messages(NAME)
    assert len(left) + receiver.count == 60
    assert not any(message.is_hidden for message in left)


def test_a_poll_that_is_under_way_at_a_stop_hides_nothing(stub: SqsStub, receiver: Receiver) -> None:
    """SQS returns messages to a pending poll, even if that consumer is stopping."""
    with daemon_on(stub.url, NAME, receiver.url(), QUEUE_SQS_WAIT_TIME_SECONDS="5") as daemon:
        daemon.wait_ready()
        eventually(lambda: stub.count("ReceiveMessage"))
        daemon.terminate()
        eventually(lambda: daemon.events("daemon.draining"), 5, daemon.output)
        stub.push(NAME, jobs(5))
        assert daemon.wait(20) == 0, daemon.output()

    left = stub.messages(NAME)
    assert [message.receives for message in left] == [1] * 5
    assert not any(message.is_hidden for message in left)
    assert receiver.count == 0


@pytest.mark.parametrize("fault", ["access denied", "a closed connection"])
def test_a_stop_does_not_wait_for_a_service_that_is_away(daemon: DaemonProcess, stub: SqsStub, fault: str) -> None:
    stub.fail(EVERY_FAULT[fault])
    eventually(lambda: daemon.get("/readyz") == 503, 10)
    began = time.monotonic()
    daemon.terminate()
    assert daemon.wait(20) == 0
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("fault", [sqs_stub.DENIED, sqs_stub.Fault("InvalidClientTokenId", 403)])
def test_a_start_without_permission_ends_with_one_line(stub: SqsStub, fault: Fault) -> None:
    stub.make(NAME)
    stub.fail(fault)
    _ends_with_one_line(daemon_on(stub.url, NAME, "http://127.0.0.1:1/"))


@pytest.mark.parametrize(
    ("code", "words"),
    [("KMS.AccessDeniedException", "allow kms:Decrypt"), ("KMS.DisabledException", "the key is disabled")],
)
def test_start_with_unusable_kms_key_names_kms_and_not_sqs_permissions(stub: SqsStub, code: str, words: str) -> None:
    stub.make(NAME)
    stub.fail(Fault(code), "ReceiveMessage")
    line = _ends_with_one_line(daemon_on(stub.url, NAME, "http://127.0.0.1:1/"))
    assert words in line
    assert "sqs:ReceiveMessage" not in line


def test_grouped_jobs_on_standard_queue_run_in_parallel(stub: SqsStub, receiver: Receiver) -> None:
    """On a standard queue a message group names a tenant (fair queues); it promises no order."""
    receiver.answer(lambda request, nth: Answer(delay=0.4))
    seconds = []
    with daemon_on(stub.url, NAME, receiver.url()) as daemon:
        daemon.wait_ready()
        for number, group in enumerate((None, "tenant-1")):
            began = time.monotonic()
            stub.push(NAME, jobs(12, first=12 * number + 1), group, is_fifo=False)
            eventually(lambda: not stub.messages(NAME), 30, daemon.output)
            seconds.append(time.monotonic() - began)
    figure(f"SQS, standard queue, 12 jobs of 0.4 s: {seconds[0]:.1f} s without a group, {seconds[1]:.1f} s with one")
    assert seconds[1] < max(2 * seconds[0], 3)


def test_a_start_without_credentials_ends_with_one_line(stub: SqsStub) -> None:
    daemon = daemon_on(stub.url, NAME, "http://127.0.0.1:1/", AWS_EC2_METADATA_DISABLED="true")
    for name in CREDENTIALS:
        del daemon.environment[name]
    daemon.environment["HOME"] = str(daemon.directory)
    assert "AWS_ACCESS_KEY_ID" in _ends_with_one_line(daemon)


def test_a_start_with_a_region_that_is_none_ends_with_one_line(stub: SqsStub) -> None:
    daemon = daemon_on(stub.url, NAME, "http://127.0.0.1:1/", QUEUE_SQS_REGION="no region!")
    assert "QUEUE_SQS_REGION" in _ends_with_one_line(daemon)


def test_a_daemon_that_starts_before_sqs_waits_for_it(receiver: Receiver) -> None:
    with SqsStub() as first:
        port_is_known = first.url
    with daemon_on(port_is_known, NAME, receiver.url()) as daemon:
        eventually(lambda: daemon.events("broker.lost"), 10)
        assert daemon.get("/readyz") == 503
        assert daemon.get("/livez") == 200


def _ends_with_one_line(daemon: DaemonProcess) -> str:
    with daemon:
        assert daemon.wait(20) == 3, daemon.output()
        [line] = daemon.stderr().splitlines()
        assert line.startswith("sockudo-queue: SQS: ")
        for value in CREDENTIALS.values():
            assert value not in daemon.output()
        return line
