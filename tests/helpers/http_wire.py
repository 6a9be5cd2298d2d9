"""Reads HTTP/1.1 requests from a buffer; keeps names, order and body bytes unchanged."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)


class Parsed(NamedTuple):
    """One complete request."""

    method: str
    path: str
    header_lines: tuple[tuple[str, str], ...]
    body: bytes


def parse_request(buffer: bytearray) -> Parsed | None:
    """Remove the first request from the buffer, or return None while it is incomplete.

    A body must have a Content-Length; chunked bodies are not supported, because the daemon must not send them.
    """
    head_end = buffer.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    head = bytes(buffer[:head_end])
    length = _LENGTH.search(head)
    end = head_end + 4 + (int(length[1]) if length else 0)
    if len(buffer) < end:
        return None
    body = bytes(buffer[head_end + 4 : end])
    del buffer[:end]
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _version = first.split(" ", 2)
    return Parsed(method, path, tuple(_header(line) for line in lines), body)


def _header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.strip(" \t")
