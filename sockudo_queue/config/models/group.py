"""The parts that all groups of settings use."""

from typing import Final

import msgspec
from pydantic import BaseModel, ConfigDict

# Upper bounds, so that a typing error (seconds for milliseconds, one digit too many) cannot cause an endless wait.
DAY_MS: Final = 86_400_000
MAX_WORKERS: Final = 1_024


class SettingsGroup(BaseModel):
    """A group of settings. Immutable. Errors never contain a value, which could be a secret."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True, extra="forbid")


class SettingInfo(msgspec.Struct, frozen=True):
    """The names and the meaning of one setting; metadata in the annotation of its field.

    `key` is the dotted path in a settings file. If several variables are set, the last one listed takes precedence, as
    in Sockudo. In a group that is used in several places, keys start with `.` and variables with `_`: they are appended
    to those of the group's `GroupInfo`, and `{peer}` in the meaning is replaced.
    """

    key: str
    variables: str | tuple[str, ...] | None
    meaning: str
    example: str = ""  # shown in errors; if empty, the default is shown
    secret: bool = False
    zero_means_default: bool = False  # in Sockudo, 0 means "no deadline"; the daemon bounds every wait
    aliases: tuple[str, ...] = ()  # other spellings of the key that Sockudo accepts


class GroupInfo(msgspec.Struct, frozen=True):
    """The prefix of keys and variables of a group that is used in several places; metadata of the group's field."""

    key: str
    variable: str
    peer: str
