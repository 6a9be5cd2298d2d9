"""Every setting of the daemon, in one place: names, defaults, units and bounds."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from sockudo_queue.redaction import Secret


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True)


class RedisSettings(_Group):
    """One Redis server and the lists on it."""

    host: str = "127.0.0.1"
    port: int = Field(6379, ge=1, le=65535)
    db: int = Field(0, ge=0)
    username: str | None = None
    password: Secret | None = None
    url: Secret | None = None  # wins over all of the above
    prefix: str = "sockudo_queue:"
    queue_name: str = "webhooks"
    delivery: Literal["at-least-once", "at-most-once"] = "at-least-once"
    response_timeout_ms: int = Field(5_000, ge=10)


class ReliabilitySettings(_Group):
    """Leases and what is kept; the names are Sockudo 5's where they mean the same."""

    max_attempts: int = Field(5, ge=1)  # claims of a record that lapsed, before it is buried as worker-lost
    lease_duration_ms: int = Field(30_000, ge=100)
    lease_renew_interval_ms: int = Field(10_000, ge=10)
    failed_retention: int = Field(10_000, ge=0)
    shutdown_timeout_ms: int = Field(25_000, ge=0)


class RetrySettings(_Group):
    """Sockudo's `webhooks.retry`, and the jitter of its queue."""

    enabled: bool = True
    max_attempts: int | None = Field(None, ge=0)
    max_elapsed_time_ms: int = Field(300_000, ge=0)
    initial_backoff_ms: int = Field(1_000, ge=1)
    max_backoff_ms: int = Field(60_000, ge=1)
    jitter: float = Field(0.2, ge=0, le=1)


class DeliverySettings(_Group):
    """How endpoints are called and kept apart."""

    request_timeout_ms: int = Field(10_000, ge=1)
    slow_ms: int = Field(100, ge=1)
    max_slow: int = Field(32, ge=0)
    max_response_bytes: int = Field(16_384, ge=0)
    retry_every_status: bool = False
    breaker_failures: int = Field(10, ge=1)
    breaker_open_ms: int = Field(5_000, ge=1)
    breaker_max_open_ms: int = Field(60_000, ge=1)
    use_environment_proxy: bool = False
    ca_file: str | None = None


class MetricsSettings(_Group):
    """Where `/metrics`, `/livez` and `/readyz` are served; port 0 takes any free port."""

    enabled: bool = True
    host: str = "0.0.0.0"  # noqa: S104 - a scraper comes from another host
    port: int = Field(9602, ge=0, le=65535)


class LoggingSettings(_Group):
    """Log output on standard output."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "pretty"] = "auto"


class Settings(_Group):
    """All of it."""

    driver: Literal["redis", "redis-cluster", "sqs", "memory", "none"] = "redis"
    workers: int = Field(5, ge=1, le=1024)
    redis: RedisSettings = RedisSettings()
    reliability: ReliabilitySettings = ReliabilitySettings()
    retry: RetrySettings = RetrySettings()
    delivery: DeliverySettings = DeliverySettings()
    metrics: MetricsSettings = MetricsSettings()
    logging: LoggingSettings = LoggingSettings()
