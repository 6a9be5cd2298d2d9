"""The face of the settings: their values, how they are read, and how they are shown.

Where each part stands: `config/models.py` has names, defaults and bounds, `config/options.py` what they are called in
a file and in the environment, `config/loading.py` the order in which they are read.
"""

from __future__ import annotations

import json

from sockudo_queue.config.loading import AppsDocument, Loaded, load
from sockudo_queue.config.models import (
    AppsSettings,
    DatabaseSettings,
    DeliverySettings,
    DynamodbSettings,
    LoggingSettings,
    MemorySettings,
    MetricsSettings,
    MysqlSettings,
    PostgresSettings,
    RedisClusterSettings,
    RedisSettings,
    ReliabilitySettings,
    RetrySettings,
    SentinelNode,
    SentinelSettings,
    Settings,
    SqsSettings,
    TlsSettings,
)
from sockudo_queue.config.options import OPTIONS
from sockudo_queue.config.wording import attribute_of, shown

__all__ = [
    "AppsDocument",
    "AppsSettings",
    "DatabaseSettings",
    "DeliverySettings",
    "DynamodbSettings",
    "Loaded",
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
    "Settings",
    "SqsSettings",
    "TlsSettings",
    "dump",
    "load",
]


def dump(settings: Settings) -> str:
    """Return every setting under its key in the file, one a line; secrets are masked."""
    return "\n".join(f"{option.key} = {_shown(attribute_of(settings, option.attribute))}" for option in OPTIONS)


def _shown(value: object) -> str:
    if value is None:
        return "unset"
    if isinstance(value, bool | int | float):
        return shown(value)
    return json.dumps(shown(value), ensure_ascii=False)
