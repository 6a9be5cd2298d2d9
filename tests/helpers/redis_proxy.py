"""A TCP proxy in front of a Redis server that can lose or change single replies, delay, hang, refuse and cut."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Collection
from functools import cache
from types import TracebackType
from typing import Final, Self

from tests.helpers.loop_thread import LoopThread, stop_listening
from tests.helpers.ports import free_port
from tests.helpers.resets import reset
from tests.helpers.resp import command_name, end_of_command, end_of_value, is_push

# Losing these would only break the set-up of a connection, which other tests cover.
HANDSHAKE: Final = frozenset({"HELLO", "CLIENT", "AUTH", "SELECT", "SCRIPT"})

_READ_BYTES: Final = 65_536


@cache
def _shared_loop() -> LoopThread:
    """Return the loop of all proxies; one of its own for each would be most of what a proxy costs a short test."""
    return LoopThread("redis-proxies")


class RedisProxy:
    """Forwards `port` to `upstream`, both on 127.0.0.1. Every switch takes effect immediately and may be set from any
    thread.

    The server has executed the command of a dropped reply, but the client never learns the result.
    """

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.port = free_port()
        self.dropped: list[str] = []  # the commands whose replies were lost, in order
        self.accepted = 0  # connections so far
        self._should_drop: Callable[[str], bool] | None = None
        self._change: Callable[[str, bytes], bytes] | None = None
        self._instead: bytes | None = None
        self._max_bytes: int | None = None
        self.refused = 0  # commands that were too large
        self._keep_open = False
        self._delay = 0.0
        self._links: set[_Link] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._loop = _shared_loop()
        self._open = self._loop.call(asyncio.Event)
        self.heal()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def drop_replies(
        self,
        every: int = 1,
        *,
        probability: float | None = None,
        seed: int = 0,
        when: Callable[[str], bool] | None = None,
        commands: Collection[str] | None = None,
        limit: int | None = None,
        keep_open: bool = False,
    ) -> None:
        """Lose replies from now on: each `every`th, or by `probability`, or those for which `when(command name)` is
        true.

        Only replies to `commands` count, or to all but the handshake; at most `limit` are lost. The connection is then
        closed both ways, or with `keep_open` stays open and never answers again.
        """
        wanted = None if commands is None else {name.upper() for name in commands}
        chance = random.Random(seed)
        seen = lost = 0

        def should_drop(command: str) -> bool:
            nonlocal seen, lost
            if command in HANDSHAKE or (wanted is not None and command not in wanted) or lost == limit:
                return False
            seen += 1
            if when is not None:
                chosen = when(command)
            elif probability is not None:
                chosen = chance.random() < probability
            else:
                chosen = seen % every == 0
            lost += chosen
            return chosen

        self._keep_open = keep_open
        self._should_drop = should_drop

    def change_replies(self, change: Callable[[str, bytes], bytes]) -> None:
        """Send the result of `change(command name, reply)` in place of each reply, including those of the handshake."""
        self._change = change

    def answer_instead(self, reply: bytes) -> None:
        """Answer every command with this reply; none of them reaches the server."""
        self._instead = reply

    def refuse_larger(self, size: int) -> None:
        """Refuse every larger command, as servers with a limit on the request size do."""
        self._max_bytes = size

    def delay(self, seconds: float) -> None:
        """Delay all data from the server by `seconds`."""
        self._delay = seconds

    def black_hole(self) -> None:
        """Keep connections open and accept new ones, but forward nothing until `heal`, which forwards all of it."""
        self._loop.call(self._open.clear)

    def refuse(self) -> None:
        """Refuse new connections; open ones stay open, see `cut`."""
        self._loop.run(self._stop_listening())

    def cut(self) -> None:
        """Reset every open connection on both sides."""
        self._loop.call(self._cut)

    def heal(self) -> None:
        """Undo every switch. A connection that was silenced by `drop_replies(keep_open=True)` stays silent."""
        self._should_drop = self._change = self._instead = self._max_bytes = None
        self._delay = 0.0
        self._loop.call(self._open.set)
        self._loop.run(self._listen())

    def close(self) -> None:
        """Stop listening and reset everything."""
        self.refuse()
        self.cut()
        self._loop.run(self._end())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    async def _end(self) -> None:
        connections = list(self._serving)
        for each in connections:
            each.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    def _cut(self) -> None:
        for link in list(self._links):
            link.reset()

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, backlog=512)

    async def _stop_listening(self) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            await stop_listening(server)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None, "asyncio runs this in a task"
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            await self._open.wait()
            server = await asyncio.open_connection("127.0.0.1", self.upstream)
        except (OSError, asyncio.CancelledError):
            reset(writer.transport)
            return
        link = _Link(self, (reader, writer), server)
        self._links.add(link)
        try:
            await link.run()
        except asyncio.CancelledError:
            link.reset()  # the proxy is closing
        finally:
            self._links.discard(link)

    async def pass_gate(self, delayed: bool) -> None:
        """Wait as long as the switches require; called by the connections."""
        if delayed and self._delay:
            await asyncio.sleep(self._delay)
        await self._open.wait()

    def loses_reply(self, command: str) -> bool:
        """Decide on one reply; called by the connections."""
        if self._should_drop is None or not self._should_drop(command):
            return False
        self.dropped.append(command)
        return True

    def sent_for(self, command: str, reply: bytes) -> bytes:
        """Return the reply that the client receives; called by the connections."""
        return reply if self._change is None else self._change(command, reply)

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._links)

    @property
    def instead(self) -> bytes | None:
        return self._instead

    def is_too_large(self, command: bytes) -> bool:
        """Decide on one command; called by the connections."""
        return self._max_bytes is not None and len(command) > self._max_bytes

    @property
    def keeps_open(self) -> bool:
        return self._keep_open


_Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    """One client connection and its own connection to the server."""

    def __init__(self, proxy: RedisProxy, client: _Stream, server: _Stream) -> None:
        self._proxy = proxy
        self._client_reader, self._client_writer = client
        self._server_reader, self._server_writer = server
        self._asked: deque[str] = deque()  # commands whose replies have not arrived; replies arrive in the same order
        self._silent = False

    async def run(self) -> None:
        pumps = [asyncio.create_task(self._requests()), asyncio.create_task(self._replies())]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for writer in (self._client_writer, self._server_writer):
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    def reset(self) -> None:
        reset(self._client_writer.transport)
        reset(self._server_writer.transport)

    async def _requests(self) -> None:
        waiting = bytearray()
        while data := await _read(self._client_reader):
            waiting += data
            while end := end_of_command(waiting):
                command = bytes(waiting[:end])
                del waiting[:end]
                if (instead := self._proxy.instead) is not None:
                    self._client_writer.write(instead)
                    continue
                if self._proxy.is_too_large(command):
                    self._proxy.refused += 1
                    self._client_writer.write(b"-ERR max request size exceeded\r\n")
                    continue
                if command.strip():
                    self._asked.append(command_name(command))
                await self._proxy.pass_gate(delayed=False)
                self._server_writer.write(command)
            await self._server_writer.drain()

    async def _replies(self) -> None:
        waiting = bytearray()
        while data := await _read(self._server_reader):
            waiting += data
            await self._proxy.pass_gate(delayed=True)
            while end := end_of_value(waiting):
                reply = bytes(waiting[:end])
                del waiting[:end]
                command = "" if is_push(reply) or not self._asked else self._asked.popleft()
                if command and self._proxy.loses_reply(command):
                    if not self._proxy.keeps_open:
                        return
                    self._silent = True
                if command:
                    reply = self._proxy.sent_for(command, reply)
                if not self._silent:
                    self._client_writer.write(reply)
            await self._client_writer.drain()


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(_READ_BYTES)
    except OSError:
        return b""
