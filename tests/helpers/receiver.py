"""A scriptable HTTP/1.1 receiver: records every request byte for byte and answers as the test's script decides."""

from __future__ import annotations

import asyncio
import functools
import random
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Final, NamedTuple, Self

from tests.helpers.http_wire import Head, Parsed, parse_request
from tests.helpers.loop_thread import LoopThread, stop_listening
from tests.helpers.ports import free_port
from tests.helpers.resets import reset
from tests.helpers.waiting import eventually


class Request(NamedTuple):
    """One received request."""

    head: Head
    body: bytes
    received_at: float  # time.monotonic() at the arrival of the last byte
    port: int  # of the receiver
    client_port: int  # identifies the connection

    @property
    def method(self) -> str:
        return self.head.method

    @property
    def path(self) -> str:
        return self.head.path

    @property
    def header_lines(self) -> tuple[tuple[str, str], ...]:
        """All headers, with their order, case and repeats."""
        return self.head.header_lines

    @property
    def headers(self) -> dict[str, str]:
        """The last value of each header; names are in lower case."""
        return self.head.headers


@dataclass(frozen=True, slots=True)
class Answer:
    """The reaction to a request, after `delay` seconds: a response, a reset, or silence (`hang`) on an open connection.

    `close` ends the connection after the response. `trickle` sends the response byte by byte, with that many seconds
    between two bytes. `raw` is sent in place of a well-formed response.
    """

    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    delay: float = 0.0
    reset: bool = False
    hang: bool = False
    close: bool = False
    trickle: float = 0.0
    raw: bytes | None = None

    def wire(self) -> bytes:
        """Return the bytes of the response."""
        if self.raw is not None:
            return self.raw
        lines = [f"HTTP/1.1 {self.status} {_phrase(self.status)}", f"Content-Length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.close:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


Script = Callable[[Request, int], Answer]


@functools.cache
def _shared_loop() -> LoopThread:
    """Return the loop of all receivers of this process: some tests have dozens, and threads start and end slowly."""
    return LoopThread("receivers")


_OK: Final = Answer()
_OK_WIRE: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Receiver:
    """Listens on a free port of 127.0.0.1 (or of `host`, which may be several) from its construction.

    Answers 200 by default. Scripts run in the one thread of all receivers and must not block. A delay affects its own
    connection only.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        host: str | Sequence[str] = "127.0.0.1",
    ) -> None:
        self._host = host
        self.port = free_port()
        self.requests: list[Request] = []
        self.accepted = 0  # connections so far
        self._tls = tls
        self._script = script
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._loop = _shared_loop()
        self.listen()

    def url(self, path: str = "/") -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}{path}"

    @property
    def count(self) -> int:
        return len(self.requests)

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    def answer(self, script: Script) -> None:
        """Answer with `script(request, nth)` from now on; nth counts from 1 since the start or the last `clear`."""
        self._script = script

    def always(self, status: int) -> None:
        answer = Answer(status)
        self._script = lambda request, nth: answer

    def delays(self, shortest: float, longest: float, seed: int = 0) -> None:
        """Answer 200 after a random time between the two, in seconds."""
        chance = random.Random(seed)
        self._script = lambda request, nth: Answer(delay=chance.uniform(shortest, longest))

    def hang(self) -> None:
        """Accept and read everything, never answer."""
        self._script = lambda request, nth: Answer(hang=True)

    def wait_for(self, count: int, timeout: float = 5.0) -> list[Request]:
        """Return the requests once there are `count`; fail with the received ones otherwise."""
        eventually(lambda: self.count >= count, timeout, lambda: self._missing_message(count))
        return list(self.requests)

    def clear(self) -> None:
        """Forget all requests; `nth` starts again at 1."""
        self._loop.call(self.requests.clear)

    def refuse(self) -> None:
        """Refuse new connections and reset open ones, until `listen`."""
        self._loop.run(self._refuse())

    def listen(self) -> None:
        """Listen again on the same port."""
        self._loop.run(self._listen())

    def close(self) -> None:
        self.refuse()
        self._loop.run(asyncio.sleep(0.01))  # a just accepted connection is announced a few loop iterations later
        self.refuse()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await self._loop.loop.create_server(
                lambda: _Connection(self), self._host, self.port, ssl=self._tls, backlog=1024
            )

    async def _refuse(self) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            await stop_listening(server)
        for connection in list(self._connections):
            connection.reset()

    def _missing_message(self, count: int) -> str:
        last = [f"{request.method} {request.path} {request.body[:200]!r}" for request in self.requests[-5:]]
        return "\n".join([f"{self.count} of {count} requests came", *last])

    def record(self, parsed: Parsed, client_port: int) -> Answer:
        """Record a request and decide on its answer; called by the connections."""
        request = Request(parsed.head, parsed.body, time.monotonic(), self.port, client_port)
        self.requests.append(request)
        return self._script(request, len(self.requests)) if self._script is not None else _OK

    def opened(self, connection: _Connection) -> None:
        self.accepted += 1
        self._connections.add(connection)

    def closed(self, connection: _Connection) -> None:
        self._connections.discard(connection)


class _Connection(asyncio.Protocol):
    """One client connection; the next request is processed after the previous one is answered."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._buffer = bytearray()
        self._busy = False
        self._client_port = 0
        self._answering: asyncio.Task[None] | asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._client_port = transport.get_extra_info("peername")[1]
        self._receiver.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._receiver.closed(self)
        if self._answering is not None:
            self._answering.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._next_request()

    def reset(self) -> None:
        reset(self._transport)

    def _next_request(self) -> None:
        while not self._busy and (parsed := parse_request(self._buffer)) is not None:
            answer = self._receiver.record(parsed, self._client_port)
            if answer is _OK:
                self._transport.write(_OK_WIRE)
            elif answer.trickle:
                self._busy = True
                self._answering = asyncio.get_running_loop().create_task(self._answer_in_drops(answer))
            elif answer.delay:
                self._busy = True
                self._answering = asyncio.get_running_loop().call_later(answer.delay, self._answer_late, answer)
            else:
                self._answer(answer)

    def _answer_late(self, answer: Answer) -> None:
        self._busy = False
        self._answer(answer)
        self._next_request()

    async def _answer_in_drops(self, answer: Answer) -> None:
        await asyncio.sleep(answer.delay)
        for byte in answer.wire():
            self._transport.write(bytes([byte]))
            await asyncio.sleep(answer.trickle)
        self._busy = False
        self._answer(answer, sent=True)
        self._next_request()

    def _answer(self, answer: Answer, sent: bool = False) -> None:
        if answer.reset:
            self.reset()
        elif answer.hang:
            self._busy = True
        elif not sent:
            self._transport.write(answer.wire())
        if answer.close:
            self._transport.close()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
