"""Reads a settings file, JSON or TOML, into plain values; every fault names line and column of the file as written."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sockudo_queue.config.file_reading import read_limited
from sockudo_queue.config.substitution import Substituted, substitute_text, substitute_values
from sockudo_queue.errors import SettingsError

MAX_FILE_BYTES: Final = 64 * 1024 * 1024
MAX_DEPTH: Final = 100
"""Maximum nesting of lists and objects; valid files use up to 10. Readers recurse level by level, and Python's limit
depends on the caller."""
MAX_UNRESOLVED: Final = 50
"""References to variables without a value that are named; for each the lines of the file are counted."""
_SEARCHED: Final = ("config/config.toml", "config/config.json", "config.json")
_TOML_PLACE: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


@dataclass(frozen=True, slots=True)
class Document:
    """The content of a settings file, by its keys. Never print it: it contains secrets in clear text."""

    path: Path | None = None
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)
    digest: bytes = b""  # of the file as it is written, to see a change

    def get(self, key: str) -> Any:
        """Return the value at a dotted key, or None if it does not exist."""
        value: Any = self.values
        for part in key.split("."):
            if not isinstance(value, Mapping):
                return None
            value = value.get(part)
        return value


def working_directory() -> Path:
    """Return the working directory; one that was deleted, such as that of an old release, contains no files."""
    try:
        return Path.cwd()
    except OSError:
        return Path()


def find_file(named: str | None, working_directory: Path) -> Path | None:
    """Return the named file, or the first of Sockudo's own places that exists."""
    if named is not None:
        return working_directory / named
    candidates = (working_directory / each for each in _SEARCHED)
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def read_document(path: Path, environment: Mapping[str, str]) -> Document:
    """Read a file. Raises SettingsError with one line for each fault."""
    return parse_document(path, read_bytes(path), environment)


def read_bytes(path: Path, *, again: bool = False) -> bytes:
    """Return the content of a settings file. Raises SettingsError.

    `again`: it was read before, so only a regular file is read. A pipe would be waited for without end.
    """
    try:
        if again and not path.is_file():
            path.stat()  # one that is gone has another fault
            raise SettingsError([f"{path}: is not a regular file, so it cannot be read again"])
        content = read_limited(path, MAX_FILE_BYTES, regular=again)
    except OSError as error:
        raise SettingsError([f"{path}: cannot be read: {error.strerror}"]) from None
    if len(content) > MAX_FILE_BYTES:
        raise SettingsError([f"{path}: is larger than {MAX_FILE_BYTES // 1024 // 1024} MiB"])
    return content


def digest_of(content: bytes) -> bytes:
    """Return a digest to detect changes of a file."""
    return hashlib.sha256(content).digest()


def parse_document(path: Path, content: bytes, environment: Mapping[str, str]) -> Document:
    """Turn the bytes of a file into its values. Raises SettingsError with one line for each fault."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingsError([f"{path}: line {line}: is not UTF-8"]) from None
    syntax = "toml" if path.suffix.lower() == ".toml" else "json"
    if syntax == "toml":
        text = text.replace("\r\n", "\n")
    substituted = substitute_text(text, syntax, environment)
    if substituted.unresolved:
        raise SettingsError(_unresolved(path, text, substituted.unresolved))
    values = _parse(path, text, substituted, _load_toml if syntax == "toml" else _load_json)
    return Document(path, substitute_values(values, environment), digest_of(content))


class _MisreadError(Exception):
    """Where the reader stopped, in the substituted text, and why; the text is the parser's and quotes no value."""

    def __init__(self, reason: str, offset: int | None) -> None:
        super().__init__(reason)
        self.reason, self.offset = reason, offset


def _parse(path: Path, text: str, substituted: Substituted, load: Callable[[str], Any]) -> dict[str, Any]:
    try:
        values = load(substituted.text)
    except _MisreadError as error:
        place = "" if error.offset is None else f" {_place(text, substituted.original_offset(error.offset))}:"
        raise SettingsError([f"{path}:{place} {error.reason}"]) from None
    except RecursionError:
        raise SettingsError([f"{path}: is nested too deeply"]) from None
    if _is_deeper(values, MAX_DEPTH):
        raise SettingsError([f"{path}: is nested too deeply"])
    if not isinstance(values, dict):
        raise SettingsError([f'{path}: must contain one object, for example {{"queue": {{"driver": "redis"}}}}'])
    return values


def _is_deeper(values: Any, levels: int) -> bool:
    """Tell whether lists and objects are nested more deeply than that."""
    level = [values] if isinstance(values, dict | list) else []
    for _ in range(levels):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _load_json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise _MisreadError(f"is not valid JSON: {error.msg}", error.pos) from None
    except ValueError:  # An integer of thousands of digits.
        raise _MisreadError("contains a number that is too long", None) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise _MisreadError(f"has the key {twice!r} twice in one object; Sockudo refuses such a file", None)
    return values


def _refuse_constant(name: str) -> None:
    raise _MisreadError(f"contains {name}, which is not valid JSON", None)


def _load_toml(text: str) -> Any:
    import tomllib  # here, because most files are JSON

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        found = _TOML_PLACE.search(message)
        reason = f"is not valid TOML: {_TOML_PLACE.sub('', message)}"
        if found is None or found[1] is None:
            raise _MisreadError(reason, None if found is None else len(text)) from None
        raise _MisreadError(reason, _offset_of(text, int(found[1]), int(found[2]))) from None
    except ValueError:
        raise _MisreadError("contains a number that is too long", None) from None


def _offset_of(text: str, line: int, column: int) -> int:
    start = 0
    for _ in range(line - 1):
        start = text.index("\n", start) + 1
    return start + column - 1


def _place(text: str, offset: int) -> str:
    line = text.count("\n", 0, offset) + 1
    column = offset - text.rfind("\n", 0, offset)
    return f"line {line}, column {column}"


def _unresolved(path: Path, text: str, references: Sequence[tuple[int, str]]) -> list[str]:
    lines = [
        f"{path}: {_place(text, offset)}: the variable {name} is not set; set it, or give a default: "
        f"${{{name}:-default}}"
        for offset, name in references[:MAX_UNRESOLVED]
    ]
    if len(references) > MAX_UNRESOLVED:
        lines.append(f"{path}: {len(references) - MAX_UNRESOLVED} more references to variables that are not set")
    return lines
