"""The state of one webhook delivery, stored beside the job's own bytes.

Records carry a format version. A daemon skips a record of a newer version and leaves it to the daemon that wrote it.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final

import msgspec

from sockudo_queue.core.decoding import DECODE_ERRORS

FORMAT_VERSION: Final = 1
TRIES_LIMIT: Final = 20
"""Maximum stored tries of a record, latest kept, including those before a replay. They take at most about 800 bytes."""
STATUS_DIGITS: Final = 3
HISTORY_LIMIT: Final = 20
"""Maximum stored failures of a record, latest kept, so that a record which a timer replays cannot grow forever."""


# On Queue V2 and SQS the state comes with the job, so anyone who can enqueue a job can write it. The id goes into
# headers, and the numbers into shifts and sums. No version of this daemon has written values outside of these bounds.
HeaderText = Annotated[str, msgspec.Meta(pattern=r"^[ -~]*\Z")]
TraceParent = Annotated[str, msgspec.Meta(pattern=r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
Moment = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]


class NewerRecord(Exception):
    """The record was written by a later version of this daemon."""


class EarlierFailure(msgspec.Struct, frozen=True, omit_defaults=True):
    """An earlier failure of a replayed record: reason, time (ms), number of attempts, and the last outcome."""

    reason: str = ""
    died: Moment = 0
    attempts: Count = 0
    last: str | None = None


class Try(msgspec.Struct, frozen=True, array_like=True):
    """A failed try: end time (ms), reason, and duration (ms). A later version may add elements."""

    at: Moment
    reason: str
    took_ms: Count = 0

    @property
    def status(self) -> int | None:
        """The HTTP status, taken from the end of the reason; None if there was no response."""
        status = self.reason.rpartition("-")[2]
        return int(status) if len(status) == STATUS_DIGITS and status.isascii() and status.isdigit() else None


class DeliveryState(msgspec.Struct, frozen=True, omit_defaults=True, rename={"version": "v"}):
    """The state of one record. Times are the broker's clock in milliseconds.

    `webhook` None means the whole job; then `attempts` counts unsuccessful look-ups of its app. For a webhook
    delivery it counts the attempts.

    `budget_from` is when the retry budget began: with the first attempt, the first deferral by an open breaker, or the
    first look-up of an unknown app. It is moved forward by the time that does not count, for example while the app
    database is unavailable.

    `reserved` means that the record's start time is a reservation, so it need not queue again; `guesses` counts the
    deferrals in a row without a reservation. `reason`, `died`, `last` and `history` are for dead letters and for
    people. The latest entry of `history` and of `tries` is the last one; older versions neither read nor keep `tries`.
    `first_try` is the `traceparent` of the first attempt whose span was recorded; later attempts are linked to it.
    `held_from` is the time from which the delivery is held because its webhook is paused. That time does not count.
    Older versions do not know the field, and count the time.
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
    history: tuple[EarlierFailure, ...] = ()
    tries: tuple[Try, ...] = ()
    first_try: TraceParent | None = None
    held_from: Moment | None = None
    # A factory, because defaults are omitted when encoding, and every record must contain the version.
    version: int = msgspec.field(default_factory=partial(int, FORMAT_VERSION))


class _Version(msgspec.Struct, rename={"version": "v"}):
    version: int = FORMAT_VERSION


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(DeliveryState)
_VERSION: Final = msgspec.json.Decoder(_Version)


def replayed(state: DeliveryState, webhook: str | None = None) -> DeliveryState:
    """Return the state for the replay of a dead letter: the counters start at 0, and the history is kept.

    `webhook` is the new name of the webhook, if it was renamed.
    """
    failure = EarlierFailure(state.reason or "", state.died or 0, state.attempts, state.last)
    history = (*state.history, failure)[-HISTORY_LIMIT:]
    return DeliveryState(
        state.job,
        state.app,
        webhook or state.webhook,
        history=history,
        tries=state.tries,
        first_try=state.first_try,
    )


def held(state: DeliveryState, now_ms: int) -> DeliveryState:
    """Return the state of a delivery that is held until its webhook is resumed."""
    since = now_ms if state.held_from is None else min(state.held_from, now_ms)
    return msgspec.structs.replace(state, held_from=since, reserved=False, guesses=0)


def resumed(state: DeliveryState, now_ms: int) -> DeliveryState:
    """Return the state after a hold. The time of the hold does not count for the retry budget."""
    if state.held_from is None:
        return state
    began = state.budget_from
    if began is not None:
        began = min(began + max(now_ms - max(state.held_from, began), 0), now_ms)
    return msgspec.structs.replace(state, held_from=None, budget_from=began)


def encode(state: DeliveryState) -> bytes:
    """Return the state as bytes without a line feed."""
    return _ENCODER.encode(state)


def decode(state: bytes) -> DeliveryState:
    """Read a state. Raises `NewerRecord`, also for a state that this version cannot read at all."""
    try:
        if _VERSION.decode(state).version > FORMAT_VERSION:
            raise NewerRecord("a newer version wrote this record")
        return _DECODER.decode(state)
    except DECODE_ERRORS as error:
        raise NewerRecord(f"not a state that this version knows ({type(error).__name__})") from None
