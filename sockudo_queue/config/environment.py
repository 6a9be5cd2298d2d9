"""Reads the environment: set variables, files of secrets, and unknown names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from sockudo_queue.config.layers import Layer
from sockudo_queue.config.options import OPTIONS
from sockudo_queue.config.problems import ConfigProblems, did_you_mean, secret_looks_odd
from sockudo_queue.config.secret_files import FileSecret, read_secret_file
from sockudo_queue.config.values import FALSE, TRUE
from sockudo_queue.core.secret import Secret

CONFIG_FILE: Final = "QUEUE_CONFIG_FILE"
_POLICED: Final = (
    "QUEUE_",
    "REDIS_CLUSTER_",
    "DATABASE_REDIS_",
    "DATABASE_MYSQL_",
    "DATABASE_POSTGRES_",
    "DATABASE_DYNAMODB_",
)
_OURS: Final = (
    "QUEUE_METRICS_",
    "QUEUE_LOG_",
    "QUEUE_DELIVERY_",
    "QUEUE_WORKERS",
    "QUEUE_CONFIG_",
    "QUEUE_MEMORY_",
    "QUEUE_APPS_",
)
# Sockudo's own variables with these beginnings that mean nothing here.
_SOCKUDOS: Final = frozenset(
    {
        "DATABASE_MYSQL_POOL_MAX",
        "DATABASE_MYSQL_POOL_MIN",
        "DATABASE_POSTGRES_POOL_MAX",
        "DATABASE_POSTGRES_POOL_MIN",
        "DATABASE_REDIS_KEY_PREFIX",
        "QUEUE_IGGY_CONSUMER_OFFSET_DURABILITY",
        "QUEUE_IGGY_DURABILITY",
        "QUEUE_IGGY_PARTITIONS_COUNT",
        "QUEUE_IGGY_PARTITION_ID",
        "QUEUE_SNS_REGION",
        "QUEUE_SNS_TOPIC_ARN",
        "QUEUE_SNS_ENDPOINT_URL",
        "QUEUE_RETRY_BASE_DELAY_MS",
        "QUEUE_RETRY_MAX_DELAY_MS",
        "QUEUE_STALLED_BATCH_SIZE",
        "QUEUE_WORKER_POLL_INTERVAL_MS",
        "QUEUE_WORKER_PREFETCH",
        "QUEUE_DEDUPLICATION_TTL_MS",
        "QUEUE_MAX_BATCH_SIZE",
    }
)
# What Kubernetes sets in every container for a Service called `queue`, `queue-metrics`, `redis-cluster`, …
_SERVICE_LINK: Final = re.compile(
    r".*_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_LINK_VALUE: Final = re.compile(r"(tcp|udp|sctp)://", re.IGNORECASE)
_DEFAULT_APP: Final = tuple(f"SOCKUDO_DEFAULT_APP_{part}" for part in ("ID", "KEY", "SECRET"))
_APP_FLAGS: Final = (
    "SOCKUDO_DEFAULT_APP_ENABLED",
    "SOCKUDO_SKIP_INLINE_APPS",
    "APP_MANAGER_REGISTER_INLINE_APPS",
)
# Names outside the prefixes above belong to any program, so only a slip of a letter or two is reported.
_SLIP_CUTOFF: Final = 0.92
_SLIP_ENDS: Final = 4
_LINK_ADVICE: Final = "set enableServiceLinks: false in the pod to avoid them"


def value_of(environment: Mapping[str, str], name: str, problems: ConfigProblems) -> str | None:
    """Return a variable's value; empty text and the value of a Kubernetes service link count as unset."""
    value = environment.get(name, "")
    if _LINK_VALUE.match(value):
        problems.warnings.append(f"{name}: ignored, it looks like a Kubernetes service link; {_LINK_ADVICE}")
        return None
    return value or None


def read_layer(environment: Mapping[str, str], problems: ConfigProblems) -> Layer:
    """Return every setting that a variable gives."""
    layer = Layer()
    for option in OPTIONS:
        for name in option.variables:
            value = value_of(environment, name, problems)
            if option.secret:
                faults = len(problems.faults)
                secret, name = _secret(environment, name, value, problems)
                if len(problems.faults) > faults:
                    problems.unusable.add(option.attribute)
                if secret is not None:
                    layer.give(option, secret, name, problems)
            elif value is not None and value.strip():
                layer.give(option, value, name, problems)
    _report_unknown(environment, problems)
    return layer


def _secret(
    environment: Mapping[str, str], name: str, value: str | None, problems: ConfigProblems
) -> tuple[Secret | None, str]:
    """Return a secret and the variable that gives it: `NAME`, or `NAME_FILE` with a file that holds it."""
    file_name = f"{name}_FILE"
    path = value_of(environment, file_name, problems)
    if path is not None:
        if value is not None:
            problems.faults.append(f"{file_name}: must not be set together with {name}; set one of them")
        name = file_name
        try:
            value = read_secret_file(path)
        except ValueError as error:
            problems.faults.append(f"{name}: {error}; for example {name}=/run/secrets/redis-password")
            return None, name
    if value is None:
        return None, name
    if not value.strip():
        problems.faults.append(f"{name}: contains only white space; set a value, or unset it")
        return None, name
    odd = secret_looks_odd(value)
    if odd:
        problems.warnings.append(f"{name}: the secret {odd}")
    return Secret(value) if path is None else FileSecret(value, path), name


def _read_names() -> frozenset[str]:
    names = {name for option in OPTIONS for name in option.variables}
    files = {f"{name}_FILE" for option in OPTIONS if option.secret for name in option.variables}
    return frozenset(names | files | {CONFIG_FILE, *_DEFAULT_APP, *_APP_FLAGS})


def _report_unknown(environment: Mapping[str, str], problems: ConfigProblems) -> None:
    read = _read_names()
    known = read | _SOCKUDOS
    _report_slips(environment, read, problems)
    unknown = sorted(name for name in environment if name.startswith(_POLICED) and name not in known)
    links = [name for name in unknown if _is_service_link(name, environment)]
    if links:
        problems.warnings.append(
            f"{links[0]}: ignored, as are all variables that Kubernetes service links set ({len(links)} here); "
            f"{_LINK_ADVICE}"
        )
    for name in unknown:
        if environment[name] and name not in links:
            problems.unknown(f"{name}: no such variable{did_you_mean(name, known)}", ours=name.startswith(_OURS))


def _report_slips(environment: Mapping[str, str], read: frozenset[str], problems: ConfigProblems) -> None:
    """Report variables whose names are similar to those of settings, or differ only in case."""
    alike: dict[str, set[str]] = {}
    for name in read:
        alike.setdefault(name[:_SLIP_ENDS], set()).add(name)
        alike.setdefault(name[-_SLIP_ENDS:], set()).add(name)
    for name in sorted(environment):
        if name in read or name.startswith(_POLICED) or not environment[name] or _is_service_link(name, environment):
            continue
        upper = name.upper()
        candidates = alike.get(upper[:_SLIP_ENDS], set()) | alike.get(upper[-_SLIP_ENDS:], set())
        if hint := did_you_mean(upper, candidates, _SLIP_CUTOFF):
            problems.unknown(f"{name}: no such variable{hint}")


def _is_service_link(name: str, environment: Mapping[str, str]) -> bool:
    if _LINK_VALUE.match(environment[name]):
        return True
    # A service always has its host beside the rest, so a lone `QUEUE_METRIKS_PORT=9602` is a slip and no link.
    service = re.split(r"_SERVICE_|_PORT", name, maxsplit=1)[0]
    return bool(_SERVICE_LINK.fullmatch(name)) and f"{service}_SERVICE_HOST" in environment


class AppEnvironment(msgspec.Struct, frozen=True):
    """What the environment says about Sockudo's apps."""

    driver: str | None = None
    default_app_id: str | None = None
    skips_inline: str | None = None  # the variable because of which the file's apps are left out


def read_app_environment(environment: Mapping[str, str], problems: ConfigProblems) -> AppEnvironment:
    """Return what Sockudo 4 and 5 would do with the file's apps in this environment."""
    given = {name: value_of(environment, name, problems) for name in _DEFAULT_APP}
    enabled = _flag(environment, "SOCKUDO_DEFAULT_APP_ENABLED", True, problems)
    skipping = (
        *(name for name, value in given.items() if value is not None),
        *(["SOCKUDO_DEFAULT_APP_ENABLED"] if not enabled else []),
        *(["SOCKUDO_SKIP_INLINE_APPS"] if _flag(environment, "SOCKUDO_SKIP_INLINE_APPS", False, problems) else []),
        *(
            ["APP_MANAGER_REGISTER_INLINE_APPS"]
            if not _flag(environment, "APP_MANAGER_REGISTER_INLINE_APPS", True, problems)
            else []
        ),
    )
    complete = enabled and all(given.values())
    return AppEnvironment(
        driver=value_of(environment, "APP_MANAGER_DRIVER", problems),
        default_app_id=given[_DEFAULT_APP[0]] if complete else None,
        skips_inline=next(iter(skipping), None),
    )


def _flag(environment: Mapping[str, str], name: str, default: bool, problems: ConfigProblems) -> bool:
    """Read a boolean as Sockudo does, which keeps the default where the text is neither."""
    value = (value_of(environment, name, problems) or "").strip().lower()
    if value and value not in TRUE | FALSE:
        problems.warnings.append(f"{name}: must be true or false; the default is used, as in Sockudo")
    return value in TRUE if value in TRUE | FALSE else default
