"""Checks of settings that depend on each other."""

from __future__ import annotations

from typing import Final

from sockudo_queue.config.models import DatabaseSettings, MetricsSettings, MysqlSettings, Settings
from sockudo_queue.config.problems import ConfigProblems
from sockudo_queue.config.redis_checks import Naming, check_redis

_GUARD_RULES: Final = ("allowed_networks", "denied_networks", "allowed_ports", "denied_ports")
REFUSED_PREFIX: Final = (
    "a Sockudo server from 5.0 on refuses a prefix that is empty or contains a brace, and then has no queue and "
    "sends no webhooks; set another one, for the server too"
)
CLAIM_WAIT_MS: Final = 1_000  # the longest that an idle Redis driver waits for a job


def check(settings: Settings, name: Naming, problems: ConfigProblems) -> None:
    """Report inconsistent settings; `name` returns the name of an attribute for messages."""
    _check_leases(settings, name, problems)
    _check_stop(settings, name, problems)
    _check_prefix(settings, name, problems)
    check_redis(settings, name, problems)
    _check_retry(settings, name, problems)
    _check_delivery(settings, name, problems)
    if settings.driver == "sqs":
        _check_sqs(settings, name, problems)
    _check_app_store(settings, name, problems)
    _check_metrics(settings, name, problems)
    _check_alerts(settings, name, problems)


def _check_leases(settings: Settings, name: Naming, problems: ConfigProblems) -> None:
    reliability = settings.reliability
    interval = name("reliability.lease_renew_interval_ms")
    if reliability.lease_renew_interval_ms >= reliability.lease_duration_ms:
        problems.faults.append(
            f"{interval}: must be shorter than {name('reliability.lease_duration_ms')}, or every lease expires before "
            f"it is renewed; for example {reliability.lease_duration_ms // 3}"
        )
        return
    timeout, attribute = settings.redis.response_timeout_ms, "redis.response_timeout_ms"
    if settings.driver == "redis-cluster":
        timeout, attribute = settings.redis_cluster.request_timeout_ms, "redis_cluster.request_timeout_ms"
    if reliability.lease_renew_interval_ms + timeout > reliability.lease_duration_ms:
        problems.warnings.append(
            f"{interval}: with {name(attribute)} it is longer than the lease, so one slow reply of Redis can make a "
            "lease expire, and webhooks may be sent twice"
        )


def _check_stop(settings: Settings, name: Naming, problems: ConfigProblems) -> None:
    wait = settings.sqs.wait_time_seconds * 1_000 if settings.driver == "sqs" else CLAIM_WAIT_MS
    if settings.driver not in ("memory", "none") and settings.reliability.shutdown_timeout_ms <= wait:
        problems.warnings.append(
            f"{name('reliability.shutdown_timeout_ms')}: is not longer than the wait for a job ({wait} ms), so a stop "
            "may end before every worker notices it"
        )


def _check_prefix(settings: Settings, name: Naming, problems: ConfigProblems) -> None:
    group, attribute = (
        (settings.redis_cluster, "redis_cluster.prefix")
        if settings.driver == "redis-cluster"
        else (settings.redis, "redis.prefix")
    )
    if not group.prefix.strip().rstrip(":") or "{" in group.prefix or "}" in group.prefix:
        problems.warnings.append(f"{name(attribute)}: {REFUSED_PREFIX}")
    elif group.prefix != group.prefix.strip():
        problems.warnings.append(
            f"{name(attribute)}: the white space around it is part of the prefix for Sockudo up to 4.7, but not from "
            "5.0 on"
        )


def _check_retry(settings: Settings, name: Naming, problems: ConfigProblems) -> None:
    if settings.retry.initial_backoff_ms > settings.retry.max_backoff_ms:
        problems.warnings.append(
            f"{name('retry.initial_backoff_ms')}: is longer than {name('retry.max_backoff_ms')}, which limits every "
            "delay"
        )
    if settings.delivery.breaker_open_ms > settings.delivery.breaker_max_open_ms:
        problems.faults.append(
            f"{name('delivery.breaker_open_ms')}: must not be longer than {name('delivery.breaker_max_open_ms')}; "
            f"for example {settings.delivery.breaker_max_open_ms}"
        )


def _check_sqs(settings: Settings, name: Naming, problems: ConfigProblems) -> None:
    sqs = settings.sqs
    if sqs.queue_url_prefix is not None and not sqs.queue_url_prefix.endswith("/"):
        problems.warnings.append(
            f"{name('sqs.queue_url_prefix')}: does not end in a slash, although the name of the queue is appended to it"
        )


def _check_app_store(settings: Settings, name: Naming, problems: ConfigProblems) -> None:
    match settings.apps.driver:
        case "mysql":
            _check_database(settings.mysql, "mysql", name, problems)
        case "pgsql":
            _check_database(settings.postgres, "postgres", name, problems)
            if settings.postgres.port == MysqlSettings().port:
                problems.warnings.append(
                    f"{name('postgres.port')}: is MySQL's port, which is also Sockudo's default for PostgreSQL; set "
                    "the port of PostgreSQL, usually 5432"
                )
        case "dynamodb":
            keys = settings.dynamodb
            if (keys.aws_access_key_id is None) != (keys.aws_secret_access_key is None):
                missing = "aws_access_key_id" if keys.aws_access_key_id is None else "aws_secret_access_key"
                problems.faults.append(
                    f"{name(f'dynamodb.{missing}')}: is missing, but the other half of the key is set; set both or none"
                )


def _check_database(database: DatabaseSettings, group: str, name: Naming, problems: ConfigProblems) -> None:
    if database.ssl_ca is not None and database.ssl_mode != "verify-full":
        problems.warnings.append(
            f"{name(f'{group}.ssl_ca')}: has no effect, because {name(f'{group}.ssl_mode')} is not verify-full"
        )


def _check_metrics(settings: Settings, name: Naming, problems: ConfigProblems) -> None:
    metrics = settings.metrics
    if metrics.username != MetricsSettings().username and metrics.password is None:
        problems.faults.append(
            f"{name('metrics.username')}: has no effect without {name('metrics.password')}; for example "
            "QUEUE_METRICS_PASSWORD_FILE=/run/secrets/metrics-password"
        )
    if ":" in metrics.username:
        problems.faults.append(f"{name('metrics.username')}: must not contain a colon; for example operator")
    if metrics.tls_key_file is not None and metrics.tls_cert_file is None:
        problems.faults.append(
            f"{name('metrics.tls_key_file')}: has no effect without its certificate; set "
            f"{name('metrics.tls_cert_file')}, "
            "for example /etc/tls/metrics.pem"
        )


def _check_alerts(settings: Settings, name: Naming, problems: ConfigProblems) -> None:
    alerts = settings.alerts
    if alerts.url is not None and alerts.secret is None:
        problems.faults.append(
            f"{name('alerts.url')}: alerts are signed, so {name('alerts.secret')} must be set, too; for example "
            "QUEUE_ALERT_SECRET_FILE=/run/secrets/alert-secret"
        )
    if alerts.secret is not None and alerts.url is None:
        problems.faults.append(
            f"{name('alerts.secret')}: is no use without {name('alerts.url')}; for example "
            f"{name('alerts.url')}=https://alerts.example.com/sockudo"
        )


def _check_delivery(settings: Settings, name: Naming, problems: ConfigProblems) -> None:
    delivery = settings.delivery
    guard = name("delivery.guard")
    if delivery.guard and delivery.use_environment_proxy:
        problems.faults.append(
            f"{name('delivery.use_environment_proxy')}: behind a proxy, the network guard cannot see the address of "
            f"an endpoint; filter addresses in the proxy, and set {guard} to false"
        )
    if not delivery.guard:
        given = [rule for rule in _GUARD_RULES if getattr(delivery, rule)] + ["private"] * (delivery.private == "deny")
        problems.faults.extend(
            f"{name(f'delivery.{rule}')}: has no effect, because {guard} disables the network guard; set that to true, "
            "or remove this setting"
            for rule in given
        )
    both = sorted(set(delivery.allowed_ports) & set(delivery.denied_ports))
    if both:
        problems.warnings.append(f"{name('delivery.denied_ports')}: port {both[0]} is also among the allowed ones")
    if delivery.client_key_file is not None and delivery.client_cert_file is None:
        problems.faults.append(
            f"{name('delivery.client_key_file')}: has no effect without its certificate; set "
            f"{name('delivery.client_cert_file')}, for example /etc/tls/client.pem"
        )
