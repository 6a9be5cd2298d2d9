"""What a server may answer: each reply is read within bounds, and one of another shape ends its connection alone."""

from __future__ import annotations

import random
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Final

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.exceptions import InvalidResponse, MovedError, RedisError

from sockudo_queue.config import RedisClusterSettings, SentinelNode, SentinelSettings, Settings
from sockudo_queue.core.secret import Secret
from sockudo_queue.drivers.base import Retry, Settlement
from sockudo_queue.drivers.redis import parser as parsing
from sockudo_queue.drivers.redis import replies
from sockudo_queue.drivers.redis.errors import ODD, OutOfStep, translated
from sockudo_queue.drivers.redis.factory import link_of
from sockudo_queue.drivers.redis.link import RedisLink, parser_of
from sockudo_queue.drivers.redis.parser import BoundedParser, Oversized
from sockudo_queue.errors import BrokerError, BrokerUnavailable
from tests.drivers.conformance import deliver_all, take
from tests.drivers.redis_lists import RedisLists, link_to
from tests.helpers.jobs import jobs
from tests.helpers.redis_proxy import RedisProxy
from tests.helpers.waiting import eventually

CLAIM: Final = b"*6\r\n*1\r\n:1\r\n:0\r\n:1700000000000\r\n$4\r\nid/1\r\n$5\r\n\r\n*9~\r\n:0\r\n"
READ: Final[Any] = [[1], 0, 1_700_000_000_000, b"id/1", b"\r\n*9~", 0]


class _Connected:
    """As much of a connection of redis-py as the parser asks for."""

    socket_timeout = 1.0

    def __init__(self, connected: socket.socket, port: int = 1) -> None:
        self._connected = connected
        self.port = port

    def _get_socket(self) -> socket.socket:
        return self._connected


class Stream:
    """A parser, and the server's end of its connection."""

    def __init__(self, port: int = 1) -> None:
        ours, self.server = socket.socketpair()
        ours.settimeout(_Connected.socket_timeout)
        self._ours = ours
        self.parser = BoundedParser(socket_read_size=16_384)
        self.parser.on_connect(_Connected(ours, port))  # type: ignore[arg-type] # see there

    def read(self, *chunks: bytes, then: Callable[[], None] | None = None) -> Any:
        """Read one reply while the server sends its chunks one by one."""

        def send() -> None:
            try:
                for chunk in chunks:
                    self.server.sendall(chunk)
                if then is not None:
                    then()
            except OSError:
                return  # the client had enough

        sender = threading.Thread(target=send)
        sender.start()
        try:
            return self.parser.read_response()
        finally:
            self._ours.shutdown(socket.SHUT_RD)
            sender.join()

    def close(self) -> None:
        self._ours.close()
        self.server.close()


@pytest.fixture
def stream() -> Iterator[Stream]:
    made = Stream()
    yield made
    made.close()


def test_large_strings_are_read_one_at_a_time_and_small_replies_meanwhile(stream: Stream) -> None:
    size = parsing.LARGE_STRING + 1
    large = b"$%d\r\n" % size + b"x" * size + b"\r\n"
    other, small = Stream(), Stream()
    done: list[str] = []
    go_on = threading.Event()

    def read(name: str, stream: Stream, begun: bytes, rest: bytes) -> None:
        def send_rest() -> None:
            go_on.wait(5)
            stream.server.sendall(rest)

        assert len(stream.read(begun, then=send_rest)) == size
        done.append(name)

    first = threading.Thread(target=read, args=("first", stream, large[:100_000], large[100_000:]))
    first.start()
    eventually(lambda: stream.parser._large_strings.locked(), 5)
    second = threading.Thread(target=read, args=("second", other, large, b""))
    second.start()
    assert small.read(b"+OK\r\n") == b"OK"
    second.join(0.2)  # long enough for a read that need not wait
    assert done == []
    go_on.set()
    first.join(5)
    second.join(5)
    assert sorted(done) == ["first", "second"]  # the first leaves the lock before it adds its name
    assert not stream.parser._large_strings.locked()
    other.close()
    small.close()


def test_a_large_string_waits_for_none_of_another_server(stream: Stream) -> None:
    size = parsing.LARGE_STRING + 1
    other = Stream(port=2)
    with stream.parser._large_strings:
        assert len(other.read(b"$%d\r\n" % size + b"x" * size + b"\r\n")) == size
    other.close()


def test_waiting_for_another_large_string_counts_as_reading(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "REPLY_SECONDS", 0.0)  # the response timeout, a second, is left
    stream.parser.on_connect(_Connected(stream._ours))  # type: ignore[arg-type] # as above
    size = parsing.LARGE_STRING + 1
    held, ended, lock = threading.Event(), threading.Event(), stream.parser._large_strings

    def hold() -> None:
        with lock:
            held.set()
            ended.wait(0.8)

    def trickle() -> None:
        while not ended.wait(0.05):
            stream.server.sendall(b"x")

    threading.Thread(target=hold).start()
    assert held.wait(5)
    began = time.monotonic()
    try:
        with pytest.raises(RedisError, match="Timeout"):
            stream.read(b"$%d\r\n" % size, then=lambda: threading.Thread(target=trickle, daemon=True).start())
    finally:
        ended.set()
    assert time.monotonic() - began < 1.5


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"+OK\r\n", b"OK"),
        (b":-9223372036854775808\r\n", -(2**63)),
        (b"$-1\r\n", None),
        (b"*-1\r\n", None),
        (b"$0\r\n\r\n", b""),
        (b"*0\r\n", []),
        (b"*2\r\n*1\r\n$-1\r\n*0\r\n", [[None], []]),
        (CLAIM, READ),
        (b"$12\r\n*300000000\r\n\r\n", b"*300000000\r\n"),
        (b"*1001\r\n" + b":1\r\n" * 1001, [1] * 1001),
    ],
)
def test_reply_is_read_the_same_whole_and_byte_by_byte(sent: bytes, expected: Any) -> None:
    for cut in (len(sent), 1, 3):
        made = Stream()
        assert made.read(*[sent[at : at + cut] for at in range(0, len(sent), cut)]) == expected
        assert not made.parser.rest
        made.close()


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.binary(max_size=40) | st.integers(-(2**63), 2**63 - 1),
        lambda inner: st.lists(inner, max_size=6),
        max_leaves=30,
    ).filter(lambda reply: _depth(reply) < parsing.MAX_DEPTH),
    st.integers(0, 2**32),
)
def test_any_reply_is_read_as_it_was_sent(reply: Any, seed: int) -> None:
    wire, chance, chunks = _wire(reply), random.Random(seed), []
    while wire:
        cut = chance.choice((1, 2, 7, len(wire)))
        chunks.append(wire[:cut])
        wire = wire[cut:]
    made = Stream()
    try:
        assert made.read(*chunks) == reply
    finally:
        made.close()


def _depth(reply: Any) -> int:
    return 1 + max(map(_depth, reply), default=0) if isinstance(reply, list) else 0


def _wire(reply: Any) -> bytes:
    match reply:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % reply
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(reply), reply)
        case _:
            return b"*%d\r\n" % len(reply) + b"".join(map(_wire, reply))


@pytest.mark.parametrize(
    "sent",
    [
        b"*300000000\r\n",
        b"*2\r\n:1\r\n*300000000\r\n",
        b"~300000000\r\n",
        b"%300000000\r\n",
        b"*1\r\n>300000000\r\n",
        b"*1000\r\n" * 9,
        b"*1\r\n" * 200_000,
        b"*900000\r\n" * 7,
        b"*1000000\r\n" + b"*1\r\n" * 10,
        b"$536870913\r\n",
        b"$-5\r\n",
        b"*-7\r\n",
        b":" + b"9" * 400 + b"\r\n",
        b":one\r\n",
        b"+" + b"x" * 100_000,
        b"*2\r\n:1\r\n-ERR in a list, which no command has\r\n" + b"x" * 20_000,
        b"-MOVED x\r\n",
        b"-ASK 1 2\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\r\n",
        b"$2\r\nabcdefgh" + b"x" * 20_000,
    ],
)
def test_no_reply_costs_more_than_what_was_sent(stream: Stream, sent: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RedisError):
        stream.read(sent, then=lambda: stream.server.shutdown(socket.SHUT_WR))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000  # KB


@pytest.mark.parametrize(
    "sent",
    [
        b"*%d\r\n" % (parsing.MAX_ELEMENTS + 1),
        b"*%d\r\n:1\r\n*2\r\n" % parsing.MAX_ELEMENTS,
        b"*2\r\n" * (parsing.MAX_DEPTH + 1),
        b"$%d\r\n" % (parsing.MAX_STRING_BYTES + 1),
        b"+" + b"x" * 2 * parsing.MAX_LINE_BYTES,
        b":" + b"1" * 2 * parsing.MAX_LINE_BYTES,
    ],
    ids=["elements", "elements of all lists", "depth", "string", "status", "number"],
)
def test_reply_over_a_bound_is_refused_while_the_server_still_sends(stream: Stream, sent: bytes) -> None:
    with pytest.raises(InvalidResponse):  # and no timeout
        stream.read(sent)


def test_list_of_strings_is_bounded_as_a_whole(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "MAX_REPLY_BYTES", 300_000)
    with pytest.raises(InvalidResponse, match="more than 300000 bytes"):
        stream.read(b"*1001\r\n" + b"$1000\r\n%b\r\n" % (b"x" * 1000) * 1000)


def test_string_without_room_is_read_to_its_end_and_its_beginning_kept(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parsing, "MAX_REPLY_BYTES", 1_000_000)
    sent = b"*3\r\n$900000\r\n" + b"a" * 900_000 + b"\r\n$3000000\r\n" + b"b" * 3_000_000 + b"\r\n:7\r\n"

    kept, dropped, number = stream.read(sent)

    assert kept == b"a" * 900_000
    assert dropped == Oversized(b"b" * parsing.HEAD, 3_000_000)
    assert number == 7


def test_reply_that_trickles_ends_in_time(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "REPLY_SECONDS", 0.0)  # the response timeout, a second, is left
    stream.parser.on_connect(_Connected(stream._ours))  # type: ignore[arg-type] # as above
    ended = threading.Event()

    def trickle() -> None:
        while not ended.wait(0.05):
            stream.server.sendall(b"x")

    began = time.monotonic()
    try:
        with pytest.raises(RedisError, match="Timeout"):
            stream.read(b"$1000\r\n", then=lambda: threading.Thread(target=trickle, daemon=True).start())
    finally:
        ended.set()
    assert time.monotonic() - began < 3


anything = st.recursive(
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=20) | st.just(Oversized(b"x", 10**8)),
    lambda inner: st.lists(inner, max_size=6),
    max_leaves=12,
)
READERS: Final[dict[str, Callable[[Any], object]]] = {
    "address": lambda reply: replies.address(b"host", reply),
    "batch": lambda reply: replies.batch(reply, 1),
    "count": replies.count,
    "digits": replies.digits,
    "flags": replies.flags(2),
    "integer": replies.integer,
    "look": replies.peek_counts,
    "moment": replies.moment,
    "nodes": replies.nodes,
    "optional": replies.optional,
    "pong": replies.PONG,
    "scored": replies.scored,
    "settled": lambda reply: replies.settled_and_claimed(reply, 1),
    "text": replies.text,
    "values": replies.values(2),
    "wakeup": replies.wakeup,
}


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=100, deadline=None)
@given(reply=anything)
def test_reader_raises_only_documented_errors(name: str, reply: Any) -> None:
    try:
        READERS[name](reply)
    except ODD:
        return


class Swapped:
    """A driver behind a proxy whose replies to one command, or to all, are others."""

    def __init__(self, lists: RedisLists, cleanup: ExitStack) -> None:
        self.proxy = cleanup.enter_context(RedisProxy(lists.server.port))
        self.driver = lists.over(link_to(self.proxy.port))

    def answer(self, reply: bytes) -> None:
        self.proxy.change_replies(lambda command, real: real if command == "CLIENT" else reply)


@pytest.fixture
def swapped(lists: RedisLists, cleanup: ExitStack) -> Swapped:
    lists.push(*jobs(3))
    return Swapped(lists, cleanup)


ODD_REPLIES: Final = (
    b"+OK\r\n",
    b"+QUEUED\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b":0\r\n",
    b":5\r\n",
    b"$2\r\nid\r\n",
    b"%1\r\n+a\r\n:1\r\n",
    b">2\r\n+pubsub\r\n+x\r\n",
    b"*6\r\n*0\r\n:0\r\n:1\r\n$3\r\n\xff/1\r\n$1\r\nx\r\n:0\r\n",
    b"*6\r\n*0\r\n:0\r\n:9223372036854775807\r\n$3\r\na/1\r\n$1\r\nx\r\n:0\r\n",
    b"*6\r\n*0\r\n:0\r\n:1\r\n$3\r\na/1\r\n$-1\r\n:0\r\n",
    b"*6\r\n*0\r\n:0\r\n:1\r\n$3\r\na/1\r\n$1\r\nx\r\n:-1\r\n",
    b"*5\r\n*0\r\n:0\r\n:1\r\n$3\r\na/1\r\n$1\r\nx\r\n",
    b"*6\r\n*2\r\n:1\r\n:1\r\n:0\r\n:1\r\n$3\r\na/1\r\n$1\r\nx\r\n:0\r\n",
    b"*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
    b"+OK\r\n+OK\r\n",
    b"*300000000\r\n",
    b"-MOVED x\r\n",
)


@pytest.mark.parametrize("reply", ODD_REPLIES)
def test_reply_of_another_type_is_an_outage_for_every_caller(lists: RedisLists, swapped: Swapped, reply: bytes) -> None:
    driver = swapped.driver
    claim = take(driver)
    swapped.answer(reply)
    letters = driver.dead_letters
    for ask in (
        lambda: driver.next(None),
        lambda: driver.next(Settlement(claim)),
        lambda: driver.settle([Settlement(claim, (Retry(b"s", 0),))]),
        lambda: driver.renew([claim, claim]),
        lambda: driver.wait(driver.sources[0], 0.05),
        driver.depth,
        driver.peek,
        driver.ping,
        lambda: list(letters.letters()),
        lambda: letters.drop_older(5),
        driver.peers.formats,
        driver.peers.signs,
        driver.peers.skews,
        lambda: list(driver.inspect()),
    ):
        try:
            ask()
        except BrokerUnavailable:
            continue
    with pytest.raises(BrokerUnavailable):
        driver.next(None)

    swapped.proxy.heal()
    driver.ping()
    lists.advance(3600)
    assert {it.body for it in deliver_all(driver)} >= set(jobs(3)[1:])


def node(first: int, last: int, host: bytes = b"127.0.0.1", port: int = 1) -> bytes:
    """Return what CLUSTER SLOTS says of one node."""
    return b"*1\r\n*3\r\n:%d\r\n:%d\r\n*2\r\n$%d\r\n%b\r\n:%d\r\n" % (first, last, len(host), host, port)


def master(**fields: str) -> bytes:
    """Return what SENTINEL MASTERS says of one master."""
    words = [word for pair in ({"name": "mymaster"} | fields).items() for word in pair]
    return b"*1\r\n*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(it), it.encode()) for it in words)


ODD_PLACES: Final = (
    node(0, 10**15),
    node(0, 16_383, port=10**9),
    node(0, 16_383, host=b"\xff" * 4),
    node(0, 16_383, host=b"x" * 300),
    node(5, 1),
    node(0, 16_383).replace(b"*1", b"*2", 1) + node(0, 16_383)[4:],
    master(),
    master(flags="master", ip="127.0.0.1", port="99999999999"),
    master(flags="master", ip="x" * 300, port="1"),
    master(flags="master", port="one"),
)


@pytest.mark.parametrize("reply", [*ODD_REPLIES, *ODD_PLACES])
@pytest.mark.parametrize("layout", ["cluster", "sentinel"])
def test_invalid_topology_reply_is_an_outage(
    redis_proxy: RedisProxy, cleanup: ExitStack, layout: str, reply: bytes
) -> None:
    redis_proxy.answer_instead(reply)
    if layout == "cluster":
        group = RedisClusterSettings(nodes=(Secret(redis_proxy.url),), request_timeout_ms=1_000)
        link = link_of(Settings(driver="redis-cluster", redis_cluster=group))
    else:
        named = SentinelSettings(nodes=(SentinelNode(host="127.0.0.1", port=redis_proxy.port),))
        link = link_of(Settings(sentinel=named))
    cleanup.callback(link.close)

    began = time.monotonic()
    with pytest.raises(BrokerError):
        link.call("PING", near="key", read=replies.PONG)
    link.discover_servers()

    assert time.monotonic() - began < 5
    link.close()
    if layout == "sentinel":  # a look at a cluster that fails keeps nothing that could be closed
        eventually(lambda: redis_proxy.connections == 0)


def test_stray_reply_ends_its_connection_and_no_other(lists: RedisLists, cleanup: ExitStack) -> None:
    lists.push(*jobs(5))
    swapped = Swapped(lists, cleanup)
    driver = swapped.driver
    assert isinstance(driver._link, RedisLink)
    other = driver._link._connect()
    claim = take(driver)
    driver._link._idle.appendleft(other)
    seen = iter([b":1\r\n"])
    swapped.proxy.change_replies(lambda _, real: next(seen, b"") + real)

    with pytest.raises(OutOfStep):
        driver.next(Settlement(claim))

    assert list(driver._link._idle) == [other]
    # The settlement has run, and the claim that was made with it is found when its lease is over.
    assert driver.settle([Settlement(claim)]) == [False]
    lists.advance(3600)
    assert sorted(it.body for it in deliver_all(driver)) == sorted(jobs(5))[1:]


def test_bytes_before_a_command_are_not_taken_for_its_reply(lists: RedisLists) -> None:
    driver = lists.driver()
    driver.ping()
    assert isinstance(driver._link, RedisLink)
    (connection,) = driver._link._idle
    # Another reply to this connection, as of a server that is out of step.
    parser = driver._link._idle[0]._parser
    parser._socket.sendall(b"*1\r\n$4\r\nPING\r\n")
    eventually(lambda: not parser.is_quiet)

    with pytest.raises(OutOfStep):
        driver.ping()

    assert not connection.is_connected
    driver.ping()


def test_end_of_the_stream_before_a_command_costs_nothing(lists: RedisLists) -> None:
    driver = lists.driver()
    driver.ping()
    assert isinstance(driver._link, RedisLink)
    parser = driver._link._idle[0]._parser
    lists.client.client_kill_filter(_type="normal", skipme=True)
    eventually(lambda: not parser.is_quiet)

    driver.ping()


def test_bytes_behind_an_error_end_the_connection(lists: RedisLists, cleanup: ExitStack) -> None:
    """An error is a reply like another: what comes behind it would be taken for the next one."""
    swapped = Swapped(lists, cleanup)
    link = swapped.driver._link
    assert isinstance(link, RedisLink)
    # Connected first: an old server answers the greeting of the client library with errors of its own.
    assert link.call("INCR", "count", read=replies.count) == 1
    seen = iter([b"-ERR stray\r\n"])
    swapped.proxy.change_replies(lambda _, real: next(seen, b"") + real)
    with pytest.raises(OutOfStep):
        link.call("INCR", "count", read=replies.count)
    assert not link._idle
    assert [link.call("INCR", "count", read=replies.count) for _ in range(3)] == [3, 4, 5]


@pytest.mark.parametrize(
    "odd", [b"%1\r\n*0\r\n:1\r\n", b"%1\r\n%1\r\n:1\r\n:1\r\n:2\r\n", b"*1\r\n%1\r\n~0\r\n:1\r\n", b"~1\r\n*0\r\n"]
)
def test_map_with_a_key_that_cannot_be_one_is_no_reply(odd: bytes, lists: RedisLists, cleanup: ExitStack) -> None:
    swapped = Swapped(lists, cleanup)
    swapped.driver.ping()
    swapped.proxy.change_replies(lambda _, _real: odd)
    for _ in range(3):
        with pytest.raises(BrokerUnavailable):
            swapped.driver.ping()


@pytest.mark.parametrize("host", [b"replica..local", b"x" * 64 + b".local", b".", b"\xff"])
def test_invalid_host_in_a_reply_is_not_an_address(host: bytes) -> None:
    with pytest.raises(ODD):
        replies.address(host, 6379)
    moved = translated(redis.Connection(), MovedError(f"1 {host.decode('latin-1')}:6379"))
    assert type(moved) is BrokerUnavailable


def test_connection_that_was_closed_is_not_kept(lists: RedisLists) -> None:
    driver = lists.driver()
    driver.ping()
    assert isinstance(driver._link, RedisLink)
    connection = driver._link._borrow()
    connection.disconnect()
    driver._link._give_back(connection)
    assert not driver._link._idle
    assert not parser_of(connection).is_quiet
