"""Validates responses of SQS. An invalid entry counts as no result; the other entries still count. Makes no calls."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec

MAX_ID_LENGTH: Final = 255
MAX_HANDLE_LENGTH: Final = 16_384
"""Characters; ids of SQS have 36, handles some 500."""


class _System(msgspec.Struct, rename="pascal"):
    message_group_id: str | None = None


class _Attribute(msgspec.Struct, rename="pascal"):
    string_value: str | None = None
    binary_value: bytes | None = None


class _MessageAnswer(msgspec.Struct, rename="pascal"):
    receipt_handle: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_HANDLE_LENGTH)]
    body: str
    # It is sent as the value of a header.
    message_id: Annotated[str, msgspec.Meta(max_length=MAX_ID_LENGTH, pattern=r"^[!-~]*\Z")] | None = None
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
    """Return a response without its invalid entries. A response that is invalid as a whole is returned unchanged.

    A message that is dropped here stays in the queue and is received again later.
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
    """Yield the index of each sent entry that has a result, with None for success, else the failure.

    An id that was not sent, or that is both successful and failed, has no result.
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
    """Read a number of at most 14 digits (a time in ms has 13) that SQS writes as text; 0 for anything else."""
    text = str(value or "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 15 else 0
