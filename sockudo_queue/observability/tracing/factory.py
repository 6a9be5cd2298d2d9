"""Builds tracing from the environment. OpenTelemetry is imported only if its variables enable spans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sockudo_queue.core.ports import host_port
from sockudo_queue.observability.tracing import plan
from sockudo_queue.observability.tracing.attributes import SYSTEMS
from sockudo_queue.observability.tracing.plan import ExportPlan
from sockudo_queue.observability.tracing.spans import NO_TRACING, Tracing

_NOT_INSTALLED: Final = (
    "OTEL_* variables enable spans, but OpenTelemetry is not installed; "
    "install it with: pip install 'sockudo-queue[otel]'"
)


def make_tracing(environment: Mapping[str, str], driver: str, log: Any) -> Tracing:
    """Return tracing, or `NO_TRACING`. Never raises: an error in tracing must not stop deliveries."""
    read = plan.read(environment)
    for warning in read.warnings:
        log.warning("settings.warning", text=warning)
    if read.plan is None or driver not in SYSTEMS:
        return NO_TRACING
    try:
        return _start(read.plan, SYSTEMS[driver], log)
    except ModuleNotFoundError:
        log.info("settings.note", text=_NOT_INSTALLED)
    except Exception as error:  # noqa: BLE001 - the SDK can raise anything for its variables
        text = f"OTEL_*: no spans are exported, because OpenTelemetry failed to start ({type(error).__name__})"
        log.warning("settings.warning", text=text)
    return NO_TRACING


def _start(export: ExportPlan, system: str, log: Any) -> Tracing:
    from sockudo_queue.observability.tracing.sdk import SdkTracing  # optional, and takes a third of a second

    tracing = SdkTracing(export, system, log)
    log.info("tracing.started", collector=host_port(export.host, export.port), ratio=export.sampling.ratio)
    return tracing
