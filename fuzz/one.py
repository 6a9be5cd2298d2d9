"""Fuzzes one target in this process, guided by coverage: python -m fuzz.one TARGET [flags of libFuzzer]."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["sockudo_queue"]):
    from fuzz.targets import TARGETS


def main() -> None:
    """Never returns: libFuzzer exits the process, with a code above 0 if a property was violated."""
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
