"""All settings. Each field declares its type, default and bounds, and in a `SettingInfo` its names and meaning.

Names and defaults are Sockudo's where Sockudo has the setting. `config/options.py` lists all settings.

The modules of models do not import `annotations` from `__future__`. With it, pydantic would compile and evaluate the
text of each annotation, which takes a fifth of the time in which the models are built.
"""

from typing import Annotated, Literal

from pydantic import Field

from sockudo_queue.config.models.apps import (
    AppsSettings,
    DatabaseSettings,
    DynamodbSettings,
    MysqlSettings,
    PostgresSettings,
)
from sockudo_queue.config.models.delivery import DeliverySettings
from sockudo_queue.config.models.group import DAY_MS, MAX_WORKERS, GroupInfo, SettingInfo, SettingsGroup
from sockudo_queue.config.models.limits import LimitsSettings
from sockudo_queue.config.models.memory import MemorySettings
from sockudo_queue.config.models.observability import AlertSettings, HistorySettings, LoggingSettings, MetricsSettings
from sockudo_queue.config.models.redis import (
    RedisClusterSettings,
    RedisSettings,
    SentinelNode,
    SentinelSettings,
    TlsSettings,
)
from sockudo_queue.config.models.reliability import ReliabilitySettings, RetrySettings
from sockudo_queue.config.models.sqs import SqsSettings
from sockudo_queue.config.values import Boolean, Lower, Whole

__all__ = [
    "DAY_MS",
    "MAX_WORKERS",
    "AlertSettings",
    "AppsSettings",
    "DatabaseSettings",
    "DeliverySettings",
    "DynamodbSettings",
    "GroupInfo",
    "HistorySettings",
    "LimitsSettings",
    "LoggingSettings",
    "MemorySettings",
    "MetricsSettings",
    "MysqlSettings",
    "PostgresSettings",
    "RedisClusterSettings",
    "RedisSettings",
    "ReliabilitySettings",
    "RetrySettings",
    "SentinelNode",
    "SentinelSettings",
    "SettingInfo",
    "Settings",
    "SqsSettings",
    "TlsSettings",
]


class Settings(SettingsGroup):
    """All of it."""

    driver: Annotated[
        Literal["redis", "redis-cluster", "sqs", "memory", "none"],
        Lower,
        SettingInfo("queue.driver", "QUEUE_DRIVER", "Kind of queue: redis, redis-cluster, sqs, memory or none."),
    ] = "redis"
    workers: Annotated[
        Whole,
        SettingInfo(
            "queue.workers",
            "QUEUE_WORKERS",
            "Number of jobs processed in parallel, with any driver. Takes precedence over Sockudo's `concurrency` of "
            "the driver.",
        ),
    ] = Field(5, ge=1, le=MAX_WORKERS)
    one_core: Annotated[
        Boolean,
        SettingInfo(
            "queue.one_core",
            "QUEUE_ONE_CORE",
            "Keep the threads on one core while they are busy and that core has capacity. This saves a third of the "
            "CPU time.",
        ),
    ] = True
    claim_batch: Annotated[
        Whole,
        SettingInfo(
            "queue.claim_batch",
            "QUEUE_CLAIM_BATCH",
            "Maximum number of jobs that one call of Redis claims while many jobs are started (docs/batches.md). "
            "With 1, each job is claimed alone.",
        ),
    ] = Field(16, ge=1, le=64)
    redis: RedisSettings = RedisSettings()
    master_tls: Annotated[
        TlsSettings, GroupInfo("database.redis.master_tls", "DATABASE_REDIS_MASTER_TLS", "Redis server")
    ] = TlsSettings()
    sentinel: SentinelSettings = SentinelSettings()
    redis_cluster: RedisClusterSettings = RedisClusterSettings()
    sqs: SqsSettings = SqsSettings()
    memory: MemorySettings = MemorySettings()
    apps: AppsSettings = AppsSettings()
    postgres: Annotated[PostgresSettings, GroupInfo("database.postgres", "DATABASE_POSTGRES", "PostgreSQL")] = (
        PostgresSettings()
    )
    mysql: Annotated[MysqlSettings, GroupInfo("database.mysql", "DATABASE_MYSQL", "MySQL or MariaDB")] = MysqlSettings()
    dynamodb: DynamodbSettings = DynamodbSettings()
    reliability: ReliabilitySettings = ReliabilitySettings()
    retry: RetrySettings = RetrySettings()
    delivery: DeliverySettings = DeliverySettings()
    limits: LimitsSettings = LimitsSettings()
    history: HistorySettings = HistorySettings()
    alerts: AlertSettings = AlertSettings()
    metrics: MetricsSettings = MetricsSettings()
    logging: LoggingSettings = LoggingSettings()
