"""Parses the stored row of one app into an `App`; pure. A bad row affects only its own app."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from sockudo_queue.apps.parsing.webhooks import Defaults, over_ceiling, read_app
from sockudo_queue.apps.stores.base import Row
from sockudo_queue.config import ConfigProblems, printable_lines
from sockudo_queue.core.apps import App
from sockudo_queue.core.decoding import DECODE_ERRORS
from sockudo_queue.errors import AppUnreadable

_DECODER: Final = msgspec.json.Decoder()


def read_row(row: Row, defaults: Defaults) -> App:
    """Return the app. Raises `AppUnreadable`, whose text is one line, if its webhooks cannot be read."""
    problems, where, limit = ConfigProblems(), f"app {row.id!r}", defaults.ceilings.app_bytes
    if (size := max(row.size, _size(row.policy), _size(row.webhooks))) > limit:
        reason = f"has {size} bytes in the database; the limit is {limit} (queue.limits.app_bytes)"
        return over_ceiling(row.id, where, reason, problems)
    app = read_app(row.id, _entries(row), where, defaults, problems)
    if problems.faults:
        raise AppUnreadable(printable_lines(problems.faults)[0])
    return app


def stored_bytes(row: Row) -> int:
    """Return about how many bytes were read for a row."""
    return _size(row.policy) + _size(row.webhooks)


def _size(text: str | bytes | None) -> int:
    # Counts the characters of a text: counting bytes would cost a copy, and there are at most four times as many.
    return 0 if text is None else len(text)


def _entries(row: Row) -> Any:
    """Return the effective webhooks: those of the policy if there is one, even if empty; else the flat column's."""
    policy = _json(row, "policy", row.policy)
    if policy is None:
        return _json(row, "webhooks", row.webhooks)
    if not isinstance(policy, Mapping):
        raise AppUnreadable(f"app {row.id!r}: policy must be a JSON object")
    return policy.get("webhooks")


def _json(row: Row, column: str, text: str | bytes | None) -> Any:
    """Return the decoded value; SQL NULL and JSON null, which Sockudo writes for "none", are both None."""
    if text is None:
        return None
    try:
        return _DECODER.decode(text)
    except DECODE_ERRORS:
        raise AppUnreadable(f"app {row.id!r}: {column} is not valid JSON") from None
