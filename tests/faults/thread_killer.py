"""The command, with a way to kill one of its threads from inside: the file `kill` names the module that it is in.

The word `main` stands for the main thread.

SystemExit is raised in the thread as soon as it runs Python again, at whatever instruction that is; no product code
helps.
"""

from __future__ import annotations

import ctypes
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Final

from sockudo_queue import cli

ORDER: Final = Path("kill")


def obey() -> None:
    """Kill one thread for each order, and take the order away when it is carried out."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
    while True:
        time.sleep(0.002)
        if ORDER.exists() and _at_one_moment(_kill_one_in, ORDER.read_text()):
            ORDER.unlink()


def _at_one_moment(act: Callable[[str], bool], module: str) -> bool:
    """Keep the interpreter meanwhile: a thread that went on between look and blow could be anywhere when it is hit."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(60)
    try:
        return act(module)
    finally:
        sys.setswitchinterval(usual)


def _kill_one_in(module: str) -> bool:
    if module == "main":
        return _kill(threading.main_thread().ident or 0)
    known = {thread.ident for thread in threading.enumerate() if thread is not threading.main_thread()}
    found = [ident for ident, frame in sys._current_frames().items() if ident in known and module in _modules(frame)]
    if not found:
        return False
    return _kill(random.choice(found))


def _kill(ident: int) -> bool:
    return bool(ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(SystemExit)) == 1)


def _modules(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        yield frame.f_globals["__name__"]
        frame = frame.f_back


def main() -> None:
    """Run the command in the main thread, and obey in another."""
    threading.Thread(target=obey, daemon=True).start()
    cli.main()


if __name__ == "__main__":
    main()
