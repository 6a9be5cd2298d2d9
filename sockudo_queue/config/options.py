"""The list of all settings with their names in files and in the environment, derived from the models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sockudo_queue.config.models import Settings
from sockudo_queue.config.models.group import GroupInfo, SettingInfo

_NO_GROUP: Final = GroupInfo("", "", "")


class Option(msgspec.Struct, frozen=True):
    """One setting with its complete names. See `SettingInfo`."""

    attribute: str  # dotted, from `Settings` on
    key: str
    variables: tuple[str, ...]
    meaning: str
    example: str
    secret: bool
    zero_means_default: bool
    aliases: tuple[str, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """Return every spelling of the key."""
        return (self.key, *self.aliases)


def _options(model: type[BaseModel], attribute: str = "", group: GroupInfo = _NO_GROUP) -> Iterator[Option]:
    for name, field in model.model_fields.items():
        path = f"{attribute}.{name}" if attribute else name
        if setting := _metadata(field, SettingInfo):
            yield _option(path, setting, group)
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _options(field.annotation, path, _metadata(field, GroupInfo) or group)


def _metadata(field: FieldInfo, kind: type[Any]) -> Any:
    return next((each for each in field.metadata if isinstance(each, kind)), None)


def _option(attribute: str, setting: SettingInfo, group: GroupInfo) -> Option:
    variables = (setting.variables,) if isinstance(setting.variables, str) else setting.variables or ()
    return Option(
        attribute,
        _joined(group.key, setting.key, "."),
        tuple(_joined(group.variable, name, "_") for name in variables),
        setting.meaning.replace("{peer}", group.peer),
        setting.example,
        setting.secret,
        setting.zero_means_default,
        tuple(_joined(group.key, alias, ".") for alias in setting.aliases),
    )


def _joined(start: str, name: str, separator: str) -> str:
    return f"{start}{name}" if name.startswith(separator) else name


OPTIONS: Final = tuple(_options(Settings))
BY_ATTRIBUTE: Final = {option.attribute: option for option in OPTIONS}
