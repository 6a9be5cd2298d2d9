"""The state of a record: what we know of one webhook's share of a job, beside the job's own bytes.

Records carry a format version; a record of a newer version is left alone for the daemon that wrote it.
"""

from __future__ import annotations

from typing import Final

import msgspec

FORMAT_VERSION: Final = 1


class NewerRecord(Exception):
    """The record was written by a later version of this daemon."""


class State(msgspec.Struct, frozen=True, omit_defaults=True, rename={"version": "v"}):
    """The state of one record. Times are the broker's clock in milliseconds.

    `webhook` None means the whole job. `budget_from` is the first attempt or the first deferral by an open breaker.
    `reserved` says that the record comes at a moment that it was given, so it need not queue again. `reason`, `died`
    and `last` are for dead letters and for people.
    """

    job: str
    app: str = ""
    webhook: str | None = None
    attempts: int = 0
    budget_from: int | None = None
    reserved: bool = False
    last: str | None = None
    reason: str | None = None
    died: int | None = None
    # A factory, because a plain default is left out, and the version must stand in every record.
    version: int = msgspec.field(default_factory=lambda: FORMAT_VERSION)


class _Version(msgspec.Struct, rename={"version": "v"}):
    version: int = FORMAT_VERSION


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(State)
_VERSION: Final = msgspec.json.Decoder(_Version)

# What msgspec raises besides its own errors, as for jobs.
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)


def encode(state: State) -> bytes:
    """Return the state as bytes without a line feed."""
    return _ENCODER.encode(state)


def decode(state: bytes) -> State:
    """Read a state. Raises `NewerRecord`, also for one that this version cannot read at all."""
    try:
        if _VERSION.decode(state).version > FORMAT_VERSION:
            raise NewerRecord("a newer version wrote this record")
        return _DECODER.decode(state)
    except _UNREADABLE as error:
        raise NewerRecord(f"not a state that this version knows ({type(error).__name__})") from None
