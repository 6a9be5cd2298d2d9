"""Export plans from the OTEL_* variables."""

from __future__ import annotations

import pytest

from sockudo_queue.observability.tracing.plan import BATCH_SIZE, QUEUE_SIZE, ExportPlan, read
from sockudo_queue.observability.tracing.sampling import Sampling

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
PLAN = ExportPlan("collector", 4318, Sampling(), QUEUE_SIZE, BATCH_SIZE)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
        {"OTEL_SERVICE_NAME": "webhooks", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://collector:4318"},
        ENDPOINT | {"OTEL_SDK_DISABLED": "True"},
        ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"},
        ENDPOINT | {"OTEL_TRACES_SAMPLER": "always_off"},
    ],
)
def test_spans_are_off_without_an_endpoint_or_if_disabled(
    environment: dict[str, str],
) -> None:
    result = read(environment)
    assert result.plan is None
    assert result.warnings == ()


@pytest.mark.parametrize(
    ("environment", "target"),
    [
        (ENDPOINT, ("collector", 4318)),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://user:word@c.example/otlp?key=1"}, ("c.example", 443)),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://[::1]:1/x"}, ("::1", 1)),
        ({"OTEL_TRACES_EXPORTER": "console, OTLP"}, ("localhost", 4318)),
        (
            ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"},
            ("collector", 4318),
        ),
    ],
)
def test_traces_endpoint_overrides_the_general_one(environment: dict[str, str], target: tuple[str, int]) -> None:
    result = read(environment)
    assert result.plan is not None
    assert (result.plan.host, result.plan.port) == target
    assert result.warnings == ()


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL"),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://u:secret@collector:port"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
    ],
)
def test_unsupported_variable_disables_spans_with_a_warning(environment: dict[str, str], name: str) -> None:
    result = read(environment)
    assert result.plan is None
    [warning] = result.warnings
    assert warning.startswith(f"{name}: must be ")
    assert "secret" not in warning


@pytest.mark.parametrize(
    ("name", "argument", "sampling"),
    [
        ("parentbased_always_on", "", Sampling()),
        ("PARENTBASED_TRACEIDRATIO", "0.25", Sampling(0.25)),
        ("parentbased_always_off", "0.5", Sampling(0.0)),
        ("traceidratio", "1e-2", Sampling(0.01, by_parent=False)),
        ("always_on", "", Sampling(1.0, by_parent=False)),
    ],
)
def test_samplers_of_the_specification_are_supported(name: str, argument: str, sampling: Sampling) -> None:
    result = read(ENDPOINT | {"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": argument})
    assert result.plan is not None
    assert result.plan.sampling == sampling
    assert result.warnings == ()


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"OTEL_TRACES_SAMPLER": "jaeger_remote"}, "OTEL_TRACES_SAMPLER"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}, "OTEL_TRACES_SAMPLER_ARG"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "nan"}, "OTEL_TRACES_SAMPLER_ARG"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "many"}, "OTEL_BSP_MAX_QUEUE_SIZE"),
        ({"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "0"}, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"),
    ],
)
def test_invalid_value_uses_the_default_with_a_warning(environment: dict[str, str], name: str) -> None:
    result = read(ENDPOINT | environment)
    assert result.plan is not None
    assert result.plan == ExportPlan("collector", 4318, result.plan.sampling, QUEUE_SIZE, BATCH_SIZE)
    assert result.plan.sampling.ratio == 1
    [warning] = result.warnings
    assert warning.startswith(f"{name}: ")


def test_batch_size_is_limited_to_the_queue_size() -> None:
    assert read(ENDPOINT | {"OTEL_BSP_MAX_QUEUE_SIZE": "7"}).plan == ExportPlan("collector", 4318, Sampling(), 7, 7)
