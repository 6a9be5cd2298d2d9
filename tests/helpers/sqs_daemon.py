"""A daemon on an SQS queue, and the queue as its producer and its operator see it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.sqs_server import CREDENTIALS, REGION

_BATCH = 10


def daemon_on(url: str, name: str, *webhooks: str | Mapping[str, Any], **environment: str) -> DaemonProcess:
    """Return a daemon, not yet started, on the queue of this name; a URL stands for a webhook for all events."""
    hooks = [webhook(each) if isinstance(each, str) else dict(each) for each in webhooks]
    document = config(app(*hooks), queue={"redis": {"queue_name": name}})
    settings = {
        "QUEUE_DRIVER": "sqs",
        "QUEUE_SQS_REGION": REGION,
        "QUEUE_SQS_ENDPOINT_URL": url,
        "QUEUE_SQS_WAIT_TIME_SECONDS": "1",
        **CREDENTIALS,
    }
    return DaemonProcess(document, settings | environment)


class Producer:
    """Puts jobs on one queue like Sockudo 5: in batches of ten."""

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self.url = url

    def push(self, bodies: Sequence[bytes], groups: Sequence[str] = ()) -> None:
        """Send jobs; `groups` are those of a FIFO queue, one per job."""
        for first in range(0, len(bodies), _BATCH):
            entries: list[dict[str, Any]] = []
            for number, body in enumerate(bodies[first : first + _BATCH]):
                entry: dict[str, Any] = {"Id": f"job-{number}", "MessageBody": body.decode()}
                if groups:
                    entry |= {"MessageGroupId": groups[first + number], "MessageDeduplicationId": uuid.uuid4().hex}
                entries.append(entry)
            answer = self._client.send_message_batch(QueueUrl=self.url, Entries=entries)
            assert not answer.get("Failed"), answer

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    def dead_bodies(self) -> list[bytes]:
        """Return the bodies of the dead letters, and hide them for a while."""
        name = self.name.removesuffix(".fifo") + "-dead" + (".fifo" if self.name.endswith(".fifo") else "")
        url = self._client.get_queue_url(QueueName=name)["QueueUrl"]
        bodies: list[bytes] = []
        while messages := self._client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            bodies += [message["Body"].encode() for message in messages]
        return bodies

    def left(self) -> int:
        """Return the number of messages in any state."""
        names = [f"ApproximateNumberOfMessages{name}" for name in ("", "NotVisible", "Delayed")]
        answer = self._client.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)


def producer_for(client: Any, name: str) -> Producer:
    """Return a producer for an existing queue."""
    return Producer(client, client.get_queue_url(QueueName=name)["QueueUrl"])


def make_queue(client: Any, name: str, *, fifo: bool = False) -> Producer:
    """Create a queue as an operator does, and return a producer for it; `name` is without the suffix of FIFO queues."""
    attributes = {"FifoQueue": "true", "ContentBasedDeduplication": "true"} if fifo else {}
    return Producer(
        client, client.create_queue(QueueName=name + (".fifo" if fifo else ""), Attributes=attributes)["QueueUrl"]
    )
