"""Settings for tests: from values, a file and an environment, with all output of reading them."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sockudo_queue.apps.file import load_with_apps
from sockudo_queue.config import LoadedSettings, dump
from sockudo_queue.core.apps import App
from sockudo_queue.errors import SettingsError

CANARY: Final = "CANARY"
CONFIGS: Final = Path(__file__).parents[1] / "data" / "config"


@dataclass(frozen=True)
class Read:
    """The result of reading settings: faults, or settings and apps; `output` is everything an operator could see."""

    loaded: LoadedSettings | None
    apps: tuple[App, ...]
    faults: tuple[str, ...]
    output: str

    @property
    def good(self) -> LoadedSettings:
        assert self.loaded is not None, self.faults
        return self.loaded

    @property
    def warnings(self) -> tuple[str, ...]:
        return self.good.warnings


def read(
    directory: Path,
    file: Mapping[str, Any] | str | bytes | None = None,
    environment: Mapping[str, str] | None = None,
    *,
    name: str = "config.json",
    strict: bool = False,
) -> Read:
    """Write the file, read the settings with nothing else in the environment, and return the result."""
    if file is not None:
        content = json.dumps(file) if isinstance(file, Mapping) else file
        (directory / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    named = name if file is not None else None
    try:
        loaded, apps = load_with_apps(named, environment or {}, directory, strict)
    except SettingsError as error:
        shown = ["".join(traceback.format_exception(error)), repr(error), *error.faults]
        return Read(None, (), error.faults, "\n".join(shown))
    shown = [repr(loaded), str(loaded.settings), loaded.settings.model_dump_json(), dump(loaded.settings), repr(apps)]
    return Read(loaded, apps, (), "\n".join(shown))


def merged(base: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy of a document with another value at a dotted path; a number in the path is an index."""
    document: dict[str, Any] = json.loads(json.dumps(base))
    target: Any = document
    *groups, last = path.split(".")
    for group in groups:
        target = target[int(group)] if isinstance(target, list) else target.setdefault(group, {})
    if isinstance(target, list):
        target[int(last)] = value
    else:
        target[last] = value
    return document
