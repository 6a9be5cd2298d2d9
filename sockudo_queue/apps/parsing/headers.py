"""Checks the headers that a webhook may add to its requests; pure. No message contains a value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from sockudo_queue.config import ConfigProblems
from sockudo_queue.core.ceilings import DEFAULTS, MAX_HEADERS
from sockudo_queue.core.reserved_headers import is_reserved
from sockudo_queue.core.secret import Secret

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# What is not allowed, since a set of most characters takes ten times as long to compile.
_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")
_BLANKS: Final = " \t"


def read_headers(
    value: Any, where: str, problems: ConfigProblems, max_bytes: int = DEFAULTS.header_bytes
) -> tuple[tuple[str, Secret], ...]:
    """Return the headers of a webhook from either of the two shapes that Sockudo has written."""
    if value is None:
        return ()
    # Sockudo 3.0.0 to 4.4.0 nested them one level deeper.
    if isinstance(value, Mapping) and len(value) == 1 and isinstance(value.get("headers"), Mapping):
        value = value["headers"]
    if not isinstance(value, Mapping):
        problems.faults.append(f'{where}: headers must be an object, for example {{"Authorization": "Bearer …"}}')
        return ()
    kept: dict[str, tuple[str, Secret]] = {}
    for name, text in value.items():
        fault = _name_fault(name) or _value_fault(text)
        if fault is not None:
            problems.faults.append(f"{where}: header {name!r} {fault}; for example X-Tenant: shop")
        elif is_reserved(name):
            problems.warnings.append(
                f"{where}: header {name!r} is ignored, because the daemon or the HTTP library sets it"
            )
        else:
            if name.lower() in kept:
                problems.warnings.append(
                    f"{where}: header {name!r} is given twice with different capitalisation; the later one is sent"
                )
            if text != text.strip(_BLANKS):
                problems.warnings.append(
                    f"{where}: header {name!r} has a value with spaces or tabs around it; they are removed, because "
                    "HTTP ignores them"
                )
            kept[name.lower()] = (name, Secret(text.strip(_BLANKS)))
    size = sum(len(name) + len(text.revealed.encode()) for name, text in kept.values())
    if len(kept) > MAX_HEADERS or size > max_bytes:
        problems.above_ceiling(
            f"{where}: headers must be at most {MAX_HEADERS}, with {max_bytes} bytes together; there are "
            f"{len(kept)} with {size} bytes"
        )
        return ()
    return tuple(kept.values())


def _name_fault(name: str) -> str | None:
    return None if _TOKEN.fullmatch(name) else "has a name with characters that are not allowed in a header"


def _value_fault(value: object) -> str | None:
    if not isinstance(value, str):
        return "has a value that is not text"
    if "\r" in value or "\n" in value:
        return "has a value with a line break"
    if not _VALUE.fullmatch(value):
        return "has a value with control characters or half a surrogate pair"
    return None
