"""Turns one entry of Sockudo's `webhooks` into a `Webhook`; no message holds a URL, a header's value or a secret."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, TypeVar, cast

from pydantic import BaseModel, ValidationError

from sockudo_queue.apps.parsing.headers import read_headers
from sockudo_queue.apps.parsing.names import check_name, free_name
from sockudo_queue.apps.parsing.secrets import read_signing_secrets
from sockudo_queue.apps.parsing.targets import EXAMPLE_URL, read_target
from sockudo_queue.config import DeliverySettings, Findings, RetrySettings, boolean, did_you_mean, reason_of, shown
from sockudo_queue.core.apps import Filter, Webhook
from sockudo_queue.core.matching import check_filter, contradiction
from sockudo_queue.core.retry import RetryPolicy

EVENT_TYPES: Final = frozenset(
    {
        "ai_cancel_requested",
        "ai_run_ended",
        "ai_run_started",
        "ai_stream_cancelled",
        "ai_stream_orphaned",
        "ai_turn_ended",
        "ai_turn_started",
        "annotation_created",
        "annotation_deleted",
        "cache_miss",
        "channel_occupied",
        "channel_vacated",
        "client_event",
        "member_added",
        "member_removed",
        "member_updated",
        "message_version_created",
        "subscription_count",
    }
)
_KEYS: Final = frozenset(
    {
        "name",  # ours; Sockudo ignores it
        "url",
        "lambda",
        "lambda_function",
        "event_types",
        "filter",
        "headers",
        "retry",
        "request_timeout_ms",
        "signing_secrets",  # ours, as the next
        "verify_tls",
    }
)
_TEXT_FILTERS: Final = ("channel_prefix", "channel_suffix", "channel_pattern", "channel_namespace")
_FILTERS: Final = frozenset({*_TEXT_FILTERS, "channel_namespaces"})
# Names from servers of the same family, and what they are called here.
_FOREIGN: Final = {
    "channel_name_starts_with": "channel_prefix",
    "channel_name_ends_with": "channel_suffix",
}
SHARED: Final = 1_024
"""Values that are looked up before another of them is kept."""
_Model = TypeVar("_Model", bound=BaseModel)
_Value = TypeVar("_Value", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a webhook falls back to where it says nothing."""

    retry: RetrySettings
    request_timeout_ms: int


def read_webhooks(entries: Any, where: str, defaults: Defaults, findings: Findings) -> tuple[Webhook, ...]:
    """Return the webhooks of one app, each with a name of its own; null means none, as Sockudo's stores write it."""
    if entries is None:
        return ()
    if not isinstance(entries, list):
        findings.faults.append(f'{where}: webhooks must be a list, for example [{{"url": "{EXAMPLE_URL}", …}}]')
        return ()
    given = _given_names(entries, where, findings)
    taken = set(given.values())
    webhooks: list[Webhook] = []
    for position, entry in enumerate(entries):
        webhook = _read(entry, _place(where, position, given), defaults, findings)
        if webhook is not None:
            name = given.get(position) or free_name(webhook.name, taken)
            taken.add(name)
            webhooks.append(replace(webhook, name=name))
    return tuple(webhooks)


def _given_names(entries: list[Any], where: str, findings: Findings) -> dict[int, str]:
    names: dict[int, str] = {}
    for position, entry in enumerate(entries):
        name = entry.get("name") if isinstance(entry, Mapping) else None
        if name is None:
            continue
        place = f"{where}, webhook {position + 1}"
        try:
            name = check_name(name)
        except ValueError as error:
            findings.faults.append(f"{place}: name {error}; for example orders")
            continue
        if name in names.values():
            findings.faults.append(f"{place}: name {name!r} is taken by another webhook of the app; give it another")
        names[position] = name
    return names


def _place(where: str, position: int, given: Mapping[int, str]) -> str:
    name = f" ({given[position]})" if position in given else ""
    return f"{where}, webhook {position + 1}{name}"


def _read(entry: Any, where: str, defaults: Defaults, findings: Findings) -> Webhook | None:
    """Return the webhook under the name that its target gives it; None where it can never be called."""
    if not isinstance(entry, Mapping):
        findings.faults.append(f'{where}: must be an object, for example {{"url": "{EXAMPLE_URL}", …}}')
        return None
    _report_unknown(entry, where, findings)
    target = read_target(entry, where, findings)
    # Everything is read even when the target is at fault, so that all faults are told at once.
    webhook = Webhook(
        name="" if target is None else target.name,
        event_types=_read_event_types(entry.get("event_types"), where, findings),
        url=None if target is None else target.url,
        lambda_target=None if target is None else target.function,
        filter=_read_filter(entry.get("filter"), where, findings),
        headers=read_headers(entry.get("headers"), where, findings),
        retry=_read_retry(entry.get("retry"), where, defaults, findings),
        request_timeout_ms=_read_timeout(entry.get("request_timeout_ms"), where, defaults, findings),
        signing_secrets=read_signing_secrets(entry.get("signing_secrets"), where, findings),
        verify_tls=_read_verify(entry.get("verify_tls"), where, findings),
    )
    if webhook.lambda_target is not None and (webhook.headers or webhook.signing_secrets):
        findings.warnings.append(f"{where}: a Lambda function gets the body alone, without headers and signatures")
    return None if target is None else webhook


def _report_unknown(entry: Mapping[str, Any], where: str, findings: Findings) -> None:
    for key in entry:
        if key in _KEYS:
            continue
        meant = _FOREIGN.get(key, key)
        if meant in _FILTERS:
            hint = f"; it belongs inside filter, as filter.{meant}, and the webhook gets every channel without it"
        else:
            hint = did_you_mean(key, _KEYS)
        findings.unknown(f"{where}: no such key: {key}{hint}")


def _read_event_types(value: Any, where: str, findings: Findings) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        findings.faults.append(f'{where}: event_types must be a list of texts; for example ["channel_occupied"]')
        return frozenset()
    if not value:
        findings.warnings.append(f"{where}: event_types is empty, so it is never called")
    for name in sorted(set(value) - EVENT_TYPES):
        hint = did_you_mean(name, EVENT_TYPES)
        if not hint:
            wildcards = "there are no wildcards; " if "*" in name else ""
            hint = f"; {wildcards}those that are sent: {', '.join(sorted(EVENT_TYPES))}"
        findings.warnings.append(f"{where}: no server sends the event type {name}{hint}")
    return _one_of_equals(frozenset(value))


def _read_filter(value: Any, where: str, findings: Findings) -> Filter | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        findings.faults.append(f'{where}: filter must be an object, for example {{"channel_prefix": "presence-"}}')
        return None
    for key in value:
        if key not in _FILTERS:
            meant = _FOREIGN.get(key, f"channel_{key}")
            hint = f"; did you mean {meant}?" if meant in _FILTERS else did_you_mean(key, _FILTERS)
            findings.unknown(f"{where}: no such key in filter: {key}{hint}")
    for key in _TEXT_FILTERS:
        if not isinstance(value.get(key), str | None):
            findings.faults.append(f'{where}: filter.{key} must be text; for example "presence-"')
            return None
    spaces = value.get("channel_namespaces")
    if spaces is not None and not (isinstance(spaces, list) and all(isinstance(each, str) for each in spaces)):
        findings.faults.append(f'{where}: filter.channel_namespaces must be a list of texts; for example ["chat"]')
        return None
    rules = Filter(
        **{key: value.get(key) for key in _TEXT_FILTERS},
        channel_namespaces=None if spaces is None else tuple(spaces),
    )
    fault = check_filter(rules)
    if fault is not None:
        findings.faults.append(f"{where}: filter.{fault}")
    elif (reason := contradiction(rules)) is not None:
        findings.warnings.append(f"{where}: filter.{reason}")
    return rules


def _read_retry(value: Any, where: str, defaults: Defaults, findings: Findings) -> RetryPolicy:
    overrides: dict[str, Any] = {}
    if value is not None and not isinstance(value, Mapping):
        findings.faults.append(f'{where}: retry must be an object, for example {{"max_attempts": 6}}')
    elif value is not None:
        for key in value:
            if key not in RetrySettings.model_fields:
                findings.unknown(f"{where}: no such key in retry: {key}{did_you_mean(key, RetrySettings.model_fields)}")
        overrides = {key: value.get(key) for key in RetrySettings.model_fields if value.get(key) is not None}
    settings = _validated(RetrySettings, defaults.retry.model_dump() | overrides, f"{where}: retry.", findings)
    return _one_of_equals(RetryPolicy(**(settings or defaults.retry).model_dump()))


@lru_cache(maxsize=SHARED)
def _first_of_equals(value: Hashable) -> Hashable:
    return value


def _one_of_equals(value: _Value) -> _Value:
    """Return the first of equal values: thousands of webhooks have a few lists of events, and one policy, in common."""
    return cast(_Value, _first_of_equals(value))


def _read_timeout(value: Any, where: str, defaults: Defaults, findings: Findings) -> int:
    if value is None:
        return defaults.request_timeout_ms
    settings = _validated(DeliverySettings, {"request_timeout_ms": value}, f"{where}: ", findings)
    return defaults.request_timeout_ms if settings is None else settings.request_timeout_ms


def _read_verify(value: Any, where: str, findings: Findings) -> bool:
    try:
        verify = value is None or boolean(value)
    except ValueError as error:
        findings.faults.append(f"{where}: verify_tls {error}; for example true")
        return True
    if not verify:
        findings.warnings.append(
            f"{where}: verify_tls is false, so whoever sits between can read and change what is sent; for tests only"
        )
    return verify


def _validated(model: type[_Model], values: Mapping[str, Any], where: str, findings: Findings) -> _Model | None:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        for details in error.errors(include_url=False, include_input=False):
            name = str(details["loc"][0])
            example = "6" if name == "max_attempts" else shown(model.model_fields[name].default)
            findings.faults.append(f"{where}{name} {reason_of(details)}; for example {example}")
    return None
