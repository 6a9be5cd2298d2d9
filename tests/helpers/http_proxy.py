"""A TCP proxy in front of an HTTP server that can lose one reply, refuse connections and cut them."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

from tests.helpers.loop_thread import LoopThread
from tests.helpers.ports import free_port
from tests.helpers.resets import reset


class HttpProxy:
    """Forwards `port` to `upstream`, both on 127.0.0.1. Every switch takes effect immediately and may be set from any
    thread."""

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.port = free_port()
        self._loses = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._loop = LoopThread("http-proxy")
        self.heal()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def lose_reply(self) -> None:
        """Lose the next reply: the server has processed the request, but the client sees a closed connection."""
        self._loses = True

    def cut_off(self) -> None:
        """Reset every connection and refuse new ones, until `heal`."""
        self._loop.call(self._cut)

    def heal(self) -> None:
        self._loses = False
        self._loop.run(self._listen())

    def close(self) -> None:
        self.cut_off()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            reset(writer.transport)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
            self._writers.add(up_writer)
            try:
                asking = asyncio.ensure_future(self._pass(reader, up_writer))
                await self._answer(up_reader, writer)
                asking.cancel()
            finally:
                self._writers.discard(up_writer)
                up_writer.close()
        except OSError:
            pass  # errors between the two sides are part of the tests
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if self._loses:
                self._loses = False
                return
            writer.write(data)
            await writer.drain()
