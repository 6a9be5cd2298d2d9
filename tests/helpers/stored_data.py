"""The files of `tests/data/stored`: their contents byte for byte, and the records in them.

UTF-8 bytes are written as text, others as {"latin-1": text}. No code of the package is used to read them.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.helpers.stored_jobs import case_of

DIRECTORY: Final = Path(__file__).parents[1] / "data" / "stored"
OURS: Final = "sockudo-queue:"
"""The prefix of our own keys, which no key of Sockudo has."""

_STATE_OF_SQS: Final = "sockudo-queue.state"
_RECORD_OF_SQS: Final = "sockudo-queue.record"
_ENCODING_OF_SQS: Final = "sockudo-queue.encoding"
_STATE_OF_V2: Final = b',"sockudo_queue":"'
_ENVELOPE: Final = re.compile(rb'\{"version":2,"id":"[^"]*","data":(.*)\}', re.DOTALL)
_BUDGET: Final = re.compile(rb'(budget_from\\?":)(\d{13})')


@dataclass(frozen=True, slots=True)
class Key:
    """One key of Redis. `Snapshot.loaded` describes `content` for each type."""

    type: str
    content: Any


@dataclass(frozen=True, slots=True)
class Message:
    """One message of SQS: its body, its attributes (type and value), and its receive count."""

    body: str
    attributes: Mapping[str, tuple[str, bytes]]
    receives: int


@dataclass(frozen=True, slots=True)
class Kept:
    """One record: `place` is a set or list of Redis, or a queue of SQS; `id` is empty if none is stored."""

    place: str
    id: str
    state: bytes
    body: bytes

    @property
    def case(self) -> str:
        return case_of(self.body)

    @property
    def fields(self) -> dict[str, Any]:
        """Return the state."""
        fields: dict[str, Any] = json.loads(self.state or b"{}")
        return fields

    @property
    def webhook(self) -> str | None:
        return self.fields.get("webhook")

    @property
    def job(self) -> str | None:
        """Return the id that receivers see: for a share that in its state, for a whole job Sockudo's or its own."""
        if self.webhook is None:
            own = re.match(rb'\{"job_id":"([^"]+)"', self.body)
            return own[1].decode() if own else self.id or None
        return str(self.fields["job"])


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The data stored at one moment: keys of Redis or queues of SQS."""

    recorded_ms: int
    keys: Mapping[str, Key]
    queues: Mapping[str, list[Message]]

    @classmethod
    def loaded(cls, layout: str) -> Snapshot:
        """Read one file."""
        document = json.loads((DIRECTORY / f"{layout}.json").read_text())
        keys = {name: Key(key["type"], _content(key["type"], key["content"])) for name, key in document["keys"].items()}
        queues = {name: [_message(each) for each in queue] for name, queue in document["queues"].items()}
        return cls(document["recorded_ms"], keys, queues)

    def save(self, layout: str, written_by: str) -> None:
        """Write a file."""
        document = {
            "written_by": written_by,
            "recorded_ms": self.recorded_ms,
            "keys": {name: {"type": key.type, "content": _shown(key)} for name, key in sorted(self.keys.items())},
            "queues": {name: [_shown_message(each) for each in queue] for name, queue in self.queues.items()},
        }
        (DIRECTORY / f"{layout}.json").write_text(json.dumps(document, indent=1) + "\n")

    def records(self, *places: str) -> list[Kept]:
        """Return the records in these places, or in all."""
        found = [*self._of_redis(), *self._of_sqs()]
        return [kept for kept in found if not places or kept.place in places]

    def letters(self) -> list[Kept]:
        """Return the dead letters."""
        return self.records("dead")

    def owed(self) -> list[Kept]:
        """Return all records that are still to be delivered."""
        return [kept for kept in self.records() if kept.place != "dead"]

    def _of_redis(self) -> Iterator[Kept]:
        for name, key in self.keys.items():
            base, _, part = name.rpartition(":")
            match key.type, part:
                case "zset", ("active" | "delayed" | "dead"):
                    for member, _ in key.content:
                        yield self._named(base, part, member)
                case "list", "wait":
                    for member in key.content:
                        yield self._named(base, part, member)
                case "list", "inline-wait":
                    for frame in key.content:
                        yield from _packed(frame)
                case "list", _ if part != "notify":
                    for body in key.content:
                        yield Kept(part if name.startswith(OURS) else "source", "", b"", body)

    def _named(self, base: str, part: str, member: bytes) -> Kept:
        """Find the value of a record that a set names, in our own keys or in those of Queue V2."""
        if f"{base}:records" in self.keys:
            own = member.rpartition(b"/")[0]
            value: bytes = self.keys[f"{base}:records"].content[own]
            if value[:1] != b"\x01":
                return Kept(part, own.decode(), b"", value)
            state, _, body = value[1:].partition(b"\n")
            return Kept(part, own.decode(), state, body)
        payload: bytes = self.keys[f"{base}:jobs"].content[member]
        at = payload.rfind(_STATE_OF_V2)
        if at > 0:
            state = json.loads(payload[at + len(_STATE_OF_V2) - 1 : -1]).encode()
            return Kept(part, member.decode(), state, payload[:at] + b"}")
        envelope = _ENVELOPE.fullmatch(payload)
        return Kept(part, member.decode(), b"", envelope[1] if envelope else payload)

    def _of_sqs(self) -> Iterator[Kept]:
        for name, queue in self.queues.items():
            for each in queue:
                own = each.attributes.get(_RECORD_OF_SQS, ("", b""))[1].decode()
                encoding = each.attributes.get(_ENCODING_OF_SQS, ("", b""))[1]
                body = base64.b64decode(each.body) if encoding == b"base64" else each.body.encode()
                state = each.attributes.get(_STATE_OF_SQS, ("", b""))[1]
                yield Kept("dead" if name.endswith("-dead") else "queue", own, state, body)


def aged(value: bytes, by_ms: int) -> bytes:
    """Move the start of a budget in a record's value and nothing else: the digits are replaced in place."""
    moved = _BUDGET.sub(lambda found: found[1] + b"%d" % (int(found[2]) + by_ms), value)
    assert len(moved) == len(value), "the moment has another number of digits"
    assert _BUDGET.sub(rb"\1", moved) == _BUDGET.sub(rb"\1", value), "something else was changed"
    return moved


def _packed(frame: bytes) -> Iterator[Kept]:
    """Unpack a valid frame: the number of jobs, then for each its length, J, 32 characters of its id, and the job."""
    at = 5
    for _ in range(int.from_bytes(frame[1:5], "big")):
        end = at + 4 + int.from_bytes(frame[at : at + 4], "big")
        yield Kept("inline-wait", frame[at + 5 : at + 37].decode(), b"", frame[at + 37 : end])
        at = end


def _text(value: bytes) -> str | dict[str, str]:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"latin-1": value.decode("latin-1")}


def _bytes(text: str | Mapping[str, str]) -> bytes:
    return text.encode() if isinstance(text, str) else text["latin-1"].encode("latin-1")


def _shown(key: Key) -> Any:
    match key.type:
        case "list":
            return [_text(each) for each in key.content]
        case "hash":
            return [[_text(name), _text(value)] for name, value in sorted(key.content.items())]
        case "zset":
            return [[_text(member), score] for member, score in key.content]
        case "stream":
            return [[entry, [_text(part) for part in parts]] for entry, parts in key.content]
    return _text(key.content)


def _content(kind: str, shown: Any) -> Any:
    """Return a list of bytes, a dict of bytes, (member, score) pairs, (id, flat fields) pairs or bytes."""
    match kind:
        case "list":
            return [_bytes(each) for each in shown]
        case "hash":
            return {_bytes(name): _bytes(value) for name, value in shown}
        case "zset":
            return [(_bytes(member), score) for member, score in shown]
        case "stream":
            return [(entry, [_bytes(part) for part in parts]) for entry, parts in shown]
    return _bytes(shown)


def _shown_message(message: Message) -> dict[str, Any]:
    attributes = {
        name: {"type": kind, "value": _text(value)} for name, (kind, value) in sorted(message.attributes.items())
    }
    return {"body": message.body, "attributes": attributes, "receives": message.receives}


def _message(shown: Mapping[str, Any]) -> Message:
    attributes = {name: (each["type"], _bytes(each["value"])) for name, each in shown["attributes"].items()}
    return Message(shown["body"], attributes, shown["receives"])
