"""The target of a webhook: a URL or a Lambda function. No message contains the URL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from sockudo_queue.apps.parsing.names import lambda_name
from sockudo_queue.apps.parsing.urls import default_name, normalised
from sockudo_queue.config import ConfigProblems
from sockudo_queue.core.apps import LambdaTarget
from sockudo_queue.core.secret import Secret

EXAMPLE_URL: Final = "https://api.example.com/hooks"
LEGACY_REGION: Final = "us-east-1"  # Sockudo's, for the one string `lambda_function`
_FUNCTION: Final = re.compile(r"[A-Za-z0-9_.:$-]{1,170}")
_REGION: Final = re.compile(r"[a-z0-9-]{1,40}")


class Target(msgspec.Struct, frozen=True):
    """A URL or a function, and the default name of its webhook."""

    name: str
    url: Secret | None = None
    function: LambdaTarget | None = None


def read_target(entry: Mapping[str, Any], where: str, problems: ConfigProblems) -> Target | None:
    """Return the target of a webhook, or None if it has no valid one.

    A URL wins over a function, and `lambda` over `lambda_function`, as in Sockudo.
    """
    url, function, legacy = entry.get("url"), entry.get("lambda"), entry.get("lambda_function")
    if url is not None:
        if function is not None or legacy is not None:
            problems.warnings.append(f"{where}: has both a url and a Lambda function; the url is used")
        return _read_url(url, where, problems)
    if function is not None:
        return _read_function(function, where, problems)
    if legacy is not None:
        return _read_function({"function_name": legacy, "region": LEGACY_REGION}, where, problems)
    problems.faults.append(
        f'{where}: has neither a url nor a lambda, so it cannot be called; for example "url": "{EXAMPLE_URL}"'
    )
    return None


def _read_url(value: object, where: str, problems: ConfigProblems) -> Target | None:
    if not isinstance(value, str) or not value.strip():
        problems.faults.append(f"{where}: url must be non-empty text; for example {EXAMPLE_URL}")
        return None
    try:
        url = normalised(value)
    except ValueError as error:
        problems.faults.append(f"{where}: url {error}; for example {EXAMPLE_URL}")
        return None
    return Target(default_name(value, url), url=Secret(url))


def _read_function(value: object, where: str, problems: ConfigProblems) -> Target | None:
    name = value.get("function_name") if isinstance(value, Mapping) else None
    region = value.get("region") if isinstance(value, Mapping) else None
    if not all(isinstance(each, str) and each.strip() for each in (name, region)):
        problems.faults.append(
            f'{where}: lambda must have a function_name and a region; for example {{"function_name": "on-webhook", '
            f'"region": "{LEGACY_REGION}"}}'
        )
        return None
    # Both become part of a URL; the region is part of its host.
    if not (_FUNCTION.fullmatch(str(name).strip()) and _REGION.fullmatch(str(region).strip())):
        problems.faults.append(
            f"{where}: lambda must name a function or its ARN, and a region, as AWS writes them; for example f "
            f"and {LEGACY_REGION}"
        )
        return None
    target = LambdaTarget(str(name).strip(), str(region).strip())
    return Target(lambda_name(target), function=target)
