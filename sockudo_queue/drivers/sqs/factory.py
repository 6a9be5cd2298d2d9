"""Builds the driver for SQS from the settings."""

from __future__ import annotations

from sockudo_queue.config import Settings
from sockudo_queue.drivers.sqs.client import SqsClient
from sockudo_queue.drivers.sqs.driver import SqsDriver
from sockudo_queue.drivers.sqs.queues import QueueFinder
from sockudo_queue.drivers.sqs.region import region_for


def region_of(settings: Settings) -> str:
    """Return the region to call. Raises `SettingsError` if the settings contradict each other."""
    sqs = settings.sqs
    return region_for(sqs.region, sqs.queue_url_prefix, sqs.endpoint_url, is_set="region" in sqs.model_fields_set)


def make_sqs_driver(settings: Settings) -> SqsDriver:
    """Return the driver for the configured queues, not yet connected. Raises `SettingsError`."""
    sqs = settings.sqs
    client = SqsClient(
        region=region_of(settings),
        endpoint_url=sqs.endpoint_url,
        slots=settings.workers,
        wait_seconds=sqs.wait_time_seconds,
    )
    queues = QueueFinder(
        client,
        settings.redis.queue_name,
        fifo=sqs.fifo,
        url_prefix=sqs.queue_url_prefix,
        visibility_seconds=sqs.visibility_timeout,
    )
    return SqsDriver(
        client,
        queues,
        fifo=sqs.fifo,
        group=sqs.message_group_id,
        visibility_seconds=sqs.visibility_timeout,
        max_messages=sqs.max_messages,
        wait_seconds=sqs.wait_time_seconds,
        concurrency=settings.workers,
    )
