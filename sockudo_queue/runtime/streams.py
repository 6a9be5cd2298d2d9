"""Standard input, output and error of a command: makes sure that they exist, and reports failed writes."""

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
    """Open the null device for streams that were closed at the start, as with `>&-`; escape unencodable characters.

    Otherwise the next connection would get the free descriptor, and what a C library or the interpreter writes to it, a
    crash report for example, would be sent to Redis or to an endpoint.
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
        sys.stdout.reconfigure(errors="backslashreplace")  # a legacy locale may not have all characters of a job


def write(text: str) -> None:
    """Write to standard output. Raises `OutputError`, or BrokenPipeError if the reader has closed it."""
    try:
        sys.stdout.write(text)
    except OSError as error:
        raise unwritable(error) from None


def write_bytes(content: bytes) -> None:
    """Write bytes to standard output unchanged, and flush. Raises as `write`."""
    flush()
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise unwritable(error) from None


def flush() -> None:
    """Flush standard output. Raises as `write`."""
    try:
        sys.stdout.flush()
    except OSError as error:
        raise unwritable(error) from None


def write_error(text: str) -> None:
    """Write to standard error; if that fails, only the exit code can report the error."""
    with contextlib.suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


def can_draw(descriptor: int) -> bool:
    """Return whether a descriptor is a terminal with cursor control."""
    return os.isatty(descriptor) and os.environ.get("TERM") != "dumb"


def has_colours(descriptor: int) -> bool:
    """Return whether to use colours: `NO_COLOR` decides, then `FORCE_COLOR`, then the terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    forced = os.environ.get("FORCE_COLOR")
    return forced != "0" if forced else can_draw(descriptor)


def visible(text: str) -> str:
    """Return text with every character escaped that a terminal could interpret."""
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]


def json_escape(character: str) -> str:
    """Return the JSON escape of a character, in ASCII."""
    pair = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{pair[at : at + 4]}" for at in range(0, len(pair), 4))


def unwritable(error: OSError) -> Exception:
    """Return the exception to raise for an error of standard output; a BrokenPipeError is returned unchanged."""
    if isinstance(error, BrokenPipeError):
        return error
    return OutputError(f"standard output cannot be written: {error.strerror}")
