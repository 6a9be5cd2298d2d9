"""One asyncio event loop in a thread of its own, for servers that must answer while a test waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

CALL_SECONDS = 20.0


class LoopThread:
    """Runs coroutines and plain functions in its loop for callers in other threads, which block until the result is
    there."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run the coroutine to its end."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(CALL_SECONDS)

    def call(self, function: Callable[[], T]) -> T:
        """Call the function in the loop's thread, between two events."""

        async def called() -> T:
            return function()

        return self.run(called())

    def close(self) -> None:
        """Cancel running tasks and end the thread."""
        self.run(_cancel_others())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(CALL_SECONDS)
        self.loop.close()


async def stop_listening(server: asyncio.Server) -> None:
    """Close a server after its accepted sockets have become connections: asyncio would leave them open otherwise."""
    loop = asyncio.get_running_loop()
    for listening in server.sockets:
        loop.remove_reader(listening.fileno())
    for _ in range(5):
        await asyncio.sleep(0)
    server.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    # Includes connections that their server does not know yet: a client may connect while the server is being closed.
    for transport in list(getattr(asyncio.get_running_loop(), "_transports", {}).values()):
        transport.abort()
    # Closed transports free their sockets a few loop iterations later.
    for _ in range(10):
        await asyncio.sleep(0.001)
