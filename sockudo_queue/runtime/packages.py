"""Imports less of other packages: single modules without their package's `__init__`, or no optional ones."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec
from typing import Any


def postpone_init(package: str) -> None:
    """Run the `__init__` of a package when one of its names is used for the first time, instead of at its first import.

    Modules of the package can be imported without it. One that relies on what `__init__` imports before it, as parts of
    a circle may, must be imported after a name of the package: `from package import name`. The first name should be
    used while no other thread imports modules of the package, because the two could wait for each other. If `__init__`
    fails, the next use runs it again. Does nothing if the package was already imported, or is not installed.
    """
    spec = None if package in sys.modules else find_spec(package)
    if spec is None or spec.loader is None:
        return
    module, loader, lock = module_from_spec(spec), spec.loader, threading.RLock()
    is_running = False

    def run_init(name: str) -> Any:
        nonlocal is_running
        with lock:  # Another thread waits; the one that runs `__init__` sees what it has defined so far.
            if is_running:
                raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=module)
            if vars(module).get("__getattr__") is run_init:  # else another thread has run `__init__`
                is_running = True
                try:
                    loader.exec_module(module)
                finally:
                    is_running = False
                if vars(module)["__getattr__"] is run_init:  # else `__init__` has defined its own
                    del vars(module)["__getattr__"]
        return getattr(module, name)

    vars(module)["__getattr__"] = run_init  # Python calls it for a name that the module does not have.
    sys.modules[package] = module


@contextmanager
def hidden(package: str) -> Iterator[None]:
    """Let imports of a package fail inside the block, as if it were not installed, unless it was imported before."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment] # documented: the import raises ModuleNotFoundError
    try:
        yield
    finally:
        del sys.modules[package]
