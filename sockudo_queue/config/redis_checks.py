"""Checks of settings of Redis that depend on each other: cluster keys, nodes, Sentinels and certificates."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from sockudo_queue.config.models import Settings, TlsSettings
from sockudo_queue.config.problems import ConfigProblems
from sockudo_queue.config.redis_urls import UNIX, redis_scheme
from sockudo_queue.core.cluster_keys import has_hash_tag
from sockudo_queue.core.secret import Secret

Naming = Callable[[str], str]


def check_redis(settings: Settings, name: Naming, problems: ConfigProblems) -> None:
    """Report inconsistent settings; `name` returns the name of an attribute for messages."""
    if settings.driver == "redis-cluster":
        _check_cluster_keys(settings, name, problems)
        _check_cluster_nodes(settings, name, problems)
    if settings.driver in ("redis", "redis-cluster"):
        for group, tls in (("master_tls", settings.master_tls), ("sentinel.tls", settings.sentinel.tls)):
            _check_certificates(group, tls, name, problems)
        _check_clear_text(settings, name, problems)


def _check_cluster_keys(settings: Settings, name: Naming, problems: ConfigProblems) -> None:
    prefix, queue = settings.redis_cluster.prefix, settings.redis.queue_name
    for attribute, part in (("redis_cluster.prefix", prefix), ("redis.queue_name", queue)):
        if "}" in part and not (has_hash_tag(f"{prefix}:queue:{queue}") and has_hash_tag(f"{prefix}queue:{queue}")):
            problems.faults.append(
                f"{name(attribute)}: contains a }} that does not close a hash tag, so the daemon's keys cannot be in "
                "the queue's slot of the cluster; remove the brace, here and in Sockudo, for example sockudo_queue:"
            )
    if settings.redis.delivery != "at-least-once":
        problems.faults.append(
            f"{name('redis.delivery')}: at-most-once is for one server only, because its lists are in several slots "
            "of a cluster; use at-least-once"
        )


def _check_cluster_nodes(settings: Settings, name: Naming, problems: ConfigProblems) -> None:
    where = name("redis_cluster.nodes")
    nodes = [_node(node) for node in settings.redis_cluster.nodes]
    if any(path.strip("/") not in ("", "0") for _, _, path in nodes):
        problems.faults.append(f"{where}: a cluster has no databases; remove the number after the slash")
    if len({scheme for scheme, _, _ in nodes}) > 1:
        problems.faults.append(f"{where}: some nodes are rediss:// and some redis://; use one scheme for all")
    if len({userinfo for _, userinfo, _ in nodes if userinfo}) > 1:
        problems.faults.append(f"{where}: the nodes have different users or passwords; use one login for all")


def _node(node: Secret) -> tuple[str, str, str]:
    url = urlsplit(node.revealed)
    return redis_scheme(node.revealed), url.netloc.rpartition("@")[0], url.path


def _check_certificates(group: str, tls: TlsSettings, name: Naming, problems: ConfigProblems) -> None:
    if tls.client_key_path is not None and tls.client_cert_path is None:
        problems.warnings.append(
            f"{name(f'{group}.client_key_path')}: is not used without {name(f'{group}.client_cert_path')}; set both"
        )
    if tls.accept_invalid_certs:
        problems.warnings.append(
            f"{name(f'{group}.accept_invalid_certs')}: any certificate is accepted, so an attacker on the network path "
            "can read and change every job"
        )


def _check_clear_text(settings: Settings, name: Naming, problems: ConfigProblems) -> None:
    """Warn if certificates are set but connections are not encrypted."""
    tls, redis = settings.master_tls, settings.redis
    has_files = any((tls.ca_path, tls.client_cert_path, tls.client_key_path))
    if settings.driver == "redis-cluster":
        nodes = settings.redis_cluster.nodes
        encrypted = tls.enabled or settings.redis_cluster.use_tls or any(_node(node)[0] == "rediss" for node in nodes)
    elif redis.url is not None:
        encrypted = _node(redis.url)[0] in ("rediss", UNIX)  # a socket leaves no host
    else:
        encrypted = tls.enabled
    if encrypted or not (tls.enabled or has_files):
        return
    if redis.url is not None and settings.driver == "redis":
        problems.warnings.append(
            f"{name('redis.url')}: begins with redis://, so the connection is not encrypted although "
            f"{name('master_tls.enabled')} and its group ask for TLS; use rediss://"
        )
    else:
        problems.warnings.append(
            f"{name('master_tls.enabled')}: is not set, so its certificates are not used and connections are not "
            "encrypted"
        )
