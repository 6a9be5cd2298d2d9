"""The configured servers that no webhook may reach: the queue's own and this daemon's."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from sockudo_queue.config import UNIX, Settings, redis_scheme
from sockudo_queue.core.ports import REDIS_PORT, default_port
from sockudo_queue.delivery.guard import Service

_BROKER = "the queue's own server"
_DAEMON = "this daemon's own server"
_COLLECTOR = "the collector of this daemon's spans"


def brokers(settings: Settings) -> Iterator[Service]:
    """Yield the servers of the configured queue. AWS's own SQS is not among them: it is public anyway."""
    match settings.driver:
        case "redis" if settings.redis.url is not None and redis_scheme(settings.redis.url.revealed) == UNIX:
            return  # no webhook can reach a Unix socket
        case "redis" if settings.redis.url is not None:
            yield _of_url(settings.redis.url.revealed, REDIS_PORT)
        case "redis":
            yield broker(settings.redis.host, settings.redis.port)
            for node in settings.sentinel.nodes:
                yield broker(node.host, node.port)
        case "redis-cluster":
            for url in settings.redis_cluster.nodes:
                yield _of_url(url.revealed, REDIS_PORT)
        case "sqs" if settings.sqs.endpoint_url is not None:
            endpoint = settings.sqs.endpoint_url
            yield _of_url(endpoint, default_port(urlsplit(endpoint).scheme))


def pages(settings: Settings) -> Iterator[Service]:
    """Yield the addresses where the daemon will listen; a port that the system chooses is not known yet."""
    if settings.metrics.enabled and settings.metrics.port:
        yield page(settings.metrics.host, settings.metrics.port)
    if settings.driver == "memory" and settings.memory.ingress_port:
        yield page(settings.memory.ingress_host, settings.memory.ingress_port)


def page(host: str, port: int) -> Service:
    """Return the `Service` for a port of this daemon."""
    return Service(_DAEMON, host, port)


def collector(host: str, port: int) -> Service:
    """Return the `Service` for the collector of this daemon's spans."""
    return Service(_COLLECTOR, host, port)


def broker(host: str, port: int) -> Service:
    """Return the `Service` for a server of the queue."""
    return Service(_BROKER, host, port)


def _of_url(url: str, default_port: int) -> Service:
    parts = urlsplit(url)
    return broker(parts.hostname or "127.0.0.1", parts.port or default_port)
