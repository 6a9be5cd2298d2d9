"""Decides from the standard OTEL_* variables whether and how spans are exported; pure.

The SDK itself reads the rest of these variables (headers, certificates, time limit, compression, resource).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from sockudo_queue.core.ports import default_port
from sockudo_queue.observability.tracing import sampling
from sockudo_queue.observability.tracing.sampling import Sampling

PROTOCOL: Final = "http/protobuf"
LOCAL: Final = "http://localhost:4318"
QUEUE_SIZE: Final = 2048
BATCH_SIZE: Final = 512
MAX_QUEUE_SIZE: Final = 1_000_000

_Value = TypeVar("_Value")


class ExportPlan(msgspec.Struct, frozen=True):
    """The destination of spans, and how many may wait."""

    host: str
    port: int
    sampling: Sampling
    queue_size: int
    batch_size: int


class ExportDecision(msgspec.Struct, frozen=True):
    """The result: a plan, or None for no spans, and a warning for each variable that cannot be used."""

    plan: ExportPlan | None
    warnings: tuple[str, ...] = ()


class _Variables:
    """The environment variables, and the warnings about them."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.warnings: list[str] = []

    def first(self, *names: str) -> tuple[str, str]:
        """Return the first non-empty variable's name and value; empty texts if there is none."""
        values = ((name, self._environment.get(name, "").strip()) for name in names)
        return next((pair for pair in values if pair[1]), ("", ""))

    def of_traces(self, end: str) -> tuple[str, str]:
        return self.first(f"OTEL_EXPORTER_OTLP_TRACES_{end}", f"OTEL_EXPORTER_OTLP_{end}")

    def parsed(self, name: str, default: _Value, parse: Callable[[str], _Value], rule: str) -> _Value:
        _, text = self.first(name)
        try:
            return parse(text) if text else default
        except ValueError:
            self.warnings.append(f"{name}: must be {rule}; {default} is used")
            return default


def read(environment: Mapping[str, str]) -> ExportDecision:
    """Decide whether spans are exported: if an OTLP endpoint is set, or the exporter is chosen by name."""
    variables = _Variables(environment)
    _, exporter = variables.first("OTEL_TRACES_EXPORTER")
    exporters = [name.strip().lower() for name in exporter.split(",")] if exporter else []
    where, endpoint = variables.of_traces("ENDPOINT")
    if variables.first("OTEL_SDK_DISABLED")[1].lower() == "true" or not (endpoint or "otlp" in exporters):
        return ExportDecision(None)
    if exporters and "otlp" not in exporters:
        return ExportDecision(None) if exporters == ["none"] else _off("OTEL_TRACES_EXPORTER", "must be otlp or none")
    protocol_from, protocol = variables.of_traces("PROTOCOL")
    if protocol not in ("", PROTOCOL):
        return _off(protocol_from, f"must be {PROTOCOL}, the only protocol that this daemon supports")
    target = _target(endpoint or LOCAL)
    if target is None:
        return _off(where, "must be a URL with http:// or https://, for example http://collector:4318")
    sampler = _sampling(variables)
    if sampler == Sampling(0.0, by_parent=False):
        return ExportDecision(None, tuple(variables.warnings))
    return ExportDecision(_plan(variables, *target, sampler), tuple(variables.warnings))


def _off(name: str, rule: str) -> ExportDecision:
    return ExportDecision(None, (f"{name}: {rule}; no spans are exported",))


def _target(endpoint: str) -> tuple[str, int] | None:
    try:
        parts = urlsplit(endpoint)
        port = parts.port or default_port(parts.scheme)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.scheme in ("http", "https") and parts.hostname else None


def _sampling(variables: _Variables) -> Sampling:
    _, name = variables.first("OTEL_TRACES_SAMPLER")
    name = name.lower() or sampling.DEFAULT
    ratio = 1.0
    if name.endswith("traceidratio"):
        ratio = variables.parsed("OTEL_TRACES_SAMPLER_ARG", 1.0, _ratio, "a number from 0 to 1")
    found = sampling.named(name, ratio)
    if found is None:
        variables.warnings.append(f"OTEL_TRACES_SAMPLER: unknown sampler; {sampling.DEFAULT} is used")
    return found or Sampling()


def _plan(variables: _Variables, host: str, port: int, sampler: Sampling) -> ExportPlan:
    rule = f"a whole number from 1 to {MAX_QUEUE_SIZE}"
    queue_size = variables.parsed("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE_SIZE, _count, rule)
    batch_size = variables.parsed("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", min(BATCH_SIZE, queue_size), _count, rule)
    return ExportPlan(host, port, sampler, queue_size, min(batch_size, queue_size))


def _ratio(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(text)
    return value


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= MAX_QUEUE_SIZE:
        raise ValueError(text)
    return value
