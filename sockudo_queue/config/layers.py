"""One source of settings, for pydantic-settings, which merges them by priority."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from sockudo_queue.config.models import Settings
from sockudo_queue.config.options import Option
from sockudo_queue.config.problems import ConfigProblems
from sockudo_queue.core.secret import Secret


class Layer:
    """The values of one source by attribute, and the origin of each for messages."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        self.host_asks_for_tls = False

    def give(self, option: Option, value: Any, origin: str, problems: ConfigProblems) -> None:
        """Take a value; text of a secret is wrapped at once, so that nothing on the way can show it."""
        if option.zero_means_default and value in (0, "0"):
            problems.notes.append(f"{origin}: 0 (no limit) is read as the default here, because every wait is limited")
            return
        if option.secret:
            value = _wrapped(value)
        if option.attribute == "redis.host" and isinstance(value, str):
            value = self._without_scheme(value)
        self.values[option.attribute] = value
        self.origins[option.attribute] = origin

    def discard(self, attribute: str) -> None:
        """Forget a value that counts as unset."""
        self.values.pop(attribute, None)
        self.origins.pop(attribute, None)

    def _without_scheme(self, host: str) -> str:
        """Remove the scheme that Sockudo allows before the host; `rediss` requests TLS."""
        scheme, found, rest = host.strip().partition("://")
        if not found or scheme.lower() not in ("redis", "rediss"):
            return host
        self.host_asks_for_tls = scheme.lower() == "rediss"
        return rest.removesuffix("/")


def _wrapped(value: Any) -> Any:
    if isinstance(value, str):
        return Secret(value)
    if isinstance(value, list):
        return [_wrapped(each) for each in value]
    if isinstance(value, Mapping):
        return {name: _wrapped(each) for name, each in value.items()}
    return value


class _LayerSource(PydanticBaseSettingsSource):
    """Gives the values of a layer as the nested groups that the models have."""

    def __init__(self, settings_class: type[BaseSettings], layer: Layer) -> None:
        super().__init__(settings_class)
        self._groups: dict[str, Any] = {}
        for attribute, value in layer.values.items():
            *groups, name = attribute.split(".")
            target = self._groups
            for group in groups:
                target = target.setdefault(group, {})
            target[name] = value

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - inherited
        return self._groups.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return self._groups


def merge(layers: Iterable[Layer]) -> Settings:
    """Merge layers, the first one winning, over the defaults. Raises pydantic's ValidationError."""
    given = tuple(layers)

    class MergedSettings(BaseSettings, extra="allow"):  # Without fields: building them a second time would take long.
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_unused: Any, **_named: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return tuple(_LayerSource(settings_cls, layer) for layer in given)

    return Settings(**(MergedSettings().model_extra or {}))
