"""Apps, their webhooks and filters, and the registry that finds an app by its id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from sockudo_queue.core.retry import RetryPolicy
from sockudo_queue.core.secret import Secret


@dataclass(frozen=True, slots=True)
class Filter:
    """Which channels a webhook wants; None is "no such constraint", and all given constraints must hold."""

    channel_prefix: str | None = None
    channel_suffix: str | None = None
    channel_pattern: str | None = None
    channel_namespace: str | None = None
    channel_namespaces: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class LambdaTarget:
    """An AWS Lambda function that takes the place of a URL."""

    function_name: str
    region: str


@dataclass(frozen=True, slots=True)
class Webhook:
    """One webhook of an app. `name` is unique in its app and is what records, metrics and dead letters know it by.

    With `signing_secrets` its requests are signed by Standard Webhooks, too, once with each.
    """

    name: str
    event_types: frozenset[str]
    url: Secret | None = None
    lambda_target: LambdaTarget | None = None
    filter: Filter | None = None
    headers: tuple[tuple[str, Secret], ...] = ()
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    request_timeout_ms: int = 10_000
    signing_secrets: tuple[Secret, ...] = ()
    verify_tls: bool = True


@dataclass(frozen=True, slots=True)
class InvalidWebhook:
    """A webhook that cannot be called as it is configured. Its events become dead letters until it is corrected.

    `event_types` None: they cannot be read, so it gets every event. `filter` holds the constraints that can be read;
    the others let every channel through. `place` says where it is configured and `reason` what is wrong, without a
    secret.
    """

    name: str
    event_types: frozenset[str] | None
    filter: Filter | None
    place: str
    reason: str


@dataclass(frozen=True, slots=True)
class App:
    """One app as its webhooks see it; key and secret of a delivery come from the job, not from here.

    Names are unique over `webhooks` and `invalid` together. `is_over_ceiling`: the app is too large to be read, so its
    webhooks are not known; the one that is `invalid` stands for all of them and says why.
    """

    id: str
    webhooks: tuple[Webhook, ...]
    invalid: tuple[InvalidWebhook, ...] = ()
    is_over_ceiling: bool = False

    def webhook(self, name: str) -> Webhook | None:
        """Return the webhook of that name, if the app still has it and it can be called."""
        return next((webhook for webhook in self.webhooks if webhook.name == name), None)

    def invalid_webhook(self, name: str) -> InvalidWebhook | None:
        """Return the webhook of that name, if it is invalid."""
        return next((webhook for webhook in self.invalid if webhook.name == name), None)


InvalidByApp = Mapping[str, tuple[InvalidWebhook, ...]]
"""The invalid webhooks by the id of their app; apps without any are left out."""


class AppRegistry(Protocol):
    """Where apps are found. Safe to call from any thread; never blocks for long."""

    def find(self, app_id: str, /) -> App | None:
        """Return the app, or None while it is not known.

        Raises `errors.AppStoreUnavailable` while nobody can tell, and `errors.AppUnreadable`.
        """

    def invalid_webhooks(self) -> InvalidByApp:
        """Return the invalid webhooks of all apps that are known now."""


class StaticApps:
    """A fixed set of apps; `replace` swaps all of them at once for those who ask next."""

    find: Callable[[str], App | None]
    """See `AppRegistry`. Every job asks, so this is the look-up in a dict and no function around it."""

    def __init__(self, apps: Iterable[App]) -> None:
        self.replace(apps)

    def replace(self, apps: Iterable[App]) -> None:
        """Swap the whole set; a lookup sees either the old set or the new one."""
        by_id = {app.id: app for app in apps}
        self.find = by_id.get
        self._invalid = {app.id: app.invalid for app in by_id.values() if app.invalid}

    def invalid_webhooks(self) -> InvalidByApp:
        return self._invalid
