"""The state of a record: what we know of one webhook delivery, beside the job's own bytes.

Records carry a format version; a record of a newer version is left alone for the daemon that wrote it.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final

import msgspec

from sockudo_queue.core.decoding import DECODE_ERRORS

FORMAT_VERSION: Final = 1
TRIES_LIMIT: Final = 20
"""Tries that a record remembers, the latest, those before a replay among them. They take about 800 bytes at most."""
STATUS_DIGITS: Final = 3
HISTORY_LIMIT: Final = 20
"""Deaths that a record remembers, the latest: one that is replayed by a timer must not grow for ever."""


# On Queue V2 and SQS the state comes with the job, so whoever can put a job can write it. The id goes into headers, and
# the numbers into shifts and sums; outside of these bounds no version of this daemon has ever written any.
HeaderText = Annotated[str, msgspec.Meta(pattern=r"^[ -~]*\Z")]
TraceParent = Annotated[str, msgspec.Meta(pattern=r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
Moment = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]


class NewerRecord(Exception):
    """The record was written by a later version of this daemon."""


class PastDeath(msgspec.Struct, frozen=True, omit_defaults=True):
    """An earlier death of a record that was replayed: why, when (ms), after how many attempts, and the last outcome."""

    reason: str = ""
    died: Moment = 0
    attempts: Count = 0
    last: str | None = None


class Try(msgspec.Struct, frozen=True, array_like=True):
    """A failed try: when it ended (ms), why it failed, and how long it took (ms). A later version may add elements."""

    at: Moment
    reason: str
    took_ms: Count = 0

    @property
    def status(self) -> int | None:
        """The status of the answer, which its reason ends with; None where no answer came."""
        status = self.reason.rpartition("-")[2]
        return int(status) if len(status) == STATUS_DIGITS and status.isascii() and status.isdigit() else None


class DeliveryState(msgspec.Struct, frozen=True, omit_defaults=True, rename={"version": "v"}):
    """The state of one record. Times are the broker's clock in milliseconds.

    `webhook` None means the whole job; then `attempts` counts how often its app was looked for without a result.
    For a webhook delivery it counts the attempts.

    `budget_from` is when the retry budget began: with the first attempt, the first deferral by an open breaker, or the
    first look for an app that is unknown. It is moved forward by the time that does not count, for example while a
    database of apps is away.

    `reserved` says that the record comes at a moment that it was given, so it need not queue again; `guesses` counts
    how often in a row it was told to come back without such a promise. `reason`, `died`, `last` and `history` are for
    dead letters and for people; the latest death stands last in `history`, and the latest of `tries` last, which older
    versions neither read nor keep. `first_try` is the `traceparent` of the first attempt whose span was recorded; later
    ones are linked to it.
    """

    job: HeaderText
    app: str = ""
    webhook: str | None = None
    attempts: Count = 0
    budget_from: Moment | None = None
    reserved: bool = False
    guesses: Count = 0
    last: str | None = None
    reason: str | None = None
    died: Moment | None = None
    history: tuple[PastDeath, ...] = ()
    tries: tuple[Try, ...] = ()
    first_try: TraceParent | None = None
    # A factory, because a plain default is left out, and the version must stand in every record.
    version: int = msgspec.field(default_factory=partial(int, FORMAT_VERSION))


class _Version(msgspec.Struct, rename={"version": "v"}):
    version: int = FORMAT_VERSION


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(DeliveryState)
_VERSION: Final = msgspec.json.Decoder(_Version)


def replayed(state: DeliveryState, webhook: str | None = None) -> DeliveryState:
    """Return the state with which a dead letter goes back to work: nothing is counted yet, and its past is kept.

    `webhook` renames the one that is owed, for a webhook that has another name now.
    """
    death = PastDeath(state.reason or "", state.died or 0, state.attempts, state.last)
    history = (*state.history, death)[-HISTORY_LIMIT:]
    return DeliveryState(
        state.job,
        state.app,
        webhook or state.webhook,
        history=history,
        tries=state.tries,
        first_try=state.first_try,
    )


def encode(state: DeliveryState) -> bytes:
    """Return the state as bytes without a line feed."""
    return _ENCODER.encode(state)


def decode(state: bytes) -> DeliveryState:
    """Read a state. Raises `NewerRecord`, also for one that this version cannot read at all."""
    try:
        if _VERSION.decode(state).version > FORMAT_VERSION:
            raise NewerRecord("a newer version wrote this record")
        return _DECODER.decode(state)
    except DECODE_ERRORS as error:
        raise NewerRecord(f"not a state that this version knows ({type(error).__name__})") from None
