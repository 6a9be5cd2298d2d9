"""The checks of the metrics port: login and certificate."""

from __future__ import annotations

from collections.abc import Iterator

from sockudo_queue.config import MetricsSettings
from sockudo_queue.core.hosts import is_loopback
from sockudo_queue.core.ports import host_port
from sockudo_queue.drivers.base import Finding, FindingLevel


def port_findings(metrics: MetricsSettings) -> Iterator[Finding]:
    """Yield findings about the port, without connecting to it."""
    if not metrics.enabled:
        return
    place = host_port(metrics.host.strip("[]"), metrics.port)
    if metrics.password is None and metrics.token is None and not is_loopback(metrics.host):
        yield Finding(
            FindingLevel.WARNING,
            "pages",
            f"{place} serves metrics and the status page without a login; set QUEUE_METRICS_PASSWORD or "
            "QUEUE_METRICS_TOKEN, or QUEUE_METRICS_HOST=127.0.0.1",
        )
    if metrics.tls_cert_file is not None:
        from sockudo_queue.observability.web.tls_files import fault_of

        fault = fault_of(metrics.tls_cert_file, metrics.tls_key_file)
        if fault is not None:
            yield Finding(FindingLevel.ERROR, "pages", fault)
