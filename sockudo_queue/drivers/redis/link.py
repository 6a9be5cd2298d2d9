"""Connections to Redis: one command on the wire for one call, never repeated by a library.

redis-py makes the connections (authentication, TLS, protocol), and its retries are off: a command whose answer is lost
may have run, and running a pop or a push twice loses or doubles a job without any error.
"""

from __future__ import annotations

import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from hashlib import sha1
from importlib import resources
from typing import Any, Final, Protocol, Self, TypeVar

from hiredis import pack_command
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection, ConnectionPool
from redis.exceptions import RedisError
from redis.retry import Retry

from sockudo_queue.drivers.redis import replies
from sockudo_queue.drivers.redis.errors import ODD, LoginRefused, OutOfStep, Redirected, UnknownScript, translated
from sockudo_queue.drivers.redis.parser import BoundedParser
from sockudo_queue.drivers.redis.replies import Reader
from sockudo_queue.errors import BrokerRefused, BrokerUnavailable

T = TypeVar("T")

READ_SIZE: Final = 16_384
"""Bytes of the buffer that each connection has for its answers; a quarter of redis-py's own, and most jobs fit."""

OnServer = Callable[[str, int], object]
"""Hears of each server of the queue that was not named but found: its host and port, from any thread, again and again.
"""

LATE_SECONDS: Final = 1.5
"""An answer that took longer may come from a master that was given up meanwhile, and what it did is lost; where there
are others to ask, they are asked first. Longer than any wait in the server."""


class Script:
    """A Lua script of one or more files beside the drivers, known to the server by its digest."""

    def __init__(self, *names: str) -> None:
        files = resources.files("sockudo_queue.drivers.redis").joinpath("lua")
        self.text = "\n".join(files.joinpath(f"{name}.lua").read_text("utf-8") for name in names)
        self.digest = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


def ignore_server(host: str, port: int) -> None:
    """Hear of a server that was found, and do nothing."""


def connection_options(response_timeout: float) -> dict[str, Any]:
    """Return the redis-py options that make it send each command once and give up in time (seconds)."""
    return {
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "socket_timeout": response_timeout,
        "socket_connect_timeout": response_timeout,
        "health_check_interval": 0,
        "protocol": 2,
        "socket_read_size": READ_SIZE,
        "parser_class": BoundedParser,
    }


class Link(Protocol):
    """The way to the servers that hold our keys. Safe from any thread."""

    is_apart: bool
    """Whether two keys may lie on two servers, so that one which cannot be reached says nothing of the other."""

    def call(self, *command: Any, near: str | None = None, read: Reader[T]) -> T:
        """Send one command and return what `read`, one of `replies`, makes of its reply.

        It goes to the server of the key `near`, or of the key that is the command's first argument. Raises
        `BrokerUnavailable`, also for a reply that `read` fails on, or `BrokerRefused`.
        """

    def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | int], *, read: Reader[T]) -> T:
        """Run a script on the server of its first key; loaded first where the server does not know it."""

    def patient(self, response_timeout: float) -> Link:
        """Return a link to the same servers for commands that block (seconds), with connections of its own."""

    def look_around(self) -> None:
        """Hear of servers that have joined since they were last asked for, and tell of them. Never raises."""

    def close(self) -> None:
        """Disconnect what is idle; a connection in use ends with its call."""


class RedisLink:
    """Commands to one Redis server, over as many connections as there are commands at the same time.

    Safe from any thread: a call borrows the connection that was used last, and makes one where none is free. The pool
    of redis-py is only the maker of connections.
    """

    is_apart = False
    is_alone = True
    """Whether the server is no node of a cluster; one that turns out to be one refuses everything from then on."""

    def __init__(self, pool: ConnectionPool, response_timeout: float | None = None) -> None:
        self._pool = pool
        self._response_timeout = response_timeout  # None: the pool's
        self._idle: deque[AbstractConnection] = deque()
        self._generation = 0
        self._misplaced: Redirected | None = None

    def call(
        self,
        *command: Any,
        near: str | None = None,  # noqa: ARG002 - one server
        read: Reader[T],
        asking: bool = False,
    ) -> T:
        """Send one command and return what `read` makes of its reply.

        `asking` takes a node of a cluster at its word that a slot is on its way to it. Blocks for at most the response
        timeout, as long again for each of connecting and authenticating, and `parser.REPLY_SECONDS` for a long reply.
        """
        if self._misplaced is not None:
            raise self._misplaced
        connection, generation, began = self._borrow(), self._generation, time.monotonic()
        try:
            if asking:
                exchange(connection, "ASKING", read=replies.OK)
            answer = exchange(connection, *command, read=read)
            self._verify(connection, began)
        except OutOfStep:
            raise  # that concerns no other connection
        except BrokerUnavailable:
            # What ended this connection ended the others too; finding that out one by one would cost a fault each.
            self._forget(generation)
            raise
        except BrokerRefused as refusal:
            self._give_back(connection)
            if isinstance(refusal, Redirected) and self.is_alone:
                self._misplaced = refusal  # some of our keys may be here; serving those alone would hide the mistake
            raise
        self._give_back(connection)
        return answer

    def run(
        self,
        script: Script,
        keys: Sequence[str],
        arguments: Sequence[str | bytes | int],
        *,
        read: Reader[T],
        asking: bool = False,
    ) -> T:
        """Run a script, and load it first where the server does not know it (which means that it did not run)."""
        try:
            return self.call("EVALSHA", script.digest, len(keys), *keys, *arguments, read=read, asking=asking)
        except UnknownScript:
            self.call("SCRIPT", "LOAD", script.text, read=replies.exactly(script.digest.encode()))
            return self.call("EVALSHA", script.digest, len(keys), *keys, *arguments, read=read, asking=asking)

    def patient(self, response_timeout: float) -> Self:
        """Return a link to the same server for commands that block, with connections of its own."""
        return type(self)(self._pool, response_timeout)

    def look_around(self) -> None:
        """Hear of servers that have joined, and tell of them; here there is but one."""

    def _verify(self, connection: AbstractConnection, began: float) -> None:
        """Raise `BrokerUnavailable` where the server that has answered may be the wrong one; here there is but one."""

    def _connect(self) -> AbstractConnection:
        options = dict(self._pool.connection_kwargs)
        if self._response_timeout is not None:
            options["socket_timeout"] = self._response_timeout
        try:
            connection: AbstractConnection = self._pool.connection_class(**options)
        except OSError as error:  # it looks up its own version in a file, and descriptors may be short
            raise BrokerUnavailable(f"no connection can be made: {error.strerror}") from None
        try:
            connection.connect()
            _let_kernel_time(connection)
        except (RedisError, OSError) as error:
            fault = translated(connection, error)
            # Whatever is refused before the first command is refused whatever the key.
            raise LoginRefused(str(fault)) if isinstance(fault, BrokerRefused) else fault from None
        except ODD:  # a host or a port that no address can have, or a login that no server answers
            connection.disconnect()
            raise BrokerUnavailable("no connection can be made to the address that was named") from None
        if parser_of(connection).rest:
            raise _out_of_step(connection)
        return connection

    def close(self) -> None:
        """Disconnect what is idle; a connection in use ends with its call."""
        self._forget(self._generation)

    def _borrow(self) -> AbstractConnection:
        """Return a connection on which nothing waits. Raises `OutOfStep` where a reply waits that is not due."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self._connect()
            parser = parser_of(connection)
            if parser.is_quiet:
                return connection
            if not parser.has_ended():
                raise _out_of_step(connection)
            connection.disconnect()

    def _give_back(self, connection: AbstractConnection) -> None:
        if parser_of(connection).is_connected:  # some refusals end it
            self._idle.append(connection)

    def _forget(self, generation: int) -> None:
        if generation != self._generation:
            return  # others of the same outage did it already; what is idle now is newer
        self._generation += 1
        while True:
            try:
                self._idle.pop().disconnect()
            except IndexError:
                return


def exchange(connection: AbstractConnection, *command: Any, read: Reader[T]) -> T:
    """Send one command over a connection and read its reply, with redis-py's errors translated into ours.

    A reply that `read` fails on, or with more behind it, ends the connection: the next would be of another command.
    """
    parser = parser_of(connection)
    try:
        # Packed here, since redis-py looks at every argument first, which takes longer than to pack them.
        reply = parser.exchange(pack_command(command))
        # Looked at before an error is raised, too: a connection that refuses is used again.
        if not parser.rest and isinstance(reply, RedisError):
            raise reply
    except (RedisError, OSError) as error:
        raise translated(connection, error) from None
    if parser.rest:
        raise _out_of_step(connection)
    try:
        return read(reply)
    except ODD:
        raise _out_of_step(connection) from None


def parser_of(connection: AbstractConnection) -> BoundedParser:
    parser: BoundedParser = connection._parser  # noqa: SLF001 - `connection_options` has put it there
    return parser


def _out_of_step(connection: AbstractConnection) -> OutOfStep:
    """Close a connection, and return the fault that ended it."""
    connection.disconnect()
    return OutOfStep("the server sent a reply that does not match the command; the connection was closed")


def _let_kernel_time(connection: AbstractConnection) -> None:
    """Leave the response timeout to the kernel: Python's own costs a poll, and one more turn at the interpreter's lock,
    for each send and each receive. A TLS socket would try for ever then, so it keeps Python's.
    """
    link = _socket_of(connection)
    timeout = connection.socket_timeout
    if type(link) is socket.socket and timeout:
        limit = struct.pack("ll", int(timeout), int(timeout % 1 * 1_000_000))
        link.settimeout(None)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def _socket_of(connection: AbstractConnection) -> socket.socket | None:
    return connection._get_socket()  # noqa: SLF001 - redis-py has no public way to the socket
