"""The table of hostile receivers, and the expected result of an attempt at each."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

from tests.helpers.hostile import (
    Behaviour,
    answering,
    closing,
    closing_on_reuse,
    deaf,
    dripping,
    endless,
    gzip_bomb,
    ok,
    resetting,
    silent,
    speaking_first,
)


@dataclass(frozen=True)
class Case:
    """A receiver, and the reason that an attempt at it fails with. `padding` is added to the request."""

    name: str
    behave: Behaviour
    reason: str
    scheme: str = "http"
    padding: int = 0

    def __str__(self) -> str:
        return self.name


_HEAD: Final = b"HTTP/1.1 200 OK\r\n"
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_LONG: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n"
_NO_END: Final = b"HTTP/1.1 200 OK\r\n\r\n"
_CHUNKED: Final = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

CASES: Final = [
    Case("silent", silent, "read-timeout"),
    Case("status line dripped", dripping(drops=[bytes([c]) for c in b"HTTP/1.1 200 " + b"O" * 500]), "read-timeout"),
    Case("headers dripped", dripping(b"HTTP/1.1 503 No\r\n", drops=itertools.repeat(b"X-A: b\r\n")), "status-503"),
    Case("headers of a 200 dripped", dripping(_HEAD, drops=itertools.repeat(b"X: y\r\n")), "delivered"),
    Case("body dripped", dripping(_LONG), "delivered"),
    Case("body of an error dripped", dripping(b"HTTP/1.1 500 No\r\n\r\n"), "status-500"),
    Case("endless body", endless(_NO_END), "delivered"),
    Case("10 GB", endless(_LONG), "delivered"),
    Case("10 GB that refuse", endless(_LONG.replace(b"200 OK", b"404 No")), "status-404"),
    Case("endless chunks", endless(_CHUNKED, piece=b"1000\r\n" + b"a" * 4096 + b"\r\n"), "delivered"),
    Case("broken chunks", answering(_CHUNKED, b"zz\r\n"), "delivered"),
    Case("body too short", answering(_LONG, b"abc"), "delivered"),
    Case("gzip bomb", answering(ok(gzip_bomb(), b"Content-Encoding: gzip"), keep=True), "delivered"),
    Case("unasked transfer encoding", answering(_CHUNKED.replace(b": ", b": gzip, "), b"0\r\n\r\n"), "delivered"),
    Case("no TLS answer", silent, "connect-timeout", "https"),
    Case("no TLS at all", speaking_first(b"HTTP/1.1 400 Plain\r\n\r\n"), "tls", "https"),
    Case("reset after the request", resetting, "reset"),
    Case("closed after the request", closing, "reset"),
    Case("closed on reuse", closing_on_reuse, "delivered"),
    Case("100 and silence", dripping(_CONTINUE, drops=[b"", b"", b""] * 100), "deadline"),
    Case("100 without end", dripping(drops=itertools.repeat(_CONTINUE)), "deadline"),
    Case("100 without end, fast", endless(piece=_CONTINUE * 100), "too-many-bytes"),
    Case("103, then 200", answering(b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n", ok(), keep=True), "delivered"),
    Case("204 with a body", answering(b"HTTP/1.1 204 No\r\nContent-Length: 9\r\n\r\nnonsense!"), "delivered"),
    Case("205", answering(ok(status=b"205 Reset"), keep=True), "delivered"),
    Case("304", answering(ok(status=b"304 Not Modified"), keep=True), "redirect-304"),
    Case("600", answering(ok(status=b"600 Odd"), keep=True), "status-600"),
    Case("no status line", answering(b"<html>hello</html>"), "protocol"),
    Case("another protocol", answering(b"SSH-2.0-OpenSSH_9.2\r\n"), "protocol"),
    Case("20 MB of headers", endless(_HEAD, piece=b"X-Filler: " + b"a" * 1000 + b"\r\n"), "delivered"),
    Case("as many that fail", endless(b"HTTP/1.1 503 No\r\n", piece=b"X: " + b"a" * 1000 + b"\r\n"), "status-503"),
    Case("one header without end", endless(b"HTTP/1.1 200 OK\r\nX: "), "delivered"),
    Case("a status line without end", endless(b"HTTP/1.1 200 "), "too-many-bytes"),
    Case("NUL in a header", answering(b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n"), "delivered"),
    Case("NUL bytes", answering(bytes(4096)), "protocol"),
    Case("NUL in the status line", answering(b"HTTP/1.1 \0200 OK\r\n\r\n"), "protocol"),
    Case("our body is never read", deaf, "read-timeout", padding=30_000_000),
    Case("redirect to itself", answering(ok(b"", b"Location: /", status=b"302 Found"), keep=True), "redirect-302"),
]
