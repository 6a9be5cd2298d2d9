"""Settles and claims several jobs in one call while this process starts many of them.

What one call claims beyond the first job waits here, in the order of the queue, for whichever worker is free next. So a
slow attempt holds up no job that waits, and jobs start in the order of the queue unless some are given back. A job that
has waited for `WAIT_WITHIN` goes back to the queue, where other replicas can claim it. Acks wait here for the next
call, for `ACK_WITHIN` at most. See docs/batches.md.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from sockudo_queue.drivers.base import Batch, Claim, NextResult, Settlement
from sockudo_queue.errors import BrokerError, SourceRefused
from sockudo_queue.pipeline.in_flight import ClaimsInFlight, JobInFlight
from sockudo_queue.pipeline.settlements import SettlementRecorder

BATCH_SECONDS: Final = 0.008
"""A batch is as many jobs as this process has lately started in this time, so that is how long a job waits here."""
MEASURED_SECONDS: Final = 0.01
ACK_WITHIN: Final = 0.016
"""Twice `BATCH_SECONDS`: the next batch is usually fetched earlier, and takes the acks along."""
WAIT_WITHIN: Final = 0.02
STALE_AFTER: Final = 0.25
"""Seconds after which a waiting job is not started any more: the process was stopped, and its lease may be over."""
REFUSED_LIMIT: Final = 5.0
"""Seconds for which acks are tried that their source alone refuses. Then their leases are left to expire."""

LATE_PAUSE: Final = 0.2
"""Seconds between two tries of acks whose source does not answer."""

LOW_PART: Final = 2
"""The next batch is fetched when one of this many parts of a batch is left, so that other workers rarely wait."""

FETCH_WITHIN: Final = 0.1
"""Seconds that a worker waits for the batch that another one fetches, before it asks the queue itself."""


class BatchingQueue(Protocol):
    """What is used of a driver here."""

    def next(self, settlement: Settlement | None) -> NextResult: ...

    def next_batch(self, settlements: Sequence[Settlement], max_claims: int, /) -> Batch: ...

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]: ...


def batch_size(started: int, seconds: float, max_size: int) -> int:
    """Return the size of a batch for a number of jobs that were started in a number of seconds."""
    return max(1, min(max_size, int(started / seconds * BATCH_SECONDS)))


class Batches:
    """The jobs that wait to be started, and the acks that wait to be sent. Safe from any thread."""

    def __init__(
        self,
        driver: BatchingQueue,
        claims: ClaimsInFlight,
        recorder: SettlementRecorder,
        wake: Callable[[int], None],
        *,
        max_size: int,
        lease_seconds: float,
    ) -> None:
        """`wake` wakes the given number of idle workers."""
        self.size = 1
        self.filled = threading.Event()
        """Set while something waits here."""
        self._driver = driver
        self._claims = claims
        self._recorder = recorder
        self._wake = wake
        self._max_size = max_size
        self._stale_after = min(STALE_AFTER, lease_seconds / 2)
        self._late_after = lease_seconds / 2
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._waiting: deque[JobInFlight] = deque()
        self._acks: list[Settlement] = []
        self._acks_since = 0.0
        self._late: list[
            Settlement
        ] = []  # acks that failed; only `flush` repeats them, so that no worker waits for them
        self._late_at = 0.0
        self._unsent: list[Settlement] = []  # jobs to give back
        self._tried: dict[str, float] = {}  # receipts of acks that got no answer, and when they were first sent
        self._claimed, self._measured_at = 0, time.monotonic()
        self._fetching = False

    @property
    def holds(self) -> bool:
        """Tell whether something waits here."""
        return bool(self._acks or self._waiting or self._unsent or self._late)

    def take_over(self, settlement: Settlement) -> bool:
        """Keep an ack for the next call, which then is recorded here; False where it is to be sent on its own."""
        claim = settlement.claim
        if self.size == 1 or settlement.parts or claim.lapses:
            return False
        with self._lock:
            self._append(settlement)
        return True

    def next(self, settlement: Settlement | None) -> NextResult:
        """Settle and claim as `Driver.next` does; what waits here is claimed first. Raises `BrokerError`."""
        if settlement is None:
            return self._next()
        if not self._waiting:
            return self._next_alone(settlement)
        accepted = self._driver.settle([settlement])[0]
        try:
            result = self._next()
        except BrokerError:
            return NextResult(accepted, None)  # the settlement was taken; the next call will meet the fault
        return NextResult(accepted, result.claim, result.trimmed, lost=result.lost)

    def wait_for_batch(self) -> Claim | None:
        """Wait for the batch that another worker fetches, and return a claim of it."""
        with self._lock:
            self._arrived.wait_for(lambda: self._waiting or not self._fetching, FETCH_WITHIN)
            return self._first_waiting()

    def flush(self, *, everything: bool = False) -> None:
        """Send the acks and give back the jobs that have waited for too long, or all of them.

        Raises the first `BrokerError` at the end, so that the failure of one source does not delay the others.
        """
        now = time.monotonic()
        with self._lock:
            acks = self._taken_acks() if everything or now - self._acks_since >= ACK_WITHIN else []
            if self._waiting and (everything or now - self._waiting[0].claim.claimed_at >= WAIT_WITHIN):
                self._unsent += [in_flight.abandon() for in_flight in self._waiting]
                self._waiting.clear()
                self.size, self._claimed, self._measured_at = 1, 0, now
            late, self._late = (self._late, []) if everything or now >= self._late_at else ([], self._late)
        failures = [self._give_back()]
        while acks:
            failures.append(self._send(acks))
            with self._lock:
                acks = self._taken_acks() if everything else []
        for source in {ack.claim.source for ack in late}:
            failures.append(self._send([ack for ack in late if ack.claim.source == source]))
        for failure in failures:
            if failure is not None:
                raise failure

    def until_due(self) -> float:
        """Return the seconds until `flush` has something to do; 0 or less where it has."""
        now = time.monotonic()
        with self._lock:
            if self._unsent:
                return 0.0
            acks = self._acks_since + ACK_WITHIN - now if self._acks else ACK_WITHIN
            jobs = self._waiting[0].claim.claimed_at + WAIT_WITHIN - now if self._waiting else ACK_WITHIN
            if self._late:
                return min(acks, jobs, self._late_at - now)
            if not self._acks and not self._waiting:
                self.filled.clear()
            return min(acks, jobs)

    def _next(self) -> NextResult:
        with self._lock:
            is_low, is_full = len(self._waiting) <= self.size // LOW_PART, len(self._acks) >= self._max_size
            fetches = is_low and self.size > 1 and not self._fetching
            if not fetches and not is_full and (claim := self._first_waiting()) is not None:
                return NextResult(True, claim, asked=False)
            acks = self._taken_acks() if is_full or not self._fetching else []
            self._fetching, size = self._fetching or fetches, self.size
        if fetches:
            return self._fetch(acks, size)
        if is_full:
            self._call(acks, 0)
            return self._next()
        if acks:
            batch = self._call(acks, 1)
            return NextResult(True, batch.claims[0] if batch.claims else None, batch.trimmed, lost=batch.lost)
        if self._fetching and (claim := self.wait_for_batch()) is not None:
            return NextResult(True, claim, asked=False)
        return self._next_alone(None)

    def _fetch(self, acks: Sequence[Settlement], size: int) -> NextResult:
        """Send acks and claim a batch. One worker does it at a time, so that little waits here."""
        try:
            batch = self._call(acks, size)
            first = batch.claims[0] if batch.claims else None
            if first is None or first.lapses:
                with self._lock:
                    claim = first or self._first_waiting()
            else:
                claim = self._in_line(batch.claims)
        finally:
            self._end_fetch()
        return NextResult(True, claim, batch.trimmed, lost=batch.lost)

    def _next_alone(self, settlement: Settlement | None) -> NextResult:
        result = self._driver.next(settlement)
        with self._lock:
            self._measure(int(result.claim is not None))
        return result

    def _call(self, acks: Sequence[Settlement], max_claims: int) -> Batch:
        """Send acks, claim up to `max_claims` jobs, and record how the acks ended.

        Claims whose reply came late go back: the process was stopped meanwhile, and their leases may be over.
        """
        asked_at = time.monotonic()
        try:
            batch = self._driver.next_batch(acks, max_claims)
        except BaseException as error:
            self._not_taken(acks, error)
            raise
        failure = self._record(acks, batch.accepted)
        if batch.claims and time.monotonic() - asked_at > self._late_after:
            self._return(batch.claims)
            batch = Batch(batch.accepted, [], batch.trimmed, lost=batch.lost)
        with self._lock:
            self._measure(len(batch.claims))
        if failure is not None:
            if batch.claims:
                self._add(batch.claims)
            raise failure
        return batch

    def _record(self, acks: Sequence[Settlement], accepted: Sequence[bool]) -> Exception | None:
        """Record how acks ended. Returns what failed, after all of them: the others must not stay in flight."""
        failure: Exception | None = None
        for ack, flag in zip(acks, accepted, strict=True):
            repeated = self._tried.pop(ack.claim.receipt, None) is not None
            try:
                self._recorder.record(ack, accepted=flag, repeated=repeated)
            except Exception as error:  # noqa: BLE001 - raised by the caller
                self._claims.pop(ack.claim.receipt, None)
                failure = failure or error
        return failure

    def _send(self, acks: Sequence[Settlement]) -> BrokerError | None:
        try:
            self._call(acks, 0)
        except BrokerError as error:
            return error
        return None

    def _end_fetch(self) -> None:
        with self._lock:
            self._fetching = False
            self._arrived.notify_all()

    def _in_line(self, claims: Sequence[Claim]) -> Claim | None:
        """Add claims behind those that wait, and return the first of all."""
        self._add(claims)
        with self._lock:
            self._fetching = False
            claim = self._first_waiting()
            left = len(self._waiting)
            self._arrived.notify_all()
        if left:
            self._wake(left)
        return claim

    def _add(self, claims: Sequence[Claim]) -> None:
        """Add claims behind those that wait. They are in flight from now on, so that their leases are renewed."""
        added = [JobInFlight(claim) for claim in claims]
        # Before another worker can take one of them: it puts its own object there.
        for in_flight in added:
            self._claims[in_flight.claim.receipt] = in_flight
        with self._lock:
            self._waiting.extend(added)
            self.filled.set()

    def _return(self, claims: Sequence[Claim]) -> None:
        """Give back claims that no worker has taken, with the next flush."""
        settlements = [JobInFlight(claim).abandon() for claim in claims]
        with self._lock:
            self._unsent += settlements
            self.filled.set()

    def _first_waiting(self) -> Claim | None:
        """Return the claim that has waited longest, if it still is ours. Under the lock.

        The claim then belongs to its worker alone, as if the worker had just claimed it. One that has waited for too
        long is given back by the next flush.
        """
        while self._waiting:
            in_flight = self._waiting.popleft()
            if time.monotonic() - in_flight.claim.claimed_at > self._stale_after:
                self._unsent.append(in_flight.abandon())
                continue
            self._claims.pop(in_flight.claim.receipt, None)
            if in_flight.hand_over():
                return in_flight.claim
        return None

    def _append(self, ack: Settlement) -> None:
        """Add an ack. Under the lock."""
        if not self._acks:
            self._acks_since = time.monotonic()
            self.filled.set()
        self._acks.append(ack)

    def _taken_acks(self) -> list[Settlement]:
        """Take the acks of one source: the latest, so that its row of claims goes on until others have their turn.

        Under the lock.
        """
        if not self._acks:
            return []
        acks, source = self._acks, self._acks[-1].claim.source
        self._acks = [ack for ack in acks if ack.claim.source != source]
        return [ack for ack in acks if ack.claim.source == source]

    def _not_taken(self, acks: Sequence[Settlement], error: BaseException) -> None:
        """Keep acks that got no answer, to be sent again; give up those that were refused for too long."""
        now = time.monotonic()
        for ack in acks:
            since = self._tried.setdefault(ack.claim.receipt, now)
            if isinstance(error, SourceRefused) and now - since > REFUSED_LIMIT:
                del self._tried[ack.claim.receipt]
                self._recorder.give_up(ack, error)
            else:
                with self._lock:
                    self._late.append(ack)
                    self._late_at = now + LATE_PAUSE
                    self.filled.set()

    def _give_back(self) -> BrokerError | None:
        """Put back jobs that no worker has started, those of a source together and in their order.

        Those that Redis refuses are left to their leases. Returns the error of a source that does not answer, whose
        jobs are tried again.
        """
        failure: BrokerError | None = None
        kept: list[Settlement] = []
        try:
            while mine := self._taken_unsent():
                kept += mine
                try:
                    given = sum(self._driver.next_batch(mine, 0).accepted)
                except SourceRefused:
                    given = 0
                except BrokerError as error:
                    failure = error
                    continue
                del kept[-len(mine) :]
                for settlement in mine:
                    self._claims.pop(settlement.claim.receipt, None)
                if given:
                    self._wake(given)
        finally:
            with self._lock:
                self._unsent = kept + self._unsent
        return failure

    def _taken_unsent(self) -> list[Settlement]:
        """Take the jobs to give back to the source of the first of them."""
        with self._lock:
            mine = [each for each in self._unsent if each.claim.source == self._unsent[0].claim.source]
            self._unsent = [each for each in self._unsent if each.claim.source != self._unsent[0].claim.source]
        return mine

    def _measure(self, claimed: int) -> None:
        """Count claims, and adapt the size of a batch to how many there are in a second. Under the lock."""
        self._claimed += claimed
        now = time.monotonic()
        seconds = now - self._measured_at
        if seconds >= MEASURED_SECONDS:
            self.size = batch_size(self._claimed, seconds, self._max_size)
            self._claimed, self._measured_at = 0, now
