"""Turns what a store holds about one app into an `App`; pure. What is wrong with one row concerns that app alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from sockudo_queue.apps.parsing.webhooks import Defaults, read_webhooks
from sockudo_queue.apps.stores.base import Row
from sockudo_queue.config import Findings, told
from sockudo_queue.core.apps import App
from sockudo_queue.core.decoding import DECODE_ERRORS
from sockudo_queue.errors import AppUnreadable

_DECODER: Final = msgspec.json.Decoder()


def read_row(row: Row, defaults: Defaults) -> tuple[App, tuple[str, ...]]:
    """Return the app, and a line for each fault of a webhook that was left out because of it.

    Raises `AppUnreadable`, whose text is such a line, where it cannot be told what webhooks there are.
    """
    entries, where = _entries(row), f"app {row.id!r}"
    findings = Findings()
    webhooks = read_webhooks(entries, where, defaults, findings)
    if not findings.faults:
        return App(row.id, webhooks), ()
    faults = told(findings.faults)
    if not isinstance(entries, list):
        raise AppUnreadable(faults[0])
    # A file with these faults would not have been accepted. Nobody can be sent back from here, so the sound webhooks
    # are served; a half-read one is not, as a filter that was not understood would let every channel through.
    sound = [entry for entry in entries if _is_sound(entry, defaults)]
    findings = Findings()
    webhooks = read_webhooks(sound, where, defaults, findings)
    if findings.faults:
        raise AppUnreadable(told(findings.faults)[0])
    return App(row.id, webhooks), faults


def _entries(row: Row) -> Any:
    """Return the webhooks in force: of the policy where there is one, however empty, else of the flat column."""
    policy = _json(row, "policy", row.policy)
    if policy is None:
        return _json(row, "webhooks", row.webhooks)
    if not isinstance(policy, Mapping):
        raise AppUnreadable(f"app {row.id!r}: policy must be a JSON object")
    return policy.get("webhooks")


def _json(row: Row, column: str, text: str | bytes | None) -> Any:
    """Return the value; SQL's NULL and JSON's null, which Sockudo writes for "none", are both None."""
    if text is None:
        return None
    try:
        return _DECODER.decode(text)
    except DECODE_ERRORS:
        raise AppUnreadable(f"app {row.id!r}: {column} is no valid JSON") from None


def _is_sound(entry: Any, defaults: Defaults) -> bool:
    findings = Findings()
    read_webhooks([entry], "", defaults, findings)
    return not findings.faults
