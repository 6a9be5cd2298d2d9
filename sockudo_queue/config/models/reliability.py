"""Settings of leases, retention, stopping and retries."""

from typing import Annotated

from pydantic import Field

from sockudo_queue.config.models.group import DAY_MS, SettingInfo, SettingsGroup
from sockudo_queue.config.values import Boolean, Fraction, Whole


class ReliabilitySettings(SettingsGroup):
    """Leases and retention. The names are those of Sockudo 5 where the meaning is the same."""

    max_attempts: Annotated[
        Whole,
        SettingInfo(
            "queue.reliability.max_attempts",
            "QUEUE_MAX_ATTEMPTS",
            "Number of claims of a job that may end with a lost worker before the job becomes a dead letter. Attempts "
            "at an endpoint are not counted here.",
        ),
    ] = Field(5, ge=1, le=1_000)
    lease_duration_ms: Annotated[
        Whole,
        SettingInfo(
            "queue.reliability.lease_duration_ms",
            "QUEUE_LEASE_DURATION_MS",
            "Time after which a claim that is not renewed goes to another worker.",
        ),
    ] = Field(30_000, ge=100, le=DAY_MS)
    lease_renew_interval_ms: Annotated[
        Whole,
        SettingInfo(
            "queue.reliability.lease_renew_interval_ms",
            "QUEUE_LEASE_RENEW_INTERVAL_MS",
            "Interval between renewals; must be shorter than the lease.",
        ),
    ] = Field(10_000, ge=10, le=DAY_MS)
    failed_retention: Annotated[
        Whole,
        SettingInfo(
            "queue.reliability.failed_retention",
            "QUEUE_FAILED_RETENTION",
            "Maximum number of dead letters. Above it, the oldest is dropped and counted.",
        ),
    ] = Field(10_000, ge=0)
    completed_retention: Annotated[
        Whole,
        SettingInfo(
            "queue.reliability.completed_retention",
            "QUEUE_COMPLETED_RETENTION",
            "Number of delivered jobs that Queue V2 keeps to recognise a job that a producer enqueues twice.",
        ),
    ] = Field(1_000, ge=0)
    event_retention: Annotated[
        Whole,
        SettingInfo(
            "queue.reliability.event_retention",
            "QUEUE_EVENT_RETENTION",
            "Number of entries that Queue V2 keeps in its event stream, if Sockudo keeps one.",
        ),
    ] = Field(10_000, ge=0)
    failed_max_age_ms: Annotated[
        Whole,
        SettingInfo(
            "queue.reliability.failed_max_age_ms",
            "QUEUE_FAILED_MAX_AGE_MS",
            "Age at which a dead letter is dropped and counted. 0 means no age limit.",
            example="2592000000",
        ),
    ] = Field(0, ge=0, le=3_650 * DAY_MS)
    shutdown_timeout_ms: Annotated[
        Whole,
        SettingInfo(
            "queue.reliability.shutdown_timeout_ms",
            "QUEUE_SHUTDOWN_TIMEOUT_MS",
            "Time for deliveries in flight to finish after SIGTERM. Unfinished ones go back to the queue. Set the "
            "supervisor's grace period 5 s longer.",
        ),
    ] = Field(25_000, ge=0, le=DAY_MS)
    memory_capacity: Annotated[
        Whole,
        SettingInfo(
            "queue.reliability.memory_capacity",
            "QUEUE_MEMORY_CAPACITY",
            "Maximum number of jobs in the memory driver, in all states. Above it, the oldest ready job is dropped "
            "and counted.",
        ),
    ] = Field(100_000, ge=1)


class RetrySettings(SettingsGroup):
    """Sockudo's `webhooks.retry`, and the jitter of its queue."""

    enabled: Annotated[
        Boolean, SettingInfo("webhooks.retry.enabled", "QUEUE_DELIVERY_RETRY_ENABLED", "Retry failed attempts.")
    ] = True
    max_attempts: Annotated[
        Whole | None,
        SettingInfo(
            "webhooks.retry.max_attempts",
            "QUEUE_DELIVERY_RETRY_MAX_ATTEMPTS",
            "Maximum number of attempts per webhook, including the first. If unset, only the time is limited.",
            example="6",
        ),
    ] = Field(None, ge=0)
    max_elapsed_time_ms: Annotated[
        Whole,
        SettingInfo(
            "webhooks.retry.max_elapsed_time_ms",
            "QUEUE_DELIVERY_RETRY_MAX_ELAPSED_TIME_MS",
            "Time after the first attempt within which the last one must start.",
        ),
    ] = Field(300_000, ge=0)
    initial_backoff_ms: Annotated[
        Whole,
        SettingInfo(
            "webhooks.retry.initial_backoff_ms",
            "QUEUE_DELIVERY_RETRY_INITIAL_BACKOFF_MS",
            "Delay before the second attempt. It doubles with each further attempt.",
        ),
    ] = Field(1_000, ge=0)
    max_backoff_ms: Annotated[
        Whole,
        SettingInfo(
            "webhooks.retry.max_backoff_ms",
            "QUEUE_DELIVERY_RETRY_MAX_BACKOFF_MS",
            "Maximum delay between two attempts.",
        ),
    ] = Field(60_000, ge=0)
    jitter: Annotated[
        Fraction,
        SettingInfo(
            "queue.reliability.retry_jitter",
            "QUEUE_RETRY_JITTER",
            "Random variation of each delay, as a fraction from 0 to 1.",
        ),
    ] = Field(0.2, ge=0, le=1)
