"""What operators decide about webhooks while daemons run: which of them are paused, and which to try now."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from sockudo_queue.core.decoding import DECODE_ERRORS

LONGEST_OPERATOR: Final = 100
"""Characters of an operator's name that are kept."""

_NAMES: Final = msgspec.json.Decoder(tuple[str, str])


class WebhookKey(NamedTuple):
    """What tells a webhook apart from those of all apps."""

    app: str
    webhook: str

    def encode(self) -> bytes:
        """Return the key as one text, whatever characters the names have."""
        return msgspec.json.encode(self)

    def shown(self) -> tuple[str, str]:
        """Return both names as valid Unicode: a lone surrogate would spoil every page and scrape."""
        app, webhook = (name.encode(errors="backslashreplace").decode() for name in self)
        return app, webhook

    @classmethod
    def decode(cls, text: bytes) -> WebhookKey | None:
        """Read such a text; None for anything else."""
        try:
            return cls(*_NAMES.decode(text))
        except DECODE_ERRORS:
            return None


class Pause(NamedTuple):
    """Since when a webhook is paused (ms), and who did it."""

    since_ms: int
    by: str


class ControlState(NamedTuple):
    """Everything that is in force. `tries` has the moment (ms) of the last "try now" of each webhook."""

    pauses: Mapping[WebhookKey, Pause] = MappingProxyType({})
    tries: Mapping[WebhookKey, int] = MappingProxyType({})


def operator_name(name: str) -> str:
    """Return the name of an operator as it is stored and logged: one short line."""
    return "".join(each if each.isprintable() else "?" for each in name[:LONGEST_OPERATOR]) or "unknown"
