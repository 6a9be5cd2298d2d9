"""What a webhook is called in records, metrics and dead letters; pure.

A name must stay the same while other webhooks come and go, so it is never a position; and it must be fit to be shown,
so of a URL it holds the host alone. What tells two URLs of one host apart is a digest of the whole target.
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
    """Return a name that a person gave. Raises ValueError; its text is a reason without the name."""
    if not isinstance(name, str) or not name.strip():
        raise ValueError("must be non-empty text")
    # It is sent as the value of a header, too.
    if not (name.isascii() and name.isprintable()) or name != name.strip():
        raise ValueError("must be visible ASCII without white space around it")
    if len(name) > MAX_NAME_LENGTH:
        raise ValueError(f"must not be longer than {MAX_NAME_LENGTH} characters")
    return name


def url_name(url: str, parts: UrlParts) -> str:
    """Return the name of a URL that has none of its own."""
    port = "" if parts.port in (None, default_port(parts.scheme)) else f":{parts.port}"
    return f"{bracketed(parts.host)}{port}-{_digest(url)}"


def lambda_name(target: LambdaTarget) -> str:
    """Return the name of a Lambda function that has none of its own; of an ARN only the function's part is shown."""
    function = re.sub(r"^arn:.*:function:", "", target.function_name)
    return f"{function}-{_digest(f'{target.function_name}@{target.region}')}"


def unreadable_target_name(target: object) -> str:
    """Return the name of a webhook without one whose target cannot be read."""
    return f"invalid-{_digest(target)}" if isinstance(target, str) else "invalid"


class NamesInUse:
    """The names of one app's webhooks."""

    def __init__(self, given: Iterable[str]) -> None:
        self._taken = set(given)
        self._ordinals: dict[str, int] = {}

    def take(self, name: str) -> str:
        """Take the name, or where another webhook has it, the name with the first free ordinal from 2 on."""
        ordinal, candidate = self._ordinals.get(name, 1), name
        while candidate in self._taken:
            ordinal += 1
            candidate = f"{name}-{ordinal}"
        self._taken.add(candidate)
        self._ordinals[name] = ordinal
        return candidate


def _digest(target: str) -> str:
    return hashlib.sha256(target.encode(errors="backslashreplace")).hexdigest()[:8]
