"""Operators' decisions about webhooks while daemons run: which are paused, and which to try now."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from sockudo_queue.core.decoding import DECODE_ERRORS

MAX_OPERATOR_LENGTH: Final = 100
"""Maximum characters of a stored operator name."""

_NAMES: Final = msgspec.json.Decoder(tuple[str, str])


class WebhookKey(NamedTuple):
    """The identity of a webhook among those of all apps."""

    app: str
    webhook: str

    def encode(self) -> bytes:
        """Return the key as one JSON text, for names with any characters."""
        return msgspec.json.encode(self)

    def shown(self) -> tuple[str, str]:
        """Return both names as valid Unicode: a lone surrogate would break every page and scrape."""
        app, webhook = (name.encode(errors="backslashreplace").decode() for name in self)
        return app, webhook

    @classmethod
    def decode(cls, text: bytes) -> WebhookKey | None:
        """Read the text of `encode`; None if it is invalid."""
        try:
            return cls(*_NAMES.decode(text))
        except DECODE_ERRORS:
            return None


class Pause(NamedTuple):
    """A pause of a webhook: its start (ms), and the operator."""

    since_ms: int
    by: str


class ControlState(NamedTuple):
    """All current decisions. `tries` has the time (ms) of the last "try now" of each webhook."""

    pauses: Mapping[WebhookKey, Pause] = MappingProxyType({})
    tries: Mapping[WebhookKey, int] = MappingProxyType({})


def operator_name(name: str) -> str:
    """Return an operator's name as one short printable line, for storage and logs."""
    return "".join(each if each.isprintable() else "?" for each in name[:MAX_OPERATOR_LENGTH]) or "unknown"
