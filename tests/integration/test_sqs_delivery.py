"""The daemon on a real SQS: jobs go in as Sockudo sends them, webhooks come out."""

from __future__ import annotations

from tests.helpers.jobs import jobs, numbers
from tests.helpers.receiver import Receiver
from tests.helpers.sqs_daemon import daemon_on, producer_for
from tests.helpers.sqs_server import SqsServer, unused_name
from tests.helpers.waiting import eventually


def test_jobs_are_delivered_and_gone(sqs_server: SqsServer, receiver: Receiver) -> None:
    name = unused_name()
    with daemon_on(sqs_server.url, name, receiver.url()) as daemon:
        daemon.wait_ready(20)
        producer = producer_for(sqs_server.client, name)
        producer.push(jobs(25))
        requests = receiver.wait_for(25, 20)
        assert sorted(number for request in requests for number in numbers(request.body)) == list(range(1, 26))
        eventually(lambda: producer.left() == 0, 10, daemon.output)
        eventually(lambda: daemon.metric("sockudo_queue_settled_total", outcome="completed") == 25)
        daemon.terminate()
        assert daemon.wait() == 0, daemon.output()
