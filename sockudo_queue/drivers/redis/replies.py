"""Readers for the reply of each command.

A reply of another shape belongs to another command or does not come from Redis: the connection is out of step. Each
reader returns the value of the reply, or fails with one of `errors.ODD`; `link` runs it while the connection is still
borrowed, and closes the connection on a failure.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from sockudo_queue.drivers.redis.errors import MAX_PORT
from sockudo_queue.drivers.redis.parser import Oversized

T = TypeVar("T")
Reader = Callable[[Any], T]

CLUSTER_SLOTS: Final = 16_384
MAX_HOST_LENGTH: Final = 255
MAX_TIME_MS: Final = 253_402_300_799_999
"""The end of the year 9999, the last date that Python supports."""
MAX_MS_DIGITS: Final = len(str(MAX_TIME_MS))
MAX_RECEIPT_LENGTH: Final = 1_024
"""In bytes: an id has at most 255, and Queue V2 shows each of them as up to three."""
MAX_LAPSES: Final = 1_000_001
"""The highest value that the scripts return: they read at most a million, and add the lease that just expired."""


class UnexpectedReply(ValueError):
    """A reply does not have the shape of its command. Never leaves `link`."""


def integer(reply: Any) -> int:
    """Return an integer."""
    if type(reply) is not int:
        raise UnexpectedReply
    return reply


def count(reply: Any) -> int:
    """Return an integer that is not negative."""
    if type(reply) is not int or reply < 0:
        raise UnexpectedReply
    return reply


def text(reply: Any) -> bytes:
    """Return a string."""
    if type(reply) is not bytes:
        raise UnexpectedReply
    return reply


def optional(reply: Any) -> bytes | Oversized | None:
    """Return a string of any length, or None."""
    if reply is not None and not isinstance(reply, bytes | Oversized):
        raise UnexpectedReply
    return reply


def exactly(expected: bytes) -> Reader[bytes]:
    """Return a reader that accepts only this string."""

    def read(reply: Any) -> bytes:
        if reply != expected:
            raise UnexpectedReply
        return expected

    return read


OK: Final = exactly(b"OK")
PONG: Final = exactly(b"PONG")


def listed(reply: Any) -> list[Any]:
    """Return a list."""
    if type(reply) is not list:
        raise UnexpectedReply
    return reply


def flags(number: int) -> Reader[list[bool]]:
    """Return a reader of `number` flags."""

    def read(reply: Any) -> list[bool]:
        if len(listed(reply)) != number or not all(type(flag) is int for flag in reply):
            raise UnexpectedReply
        return [flag != 0 for flag in reply]

    return read


def values(number: int) -> Reader[list[bytes | Oversized | None]]:
    """Return a reader of `number` values, each a string or None."""

    def read(reply: Any) -> list[bytes | Oversized | None]:
        if len(listed(reply)) != number:
            raise UnexpectedReply
        return [optional(value) for value in reply]

    return read


def scored(reply: Any) -> list[tuple[bytes | Oversized, bytes, float]]:
    """Return the members of a sorted set, each with its score as text and as a number."""
    flat = listed(reply)
    return [
        (member if isinstance(member, Oversized) else text(member), text(score), float(score))
        for member, score in zip(flat[::2], flat[1::2], strict=True)
    ]


def wakeup(reply: Any) -> None:
    """Read the reply of a blocking wait: nothing, an element, or an element with its key."""
    if type(reply) is list:
        _, reply = reply
    optional(reply)


def peek_counts(reply: Any) -> tuple[int, int, int]:
    """Return the counts of a source: moved, claimable, and milliseconds until the next record is due."""
    moved, claimable, until_due_ms = listed(reply)
    return count(moved), count(claimable), integer(until_due_ms)


def moment(reply: Any) -> int:
    """Return the reply of TIME in milliseconds."""
    seconds, micros = listed(reply)
    return clock(digits(seconds) * 1_000 + digits(micros) // 1_000)


def clock(now_ms: Any) -> int:
    """Return a time in milliseconds if it is plausible."""
    if type(now_ms) is not int or not 0 <= now_ms <= MAX_TIME_MS:
        raise UnexpectedReply
    return now_ms


def digits(word: Any) -> int:
    """Return a number that is sent as a string."""
    if not 0 < len(text(word)) <= 18 or not word.isdigit():
        raise UnexpectedReply
    return int(word)


def slots(reply: Any) -> None:
    """Check the reply of CLUSTER SLOTS: ranges of slots, each with the nodes that serve it."""
    served = 0
    for first, last, *serving in listed(reply):
        if not 0 <= integer(first) <= integer(last) < CLUSTER_SLOTS or not serving:
            raise UnexpectedReply
        served += last - first + 1
        for node in serving:
            _node(node)
    if served > CLUSTER_SLOTS:
        raise UnexpectedReply


def nodes(reply: Any) -> list[tuple[str, int]]:
    """Return host and port of the nodes in CLUSTER SLOTS; an empty host is that of the replying node."""
    slots(reply)
    return [_node(node) for _, _, *serving in reply for node in serving]


def _node(node: Any) -> tuple[str, int]:
    host, port = listed(node)[:2]
    return address(b"" if host is None else text(host), port)


def address(host: bytes, port: Any) -> tuple[str, int]:
    """Return an address that a connection can be tried to."""
    if type(port) is not int or not 0 < port <= MAX_PORT or len(host) > MAX_HOST_LENGTH:
        raise UnexpectedReply
    name = host.decode("ascii")
    name.encode("idna")  # as the look-up does, which fails at an empty label, or one of more than 63 characters
    return name, port


Claimed = tuple[str, bytes, int]
"""Receipt, value, and the number of expired leases of the record."""


def audit(reply: Any) -> tuple[int, int, int]:
    """Return the result of an audit: lost, put back, and out of reach."""
    lost, restored, unreachable = listed(reply)
    return count(lost), count(restored), count(unreachable)


def settled_and_claimed(reply: Any, settlements: int) -> tuple[bool, int, int, int, Claimed | None]:
    """Return the reply of the script of `next`: settled, dead letters trimmed, its clock in ms, records lost, and a
    claim.

    `settlements` is 0 or 1; with 0, `settled` is true. Every job passes through here, so this is one function.
    """
    if type(reply) is not list:
        raise UnexpectedReply
    value = lapses = None
    lost = 0
    match len(reply):
        case 6:
            ended, trimmed, now_ms, receipt, value, lapses = reply
        case 4:
            ended, trimmed, now_ms, receipt = reply
        case 5:
            ended, trimmed, now_ms, receipt, lost = reply
        case _:
            ended, trimmed, now_ms, receipt, value, lapses, lost = reply
    if (
        type(ended) is not list
        or len(ended) != settlements
        or type(trimmed) is not int
        or type(now_ms) is not int
        or type(lost) is not int
        or trimmed < 0
        or lost < 0
        or not 0 <= now_ms <= MAX_TIME_MS
    ):
        raise UnexpectedReply
    accepted = not ended or count(ended[0]) > 0
    if receipt is None and value is None and lapses is None:
        return accepted, trimmed, now_ms, lost, None
    return accepted, trimmed, now_ms, lost, _claimed(receipt, value, lapses)


def _claimed(receipt: Any, value: Any, lapses: Any) -> Claimed:
    if (
        type(receipt) is not bytes
        or type(value) is not bytes
        or type(lapses) is not int
        or len(receipt) > MAX_RECEIPT_LENGTH
        or b"/" not in receipt
        or not 0 <= lapses <= MAX_LAPSES
    ):
        raise UnexpectedReply
    return receipt.decode("ascii"), value, lapses


def batch(reply: Any, settlements: int) -> tuple[list[bool], int, int, int, list[Claimed]]:
    """Return the reply of the script of `next` to a batch: flags, dead letters trimmed, its clock, lost, and claims."""
    ended, *rest = listed(reply)
    more = listed(rest.pop()) if len(rest) == 7 else []
    _, trimmed, now_ms, lost, first = settled_and_claimed([[], *rest], 0)
    claimed = [] if first is None else [first]
    for receipt, value in zip(more[::2], more[1::2], strict=True):
        claimed.append(_claimed(receipt, value, 0))
    return flags(settlements)(ended), trimmed, now_ms, lost, claimed


CLAIMED: Final[Reader[tuple[bool, int, int, int, Claimed | None]]] = partial(settled_and_claimed, settlements=0)
SETTLED_AND_CLAIMED: Final[Reader[tuple[bool, int, int, int, Claimed | None]]] = partial(
    settled_and_claimed, settlements=1
)
