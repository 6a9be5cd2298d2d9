"""Reads HTTP/1.1 requests from a buffer; keeps names, order and body bytes unchanged."""

from __future__ import annotations

import functools
import re
from typing import Final, NamedTuple

_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)


class Head:
    """The head of a request. Headers are parsed when a test reads them: most requests of a load are only counted."""

    def __init__(self, head: bytes) -> None:
        first, *self._lines = head.decode("latin-1").split("\r\n")
        self.method, self.path, _version = first.split(" ", 2)

    @functools.cached_property
    def header_lines(self) -> tuple[tuple[str, str], ...]:
        """All headers, with their order, case and repeats."""
        return tuple(_header(line) for line in self._lines)

    @functools.cached_property
    def headers(self) -> dict[str, str]:
        """The last value of each header; names are in lower case."""
        return {name.lower(): value for name, value in self.header_lines}


class Parsed(NamedTuple):
    """One complete request."""

    head: Head
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
    return Parsed(Head(head), body)


def _header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.strip(" \t")
