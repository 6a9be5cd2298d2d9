"""One receive, from the job queue or from the dead-letter queue."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sockudo_queue.drivers.sqs.client import QueueMissing, SqsClient
from sockudo_queue.drivers.sqs.messages import SYSTEM_ATTRIBUTES, ReceivedMessage, received
from sockudo_queue.drivers.sqs.queues import QueueFinder, QueuePair, SqsQueue
from sockudo_queue.errors import BrokerUnavailable


def receive(
    client: SqsClient,
    queues: QueueFinder,
    which: Callable[[QueuePair], SqsQueue],
    *,
    max_messages: int,
    wait_seconds: int,
    visibility_seconds: int,
) -> list[ReceivedMessage]:
    """Receive once, with a long poll of `wait_seconds`; malformed messages are left out. Raises `BrokerError`."""
    try:
        answer = client.call(
            "receive_message",
            QueueUrl=which(queues.pair()).url,
            MaxNumberOfMessages=max_messages,
            WaitTimeSeconds=wait_seconds,
            VisibilityTimeout=visibility_seconds,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=SYSTEM_ATTRIBUTES,
        )
    except QueueMissing:
        queues.forget()
        raise
    messages = answer.get("Messages") or ()
    if not isinstance(messages, Sequence):
        raise BrokerUnavailable("SQS: the response to a receive contains no list of messages")
    return [each for each in map(received, messages) if each is not None]
