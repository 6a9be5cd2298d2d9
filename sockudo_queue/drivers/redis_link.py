"""Connections to Redis: one command on the wire for one call, never repeated by a library.

redis-py makes the connections (authentication, TLS, protocol), and its retries are off: a command whose answer is lost
may have run, and running a pop or a push twice loses or doubles a job without any error.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections import deque
from collections.abc import Sequence
from hashlib import sha1
from importlib import resources
from typing import Any, Final, Protocol, Self

from hiredis import pack_command
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection, ConnectionPool, SSLConnection
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.retry import Retry

from sockudo_queue.errors import BrokerError, BrokerRefused, BrokerUnavailable

STALE_AFTER: Final = 5.0
"""Seconds of rest after which a connection is looked at before use; servers and balancers close what rests."""

_MEANT: Final = {
    "unable to get local issuer certificate": "its authority is not trusted; set database.redis.master_tls.ca_path",
    "self-signed certificate": "its authority is not trusted; set database.redis.master_tls.ca_path",
    "mismatch, certificate is not valid for": "reach the server by a name in its certificate, or set "
    "QUEUE_REDIS_TLS_CHECK_HOSTNAME=false to check its authority alone",
    "WRONG_VERSION_NUMBER": "it does not speak TLS on this port",
    "Timeout connecting": "it does not speak TLS on this port, or cannot be reached",  # it waits for more of a command
    "ALERT_CERTIFICATE_REQUIRED": "the server wants a certificate; set database.redis.master_tls.client_cert_path",
}
LATE_SECONDS: Final = 1.5
"""An answer that took longer may come from a master that was given up meanwhile, and what it did is lost; where there
are others to ask, they are asked first. Longer than any wait in the server."""


class Script:
    """A Lua script of one or more files beside the drivers, known to the server by its digest."""

    def __init__(self, *names: str) -> None:
        files = resources.files("sockudo_queue.drivers").joinpath("lua")
        self.text = "\n".join(files.joinpath(f"{name}.lua").read_text("utf-8") for name in names)
        self.digest = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


def connection_options(response_timeout: float) -> dict[str, Any]:
    """Return the redis-py options that make it send each command once and give up in time (seconds)."""
    return {
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "socket_timeout": response_timeout,
        "socket_connect_timeout": response_timeout,
        "health_check_interval": 0,
        "protocol": 2,
    }


class Link(Protocol):
    """The way to the servers that hold our keys. Safe from any thread."""

    is_apart: bool
    """Whether two keys may lie on two servers, so that one which cannot be reached says nothing of the other."""

    def call(self, *command: Any, near: str | None = None) -> Any:
        """Send one command and return its answer as bytes, integers and lists.

        It goes to the server of the key `near`, or of the key that is the command's first argument. Raises
        `BrokerUnavailable` or `BrokerRefused`.
        """

    def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> Any:
        """Run a script on the server of its first key; loaded first where the server does not know it."""

    def patient(self, response_timeout: float) -> Link:
        """Return a link to the same servers for commands that block (seconds), with connections of its own."""

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
        self._idle: deque[tuple[AbstractConnection, float]] = deque()
        self._generation = 0
        self._misplaced: Redirected | None = None

    def call(self, *command: Any, near: str | None = None, asking: bool = False) -> Any:  # noqa: ARG002 - one server
        """Send one command and return its answer as bytes, integers and lists.

        `asking` takes a node of a cluster at its word that a slot is on its way to it. Blocks for at most the response
        timeout, and as long again for each of connecting and authenticating.
        """
        if self._misplaced is not None:
            raise self._misplaced
        connection, generation, began = self._borrow(), self._generation, time.monotonic()
        try:
            if asking:
                exchange(connection, "ASKING")
            reply = exchange(connection, *command)
            self._verify(connection, began)
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
        return reply

    def run(
        self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | int], *, asking: bool = False
    ) -> Any:
        """Run a script, and load it first where the server does not know it (which means that it did not run)."""
        try:
            return self.call("EVALSHA", script.digest, len(keys), *keys, *arguments, asking=asking)
        except UnknownScript:
            self.call("SCRIPT", "LOAD", script.text)
            return self.call("EVALSHA", script.digest, len(keys), *keys, *arguments, asking=asking)

    def patient(self, response_timeout: float) -> Self:
        """Return a link to the same server for commands that block, with connections of its own."""
        return type(self)(self._pool, response_timeout)

    def _verify(self, connection: AbstractConnection, began: float) -> None:
        """Raise `BrokerUnavailable` where the server that has answered may be the wrong one; here there is but one."""

    def _connect(self) -> AbstractConnection:
        options = dict(self._pool.connection_kwargs)
        if self._response_timeout is not None:
            options["socket_timeout"] = self._response_timeout
        connection: AbstractConnection = self._pool.connection_class(**options)
        try:
            connection.connect()
            _let_kernel_time(connection)
        except (RedisError, OSError) as error:
            raise _translated(connection, error) from None
        return connection

    def close(self) -> None:
        """Disconnect what is idle; a connection in use ends with its call."""
        self._forget(self._generation)

    def _borrow(self) -> AbstractConnection:
        while True:
            try:
                connection, since = self._idle.pop()
            except IndexError:
                return self._connect()
            if time.monotonic() - since < STALE_AFTER or not _has_ended(connection):
                return connection
            connection.disconnect()

    def _give_back(self, connection: AbstractConnection) -> None:
        self._idle.append((connection, time.monotonic()))

    def _forget(self, generation: int) -> None:
        if generation != self._generation:
            return  # others of the same outage did it already; what is idle now is newer
        self._generation += 1
        while True:
            try:
                self._idle.pop()[0].disconnect()
            except IndexError:
                return


class UnknownScript(BrokerRefused):
    """The server does not know the script's digest, so nothing ran."""


class ServerRefused(BrokerRefused):
    """The server refuses all that we want, whatever the key: it takes no writes, or does not let us in."""


class LoginRefused(ServerRefused):
    """The server does not let us in, so nothing else can be asked either."""


class CommandDenied(BrokerRefused):
    """The server is out of memory, or its rules do not allow the command; other commands may still be taken."""


class Redirected(ServerRefused):
    """A node of a cluster does not serve the key's slot and names who does. An empty host is the node's own."""

    def __init__(self, slot: int, host: str, port: int, *, once: bool) -> None:
        super().__init__("the server is a node of a cluster; set QUEUE_DRIVER=redis-cluster")
        self.slot = slot
        self.host = host
        self.port = port
        self.once = once  # only for this command: the slot is on its way there


class SlotBusy(BrokerRefused):
    """The key's slot is on its way from one node of a cluster to another, and a script's keys are not together."""


def exchange(connection: AbstractConnection, *command: Any) -> Any:
    """Send one command over a connection and read its answer, with redis-py's errors translated into ours."""
    try:
        # Packed here, since redis-py looks at every argument first, which takes longer than to pack them.
        connection.send_packed_command([pack_command(command)], check_health=False)
        return connection.read_response(disable_decoding=True)
    except (RedisError, OSError) as error:
        raise _translated(connection, error) from None


def _translated(connection: AbstractConnection, error: RedisError | OSError) -> BrokerError:
    """Return our error for redis-py's. After all but a refusal the connection is of no use and is closed."""
    text = first_line(error)
    match error:
        case NoScriptError():
            return UnknownScript("the server does not know the script")
        case AuthenticationError():
            connection.disconnect()
            return LoginRefused(f"authentication failed: {text}")
        case OutOfMemoryError() | NoPermissionError():
            return CommandDenied(text)
        # Before 7.0 a script's error hides in the text of another.
        case ResponseError() if "MISCONF " in text:
            return ServerRefused(text[text.index("MISCONF ") :])
        case AskError():  # also MOVED
            once = not isinstance(error, MovedError)
            return Redirected(error.slot_id, error.host, error.port, once=once)
        case TryAgainError():
            return SlotBusy("the slot of the queue is being moved to another node")
        case MasterDownError() | ReadOnlyError() | ClusterDownError():
            connection.disconnect()
            return BrokerUnavailable(text)
        # A demoted master unblocks those that wait.
        case ResponseError() if not text.startswith("UNBLOCKED") and "-READONLY " not in text:
            return BrokerRefused(text)
        case _:
            connection.disconnect()
            # The kernel tells of a timeout in this way, see `_let_kernel_time`.
            late = isinstance(error.__context__, BlockingIOError)
            return BrokerUnavailable("the server did not answer in time" if late else _explained(connection, text))


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


def _has_ended(connection: AbstractConnection) -> bool:
    """Tell whether a resting connection can be read: nothing is owed to us, so that is the end of the stream."""
    link = _socket_of(connection)
    if link is None:
        return True
    readable = select.poll()  # unlike select, it takes descriptors of any number
    readable.register(link, select.POLLIN)
    return bool(readable.poll(0))


def _socket_of(connection: AbstractConnection) -> socket.socket | None:
    return connection._get_socket()  # noqa: SLF001 - redis-py has no public way to the socket


def _explained(connection: AbstractConnection, text: str) -> str:
    """Say what to do about the faults of TLS, which OpenSSL names for those who know it."""
    if not isinstance(connection, SSLConnection):
        return text
    meant = next((meant for said, meant in _MEANT.items() if said in text), None)
    return f"{text}: {meant}" if meant else text


def first_line(error: Exception) -> str:
    """Return what a server said, without the arguments that it repeats after an unknown command: they hold passwords
    and jobs."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return line.partition(", with args beginning")[0][:200]
