"""Settings that bound jobs, webhooks and apps."""

from typing import Annotated

from pydantic import Field

from sockudo_queue.config.models.group import DAY_MS, SettingInfo, SettingsGroup
from sockudo_queue.config.values import Whole
from sockudo_queue.core.ceilings import DEFAULTS, Ceilings


class LimitsSettings(SettingsGroup):
    """Limits of jobs and apps; `core/ceilings.py` explains the defaults."""

    job_bytes: Annotated[
        Whole,
        SettingInfo(
            "queue.limits.job_bytes", "QUEUE_LIMITS_JOB_BYTES", "Size of a job. Above it: dead letter `unreadable`."
        ),
    ] = Field(DEFAULTS.job_bytes, ge=1_000, le=20_000_000)
    job_events: Annotated[
        Whole,
        SettingInfo(
            "queue.limits.job_events",
            "QUEUE_LIMITS_JOB_EVENTS",
            "Number of events of a job. Above it: dead letter `unreadable`.",
        ),
    ] = Field(DEFAULTS.job_events, ge=1, le=50_000)
    channel_bytes: Annotated[
        Whole,
        SettingInfo(
            "queue.limits.channel_bytes",
            "QUEUE_LIMITS_CHANNEL_BYTES",
            "Length of a channel name in a job. Above it: dead letter `unreadable`.",
        ),
    ] = Field(DEFAULTS.channel_bytes, ge=1, le=65_536)
    in_flight_bytes: Annotated[
        Whole,
        SettingInfo(
            "queue.limits.in_flight_bytes",
            "QUEUE_LIMITS_IN_FLIGHT_BYTES",
            "Total size of large jobs (above 256 KB) in flight; they need four times as much memory. One large job is "
            "always allowed. An app above its fair share leaves a quarter to other apps. Above it: the job waits, "
            "which does not count as an attempt.",
        ),
    ] = Field(DEFAULTS.in_flight_bytes, ge=1_000_000)
    webhooks_per_app: Annotated[
        Whole,
        SettingInfo(
            "queue.limits.webhooks_per_app",
            "QUEUE_LIMITS_WEBHOOKS_PER_APP",
            "Number of webhooks of an app. Above it: further webhooks in the list are invalid. Above twice the "
            "number: the whole app exceeds its limit.",
        ),
    ] = Field(DEFAULTS.webhooks_per_app, ge=1, le=20_000)
    app_bytes: Annotated[
        Whole,
        SettingInfo(
            "queue.limits.app_bytes",
            "QUEUE_LIMITS_APP_BYTES",
            "Size of an app's `policy` or `webhooks` in a database. Above it: the whole app exceeds its limit.",
        ),
    ] = Field(DEFAULTS.app_bytes, ge=1_000, le=16_000_000)
    app_cache_bytes: Annotated[
        Whole,
        SettingInfo(
            "queue.limits.app_cache_bytes",
            "QUEUE_LIMITS_APP_CACHE_BYTES",
            "Total size of cached database rows of apps; they need about five times as much memory. Above it: the "
            "least recently used ones are dropped, and read again when needed.",
        ),
    ] = Field(DEFAULTS.app_cache_bytes, ge=1_000_000)
    pattern_kib: Annotated[
        Whole,
        SettingInfo(
            "queue.limits.pattern_kib",
            "QUEUE_LIMITS_PATTERN_KIB",
            "Compiled size of a `channel_pattern`, estimated from its text: 1 KiB per character, 4 per `.`, 16 per "
            "`\\d`, 64 per `\\w`, times its repetitions. Above it: the webhook is invalid.",
        ),
    ] = Field(DEFAULTS.pattern_kib, ge=64, le=32_768)
    app_patterns_kib: Annotated[
        Whole,
        SettingInfo(
            "queue.limits.app_patterns_kib",
            "QUEUE_LIMITS_APP_PATTERNS_KIB",
            "The same, for all distinct patterns of an app together. Above it: webhooks with further patterns are "
            "invalid.",
        ),
    ] = Field(DEFAULTS.app_patterns_kib, ge=64)
    pattern_cache_kib: Annotated[
        Whole,
        SettingInfo(
            "queue.limits.pattern_cache_kib",
            "QUEUE_LIMITS_PATTERN_CACHE_KIB",
            "The same, for all patterns in the cache of compiled patterns. Above it: the oldest is removed, and "
            "compiled again when it is used.",
        ),
    ] = Field(DEFAULTS.pattern_cache_kib, ge=64)
    header_bytes: Annotated[
        Whole,
        SettingInfo(
            "queue.limits.header_bytes",
            "QUEUE_LIMITS_HEADER_BYTES",
            "Total size of the names and values of a webhook's headers. Above it: the webhook is invalid.",
        ),
    ] = Field(DEFAULTS.header_bytes, ge=0, le=1_000_000)
    request_timeout_ms: Annotated[
        Whole,
        SettingInfo(
            "queue.limits.request_timeout_ms",
            "QUEUE_LIMITS_REQUEST_TIMEOUT_MS",
            "Maximum `request_timeout_ms` of a webhook. The daemon's own value is allowed even if it is larger. Above "
            "it: the webhook is invalid.",
        ),
    ] = Field(DEFAULTS.request_timeout_ms, ge=1, le=DAY_MS)
    retry_elapsed_time_ms: Annotated[
        Whole,
        SettingInfo(
            "queue.limits.retry_elapsed_time_ms",
            "QUEUE_LIMITS_RETRY_ELAPSED_TIME_MS",
            "Maximum `retry.max_elapsed_time_ms` of a webhook. The daemon's own value is allowed even if it is "
            "larger. Above it: the webhook is invalid.",
        ),
    ] = Field(DEFAULTS.retry_elapsed_time_ms, ge=0, le=30 * DAY_MS)
    retry_backoff_ms: Annotated[
        Whole,
        SettingInfo(
            "queue.limits.retry_backoff_ms",
            "QUEUE_LIMITS_RETRY_BACKOFF_MS",
            "Minimum `retry.initial_backoff_ms` and `retry.max_backoff_ms` of a webhook. The daemon's own value is "
            "allowed even if it is smaller. Smaller values of a webhook are raised to it.",
        ),
    ] = Field(DEFAULTS.retry_backoff_ms, ge=1, le=DAY_MS)

    def ceilings(self) -> Ceilings:
        """Return them as the value that the rest of the program knows."""
        return Ceilings(**self.model_dump())
