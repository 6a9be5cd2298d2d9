"""The part of the Redis protocol that is needed to find the end of a command or a reply."""

from __future__ import annotations

from typing import Final

_LINES: Final = b"+-:,(#_"  # a type whose whole value is on its first line
_SIZED: Final = b"$!="
_LISTS: Final = {ord("*"): 1, ord("~"): 1, ord(">"): 1, ord("%"): 2}


def end_of_value(data: bytes | bytearray, start: int = 0) -> int | None:
    """Return the end of the value that begins at `start`, or None while it is incomplete."""
    outstanding = 1
    at = start
    while outstanding:
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            return None
        kind = data[at]
        outstanding -= 1
        if kind in _SIZED:
            size = int(data[at + 1 : line_end])
            line_end += size + 2 if size >= 0 else 0
        elif kind in _LISTS:
            outstanding += max(0, int(data[at + 1 : line_end])) * _LISTS[kind]
        elif kind not in _LINES:
            raise ValueError(f"not a value of the Redis protocol: {bytes(data[at : at + 40])!r}")
        at = line_end + 2
        if at > len(data):
            return None
    return at


def end_of_command(data: bytes | bytearray) -> int | None:
    """Return the end of the first command; a command is an array, or a line of plain text."""
    if data and data[0] != ord("*"):
        line_end = data.find(b"\n")
        return line_end + 1 if line_end >= 0 else None
    return end_of_value(data)


def command_name(command: bytes) -> str:
    """Return the name in capitals, for example `EVALSHA`."""
    words = command.split(b"\r\n", 3)
    name = words[2] if command.startswith(b"*") else command.split()[0]
    return name.decode().upper()


def is_push(data: bytes | bytearray) -> bool:
    """Return whether a message is one that the server sends without a command (RESP3)."""
    return bool(data) and data[0] == ord(">")
