"""Standard input, output and error of a command: that they are there, and that they take what is written."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Final

from sockudo_queue.errors import OutputError

_INPUT, _OUTPUT, _ERRORS = range(3)
_EVERYTHING: Final = (_INPUT, _OUTPUT, _ERRORS)


def set_up() -> None:
    """Put the null device where a stream was closed before the start, as `>&-` does; take every character.

    Else the next connection gets the free number, and what a C library or the interpreter writes there at its end, a
    crash report for example, goes to Redis or to an endpoint.
    """
    for number in _EVERYTHING:
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
    sys.stdin = sys.stdin or open(_INPUT, closefd=False)  # noqa: SIM115 - a descriptor, for the whole process
    sys.stdout = sys.stdout or open(_OUTPUT, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(_ERRORS, "w", closefd=False)  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a locale of old may not have what is in a job


def write(text: str) -> None:
    """Write to standard output. Raises `OutputError`, or BrokenPipeError where the reader has seen enough."""
    try:
        sys.stdout.write(text)
    except OSError as error:
        raise unwritable(error) from None


def write_bytes(content: bytes) -> None:
    """Write bytes to standard output as they are, and let them out. Raises as `write`."""
    flush()
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise unwritable(error) from None


def flush() -> None:
    """Let out what was written to standard output. Raises as `write`."""
    try:
        sys.stdout.flush()
    except OSError as error:
        raise unwritable(error) from None


def write_error(text: str) -> None:
    """Write to standard error; where even that is not possible the exit code is all that is left to say it."""
    with contextlib.suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


def can_draw(descriptor: int) -> bool:
    """Return whether a descriptor is a terminal that moves its cursor."""
    return os.isatty(descriptor) and os.environ.get("TERM") != "dumb"


def has_colours(descriptor: int) -> bool:
    """Return whether colours are wanted there: `NO_COLOR` decides, then `FORCE_COLOR`, then the terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    forced = os.environ.get("FORCE_COLOR")
    return forced != "0" if forced else can_draw(descriptor)


def visible(text: str) -> str:
    """Return text with whatever a terminal could act upon spelled out."""
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]


def json_escape(character: str) -> str:
    """Return a character as JSON spells it in ASCII."""
    pair = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{pair[at : at + 4]}" for at in range(0, len(pair), 4))


def unwritable(error: OSError) -> Exception:
    """Return what to raise for an error of standard output; one of a reader that has seen enough stays what it is."""
    if isinstance(error, BrokenPipeError):
        return error
    return OutputError(f"standard output cannot be written: {error.strerror}")
