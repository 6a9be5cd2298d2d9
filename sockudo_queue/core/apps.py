"""Apps, their webhooks and filters, and the registry that returns an app by its id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from sockudo_queue.core.controls import WebhookKey
from sockudo_queue.core.retry import RetryPolicy
from sockudo_queue.core.secret import Secret


class Filter(msgspec.Struct, frozen=True):
    """The channels that a webhook wants. None means no constraint; all given constraints must hold."""

    channel_prefix: str | None = None
    channel_suffix: str | None = None
    channel_pattern: str | None = None
    channel_namespace: str | None = None
    channel_namespaces: tuple[str, ...] | None = None


class LambdaTarget(msgspec.Struct, frozen=True):
    """An AWS Lambda function that takes the place of a URL."""

    function_name: str
    region: str


class Webhook(msgspec.Struct, frozen=True):
    """One webhook of an app. `name` is unique in its app and identifies it in records, metrics and dead letters.

    With `signing_secrets` its requests also carry Standard Webhooks signatures, one for each secret. `max_in_flight`
    limits the attempts that one daemon makes at the same time.
    """

    name: str
    event_types: frozenset[str]
    url: Secret | None = None
    lambda_target: LambdaTarget | None = None
    filter: Filter | None = None
    headers: tuple[tuple[str, Secret], ...] = ()
    retry: RetryPolicy = msgspec.field(default_factory=RetryPolicy)
    request_timeout_ms: int = 10_000
    signing_secrets: tuple[Secret, ...] = ()
    verify_tls: bool = True
    max_in_flight: int | None = None
    paused: bool = False


class InvalidWebhook(msgspec.Struct, frozen=True):
    """A webhook that cannot be called as it is configured. Its events become dead letters until it is corrected.

    `event_types` is None if they cannot be read; the webhook then gets every event. `filter` holds the constraints
    that can be read; the others let every channel through. `place` is where it is configured and `reason` what is
    wrong. Neither contains a secret.
    """

    name: str
    event_types: frozenset[str] | None
    filter: Filter | None
    place: str
    reason: str
    paused: bool = False


class App(msgspec.Struct, frozen=True):
    """One app and its webhooks. The key and secret of a delivery come from the job, not from here.

    Names are unique over `webhooks` and `invalid` together. `is_over_ceiling` means that the app is too large to be
    read, so its webhooks are not known. Its only `invalid` entry then stands for all of them and gives the reason.
    """

    id: str
    webhooks: tuple[Webhook, ...]
    invalid: tuple[InvalidWebhook, ...] = ()
    is_over_ceiling: bool = False

    @property
    def paused(self) -> list[str]:
        """The names of the webhooks that the app's configuration pauses."""
        return [each.name for each in self.webhooks if each.paused] + [
            each.name for each in self.invalid if each.paused
        ]

    def webhook(self, name: str) -> Webhook | None:
        """Return the webhook of that name, if the app still has it and it is valid."""
        return next((webhook for webhook in self.webhooks if webhook.name == name), None)

    def invalid_webhook(self, name: str) -> InvalidWebhook | None:
        """Return the webhook of that name, if it is invalid."""
        return next((webhook for webhook in self.invalid if webhook.name == name), None)


InvalidByApp = Mapping[str, tuple[InvalidWebhook, ...]]
"""The invalid webhooks by app id; apps without any are left out."""


class AppRegistry(Protocol):
    """Finds apps. Safe to call from any thread; never blocks for long."""

    def find(self, app_id: str, /) -> App | None:
        """Return the app, or None if it is not known.

        Raises `errors.AppStoreUnavailable` if the store gave no answer, and `errors.AppUnreadable`.
        """

    def invalid_webhooks(self) -> InvalidByApp:
        """Return the invalid webhooks of all apps that are currently known."""

    def paused_webhooks(self) -> frozenset[WebhookKey]:
        """Return the webhooks that the app file pauses."""


class StaticApps:
    """A fixed set of apps. `replace` swaps the whole set in one step."""

    find: Callable[[str], App | None]
    """See `AppRegistry`. It runs for every job, so it is the bound `dict.get` without a function around it."""

    def __init__(self, apps: Iterable[App]) -> None:
        self.replace(apps)

    def replace(self, apps: Iterable[App]) -> None:
        """Swap the whole set; a lookup sees either the old set or the new one."""
        by_id = {app.id: app for app in apps}
        self.find = by_id.get
        self._invalid = {app.id: app.invalid for app in by_id.values() if app.invalid}
        self._paused = frozenset(WebhookKey(app.id, name) for app in by_id.values() for name in app.paused)

    def invalid_webhooks(self) -> InvalidByApp:
        return self._invalid

    def paused_webhooks(self) -> frozenset[WebhookKey]:
        return self._paused
