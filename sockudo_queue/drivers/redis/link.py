"""Connections to Redis: each call sends one command, which no library repeats.

redis-py makes the connections (authentication, TLS, protocol); its retries are off. A command whose answer is lost may
have run, and repeating a pop or a push loses or duplicates a job without any error.
"""

from __future__ import annotations

import re
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
from redis.driver_info import DriverInfo
from redis.exceptions import RedisError
from redis.retry import Retry

from sockudo_queue.drivers.redis import replies
from sockudo_queue.drivers.redis.errors import ODD, LoginRefused, OutOfStep, Redirected, UnknownScript, translated
from sockudo_queue.drivers.redis.parser import BoundedParser
from sockudo_queue.drivers.redis.replies import Reader
from sockudo_queue.errors import BrokerRefused, BrokerUnavailable

T = TypeVar("T")

READ_SIZE: Final = 16_384
"""Bytes of each connection's read buffer: a quarter of redis-py's, and large enough for most jobs."""

OnServer = Callable[[str, int], object]
"""Called for each discovered (not configured) server of the queue with its host and port, from any thread, repeatedly.
"""

LATE_SECONDS: Final = 1.5
"""A slower answer may come from a master that was replaced in the meantime, in which case its effect is lost. If other
servers exist, they are asked first. Longer than any wait in the server."""


_COMMENT_LINE: Final = re.compile(r"^[ \t]*--[^\n]*\n", re.MULTILINE)


class Script:
    """A Lua script made of one or more files in `lua/`, known to the server by its digest."""

    def __init__(self, *names: str) -> None:
        files = resources.files("sockudo_queue.drivers.redis").joinpath("lua")
        text = "\n".join(files.joinpath(f"{name}.lua").read_text("utf-8") for name in names)
        # Without comments, a third less is sent: some hosted servers limit the size of a request.
        self.text = _COMMENT_LINE.sub("", text)
        self.digest = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


def ignore_server(host: str, port: int) -> None:
    """Ignore a server that was found."""


def connection_options(response_timeout: float) -> dict[str, Any]:
    """Return the redis-py options that make it send each command once and time out (seconds)."""
    return {
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "socket_timeout": response_timeout,
        "socket_connect_timeout": response_timeout,
        "health_check_interval": 0,
        "protocol": 2,
        "socket_read_size": READ_SIZE,
        "parser_class": BoundedParser,
        # Otherwise each connection reads the version of redis-py from the files of its installation.
        "driver_info": DriverInfo(),
    }


class Link(Protocol):
    """Connections to the servers that hold our keys. Safe from any thread."""

    is_apart: bool
    """Whether two keys may be on two servers, so that an unreachable server does not imply that the other is
    unreachable."""

    def call(self, *command: Any, near: str | None = None, read: Reader[T]) -> T:
        """Send one command and return its reply as converted by `read`, one of `replies`.

        The command goes to the server of the key `near`, or of its first argument. Raises `BrokerUnavailable`, also for
        a reply that `read` fails on, or `BrokerRefused`.
        """

    def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | int], *, read: Reader[T]) -> T:
        """Run a script on the server of its first key, and load it first if the server does not know it."""

    def with_timeout(self, response_timeout: float) -> Link:
        """Return a link to the same servers for blocking commands (seconds), with connections of its own."""

    def discover_servers(self) -> None:
        """Discover servers that have joined since the last call, and report them. Never raises."""

    def close(self) -> None:
        """Disconnect idle connections; a connection in use closes when its call ends."""


class RedisLink:
    """Commands to one Redis server, over as many connections as there are concurrent commands.

    Safe from any thread: a call borrows the most recently used free connection, or makes one. redis-py's pool is used
    only to make connections.
    """

    is_apart = False
    is_alone = True
    """Whether the server is expected to be outside of a cluster; if it turns out to be a node, every call is refused
    from then on."""

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
        """Send one command and return its reply as converted by `read`.

        With `asking`, a cluster node serves a slot that is still migrating to it. Blocks for at most the response
        timeout, the same again for each of connecting and authenticating, and `parser.REPLY_SECONDS` for a long reply.
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
            raise  # this does not affect other connections
        except BrokerUnavailable:
            # The other idle connections have probably failed too; finding out one by one would cost an error each.
            self._forget(generation)
            raise
        except BrokerRefused as refusal:
            self._give_back(connection)
            if isinstance(refusal, Redirected) and self.is_alone:
                self._misplaced = refusal  # serving only the keys that are here would hide the wrong setting
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
        """Run a script, and load it first if the server does not know it (in which case it did not run)."""
        try:
            return self.call("EVALSHA", script.digest, len(keys), *keys, *arguments, read=read, asking=asking)
        except UnknownScript:
            self.call("SCRIPT", "LOAD", script.text, read=replies.exactly(script.digest.encode()))
            return self.call("EVALSHA", script.digest, len(keys), *keys, *arguments, read=read, asking=asking)

    def with_timeout(self, response_timeout: float) -> Self:
        """Return a link to the same server for blocking commands, with connections of its own."""
        return type(self)(self._pool, response_timeout)

    def discover_servers(self) -> None:
        """Do nothing: there is only one server."""

    def _verify(self, connection: AbstractConnection, began: float) -> None:
        """Raise `BrokerUnavailable` if the server may be the wrong one; here there is only one."""

    def _connect(self) -> AbstractConnection:
        options = dict(self._pool.connection_kwargs)
        if self._response_timeout is not None:
            options["socket_timeout"] = self._response_timeout
        connection: AbstractConnection = self._pool.connection_class(**options)
        try:
            connection.connect()
            _let_kernel_time(connection)
        except (RedisError, OSError) as error:
            fault = translated(connection, error)
            # A refusal before the first command applies to every key.
            raise LoginRefused(str(fault)) if isinstance(fault, BrokerRefused) else fault from None
        except ODD:  # an invalid host or port, or an invalid reply to the login
            connection.disconnect()
            raise BrokerUnavailable("cannot connect to the configured address") from None
        if parser_of(connection).rest:
            raise _out_of_step(connection)
        return connection

    def close(self) -> None:
        """Disconnect idle connections; a connection in use closes when its call ends."""
        self._forget(self._generation)

    def _borrow(self) -> AbstractConnection:
        """Return a connection with nothing left to read. Raises `OutOfStep` if an unexpected reply is waiting."""
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
        if parser_of(connection).is_connected:  # some refusals close it
            self._idle.append(connection)

    def _forget(self, generation: int) -> None:
        if generation != self._generation:
            return  # another thread of the same outage did this already; the idle connections are newer
        self._generation += 1
        while True:
            try:
                self._idle.pop().disconnect()
            except IndexError:
                return


def exchange(connection: AbstractConnection, *command: Any, read: Reader[T]) -> T:
    """Send one command over a connection and read its reply; translates redis-py's errors into ours.

    If `read` fails on the reply, or bytes follow it, the connection is closed: the next reply would belong to another
    command.
    """
    parser = parser_of(connection)
    try:
        # Packed here, because redis-py inspects every argument first, which takes longer than the packing.
        reply = parser.exchange(pack_command(command))
        # Checked before an error is raised, too: a connection whose command was refused is reused.
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
    """Close a connection and return the error that explains it."""
    connection.disconnect()
    return OutOfStep("the server sent a reply that does not match the command; the connection was closed")


def _let_kernel_time(connection: AbstractConnection) -> None:
    """Let the kernel enforce the response timeout: Python's own costs a poll and another acquisition of the GIL per
    send and receive. A TLS socket would then retry forever, so it keeps Python's."""
    link = _socket_of(connection)
    timeout = connection.socket_timeout
    if type(link) is socket.socket and timeout:
        limit = struct.pack("ll", int(timeout), int(timeout % 1 * 1_000_000))
        link.settimeout(None)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def _socket_of(connection: AbstractConnection) -> socket.socket | None:
    return connection._get_socket()  # noqa: SLF001 - redis-py has no public way to the socket
