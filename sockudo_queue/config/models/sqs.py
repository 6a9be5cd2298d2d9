"""Settings of Amazon SQS."""

from typing import Annotated

from pydantic import Field

from sockudo_queue.config.models.group import MAX_WORKERS, SettingInfo, SettingsGroup
from sockudo_queue.config.values import Boolean, HttpUrl, Name, Whole


class SqsSettings(SettingsGroup):
    """Amazon SQS; the bounds are Amazon's."""

    region: Annotated[Name, SettingInfo("queue.sqs.region", "QUEUE_SQS_REGION", "AWS region.")] = "us-east-1"
    queue_url_prefix: Annotated[
        HttpUrl | None,
        SettingInfo(
            "queue.sqs.queue_url_prefix",
            None,
            "Prefix of the queue's URL, ending in a slash. The queue's name is appended, and no look-up is made.",
            example="https://sqs.us-east-1.amazonaws.com/123456789012/",
        ),
    ] = None
    endpoint_url: Annotated[
        HttpUrl | None,
        SettingInfo(
            "queue.sqs.endpoint_url",
            "QUEUE_SQS_ENDPOINT_URL",
            "URL of another service with the SQS API.",
            example="http://localhost:4566",
        ),
    ] = None
    visibility_timeout: Annotated[
        Whole,
        SettingInfo(
            "queue.sqs.visibility_timeout",
            "QUEUE_SQS_VISIBILITY_TIMEOUT",
            "Time for which a received message is hidden from other consumers. Renewed every third of this time while "
            "the message is held.",
        ),
    ] = Field(30, ge=1, le=43_200)
    max_messages: Annotated[
        Whole,
        SettingInfo("queue.sqs.max_messages", "QUEUE_SQS_MAX_MESSAGES", "Maximum number of messages per receive call."),
    ] = Field(10, ge=1, le=10)
    wait_time_seconds: Annotated[
        Whole,
        SettingInfo(
            "queue.sqs.wait_time_seconds",
            "QUEUE_SQS_WAIT_TIME_SECONDS",
            "Time for which a receive call waits for messages.",
        ),
    ] = Field(5, ge=0, le=20)
    concurrency: Annotated[
        Whole | None,
        SettingInfo("queue.sqs.concurrency", "QUEUE_SQS_CONCURRENCY", "As for one Redis server.", example="5"),
    ] = Field(None, ge=0, le=MAX_WORKERS)
    fifo: Annotated[
        Boolean,
        SettingInfo("queue.sqs.fifo", "QUEUE_SQS_FIFO", "The queue is a FIFO queue, and its name ends in `.fifo`."),
    ] = False
    message_group_id: Annotated[
        Name,
        SettingInfo("queue.sqs.message_group_id", None, "Message group of messages that are sent to a FIFO queue."),
    ] = "default"
