"""Puts settings together: defaults, then the file, then the environment. Reports all faults together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from pydantic import ValidationError

from sockudo_queue.config import environment as variables
from sockudo_queue.config import file_keys
from sockudo_queue.config.checks import REFUSED_PREFIX, check
from sockudo_queue.config.cluster_nodes import derive_cluster
from sockudo_queue.config.documents import Document, find_file, read_document
from sockudo_queue.config.environment import AppEnvironment
from sockudo_queue.config.layers import Layer, merge
from sockudo_queue.config.models import MAX_WORKERS, Settings
from sockudo_queue.config.options import BY_ATTRIBUTE
from sockudo_queue.config.problems import ConfigProblems, printable_lines
from sockudo_queue.config.wording import fault_lines, origin_of
from sockudo_queue.errors import SettingsError

_CONCURRENCY = {"redis": "redis", "redis-cluster": "redis_cluster", "sqs": "sqs"}


@dataclass(frozen=True, slots=True)
class AppsDocument:
    """The apps in the file and the environment, unparsed. Never print it: it contains secrets in clear text."""

    path: Path | None = None
    app_manager: Any = field(default=None, repr=False)
    environment: AppEnvironment = field(default_factory=AppEnvironment)
    digest: bytes = field(default=b"", repr=False)  # of the file's content


class LoadedSettings(msgspec.Struct, frozen=True):
    """Usable settings, their sources, and messages about them."""

    settings: Settings
    apps_document: AppsDocument
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    sources: tuple[str, ...]  # from the weakest to the strongest
    file_was_read: bool = True  # False where there is a file and it could not be read
    unusable: frozenset[str] = frozenset()  # attributes whose value is a fault; their defaults stand in


def load(
    config_file: str | None,
    environment: Mapping[str, str],
    working_directory: Path,
    strict: bool,
) -> LoadedSettings:
    """Read and check every setting. Raises SettingsError with one line for each fault."""
    problems = ConfigProblems(strict)
    loaded = collect(config_file, environment, working_directory, problems)
    problems.raise_faults()
    return loaded


def collect(
    config_file: str | None,
    environment: Mapping[str, str],
    working_directory: Path,
    problems: ConfigProblems,
) -> LoadedSettings:
    """Read every setting and add errors to `problems`; invalid settings get their defaults."""
    document = _read_file(config_file, environment, working_directory, problems)
    readable = not problems.faults
    layers = [
        variables.read_layer(environment, problems),
        file_keys.read_layer(document, problems),
    ]
    layers.append(_derived(layers, document, problems))
    settings = _merge(layers, problems)
    _warn_of_memory(settings, layers, document, problems)
    _warn_of_stop(settings, layers, problems)
    _warn_of_empty_prefix(settings, environment, problems)
    apps = AppsDocument(
        document.path,
        document.get("app_manager"),
        variables.read_app_environment(environment, problems),
        document.digest,
    )
    sources = [
        "defaults",
        *([str(document.path)] if document.path else []),
        # By name: a forgotten variable takes precedence over the file, which is hard to notice otherwise.
        *([f"environment ({', '.join(sorted(set(layers[0].origins.values())))})"] if layers[0].values else []),
    ]
    return LoadedSettings(
        settings,
        apps,
        printable_lines(problems.warnings),
        printable_lines(problems.notes),
        tuple(sources),
        readable,
        frozenset(problems.unusable),
    )


def _read_file(
    config_file: str | None, environment: Mapping[str, str], working_directory: Path, problems: ConfigProblems
) -> Document:
    named = config_file or variables.value_of(environment, variables.CONFIG_FILE, problems)
    path = find_file(named, working_directory)
    if path is None:
        return Document()
    try:
        return read_document(path, environment)
    except SettingsError as error:
        problems.faults.extend(error.faults)
        return Document(path)


def _derived(layers: Sequence[Layer], document: Document, problems: ConfigProblems) -> Layer:
    """Return the weakest layer: values that are derived from other settings if they are not set themselves."""
    weakest = Layer()
    _derive_workers(layers, weakest, problems)
    if _driver(layers) == "redis-cluster":
        derive_cluster(layers, document, weakest, problems)
    with_host = next((layer for layer in layers if "redis.host" in layer.values), None)
    if with_host is not None and with_host.host_asks_for_tls:
        weakest.give(BY_ATTRIBUTE["master_tls.enabled"], True, with_host.origins["redis.host"], problems)
    return weakest


def _derive_workers(layers: Sequence[Layer], weakest: Layer, problems: ConfigProblems) -> None:
    """Take the number of workers from Sockudo's own `concurrency` of the driver."""
    attribute = f"{_CONCURRENCY.get(_driver(layers), '')}.concurrency"
    value, origin = _first(layers, attribute)
    number = "" if value is None else str(value).strip()
    if number == "0":
        _explain_zero(origin, problems, is_redis=_driver(layers) != "sqs")
    elif any("workers" in layer.values for layer in layers):
        return
    elif number.isascii() and number.isdigit() and int(number) <= MAX_WORKERS:
        weakest.give(BY_ATTRIBUTE["workers"], number, origin, problems)


def _explain_zero(origin: str, problems: ConfigProblems, *, is_redis: bool) -> None:
    default = f"The daemon uses its default of {Settings().workers} workers (QUEUE_WORKERS sets another number)"
    if is_redis:
        problems.warnings.append(
            f"{origin}: 0 is correct only for a Sockudo server up to 4.7, where it stops the server's own workers; "
            "with 0, a server from 5.0 on has no queue and sends no webhooks, so remove it there and use the rule "
            f"that sockudo-queue check --acl prints. {default}"
        )
    else:
        problems.notes.append(f"{origin}: with 0, a Sockudo server only produces jobs. {default}")


def _driver(layers: Sequence[Layer]) -> str:
    return str(_first(layers, "driver")[0] or "redis").strip().lower()


def _first(layers: Sequence[Layer], attribute: str) -> tuple[Any, str]:
    for layer in layers:
        if attribute in layer.values:
            return layer.values[attribute], layer.origins[attribute]
    return None, ""


def _merge(layers: Sequence[Layer], problems: ConfigProblems) -> Settings:
    try:
        settings = merge(layers)
    except ValidationError as error:
        for attribute, line in fault_lines(error, layers):
            problems.faults.append(line)
            problems.unusable.add(attribute)
        return _merge_usable(layers, problems)
    check(settings, lambda attribute: origin_of(BY_ATTRIBUTE[attribute], layers), problems)
    return settings


def _merge_usable(layers: Sequence[Layer], problems: ConfigProblems) -> Settings:
    for layer in layers:
        for attribute in problems.unusable:
            layer.discard(attribute)
    try:
        return merge(layers)
    except ValidationError:  # what is at fault has no attribute of its own
        return Settings()


def _warn_of_stop(settings: Settings, layers: Sequence[Layer], problems: ConfigProblems) -> None:
    """Warn about a stop time from the server's own file. A variable is set for this daemon, so it needs no warning."""
    environment, *_ = layers
    maximum = Settings().reliability.shutdown_timeout_ms
    attribute = "reliability.shutdown_timeout_ms"
    if settings.reliability.shutdown_timeout_ms > maximum and attribute not in environment.values:
        seconds = math.ceil(settings.reliability.shutdown_timeout_ms / 1000)
        problems.warnings.append(
            f"{_first(layers, attribute)[1]}: the daemon uses this value too, so a stop may take {seconds} s, longer "
            f"than a grace period of 30 s; set QUEUE_SHUTDOWN_TIMEOUT_MS={maximum} for the daemon, or that "
            f"variable to {settings.reliability.shutdown_timeout_ms} and its grace period to {seconds + 5} s"
        )


def _warn_of_empty_prefix(settings: Settings, environment: Mapping[str, str], problems: ConfigProblems) -> None:
    """Warn about an empty variable: it counts as unset here, but a server reads it as an empty prefix."""
    group = {"redis": "redis", "redis-cluster": "redis_cluster"}.get(settings.driver)
    for name in BY_ATTRIBUTE[f"{group}.prefix"].variables if group else ():
        if environment.get(name) == "":
            problems.warnings.append(f"{name}: is empty, which counts as unset here; {REFUSED_PREFIX}, or unset it")


def _warn_of_memory(settings: Settings, layers: Sequence[Layer], document: Document, problems: ConfigProblems) -> None:
    """Warn about `memory` in a server's own file, where it means the memory of the server's process."""
    environment, *_ = layers
    if settings.driver == "memory" and "driver" not in environment.values:
        problems.warnings.append(
            f"queue.driver in {document.path}: in Sockudo's file, memory means the memory of the server, so no jobs "
            "arrive here; set QUEUE_DRIVER=redis for server and daemon"
        )
