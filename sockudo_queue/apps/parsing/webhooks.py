"""Builds an `App` from the entries of Sockudo's `webhooks`. No message contains a URL, a header's value or a secret.

A faulty entry affects only that webhook: it is kept as invalid, with its name and the parts that can be read.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar, cast

import msgspec
from pydantic import BaseModel, ValidationError

from sockudo_queue.apps.parsing.app_patterns import AppPatterns
from sockudo_queue.apps.parsing.headers import read_headers
from sockudo_queue.apps.parsing.names import NamesInUse, check_name, unreadable_target_name
from sockudo_queue.apps.parsing.secrets import read_signing_secrets
from sockudo_queue.apps.parsing.targets import EXAMPLE_URL, read_target
from sockudo_queue.config import (
    ConfigProblems,
    DeliverySettings,
    RetrySettings,
    boolean,
    did_you_mean,
    printable_lines,
    reason_of,
    shown,
)
from sockudo_queue.core.apps import App, Filter, InvalidWebhook, Webhook
from sockudo_queue.core.ceilings import (
    DEFAULTS,
    MAX_EVENT_TYPES,
    MAX_JITTER,
    MAX_NAMESPACES,
    OVER_LIMIT_FACTOR,
    Ceilings,
)
from sockudo_queue.core.matching import contradiction
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
        "signing_secrets",  # ours, as is the next
        "verify_tls",
        "paused",
        "max_in_flight",
    }
)
_TEXT_FILTERS: Final = ("channel_prefix", "channel_suffix", "channel_pattern", "channel_namespace")
_FILTERS: Final = frozenset({*_TEXT_FILTERS, "channel_namespaces"})
# Names of the same settings in related servers, and Sockudo's names for them.
_FOREIGN: Final = {
    "channel_name_starts_with": "channel_prefix",
    "channel_name_ends_with": "channel_suffix",
}
ALL_WEBHOOKS: Final = "all"
"""The name of the invalid webhook that represents all webhooks of an app that is too large to be read."""
SHARED: Final = 1_024
"""Distinct values that are cached for sharing."""
UNKNOWN_SHOWN: Final = 100
"""Maximum unknown keys and event types of one app that are reported by name."""
MAX_REASON_LENGTH: Final = 500
"""Maximum characters of the stored reason why a webhook is invalid; keys and names in it come from the app's owner."""
_Model = TypeVar("_Model", bound=BaseModel)
_Value = TypeVar("_Value", bound=Hashable)


class Defaults(msgspec.Struct, frozen=True):
    """The defaults and the ceilings of a webhook's settings.

    `can_pause` is set for the app file, which is completely in memory. Apps of a database are read one by one, so
    the daemon would not know all paused webhooks.
    """

    retry: RetrySettings
    request_timeout_ms: int
    ceilings: Ceilings = DEFAULTS
    can_pause: bool = False


class _Hints(msgspec.Struct):
    """How many more unknown names of an app may be reported by name."""

    left: int = UNKNOWN_SHOWN


class _ProblemsOfOne(ConfigProblems):
    """The problems of one webhook. An unknown key does not make it invalid, so that is reported for the whole file."""

    def __init__(self, whole: ConfigProblems, hints: _Hints) -> None:
        super().__init__()
        self._whole = whole
        self.hints = hints

    def unknown(self, line: str, *, ours: bool = False) -> None:
        self._whole.unknown(line, ours=ours)


def read_app(app_id: str, entries: Any, where: str, defaults: Defaults, problems: ConfigProblems) -> App:
    """Return an app with its webhooks, each with a unique name. Null means none, as Sockudo's stores write it.

    A faulty webhook becomes an invalid one. If `problems` are strict, its faults are added there as well.
    """
    if entries is None:
        return App(app_id, ())
    if not isinstance(entries, list):
        problems.faults.append(f'{where}: webhooks must be a list, for example [{{"url": "{EXAMPLE_URL}", …}}]')
        return App(app_id, ())
    if len(entries) > OVER_LIMIT_FACTOR * defaults.ceilings.webhooks_per_app:
        return over_ceiling(app_id, where, f"has {len(entries)} webhooks; {_most_webhooks(defaults)}", problems)
    patterns, hints = AppPatterns(defaults.ceilings), _Hints()
    read = [
        _read_one(entry, number, where, defaults, patterns, _ProblemsOfOne(problems, hints))
        for number, entry in enumerate(entries, 1)
    ]
    _refuse_above_ceiling(read, defaults)
    named = _names(read)
    webhooks = [
        msgspec.structs.replace(one.webhook, name=name) for one, name in zip(read, named, strict=True) if one.is_sound
    ]
    invalid = [_invalid(one, name) for one, name in zip(read, named, strict=True) if not one.is_sound]
    for one in read:
        problems.warnings.extend(one.problems.warnings)
        if problems.strict:
            problems.faults.extend(one.problems.faults)
    return App(app_id, tuple(webhooks), tuple(invalid))


def _names(read: Sequence[_Read]) -> list[str]:
    """Return the name of each webhook.

    A faulty webhook must not change the name of another, so it is named after the others. A webhook over a ceiling was
    valid before the ceiling existed; it keeps its name, because waiting deliveries refer to it.
    """
    _refuse_equal_names([one for one in read if one.keeps_its_name])
    first = {number for number, one in enumerate(read) if one.keeps_its_name}
    names = NamesInUse(one.given for one in read if one.keeps_its_name and one.given)
    named: dict[int, str] = {}
    for number in sorted(range(len(read)), key=lambda number: number not in first):
        one = read[number]
        own = one.given if number in first else None
        named[number] = own or names.take(one.given or one.webhook.name)
    return [named[number] for number in range(len(read))]


def over_ceiling(app_id: str, where: str, reason: str, problems: ConfigProblems) -> App:
    """Return an app that is too large to be read. Its jobs become dead letters until it is smaller."""
    if problems.strict:
        problems.faults.append(f"{where}: {reason}")
    return App(
        app_id,
        (),
        (InvalidWebhook(ALL_WEBHOOKS, None, None, printable_lines([where])[0], reason),),
        is_over_ceiling=True,
    )


def _most_webhooks(defaults: Defaults) -> str:
    return f"the limit is {defaults.ceilings.webhooks_per_app} (queue.limits.webhooks_per_app)"


class _Read(msgspec.Struct, frozen=True):
    """One parsed entry. `given` is the configured name; `webhook.name` is the default name from the target."""

    place: str
    given: str | None
    webhook: Webhook
    event_types: frozenset[str] | None
    problems: ConfigProblems

    @property
    def is_sound(self) -> bool:
        return not self.problems.faults

    @property
    def keeps_its_name(self) -> bool:
        """Return whether it is valid, or would be without ceilings."""
        return len(self.problems.faults) == self.problems.ceilings


def _read_one(
    entry: Any, number: int, where: str, defaults: Defaults, patterns: AppPatterns, own: _ProblemsOfOne
) -> _Read:
    given, name_fault = None, None
    if isinstance(entry, Mapping) and entry.get("name") is not None:
        try:
            given = check_name(entry["name"])
        except ValueError as error:
            name_fault = f"name {error}; for example orders"
    place = f"{where}, webhook {number}" + (f" ({given})" if given else "")
    if name_fault:
        own.faults.append(f"{place}: {name_fault}")
    webhook, event_types = _read(entry, place, defaults, patterns, own)
    return _Read(place, given, webhook, event_types, own)


def _refuse_above_ceiling(read: Sequence[_Read], defaults: Defaults) -> None:
    """Add a fault to each webhook above the maximum number per app."""
    for one in read[defaults.ceilings.webhooks_per_app :]:
        one.problems.above_ceiling(f"{one.place}: is beyond the limit of the app; {_most_webhooks(defaults)}")


def _refuse_equal_names(read: Sequence[_Read]) -> None:
    """Add a fault to each webhook with the name of an earlier one."""
    taken: set[str] = set()
    for one in read:
        if one.given is not None and one.given in taken:
            one.problems.faults.append(
                f"{one.place}: name {one.given!r} is used by another webhook of the app; choose another name"
            )
        elif one.given is not None:
            taken.add(one.given)


def _invalid(one: _Read, name: str) -> InvalidWebhook:
    reason = _reason(one.place, one.problems.faults)
    place = printable_lines([one.place])[0]
    return InvalidWebhook(name, one.event_types, one.webhook.filter, place, reason, one.webhook.paused)


def _reason(place: str, faults: list[str]) -> str:
    reason = "; ".join(printable_lines([fault.removeprefix(f"{place}: ") for fault in faults]))
    return reason if len(reason) <= MAX_REASON_LENGTH else f"{reason[:MAX_REASON_LENGTH]}…"


def _read(
    entry: Any, where: str, defaults: Defaults, patterns: AppPatterns, problems: _ProblemsOfOne
) -> tuple[Webhook, frozenset[str] | None]:
    """Return the webhook with its default name, and its event types (None if they cannot be read)."""
    if not isinstance(entry, Mapping):
        problems.faults.append(f'{where}: must be an object, for example {{"url": "{EXAMPLE_URL}", …}}')
        return Webhook(unreadable_target_name(None), frozenset()), None
    _report_unknown(entry, where, problems)
    target = read_target(entry, where, problems)
    event_types = _read_event_types(entry.get("event_types"), where, problems)
    # Everything is read even if the target is faulty, so that all faults are reported together.
    webhook = Webhook(
        name=unreadable_target_name(entry.get("url")) if target is None else target.name,
        event_types=frozenset() if event_types is None else event_types,
        url=None if target is None else target.url,
        lambda_target=None if target is None else target.function,
        filter=_read_filter(entry.get("filter"), where, patterns, problems),
        headers=read_headers(entry.get("headers"), where, problems, defaults.ceilings.header_bytes),
        retry=_read_retry(entry.get("retry"), where, defaults, problems),
        request_timeout_ms=_read_timeout(entry.get("request_timeout_ms"), where, defaults, problems),
        signing_secrets=read_signing_secrets(entry.get("signing_secrets"), where, problems),
        verify_tls=_read_verify(entry.get("verify_tls"), where, problems),
        max_in_flight=_read_max_in_flight(entry.get("max_in_flight"), where, problems),
        paused=_read_paused(entry.get("paused"), where, defaults, problems),
    )
    if webhook.lambda_target is not None and (webhook.headers or webhook.signing_secrets):
        problems.warnings.append(f"{where}: a Lambda function receives only the body, without headers and signatures")
    return webhook, event_types


def _report_unknown(entry: Mapping[str, Any], where: str, problems: _ProblemsOfOne) -> None:
    for key in _some([key for key in entry if key not in _KEYS], where, problems):
        meant = _FOREIGN.get(key, key)
        if meant in _FILTERS:
            hint = f"; it belongs inside filter, as filter.{meant}; without it the webhook gets every channel"
        else:
            hint = did_you_mean(key, _KEYS)
        problems.unknown(f"{where}: no such key: {key}{hint}")


def _some(names: Sequence[str], where: str, problems: _ProblemsOfOne) -> Sequence[str]:
    """Return the first unknown names, and count the others in a warning: computing a hint for each is slow."""
    named = names[: problems.hints.left]
    problems.hints.left -= len(named)
    if len(names) > len(named):
        problems.warnings.append(f"{where}: {len(names) - len(named)} more unknown names")
    return named


def _read_event_types(value: Any, where: str, problems: _ProblemsOfOne) -> frozenset[str] | None:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        problems.faults.append(f'{where}: event_types must be a list of texts; for example ["channel_occupied"]')
        return None
    if len(value) > MAX_EVENT_TYPES:
        problems.above_ceiling(f"{where}: event_types must be at most {MAX_EVENT_TYPES}; there are {len(value)}")
        return frozenset(value)
    if not value:
        problems.warnings.append(f"{where}: event_types is empty, so the webhook is never called")
    for name in _some(sorted(set(value) - EVENT_TYPES), f"{where}: event_types", problems):
        hint = did_you_mean(name, EVENT_TYPES)
        if not hint:
            wildcards = "there are no wildcards; " if "*" in name else ""
            hint = f"; {wildcards}the event types are {', '.join(sorted(EVENT_TYPES))}"
        problems.warnings.append(f"{where}: no server sends the event type {name}{hint}")
    return _one_of_equals(frozenset(value))


def _read_filter(value: Any, where: str, patterns: AppPatterns, problems: _ProblemsOfOne) -> Filter | None:
    """Return the filter without its faulty constraints."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        problems.faults.append(f'{where}: filter must be an object, for example {{"channel_prefix": "presence-"}}')
        return None
    for key in _some([key for key in value if key not in _FILTERS], f"{where}: filter", problems):
        meant = _FOREIGN.get(key, f"channel_{key}")
        hint = f"; did you mean {meant}?" if meant in _FILTERS else did_you_mean(key, _FILTERS)
        problems.unknown(f"{where}: no such key in filter: {key}{hint}")
    texts = {key: value.get(key) for key in _TEXT_FILTERS}
    for key, text in texts.items():
        if not isinstance(text, str | None):
            problems.faults.append(f'{where}: filter.{key} must be text; for example "presence-"')
            texts[key] = None
    spaces = value.get("channel_namespaces")
    if spaces is not None and not (isinstance(spaces, list) and all(isinstance(each, str) for each in spaces)):
        problems.faults.append(f'{where}: filter.channel_namespaces must be a list of texts; for example ["chat"]')
        spaces = None
    if spaces is not None and len(spaces) > MAX_NAMESPACES:
        problems.above_ceiling(
            f"{where}: filter.channel_namespaces must be at most {MAX_NAMESPACES}; there are {len(spaces)}"
        )
        spaces = None
    rules = Filter(**texts, channel_namespaces=None if spaces is None else tuple(spaces))
    fault = patterns.fault(rules)
    if fault is not None:
        add = problems.above_ceiling if patterns.is_above_ceiling(rules) else problems.faults.append
        add(f"{where}: filter.{fault}")
        return msgspec.structs.replace(rules, channel_pattern=None)
    if (reason := contradiction(rules)) is not None:
        problems.warnings.append(f"{where}: filter.{reason}")
    return rules


def _read_retry(value: Any, where: str, defaults: Defaults, problems: _ProblemsOfOne) -> RetryPolicy:
    overrides: dict[str, Any] = {}
    if value is not None and not isinstance(value, Mapping):
        problems.faults.append(f'{where}: retry must be an object, for example {{"max_attempts": 6}}')
    elif value is not None:
        unknown = [key for key in value if key not in RetrySettings.model_fields]
        for key in _some(unknown, f"{where}: retry", problems):
            problems.unknown(f"{where}: no such key in retry: {key}{did_you_mean(key, RetrySettings.model_fields)}")
        overrides = {key: value.get(key) for key in RetrySettings.model_fields if value.get(key) is not None}
    settings = _validated(RetrySettings, defaults.retry.model_dump() | overrides, f"{where}: retry.", problems)
    policy = RetryPolicy(**(settings or defaults.retry).model_dump())
    maximum = max(defaults.ceilings.retry_elapsed_time_ms, defaults.retry.max_elapsed_time_ms)
    if policy.max_elapsed_time_ms > maximum:
        problems.above_ceiling(f"{where}: retry.max_elapsed_time_ms must be at most {maximum}; for example 300000")
    return _one_of_equals(_not_too_fast(policy, defaults.ceilings.retry_backoff_ms, defaults.retry))


def _not_too_fast(policy: RetryPolicy, floor: int, defaults: RetrySettings) -> RetryPolicy:
    """Return the policy with its delays raised to the minimum between attempts."""
    return msgspec.structs.replace(
        policy,
        initial_backoff_ms=max(policy.initial_backoff_ms, min(floor, defaults.initial_backoff_ms)),
        max_backoff_ms=max(policy.max_backoff_ms, min(floor, defaults.max_backoff_ms)),
        jitter=min(policy.jitter, max(MAX_JITTER, defaults.jitter)),
    )


@lru_cache(maxsize=SHARED)
def _first_of_equals(value: Hashable) -> Hashable:
    return value


def _one_of_equals(value: _Value) -> _Value:
    """Return the first of equal values: thousands of webhooks share a few lists of events and one retry policy."""
    return cast(_Value, _first_of_equals(value))


def _read_timeout(value: Any, where: str, defaults: Defaults, problems: ConfigProblems) -> int:
    if value is None:
        return defaults.request_timeout_ms
    settings = _validated(DeliverySettings, {"request_timeout_ms": value}, f"{where}: ", problems)
    if settings is None:
        return defaults.request_timeout_ms
    maximum = max(defaults.ceilings.request_timeout_ms, defaults.request_timeout_ms)
    if settings.request_timeout_ms > maximum:
        problems.above_ceiling(f"{where}: request_timeout_ms must be at most {maximum}; for example 10000")
    return settings.request_timeout_ms


def _read_verify(value: Any, where: str, problems: ConfigProblems) -> bool:
    try:
        verify = value is None or boolean(value)
    except ValueError as error:
        problems.faults.append(f"{where}: verify_tls {error}; for example true")
        return True
    if not verify:
        problems.warnings.append(
            f"{where}: verify_tls is false, so an attacker on the network path can read and change requests; use it "
            "only for tests"
        )
    return verify


def _read_max_in_flight(value: Any, where: str, problems: ConfigProblems) -> int | None:
    if value is not None and (type(value) is not int or value < 1):
        problems.faults.append(f"{where}: max_in_flight must be a whole number from 1 on; for example 4")
        return None
    return value


def _read_paused(value: Any, where: str, defaults: Defaults, problems: ConfigProblems) -> bool:
    try:
        paused = value is not None and boolean(value)
    except ValueError as error:
        problems.faults.append(f"{where}: paused {error}; for example true")
        return False
    if paused and not defaults.can_pause:
        problems.warnings.append(f"{where}: paused counts in the app file alone; use sockudo-queue pause")
        return False
    if paused:
        problems.warnings.append(f"{where}: paused is true, so its deliveries are held and not sent")
    return paused


def _validated(model: type[_Model], values: Mapping[str, Any], where: str, problems: ConfigProblems) -> _Model | None:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        for details in error.errors(include_url=False, include_input=False):
            name = str(details["loc"][0])
            example = "6" if name == "max_attempts" else shown(model.model_fields[name].default)
            problems.faults.append(f"{where}{name} {reason_of(details)}; for example {example}")
    return None
