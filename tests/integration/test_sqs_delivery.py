"""The daemon on a real SQS: jobs go in as Sockudo sends them, webhooks come out, and nothing stays in the queue."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.helpers.commands import run_process
from tests.helpers.configs import webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import event, job, jobs, numbers
from tests.helpers.receiver import Answer, Receiver
from tests.helpers.sqs_daemon import Producer, daemon_on, make_queue, producer_for
from tests.helpers.sqs_server import SqsServer, unused_name
from tests.helpers.waiting import eventually

QUICK = {"initial_backoff_ms": 100, "max_backoff_ms": 100, "max_attempts": 3}


@pytest.fixture(params=["standard", "fifo"])
def fifo(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "fifo")


@pytest.fixture
def producer(sqs_server: SqsServer, fifo: bool) -> Producer:
    return make_queue(sqs_server.client, unused_name(), fifo=fifo)


@pytest.fixture
def daemon(sqs_server: SqsServer, producer: Producer, receiver: Receiver, fifo: bool) -> Iterator[DaemonProcess]:
    name = producer.name.removesuffix(".fifo")
    hook = webhook(receiver.url(), name="hook", retry=QUICK)
    with daemon_on(sqs_server.url, name, hook, QUEUE_SQS_FIFO=str(fifo).lower()) as started:
        yield started.wait_ready(30)


def dead_letters(daemon: DaemonProcess, *arguments: str) -> list[dict[str, object]]:
    """Run the tool as a person does, and return the lines that it wrote."""
    command = ("dead-letters", *arguments, "--json", "--config", str(daemon.config_path))
    ran = run_process(*command, environment=daemon.environment)
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def test_queues_are_made_and_jobs_are_delivered_and_gone(sqs_server: SqsServer, receiver: Receiver) -> None:
    name = unused_name()
    with daemon_on(sqs_server.url, name, receiver.url(), QUEUE_HISTORY="all") as daemon:
        daemon.wait_ready(30)
        producer = producer_for(sqs_server.client, name)
        producer.push(jobs(25))
        requests = receiver.wait_for(25, 20)
        assert sorted(number for request in requests for number in numbers(request.body)) == list(range(1, 26))
        eventually(lambda: producer.left() == 0, 10, daemon.output)
        eventually(lambda: daemon.metric("sockudo_queue_settlements_total", outcome="completed") == 25)
        eventually(lambda: daemon.metric("sockudo_queue_history_entries_written_total") == 25)
        daemon.terminate()
        assert daemon.wait() == 0, daemon.output()
    made = sqs_server.client.get_queue_attributes(QueueUrl=producer.url, AttributeNames=["All"])["Attributes"]
    assert made["VisibilityTimeout"] == "30"
    assert made["SqsManagedSseEnabled"] == "true"
    assert json.loads(made["RedrivePolicy"])["maxReceiveCount"] in (1000, "1000")
    assert json.loads(made["RedrivePolicy"])["deadLetterTargetArn"].endswith(f":{name}-dead")


def test_jobs_of_every_version_and_through_sns_are_delivered(
    daemon: DaemonProcess, producer: Producer, receiver: Receiver, fifo: bool
) -> None:
    with_id = job(1)[:-1] + b',"job_id":"4f1d8e6fcb3a4c0b9a6f9d2f6a1e7c55"}'
    through_sns = json.dumps({"Type": "Notification", "TopicArn": "arn:aws:sns:x:1:t", "Message": job(3).decode()})
    bodies = [with_id, job(2), through_sns.encode()]
    producer.push(bodies, ["one"] * 3 if fifo else ())
    requests = receiver.wait_for(3, 20)

    ids = {number: request.headers["x-sockudo-job-id"] for request in requests for number in numbers(request.body)}
    assert ids[1] == "4f1d8e6fcb3a4c0b9a6f9d2f6a1e7c55"
    assert len(set(ids.values())) == 3
    eventually(lambda: producer.left() == 0, 10)


def test_unreadable_jobs_are_kept_byte_for_byte_and_block_no_other(
    daemon: DaemonProcess, producer: Producer, receiver: Receiver, fifo: bool
) -> None:
    pid = daemon.pid
    rubbish = [b"hello", b"[]", b"null", b'{"events": 5}', b"x" * 262_144, " \u20ac\t\U0001f600\r\n".encode()]
    bodies = [*rubbish, job(7)]
    producer.push(bodies, ["one"] * len(bodies) if fifo else ())
    [request] = receiver.wait_for(1, 20)

    assert numbers(request.body) == [7]
    eventually(lambda: producer.left() == 0, 10)
    assert daemon.metric("sockudo_webhook_dead_letters_total", reason="unreadable") == len(rubbish)
    assert daemon.running
    assert daemon.pid == pid
    kept = producer.dead_bodies()
    assert sorted(kept) == sorted(rubbish)
    assert not any(body.decode() in daemon.output() for body in rubbish[3:])


def test_failed_webhooks_come_again_alone_and_can_be_replayed_again_and_again(
    sqs_server: SqsServer, receiver: Receiver, producer: Producer, fifo: bool
) -> None:
    """Two webhooks of one job: one is delivered once, the other dies twice, and is delivered by its second replay.

    SQS would take a second replay for a repetition of the first, if both had the id of the job.
    """
    dead = "sockudo_webhook_dead_letters_total"
    with Receiver() as failing:
        failing.always(500)
        hooks = [webhook(receiver.url(), name="good", retry=QUICK), webhook(failing.url(), name="bad", retry=QUICK)]
        name = producer.name.removesuffix(".fifo")
        with daemon_on(sqs_server.url, name, *hooks, QUEUE_SQS_FIFO=str(fifo).lower()) as daemon:
            daemon.wait_ready(30)
            producer.push([job(5)], ["one"] if fifo else ())
            eventually(lambda: daemon.metric(dead, reason="exhausted") == 1, 20)
            [letter] = dead_letters(daemon, "list")
            assert letter["webhook"] == "bad"
            dead_letters(daemon, "replay", "--all")
            eventually(lambda: daemon.metric(dead, reason="exhausted") == 2, 20)
            failing.answer(lambda _request, _nth: Answer(200))
            dead_letters(daemon, "replay", "--all")
            failing.wait_for(7, 20)
            eventually(lambda: producer.left() == 0, 10)

    assert receiver.count == 1
    assert [request.headers["x-sockudo-attempt"] for request in failing.requests] == ["1", "2", "3", "1", "2", "3", "1"]
    assert len({request.headers["x-sockudo-job-id"] for request in failing.requests}) == 1
    assert producer.dead_bodies() == []


def test_job_with_an_unmatched_event_type_is_acked(daemon: DaemonProcess, producer: Producer, fifo: bool) -> None:
    producer.push([job(events=[event(name="nobody_wants_this")])], ["one"] if fifo else ())
    eventually(lambda: daemon.metric("sockudo_queue_settlements_total", outcome="completed") == 1, 10)
    eventually(lambda: producer.left() == 0, 10)
