"""The values that settings have once they are read: names, defaults, units and bounds.

Sockudo's own names and defaults are kept where it has the option. What an option is called in a file and in the
environment stands in `options.py`.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from sockudo_queue.config.values import (
    AddressMapping,
    AlertUrl,
    AppsDriver,
    Boolean,
    Fraction,
    Host,
    HttpUrl,
    Lower,
    MysqlTable,
    Name,
    Network,
    Node,
    Port,
    PostgresTable,
    Prefix,
    RedisUrl,
    SecretText,
    SigningSecret,
    Texts,
    Whole,
)
from sockudo_queue.core.ceilings import DEFAULTS, Ceilings
from sockudo_queue.core.ports import METRICS_PORT, REDIS_PORT
from sockudo_queue.core.secret import Secret

# Bounds that keep a slip (seconds for milliseconds, a digit too many) from becoming a wait without end.
DAY_MS: Final = 86_400_000
MAX_WORKERS: Final = 1_024


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True, extra="forbid")


class TlsSettings(_Group):
    """TLS to a Redis server."""

    enabled: Boolean = False
    accept_invalid_certs: Boolean = False
    ca_path: Name | None = None
    client_cert_path: Name | None = None
    client_key_path: Name | None = None


class SentinelNode(_Group):
    """One Sentinel."""

    host: Host
    port: Whole = Field(26_379, ge=1, le=65_535)


class SentinelSettings(_Group):
    """The Sentinels that know the Redis master; none means no Sentinel."""

    nodes: tuple[SentinelNode, ...] = ()
    name: Name = "mymaster"
    username: Name | None = None
    password: SecretText | None = None
    tls: TlsSettings = TlsSettings()


class RedisSettings(_Group):
    """One Redis server and the lists on it."""

    host: Host = "127.0.0.1"
    port: Whole = Field(REDIS_PORT, ge=1, le=65_535)
    db: Whole = Field(0, ge=0, le=1_000_000)
    username: Name | None = None
    password: SecretText | None = None
    url: RedisUrl | None = None  # wins over all of the above, and over Sentinel
    prefix: Prefix = "sockudo_queue:"
    queue_name: Name = "webhooks"
    concurrency: Whole | None = Field(None, ge=0, le=MAX_WORKERS)  # Sockudo's; `Settings.workers` is what counts
    delivery: Annotated[Literal["at-least-once", "at-most-once"], Lower] = "at-least-once"
    response_timeout_ms: Whole = Field(5_000, ge=10, le=DAY_MS)
    tls_check_hostname: Boolean = True  # for every TLS connection to Redis, on every layout


class RedisClusterSettings(_Group):
    """A Redis cluster; user and password are for nodes whose URL holds none."""

    nodes: Annotated[tuple[Node, ...], Texts] = (Secret("redis://127.0.0.1:6379"),)
    username: Name | None = None
    password: SecretText | None = None
    use_tls: Boolean = False
    address_map: Annotated[tuple[AddressMapping, ...], Texts] = ()
    prefix: Prefix = "sockudo_queue:"
    concurrency: Whole | None = Field(None, ge=0, le=MAX_WORKERS)
    request_timeout_ms: Whole = Field(5_000, ge=10, le=DAY_MS)


class SqsSettings(_Group):
    """Amazon SQS; the bounds are Amazon's."""

    region: Name = "us-east-1"
    queue_url_prefix: HttpUrl | None = None
    endpoint_url: HttpUrl | None = None
    visibility_timeout: Whole = Field(30, ge=1, le=43_200)
    max_messages: Whole = Field(10, ge=1, le=10)
    wait_time_seconds: Whole = Field(5, ge=0, le=20)
    concurrency: Whole | None = Field(None, ge=0, le=MAX_WORKERS)
    fifo: Boolean = False
    message_group_id: Name = "default"


class AppsSettings(_Group):
    """Which store Sockudo keeps its apps in, and how long what was read there counts."""

    driver: Annotated[Literal["memory", "mysql", "pgsql", "dynamodb", "scylladb", "surrealdb"], AppsDriver] = "memory"
    cache_enabled: Boolean = True
    cache_ttl: Whole = Field(300, ge=0, le=86_400)  # seconds
    cache_capacity: Whole = Field(20_000, ge=100, le=1_000_000)


class DatabaseSettings(_Group):
    """A database with a table of apps. Sockudo has one structure, and so one set of defaults, for both kinds."""

    host: Host = "localhost"
    port: Whole = Field(3_306, ge=1, le=65_535)
    username: Name = "root"
    password: SecretText | None = None
    database: Name = "sockudo"
    table_name: str = "applications"
    ssl_mode: Annotated[Literal["prefer", "disable", "require", "verify-full"], Lower] = "prefer"
    ssl_ca: Name | None = None
    allow_cleartext_password: Boolean = False


class MysqlSettings(DatabaseSettings):
    """MySQL or MariaDB."""

    table_name: MysqlTable = "applications"


class PostgresSettings(DatabaseSettings):
    """PostgreSQL."""

    table_name: PostgresTable = "applications"


class DynamodbSettings(_Group):
    """Amazon DynamoDB; without keys here the credentials are looked for where every AWS client does."""

    region: Name = "us-east-1"
    table_name: Name = "sockudo-applications"
    endpoint_url: HttpUrl | None = None
    aws_access_key_id: SecretText | None = None
    aws_secret_access_key: SecretText | None = None
    aws_session_token: SecretText | None = None
    aws_profile_name: Name | None = None


class ReliabilitySettings(_Group):
    """Leases and what is kept; the names are Sockudo 5's where they mean the same."""

    max_attempts: Whole = Field(5, ge=1, le=1_000)  # lapsed claims of a record, before it is buried as worker-lost
    lease_duration_ms: Whole = Field(30_000, ge=100, le=DAY_MS)
    lease_renew_interval_ms: Whole = Field(10_000, ge=10, le=DAY_MS)
    failed_retention: Whole = Field(10_000, ge=0)
    completed_retention: Whole = Field(1_000, ge=0)
    event_retention: Whole = Field(10_000, ge=0)
    failed_max_age_ms: Whole = Field(0, ge=0, le=3_650 * DAY_MS)  # 0: for as long as there is room
    shutdown_timeout_ms: Whole = Field(25_000, ge=0, le=DAY_MS)
    memory_capacity: Whole = Field(100_000, ge=1)


class MemorySettings(_Group):
    """The memory driver: where it takes jobs (port 0 takes any free port), and the bytes that it holds."""

    max_bytes: Whole = Field(256_000_000, ge=1_000_000)
    ingress_host: Host = "127.0.0.1"  # it asks nobody who they are
    ingress_port: Whole = Field(9_603, ge=0, le=65_535)


class RetrySettings(_Group):
    """Sockudo's `webhooks.retry`, and the jitter of its queue."""

    enabled: Boolean = True
    max_attempts: Whole | None = Field(None, ge=0)  # every try counts; 0 acts like 1
    max_elapsed_time_ms: Whole = Field(300_000, ge=0)
    initial_backoff_ms: Whole = Field(1_000, ge=0)  # 0 acts like 1, here and below
    max_backoff_ms: Whole = Field(60_000, ge=0)
    jitter: Fraction = Field(0.2, ge=0, le=1)


class DeliverySettings(_Group):
    """How endpoints are called and kept apart."""

    request_timeout_ms: Whole = Field(10_000, ge=1, le=DAY_MS)
    slow_ms: Whole = Field(100, ge=1, le=DAY_MS)
    max_slow: Whole = Field(32, ge=0, le=MAX_WORKERS)
    max_response_bytes: Whole = Field(16_384, ge=0, le=1_048_576)
    retry_every_status: Boolean = False
    breaker_failures: Whole = Field(10, ge=1)
    breaker_open_ms: Whole = Field(5_000, ge=1, le=DAY_MS)
    breaker_max_open_ms: Whole = Field(60_000, ge=1, le=DAY_MS)
    use_environment_proxy: Boolean = False
    trace_baggage: Boolean = False
    ca_file: Name | None = None
    client_cert_file: Name | None = None
    client_key_file: Name | None = None  # None: the key is in the certificate's file
    guard: Boolean = True
    private: Annotated[Literal["allow", "deny"], Lower] = "allow"
    allowed_networks: Annotated[tuple[Network, ...], Texts] = ()
    denied_networks: Annotated[tuple[Network, ...], Texts] = ()
    allowed_ports: Annotated[tuple[Port, ...], Texts] = ()
    denied_ports: Annotated[tuple[Port, ...], Texts] = ()
    allowed_functions: Annotated[tuple[Name, ...], Texts] = ()

    @property
    def invocable_functions(self) -> tuple[str, ...]:
        """The Lambda functions that may be invoked, with `*` for any text."""
        return self.allowed_functions or (() if self.private == "deny" else ("*",))


class LimitsSettings(_Group):
    """The most that a job, or the owner of an app, may ask for; `core/ceilings.py` says why the defaults are these."""

    job_bytes: Whole = Field(DEFAULTS.job_bytes, ge=1_000, le=20_000_000)  # Redis scripts return no more
    job_events: Whole = Field(DEFAULTS.job_events, ge=1, le=50_000)
    channel_bytes: Whole = Field(DEFAULTS.channel_bytes, ge=1, le=65_536)
    in_flight_bytes: Whole = Field(DEFAULTS.in_flight_bytes, ge=1_000_000)
    webhooks_per_app: Whole = Field(DEFAULTS.webhooks_per_app, ge=1, le=20_000)
    app_bytes: Whole = Field(DEFAULTS.app_bytes, ge=1_000, le=16_000_000)
    app_cache_bytes: Whole = Field(DEFAULTS.app_cache_bytes, ge=1_000_000)
    pattern_kib: Whole = Field(DEFAULTS.pattern_kib, ge=64, le=32_768)
    app_patterns_kib: Whole = Field(DEFAULTS.app_patterns_kib, ge=64)
    pattern_cache_kib: Whole = Field(DEFAULTS.pattern_cache_kib, ge=64)
    header_bytes: Whole = Field(DEFAULTS.header_bytes, ge=0, le=1_000_000)
    request_timeout_ms: Whole = Field(DEFAULTS.request_timeout_ms, ge=1, le=DAY_MS)
    retry_elapsed_time_ms: Whole = Field(DEFAULTS.retry_elapsed_time_ms, ge=0, le=30 * DAY_MS)
    retry_backoff_ms: Whole = Field(DEFAULTS.retry_backoff_ms, ge=1, le=DAY_MS)

    def ceilings(self) -> Ceilings:
        """Return them as the value that the rest of the program knows."""
        return Ceilings(**self.model_dump())


class HistorySettings(_Group):
    """What is kept of attempts at endpoints; `length` is the most entries of each form of the queue."""

    mode: Annotated[Literal["off", "failures", "all"], Lower] = "failures"
    length: Whole = Field(100_000, ge=100, le=10_000_000)
    channels: Boolean = True


class AlertSettings(_Group):
    """Where alerts about breakers, dead letters and losses are sent."""

    url: AlertUrl | None = None
    secret: SigningSecret | None = None
    reminder_ms: Whole = Field(600_000, ge=1_000, le=DAY_MS)


class MetricsSettings(_Group):
    """Where `/metrics`, `/livez`, `/readyz` and the status page are served; port 0 takes any free port."""

    enabled: Boolean = True
    status_page: Boolean = True
    host: Host = "0.0.0.0"  # noqa: S104 - a scraper comes from another host
    port: Whole = Field(METRICS_PORT, ge=0, le=65_535)
    username: Name = "sockudo-queue"
    password: SecretText | None = None  # with this or a token there is a login
    token: SecretText | None = None
    login_for_metrics: Boolean = True  # matters once there is a login; probes never want one
    tls_cert_file: Name | None = None
    tls_key_file: Name | None = None  # None: the key is in the certificate's file


class LoggingSettings(_Group):
    """Log output on standard output."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Lower] = "info"
    format: Annotated[Literal["auto", "json", "pretty"], Lower] = "auto"


class Settings(_Group):
    """All of it."""

    driver: Annotated[Literal["redis", "redis-cluster", "sqs", "memory", "none"], Lower] = "redis"
    workers: Whole = Field(5, ge=1, le=MAX_WORKERS)
    one_core: Boolean = True
    redis: RedisSettings = RedisSettings()
    master_tls: TlsSettings = TlsSettings()
    sentinel: SentinelSettings = SentinelSettings()
    redis_cluster: RedisClusterSettings = RedisClusterSettings()
    sqs: SqsSettings = SqsSettings()
    memory: MemorySettings = MemorySettings()
    apps: AppsSettings = AppsSettings()
    mysql: MysqlSettings = MysqlSettings()
    postgres: PostgresSettings = PostgresSettings()
    dynamodb: DynamodbSettings = DynamodbSettings()
    reliability: ReliabilitySettings = ReliabilitySettings()
    retry: RetrySettings = RetrySettings()
    delivery: DeliverySettings = DeliverySettings()
    limits: LimitsSettings = LimitsSettings()
    history: HistorySettings = HistorySettings()
    alerts: AlertSettings = AlertSettings()
    metrics: MetricsSettings = MetricsSettings()
    logging: LoggingSettings = LoggingSettings()
