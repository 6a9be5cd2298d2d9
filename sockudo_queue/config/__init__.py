"""Settings: the models, how they are loaded, and how they are printed.

Where each part stands: `config/models/` declares each setting, `config/options.py` lists them under their names in a
file and in the environment, `config/loading.py` has the order in which they are read.
"""

from __future__ import annotations

import json

from sockudo_queue.config.documents import Document, digest_of, parse_document, read_bytes, working_directory
from sockudo_queue.config.environment import CONFIG_FILE
from sockudo_queue.config.file_reading import RegularFile
from sockudo_queue.config.loading import AppsDocument, LoadedSettings, collect, load
from sockudo_queue.config.models import (
    AlertSettings,
    AppsSettings,
    DatabaseSettings,
    DeliverySettings,
    DynamodbSettings,
    HistorySettings,
    LimitsSettings,
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
from sockudo_queue.config.problems import ConfigProblems, did_you_mean, printable_lines, secret_looks_odd
from sockudo_queue.config.redis_urls import UNIX, UnixSocket, redis_scheme, unix_socket
from sockudo_queue.config.urls import UrlParts, ascii_url, url_parts
from sockudo_queue.config.values import apps_driver, boolean
from sockudo_queue.config.wording import attribute_of, reason_of, shown

__all__ = [
    "CONFIG_FILE",
    "UNIX",
    "AlertSettings",
    "AppsDocument",
    "AppsSettings",
    "ConfigProblems",
    "DatabaseSettings",
    "DeliverySettings",
    "Document",
    "DynamodbSettings",
    "HistorySettings",
    "LimitsSettings",
    "LoadedSettings",
    "LoggingSettings",
    "MemorySettings",
    "MetricsSettings",
    "MysqlSettings",
    "PostgresSettings",
    "RedisClusterSettings",
    "RedisSettings",
    "RegularFile",
    "ReliabilitySettings",
    "RetrySettings",
    "SentinelNode",
    "SentinelSettings",
    "Settings",
    "SqsSettings",
    "TlsSettings",
    "UnixSocket",
    "UrlParts",
    "apps_driver",
    "ascii_url",
    "boolean",
    "collect",
    "did_you_mean",
    "digest_of",
    "dump",
    "load",
    "parse_document",
    "printable_lines",
    "read_bytes",
    "reason_of",
    "redis_scheme",
    "secret_looks_odd",
    "shown",
    "unix_socket",
    "url_parts",
    "working_directory",
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
