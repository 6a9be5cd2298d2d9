"""What the reply to each command looks like.

A reply of another shape belongs to another command, or comes from no Redis: its connection is out of step. Each reader
returns what the reply says, or fails in one of the ways in `errors.ODD`; `link` reads a reply while its connection is
still borrowed, and closes the connection then.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from sockudo_queue.drivers.redis.errors import MOST_PORT
from sockudo_queue.drivers.redis.parser import Oversized

T = TypeVar("T")
Reader = Callable[[Any], T]

CLUSTER_SLOTS: Final = 16_384
LONGEST_HOST: Final = 255
LATEST_MS: Final = 253_402_300_799_999
"""The end of the year 9999, after which there are no dates in Python."""
LONGEST_MS: Final = len(str(LATEST_MS))
LONGEST_RECEIPT: Final = 1_024
"""Bytes; an id has at most 255, and Queue V2 shows each of them as up to three."""
MOST_LAPSES: Final = 1_000_001
"""As the scripts say at most: they read no more than a million, and count the one that has just expired."""


class UnexpectedReply(ValueError):
    """A reply is not of the shape that its command gives. Never leaves `link`."""


def integer(reply: Any) -> int:
    """Return a number."""
    if type(reply) is not int:
        raise UnexpectedReply
    return reply


def count(reply: Any) -> int:
    """Return a number that is not below 0."""
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
    """Return a reader of a string that is known before."""

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
    """Return a reader of one flag for each of so many arguments."""

    def read(reply: Any) -> list[bool]:
        if len(listed(reply)) != number or not all(type(flag) is int for flag in reply):
            raise UnexpectedReply
        return [flag != 0 for flag in reply]

    return read


def values(number: int) -> Reader[list[bytes | Oversized | None]]:
    """Return a reader of one string, or None, for each of so many fields."""

    def read(reply: Any) -> list[bytes | Oversized | None]:
        if len(listed(reply)) != number:
            raise UnexpectedReply
        return [optional(value) for value in reply]

    return read


def scored(reply: Any) -> list[tuple[bytes | Oversized, bytes, float]]:
    """Return members of a sorted set, each with its score as Redis spells it and as a number."""
    flat = listed(reply)
    return [
        (member if isinstance(member, Oversized) else text(member), text(score), float(score))
        for member, score in zip(flat[::2], flat[1::2], strict=True)
    ]


def wakeup(reply: Any) -> None:
    """Read what a wait in the server gives: nothing, an element, or an element with its key."""
    if type(reply) is list:
        _, reply = reply
    optional(reply)


def look(reply: Any) -> tuple[int, int, int]:
    """Return what a look at a source gives: moved, claimable, and milliseconds until a record falls due."""
    moved, claimable, until_due_ms = listed(reply)
    return count(moved), count(claimable), integer(until_due_ms)


def moment(reply: Any) -> int:
    """Return what TIME says, in milliseconds."""
    seconds, micros = listed(reply)
    return clock(digits(seconds) * 1_000 + digits(micros) // 1_000)


def clock(now_ms: Any) -> int:
    """Return a moment by a clock that may be right."""
    if type(now_ms) is not int or not 0 <= now_ms <= LATEST_MS:
        raise UnexpectedReply
    return now_ms


def digits(word: Any) -> int:
    """Return a number that is spelled out."""
    if not 0 < len(text(word)) <= 18 or not word.isdigit():
        raise UnexpectedReply
    return int(word)


def slots(reply: Any) -> None:
    """Check what CLUSTER SLOTS says: ranges of slots, each with the nodes that serve it."""
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
    """Return host and port of the nodes that CLUSTER SLOTS names; an empty host is that of the node that says so."""
    slots(reply)
    return [_node(node) for _, _, *serving in reply for node in serving]


def _node(node: Any) -> tuple[str, int]:
    host, port = listed(node)[:2]
    return address(b"" if host is None else text(host), port)


def address(host: bytes, port: Any) -> tuple[str, int]:
    """Return an address that a connection can be tried to."""
    if type(port) is not int or not 0 < port <= MOST_PORT or len(host) > LONGEST_HOST:
        raise UnexpectedReply
    name = host.decode("ascii")
    name.encode("idna")  # as the look-up will, which fails at an empty part, or one of more than 63 characters
    return name, port


Claimed = tuple[str, bytes, int]
"""Receipt, value, and how many leases of the record have expired."""


def audit(reply: Any) -> tuple[int, int, int]:
    """Return what an audit of records says: lost, put back, and out of reach."""
    lost, restored, unreachable = listed(reply)
    return count(lost), count(restored), count(unreachable)


def settled_and_claimed(reply: Any, settlements: int) -> tuple[bool, int, int, int, Claimed | None]:
    """Return what the script of `next` says: settled, dead letters trimmed, its clock in ms, records lost, and a claim.

    `settlements` is 0 or 1; with 0 there is nothing that was not settled. Every job comes by here: it is one function.
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
        or not 0 <= now_ms <= LATEST_MS
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
        or len(receipt) > LONGEST_RECEIPT
        or b"/" not in receipt
        or not 0 <= lapses <= MOST_LAPSES
    ):
        raise UnexpectedReply
    return receipt.decode("ascii"), value, lapses


def batch(reply: Any, settlements: int) -> tuple[list[bool], int, int, int, list[Claimed]]:
    """Return what the script of `next` says to a batch: flags, dead letters trimmed, its clock, lost, and claims."""
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
