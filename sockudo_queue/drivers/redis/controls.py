"""Operators' decisions (pause, try now) on Redis: one hash for all queues of a prefix, which every daemon polls.

`lua/controls.lua` describes the fields. Names are stored as JSON, so that no two names share an encoding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from sockudo_queue.core.controls import ControlState, Pause, WebhookKey, operator_name
from sockudo_queue.drivers.redis import replies
from sockudo_queue.drivers.redis.errors import ServerRefused
from sockudo_queue.drivers.redis.link import Link, Script
from sockudo_queue.drivers.redis.parser import Oversized
from sockudo_queue.drivers.redis.replies import Reader
from sockudo_queue.drivers.redis.source import own_key
from sockudo_queue.errors import BrokerRefused, BrokerUnavailable

T = TypeVar("T")

MAX_FIELDS: Final = 1_000
"""Maximum number of paused webhooks, and of kept "try now" requests; all are read together when one changes."""
TRY_KEPT_MS: Final = 3_600_000
"""How long a "try now" stays valid for a daemon that could not read it earlier."""

PAGE: Final = 500

CHANGE: Final = Script("controls")
_PAUSE: Final = b"pause:"
_TRY: Final = b"try:"


class RedisControls:
    """See `base.ControlStore`. Safe from any thread."""

    def __init__(self, link: Link, prefix: str) -> None:
        self.key = own_key(prefix, "controls")
        self._link = link

    def version(self) -> bytes:
        found = self._asked("HGET", self.key, "version", read=replies.optional)
        return found.head if isinstance(found, Oversized) else found or b""

    def read(self) -> ControlState:
        return _state(self._fields(_PAUSE) | self._fields(_TRY))

    def _fields(self, kind: bytes) -> dict[bytes, bytes]:
        # HSCAN, because existing ACL rules allow it: earlier versions already needed it.
        cursor, fields = b"0", dict[bytes, bytes]()
        while True:
            cursor, page = self._asked("HSCAN", self.key, cursor, "MATCH", kind + b"*", "COUNT", PAGE, read=_page)
            fields |= page
            if len(fields) > 2 * MAX_FIELDS:
                raise BrokerRefused(
                    f"the hash {self.key} has more than {2 * MAX_FIELDS:,} fields {kind.decode()}…; remove those that"
                    " sockudo-queue did not write"
                )
            if cursor == b"0":
                return fields

    def pause(self, webhook: WebhookKey, by: str) -> bool:
        return self._change("set", _PAUSE + webhook.encode(), by)

    def resume(self, webhook: WebhookKey, by: str) -> bool:
        return self._change("remove", _PAUSE + webhook.encode(), by)

    def try_now(self, webhook: WebhookKey, by: str) -> bool:
        return self._change("try", _TRY + webhook.encode(), by)

    def _asked(self, *command: Any, read: Reader[T]) -> T:
        """Send a command. A refusal of everything (a login, a failover) says nothing about these fields: it counts as
        an outage."""
        try:
            return self._link.call(*command, read=read)
        except ServerRefused as refusal:
            raise BrokerUnavailable(str(refusal)) from None

    def _change(self, what: str, field: bytes, by: str) -> bool:
        arguments: list[str | bytes | int] = [what, field, operator_name(by).encode(), MAX_FIELDS, TRY_KEPT_MS]
        changed = self._link.run(CHANGE, [self.key], arguments, read=replies.integer)
        if changed < 0:
            raise BrokerRefused(f"{MAX_FIELDS:,} webhooks are paused, which is the maximum; resume one first")
        return changed > 0


def _page(reply: Any) -> tuple[bytes, dict[bytes, bytes]]:
    cursor, flat = replies.listed(reply)
    pairs = zip(replies.listed(flat)[::2], flat[1::2], strict=True)
    return replies.text(cursor), {
        field: value for field, value in pairs if isinstance(field, bytes) and isinstance(value, bytes)
    }


def _state(fields: Mapping[bytes, bytes]) -> ControlState:
    """Decode all fields. Fields that this version does not know are skipped."""
    pauses: dict[WebhookKey, Pause] = {}
    tries: dict[WebhookKey, int] = {}
    for field, value in fields.items():
        kind, colon, name = field.partition(b":")
        at, _, by = value.partition(b" ")
        webhook = WebhookKey.decode(name) if colon else None
        if webhook is None or not at.isdigit() or len(at) > replies.MAX_MS_DIGITS:
            continue
        if kind + colon == _PAUSE:
            pauses[webhook] = Pause(int(at), operator_name(by.decode(errors="replace")))
        elif kind + colon == _TRY:
            tries[webhook] = int(at)
    return ControlState(pauses, tries)
