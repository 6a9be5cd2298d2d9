"""Names webhooks for records, metrics and dead letters; pure.

A name must not change when other webhooks are added or removed, so it is never a position. It must be safe to show, so
of a URL it contains only the host. A digest of the whole target distinguishes two URLs on one host.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Final

from sockudo_queue.config import UrlParts
from sockudo_queue.core.apps import LambdaTarget
from sockudo_queue.core.ports import bracketed, default_port

MAX_NAME_LENGTH: Final = 100


def check_name(name: object) -> str:
    """Return a configured name. Raises ValueError with a reason that does not contain the name."""
    if not isinstance(name, str) or not name.strip():
        raise ValueError("must be non-empty text")
    # It is also sent as the value of a header.
    if not (name.isascii() and name.isprintable()) or name != name.strip():
        raise ValueError("must be visible ASCII without white space around it")
    if len(name) > MAX_NAME_LENGTH:
        raise ValueError(f"must not be longer than {MAX_NAME_LENGTH} characters")
    return name


def url_name(url: str, parts: UrlParts) -> str:
    """Return the default name for a URL."""
    port = "" if parts.port in (None, default_port(parts.scheme)) else f":{parts.port}"
    return f"{bracketed(parts.host)}{port}-{_digest(url)}"


def lambda_name(target: LambdaTarget) -> str:
    """Return the default name for a Lambda function; of an ARN it contains only the function's part."""
    function = re.sub(r"^arn:.*:function:", "", target.function_name)
    return f"{function}-{_digest(f'{target.function_name}@{target.region}')}"


def unreadable_target_name(target: object) -> str:
    """Return the default name for a webhook whose target cannot be read."""
    return f"invalid-{_digest(target)}" if isinstance(target, str) else "invalid"


class NamesInUse:
    """The names of one app's webhooks."""

    def __init__(self, given: Iterable[str]) -> None:
        self._taken = set(given)
        self._ordinals: dict[str, int] = {}

    def take(self, name: str) -> str:
        """Take the name; if another webhook has it, append the first free number from 2 on."""
        ordinal, candidate = self._ordinals.get(name, 1), name
        while candidate in self._taken:
            ordinal += 1
            candidate = f"{name}-{ordinal}"
        self._taken.add(candidate)
        self._ordinals[name] = ordinal
        return candidate


def _digest(target: str) -> str:
    return hashlib.sha256(target.encode(errors="backslashreplace")).hexdigest()[:8]
