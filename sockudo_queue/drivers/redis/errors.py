"""Translates errors of Redis and redis-py into ours, which distinguish what may have run from what has not."""

from __future__ import annotations

import re
from typing import Final

from redis.connection import AbstractConnection, SSLConnection
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

from sockudo_queue.errors import BrokerError, BrokerRefused, BrokerUnavailable

TIMED_OUT: Final = "Timeout reading from socket"
"""The text of redis-py and of our parser for a reply that does not arrive in time."""
MAX_PORT: Final = 65_535

_NO_WRITES: Final = re.compile(r"(MISCONF|NOREPLICAS) .*")

_OF_SIZE: Final = re.compile(
    r"size exceeded|exceeds|too (?:big|large|long)|bulk length|proto-max|maxmemory|out of memory", re.IGNORECASE
)
"""Matches the texts with which servers, and proxies in front of them, refuse a request for its size."""

_PLACE_IN_SCRIPT: Final = re.compile(
    r"^Error running script \(call to f_[0-9a-f]{40}\): (?:@user_script: ?\d+: )+"
    r"| script: (?:[0-9a-f]{40}, )?on @user_script:\d+\.?$"
)
"""Matches the script position in an error: before 7.0 it comes first, and Valkey 9 omits the digest."""

_ADVICE: Final = {
    "unable to get local issuer certificate": "its authority is not trusted; set database.redis.master_tls.ca_path",
    "self-signed certificate": "its authority is not trusted; set database.redis.master_tls.ca_path",
    "mismatch, certificate is not valid for": "reach the server by a name in its certificate, or set "
    "QUEUE_REDIS_TLS_CHECK_HOSTNAME=false to check its authority alone",
    "WRONG_VERSION_NUMBER": "it does not speak TLS on this port",
    # A server without TLS takes the handshake for the beginning of a command and waits for the rest.
    "Timeout connecting": "it does not speak TLS on this port, or cannot be reached",
    "ALERT_CERTIFICATE_REQUIRED": "the server wants a certificate; set database.redis.master_tls.client_cert_path",
}


ODD: Final = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
"""The exceptions that Python raises on a reply of an unexpected shape."""


class OutOfStep(BrokerUnavailable):
    """A connection returned a reply that does not match its command, and is closed. Other connections may be sound."""


class UnknownScript(BrokerRefused):
    """The server does not know the script's digest, so nothing ran."""


class ServerRefused(BrokerRefused):
    """The server refuses everything, whatever the key: it takes no writes, is busy with another script, or refuses the
    login."""


class WritesRefused(ServerRefused):
    """The server takes no writes for now: it cannot save to its disk, or has too few replicas."""


class ServerBusy(ServerRefused):
    """The server refuses all commands while another client's script runs."""


class LoginRefused(ServerRefused):
    """The server refuses the login, so no other command can be sent either."""


class CommandDenied(BrokerRefused):
    """The server is out of memory, or its ACL rules forbid the command; other commands may still be accepted."""


class Redirected(ServerRefused):
    """A node of a cluster does not serve the key's slot, and names the right one. An empty host is the node's own."""

    def __init__(self, slot: int, host: str, port: int, *, once: bool) -> None:
        super().__init__("the server is a node of a cluster; set QUEUE_DRIVER=redis-cluster")
        self.slot = slot
        self.host = host
        self.port = port
        self.once = once  # only for this command: the slot is migrating there


class SlotBusy(BrokerRefused):
    """The slot is migrating between two nodes, and the script's keys are split between them."""


def translated(connection: AbstractConnection, error: RedisError | OSError) -> BrokerError:
    """Return our error for redis-py's. Except after a refusal, the connection is unusable and is closed."""
    text = first_line(error)
    match error:
        case NoScriptError():
            return UnknownScript("the server does not know the script")
        case AuthenticationError():
            connection.disconnect()
            return LoginRefused(f"authentication failed: {text}")
        # Before the login, long requests are refused too; the server disconnects then.
        case ResponseError() if "unauthenticated" in text:
            connection.disconnect()
            return LoginRefused("authentication failed: Authentication required.")
        case ResponseError() if "DB index is out of range" in text:
            return LoginRefused(
                f"{text}; set database.redis.db, or the number in REDIS_URL, to one that the server has"
            )
        case OutOfMemoryError() | NoPermissionError():
            return CommandDenied(text)
        # Before 7.0 a script's error is nested in the text of another.
        case ResponseError() if (refusal := refusal_of_writes(text)) is not None:
            return refusal
        case ResponseError() if text.startswith("BUSY "):
            return ServerBusy(text)
        case AskError() if not (0 < error.port <= MAX_PORT and _is_name(error.host)):
            connection.disconnect()
            return BrokerUnavailable("the server names no address for the slot of the queue")
        case AskError():  # also MOVED
            once = not isinstance(error, MovedError)
            return Redirected(error.slot_id, error.host, error.port, once=once)
        case TryAgainError():
            return SlotBusy("the slot of the queue is being moved to another node")
        case MasterDownError() | ReadOnlyError() | ClusterDownError():
            connection.disconnect()
            return BrokerUnavailable(text)
        # A demoted master unblocks waiting clients with this error.
        case ResponseError() if not text.startswith("UNBLOCKED") and "-READONLY " not in text:
            return BrokerRefused(text)
        case _:
            connection.disconnect()
            late = text == TIMED_OUT
            return BrokerUnavailable("the server did not answer in time" if late else _explained(connection, text))


def refusal_of_writes(text: str) -> WritesRefused | None:
    """Return the error for a server that takes no writes, or None if the text has another meaning."""
    found = _NO_WRITES.search(text)
    return None if found is None else WritesRefused(found[0])


def is_of_size(refusal: BrokerRefused) -> bool:
    """Return whether a request was refused for its size or its memory use; a smaller one may be accepted."""
    return _OF_SIZE.search(str(refusal)) is not None


def _explained(connection: AbstractConnection, text: str) -> str:
    """Add advice to TLS errors, whose OpenSSL texts only experts understand."""
    if not isinstance(connection, SSLConnection):
        return text
    advice = next((advice for part, advice in _ADVICE.items() if part in text), None)
    return f"{text}: {advice}" if advice else text


def first_line(error: Exception) -> str:
    """Return the server's message without the arguments it repeats after an unknown command: they hold passwords and
    jobs."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    line = line.partition(", with args beginning")[0]
    return _PLACE_IN_SCRIPT.sub("", line)[:200]


def _is_name(host: str) -> bool:
    """Return whether a host name can be looked up. An empty one can: it means the node that sent the reply."""
    try:
        host.encode("ascii").decode().encode("idna")
    except UnicodeError:
        return False
    return True
