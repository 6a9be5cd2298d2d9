"""Keys of a settings file: those that are read, those that only Sockudo reads, and unknown ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sockudo_queue.config.documents import Document
from sockudo_queue.config.layers import Layer
from sockudo_queue.config.options import OPTIONS
from sockudo_queue.config.problems import ConfigProblems, did_you_mean, secret_looks_odd
from sockudo_queue.config.wording import default_of

# Sections whose every key is known here. Of all others only a name close to one of these is looked at.
_POLICED: Final = ("queue", "database", "database.redis", "webhooks", "app_manager")
_OURS: Final = ("queue.metrics", "queue.logging", "queue.delivery", "queue.memory", "queue.apps", "queue.history")
# Keys and sections that Sockudo reads and this daemon does not.
_SOCKUDOS: Final = frozenset(
    {
        "app_manager.array",  # `apps/file.py` reads it
        "app_manager.scylladb",
        *(
            f"database.{kind}.{key}"
            for kind in ("mysql", "postgres")
            for key in (
                "cache_cleanup_interval",
                "cache_max_capacity",
                "cache_ttl",
                "connection_pool_size",
                "pool_max",
                "pool_min",
            )
        ),
        "database.redis.cluster.nodes",
        "database.redis.cluster_nodes",
        "database.redis.key_prefix",
        "database.scylladb",
        "database.surrealdb",
        "queue.google_pubsub",
        "queue.iggy",
        "queue.kafka",
        "queue.nats",
        "queue.pulsar",
        "queue.rabbitmq",
        "queue.redis.cluster_mode",
        "queue.reliability.deduplication_ttl_ms",
        "queue.reliability.max_batch_size",
        "queue.reliability.retry_base_delay_ms",
        "queue.reliability.retry_max_delay_ms",
        "queue.reliability.stalled_batch_size",
        "queue.reliability.worker_poll_interval_ms",
        "queue.reliability.worker_prefetch",
        "queue.sns",
        "webhooks.batching",
    }
)
# Names in documentation and forum answers that no program reads, and the intended ones.
_MISTAKEN: Final = {
    "webhooks.batching_enabled": "webhooks.batching.enabled",
    "webhooks.flush_interval_ms": "webhooks.batching.duration",
    "webhooks.max_batch_size": "webhooks.batching.size",
    "webhooks.timeout_ms": "webhooks.request_timeout_ms",
    "webhooks.timeout": "webhooks.request_timeout_ms",
    "queue.concurrency": "queue.workers",
    "queue.redis.url": "queue.redis.url_override",
    "queue.redis.host": "database.redis.host",
    "queue.redis.port": "database.redis.port",
    "queue.redis.db": "database.redis.db",
    "queue.redis.password": "database.redis.password",
    "app_manager.apps": "app_manager.array.apps",
}


def read_layer(document: Document, problems: ConfigProblems) -> Layer:
    """Return every setting that the file gives; null counts as unset, and so does empty text where unset may be."""
    layer = Layer()
    for option in OPTIONS:
        for key in option.keys:
            value = document.get(key)
            if value is None or (value == "" and default_of(option.attribute) is None):
                continue
            origin = f"{key} in {document.path}"
            if option.secret and isinstance(value, str):
                odd = secret_looks_odd(value)
                if odd:
                    problems.warnings.append(f"{origin}: the secret {odd}")
            layer.give(option, value, origin, problems)
    _report_unknown(document, problems)
    return layer


def _known_keys() -> frozenset[str]:
    return frozenset({key for option in OPTIONS for key in option.keys} | _SOCKUDOS)


def _report_unknown(document: Document, problems: ConfigProblems) -> None:
    known = _known_keys()
    sections = {key.rsplit(".", depth)[0] for key in known for depth in range(1, key.count(".") + 1)}
    for key, found in _walk(document.values, "", sections - _SOCKUDOS):
        where = f"{key} in {document.path}"
        if key in sections and key not in known:
            problems.faults.append(f"{where}: must be a table of settings" + _example(key, known))
        elif key not in known and (found or "." in key):
            hint = f"; did you mean {_MISTAKEN[key]}?" if key in _MISTAKEN else did_you_mean(key, known | sections)
            problems.unknown(f"{where}: no such setting{hint}", ours=key.startswith(_OURS))


def _walk(values: Mapping[str, Any], prefix: str, sections: set[str]) -> Iterator[tuple[str, bool]]:
    """Yield every key that is no section, and whether it must be reported although it is outside every section."""
    for name, value in values.items():
        key = f"{prefix}{name}"
        if key in sections and isinstance(value, Mapping):
            yield from _walk(value, f"{key}.", sections)
        elif key in sections and value is None:
            continue
        else:
            yield key, bool(did_you_mean(key, _POLICED))


def _example(key: str, known: frozenset[str]) -> str:
    inside = sorted(each for each in known if each.startswith(f"{key}."))
    return f", for example with {inside[0]}" if inside else ""
