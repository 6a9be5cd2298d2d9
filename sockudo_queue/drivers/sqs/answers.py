"""What an answer of SQS must look like; an entry that does not is no result, and the others count. Calls nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec

LONGEST_ID: Final = 255
LONGEST_HANDLE: Final = 16_384
"""Characters; those of SQS have 36, and some 500."""


class _System(msgspec.Struct, rename="pascal"):
    message_group_id: str | None = None


class _Attribute(msgspec.Struct, rename="pascal"):
    string_value: str | None = None
    binary_value: bytes | None = None


class _MessageAnswer(msgspec.Struct, rename="pascal"):
    receipt_handle: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_HANDLE)]
    body: str
    # It becomes the value of a header.
    message_id: Annotated[str, msgspec.Meta(max_length=LONGEST_ID, pattern=r"^[!-~]*\Z")] | None = None
    attributes: _System | None = None
    message_attributes: dict[str, _Attribute] | None = None


class _BatchEntry(msgspec.Struct, rename="pascal"):
    id: str


class _Answer(msgspec.Struct, rename="pascal"):
    messages: list[_MessageAnswer] | None = None
    successful: list[_BatchEntry] | None = None
    failed: list[_BatchEntry] | None = None


_SOUND: Final = msgspec.json.Decoder(_Answer)
_KINDS: Final[Mapping[str, Any]] = {"Messages": _MessageAnswer, "Successful": _BatchEntry, "Failed": _BatchEntry}


def sound(body: bytes) -> bytes:
    """Return an answer without the entries that cannot be used; a whole answer that is none stays as it is.

    Such a message stays in the queue and comes again: nothing is done with one of which a part cannot be read.
    """
    try:
        _SOUND.decode(body)
        return body
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return body
    if not isinstance(answer, dict):
        return body
    for name, kind in _KINDS.items():
        if isinstance(answer.get(name), list):
            answer[name] = [entry for entry in answer[name] if _is_a(kind, entry)]
    return json.dumps(answer).encode()


def _is_a(kind: Any, entry: object) -> bool:
    try:
        msgspec.convert(entry, kind)
    except (msgspec.ValidationError, ValueError, RecursionError):
        return False
    return True


def results(answer: Mapping[str, Any], ids: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any] | None]]:
    """Yield which of the entries that were sent have a result: None for a success, else the failure.

    An id that was not sent, or that is said to have both succeeded and failed, has no result.
    """
    successful = _by_id(answer.get("Successful"))
    failed = _by_id(answer.get("Failed"))
    for number, name in enumerate(ids):
        if (name in successful) != (name in failed):
            yield number, failed.get(name)


def _by_id(entries: object) -> dict[str, Mapping[str, Any]]:
    if not isinstance(entries, list):
        return {}
    return {entry["Id"]: entry for entry in entries if isinstance(entry, Mapping) and isinstance(entry.get("Id"), str)}


def number_of(value: object) -> int:
    """Read a number that SQS writes as text, and not longer than a time in milliseconds; 0 for anything else."""
    text = str(value or "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 15 else 0
