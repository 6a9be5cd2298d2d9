"""Reads replies from a connection within bounds: whatever a server sends, one reply costs limited memory and time.

redis-py's parsers allocate a list of whatever length the server announces, and wait without limit for the rest of a
reply. This parser supports the five types of RESP2, the protocol we request, and knows no commands. Complete replies
that hiredis can read without allocating a long list are left to hiredis.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import threading
import time
from typing import Any, Final, NamedTuple
from weakref import WeakValueDictionary

from hiredis import Reader
from redis.connection import AbstractConnection
from redis.connection import BaseParser as RedisParser  # type: ignore[attr-defined] # it has no public place
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import InvalidResponse
from redis.exceptions import TimeoutError as ReplyTimeout

from sockudo_queue.drivers.redis.errors import ODD, TIMED_OUT
from sockudo_queue.runtime.interpreter_lock import is_quiet

MAX_REPLY_BYTES: Final = 32 * 1024 * 1024
"""Maximum bytes kept of one reply. Our scripts return 20 MB at most, see `lua/next.lua`; a job of Sockudo has 16 MB at
most."""
MAX_STRING_BYTES: Final = 512 * 1024 * 1024
"""Bytes of the longest string that Redis stores. Bytes that exceed the reply limit are read and dropped, see
`Oversized`."""
MAX_ELEMENTS: Final = 1_000_000
MAX_DEPTH: Final = 8
MAX_LINE_BYTES: Final = 65_536
"""Maximum bytes of a number, a status or an error; servers send a few hundred at most."""
REPLY_SECONDS: Final = 15.0
"""Time for the rest of a reply after its first bytes, including the wait for another large one. It is half of the
default lease: a claim that needs its whole lease to arrive is no longer ours."""

LARGE_STRING: Final = 1_048_576
"""Bytes above which the strings of one server are read one at a time: each needs twice its size while it is read."""
_LARGE_STRINGS: Final[WeakValueDictionary[object, threading.Lock]] = WeakValueDictionary()
"""One lock per server, kept alive by its connections. A slow server delays no other."""
_LOCKS_ARE_MADE: Final = threading.Lock()

HEAD: Final = 65_536
CHUNK: Final = 262_144

_STRING, _NUMBER, _ARRAY, _STATUS, _ERROR = b"$:*+-"
_MAX_NUMBER_LENGTH: Final = len(str(-(2**63)))
_CLOSED: Final = "Connection closed by server."
_NO_REDIS: Final = "its reply is not in the Redis protocol"


_SHORT_LISTS: Final = re.compile(rb"(?:\*\d{1,3}\r\n){0,3}")
_LONG_LISTS: Final = tuple((kind, re.compile(re.escape(kind) + rb"\d{4}")) for kind in (b"*", b">", b"%", b"~", b"|"))
"""Each kind of list, and a match of a header for which hiredis would allocate memory before any element arrives, or of
the same bytes in a text. One pattern for all kinds takes 13 times as long: it does not begin with a literal."""
_IN_NONE: Final = -5
_INCOMPLETE: Final = object()


class Oversized(NamedTuple):
    """Stands for a string that would have made its reply too large: its beginning, and its length in bytes."""

    head: bytes
    size: int


class BoundedParser(RedisParser):
    """The parser of one connection; used by one thread at a time, like its connection."""

    def __init__(self, socket_read_size: int) -> None:
        self._read_size = socket_read_size
        self._socket: socket.socket | None = None
        self.is_connected = False
        self._tls: ssl.SSLSocket | None = None
        self._descriptor = -1
        self._poll = select.poll()  # unlike select, it takes descriptors of any number
        self.rest = b""
        """Bytes after the last reply, which no command requested."""
        self._reader = self._new_reader()
        self._room = MAX_REPLY_BYTES
        self._seconds = REPLY_SECONDS
        self._deadline: float | None = None
        self._large_strings = threading.Lock()

    def on_connect(self, connection: AbstractConnection) -> None:
        """Use the socket of a new connection."""
        connected = connection._get_socket()  # noqa: SLF001 - redis-py has no public way to the socket
        assert connected is not None, "called when there is a socket"
        self._socket, self.rest, self._reader = connected, b"", self._new_reader()
        self.is_connected = True
        self._tls = connected if isinstance(connected, ssl.SSLSocket) else None
        self._seconds = max(REPLY_SECONDS, connection.socket_timeout or 0.0)
        self._large_strings = _lock_of(connection)
        self._poll = select.poll()
        self._poll.register(connected, select.POLLIN)
        self._descriptor = connected.fileno()

    def on_disconnect(self) -> None:
        """Forget the socket."""
        self._socket, self._tls, self._descriptor, self.rest = None, None, -1, b""
        self.is_connected = False

    def exchange(self, packed: bytes) -> Any:
        """Send a command and read its reply, see `read_response`. Raises OSError, or redis-py's errors."""
        if self._socket is None:
            raise ConnectionLost(_CLOSED)
        try:
            self._socket.sendall(packed)
        except (TimeoutError, BlockingIOError):
            raise ReplyTimeout(TIMED_OUT) from None
        return self.read_response()

    @property
    def is_quiet(self) -> bool:
        """Return, before a command is sent, whether nothing is waiting to be read: neither bytes nor the end of the
        stream."""
        if self.rest:
            return False
        if self._tls is None:
            return is_quiet(self._descriptor)
        return not self._tls.pending() and (is_quiet(self._descriptor) or self._has_no_application_data(self._tls))

    def _has_no_application_data(self, tls: ssl.SSLSocket) -> bool:
        """Read what is pending on a TLS connection; session tickets alone are fine. Never blocks."""
        timeout = tls.gettimeout()
        tls.settimeout(0)
        try:
            self.rest = tls.recv(1)
        except ssl.SSLWantReadError:
            return True
        except OSError:
            return False
        finally:
            tls.settimeout(timeout)
        return False

    def has_ended(self) -> bool:
        """Return whether the stream has ended, without unrequested bytes."""
        try:
            return not self.rest and (not self._tls.pending() if self._tls is not None else not self._peek())
        except OSError:
            return True

    def _peek(self) -> bytes:
        return b"" if self._socket is None else self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)

    def can_read(self, timeout: float = 0) -> bool:
        """Return whether a connection is out of step, for redis-py's own clients, which ask Sentinels and nodes."""
        if self._socket is None:
            raise ConnectionLost(_CLOSED)
        return bool(self.rest or self._poll.poll(timeout * 1000))

    def read_response(self, disable_decoding: bool = True, **_: Any) -> Any:  # noqa: ARG002 - strings stay bytes
        """Read one reply: bytes, numbers, None, lists of these, and `Oversized`.

        An error that is the reply itself is returned. Raises redis-py's errors for a stream that ends, stalls or is not
        RESP2; the connection is unusable then.
        """
        data = self.rest or self._received(self._read_size)
        find, at = data.find, _SHORT_LISTS.match(data).end()  # type: ignore[union-attr] # it matches nothing, too
        # Plain searches first: jobs rarely contain these bytes, and only a batch has a list further back.
        found = find(b"*", at) + find(b">", at) + find(b"%", at) + find(b"~", at) + find(b"|", at)
        if found != _IN_NONE and _has_long_list(data, at):
            return self._read_bounded(data)
        try:
            self._reader.feed(data)
            reply = self._reader.gets()
        except ODD:  # an error that redirects to an invalid address, or a map with a key that cannot be hashed
            raise InvalidResponse(_NO_REDIS) from None
        if reply is _INCOMPLETE or self._reader.has_data():
            self._reader = self._new_reader()
            return self._read_bounded(data)
        self.rest = b""
        if isinstance(reply, ConnectionLost):  # the server has no room for a connection, or is still loading its data
            raise reply
        return reply

    def _new_reader(self) -> Reader:
        return Reader(
            protocolError=InvalidResponse, replyError=self.parse_error, errors="replace", notEnoughData=_INCOMPLETE
        )

    def _read_bounded(self, data: bytes) -> Any:
        """Read one reply, and as much more of the stream as it requires."""
        self._room, self._deadline, at = MAX_REPLY_BYTES, None, 0
        outer: list[tuple[list[Any], int]] = []  # the enclosing lists, each with the number of elements still missing
        items: list[Any] = []
        missing = elements = 0
        while True:
            end = data.find(b"\r\n", at)
            if end < 0:
                data, at = self._line(data[at:]), 0
                continue
            kind, line, at = data[at], data[at + 1 : end], end + 2
            value: Any
            if kind == _STRING:
                size = _number(line)
                if size < 0:
                    _check_null(size)
                    value = None
                elif at + size + 2 <= len(data):
                    value = data[at : at + size]
                    at += size + 2
                    if data[at - 2 : at] != b"\r\n":
                        raise InvalidResponse(_NO_REDIS)
                elif size > LARGE_STRING:
                    value, data, at = self._large_string(data[at:], size), b"", 0
                else:
                    value, data, at = self._long_string(data[at:], size), b"", 0
            elif kind == _NUMBER:
                value = _number(line)
            elif kind == _ARRAY:
                size = _number(line)
                elements += max(size, 0)
                if elements > MAX_ELEMENTS or len(outer) >= MAX_DEPTH:
                    raise InvalidResponse("a reply with more elements than any command returns")
                if size > 0:
                    outer.append((items, missing))
                    items, missing = [], size
                    continue
                value = []
                if size < 0:
                    _check_null(size)
                    value = None
            elif kind == _STATUS:
                value = line
            elif kind == _ERROR and not outer:  # no command that we use returns an error inside a list
                value = self._error(line)
            else:
                raise InvalidResponse(_NO_REDIS)
            while outer:
                items.append(value)
                missing -= 1
                if missing:
                    break
                value = items
                items, missing = outer.pop()
            else:
                self.rest = data[at:]
                return value

    def _error(self, line: bytes) -> Exception:
        try:
            error: Exception = self.parse_error(line.decode(errors="replace"))  # type: ignore[no-untyped-call] # it is so
        except (ValueError, LookupError):  # a redirection to an invalid address
            raise InvalidResponse("an error of the server cannot be read") from None
        if isinstance(error, ConnectionLost):  # the server has no room for a connection, or is still loading its data
            raise error
        return error

    def _line(self, begun: bytes) -> bytes:
        """Read the rest of an incomplete line."""
        if len(begun) > MAX_LINE_BYTES:
            raise InvalidResponse(_NO_REDIS)
        return begun + self._received_more(self._read_size)

    def _large_string(self, begun: bytes, size: int) -> bytes | Oversized:
        if not self._large_strings.acquire(timeout=max(self._seconds_left(), 0.0)):
            raise ReplyTimeout(TIMED_OUT)
        try:
            return self._long_string(begun, size)
        finally:
            self._large_strings.release()

    def _long_string(self, begun: bytes, size: int) -> bytes | Oversized:
        """Read the rest of a string and its line break; a string that exceeds the limit is dropped."""
        if size > MAX_STRING_BYTES:
            raise InvalidResponse(f"a string of {size} bytes, which is longer than Redis allows")
        is_kept, missing = size <= self._room, size + 2 - len(begun)
        chunks, kept, end = [begun], len(begun), begun[-2:]
        while missing:
            chunk = self._received_more(min(missing, CHUNK), counts=is_kept)
            missing -= len(chunk)
            end = chunk[-2:] if len(chunk) > 1 else end[-1:] + chunk
            if is_kept or kept < HEAD:
                chunks.append(chunk)
                kept += len(chunk)
        if end != b"\r\n":
            raise InvalidResponse(_NO_REDIS)
        text = b"".join(chunks)
        return text[:-2] if is_kept else Oversized(text[:HEAD], size)

    def _received_more(self, max_bytes: int, *, counts: bool = True) -> bytes:
        if self._seconds_left() < 0:
            raise ReplyTimeout(TIMED_OUT)
        chunk = self._received(max_bytes)
        if counts:
            self._room -= len(chunk)
        if self._room < -CHUNK:
            raise InvalidResponse(f"a reply of more than {MAX_REPLY_BYTES} bytes")
        return chunk

    def _seconds_left(self) -> float:
        """Return the time left for this reply; it starts with the first call."""
        now = time.monotonic()
        if self._deadline is None:
            self._deadline = now + self._seconds
        return self._deadline - now

    def _received(self, max_bytes: int) -> bytes:
        if self._socket is None:
            raise ConnectionLost(_CLOSED)
        try:
            chunk = self._socket.recv(max_bytes)
        except (TimeoutError, BlockingIOError):  # the kernel reports a timeout as the second one, see `link`
            raise ReplyTimeout(TIMED_OUT) from None
        except OSError as error:
            raise ConnectionLost(f"the connection was lost: {error.strerror or error}") from None
        if not chunk:
            raise ConnectionLost(_CLOSED)
        return chunk


def _has_long_list(data: bytes, at: int) -> bool:
    return any(data.find(kind, at) >= 0 and header.search(data, at) for kind, header in _LONG_LISTS)


def _lock_of(connection: AbstractConnection) -> threading.Lock:
    """Return the lock for the large strings of a connection's server."""
    server = tuple(getattr(connection, name, None) for name in ("host", "port", "path"))
    with _LOCKS_ARE_MADE:
        return _LARGE_STRINGS.setdefault(server, threading.Lock())


def _number(line: bytes) -> int:
    if len(line) > _MAX_NUMBER_LENGTH or not line.removeprefix(b"-").isdigit():
        raise InvalidResponse(_NO_REDIS)
    return int(line)


def _check_null(size: int) -> None:
    if size != -1:
        raise InvalidResponse(_NO_REDIS)
