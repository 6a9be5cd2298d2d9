"""Limits the matching time of each app, so that slow patterns of one app do not block the others.

A search holds the GIL, so no other thread runs meanwhile. Only slow searches are counted; those of ordinary patterns
take microseconds. An app above its share is matched at the rate of its share: the current job waits between two
searches without a slot, and other jobs of the app are deferred. While no other app has work, one job is matched at full
speed.

Pure except for its lock: callers pass the time (monotonic seconds). Thread-safe.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from sockudo_queue.delivery.admission.circuit_breaker import ReservationSchedule
from sockudo_queue.delivery.admission.endpoint import MAX_RESERVATION, Deferral

SHARE: Final = 0.05
"""The part of the time that slow searches of one app may take while other apps have work. The others should keep nine
tenths of their throughput, and the app's jobs cost more than their searches."""
BURST: Final = 0.1
"""Seconds of searching that an app may use in advance, so that compiling its patterns does not defer its jobs."""
MAX_DEBT: Final = 10.0
"""Maximum seconds for which an app is deferred after its latest search, because it may have searched for longer while
no other app had work."""
SLICE: Final = 0.01
"""Seconds of searching after which a job yields; others wait at most for that, or for one search."""
LONG: Final = 0.1
"""Seconds of searching after which a job gives its slot back, like a slow attempt, even if no other app has work."""
LONG_LIMIT: Final = 4
"""Maximum number of jobs (of different apps) that are matched without a slot. They share the GIL, so more would not be
faster."""
OTHERS_RECENT_SECONDS: Final = 1.0
"""Seconds for which the last job of another app counts as work of other apps."""
RETRY_INTERVAL: Final = 1.0
"""Retry interval in seconds while a long job of the app is being matched; its duration is unknown."""
MANY_ACCOUNTS: Final = 1_000
"""Number of accounts above which paid accounts are removed."""


class MatchingDeferred(Exception):
    """The job cannot be matched now; contains the deferral."""

    def __init__(self, deferral: Deferral) -> None:
        super().__init__()
        self.deferral = deferral


class Interrupted(Exception):
    """Matching was interrupted: the daemon stops, or the lease of the job was lost."""


GiveWay = Callable[[float, bool], bool]
"""Waits for the given seconds and lets other threads run; the flag gives the job's slot back. Returns False to stop
matching."""


class Account:
    """The matching time of one app. At `paid_at` it is within its share again."""

    __slots__ = ("jobs", "line", "long", "paid_at", "used")

    def __init__(self) -> None:
        self.paid_at = 0.0
        self.long = False  # one of its jobs is matched without a slot
        self.line = ReservationSchedule()
        self.used = 0.0
        self.jobs = 0


class JobMatching:
    """One job in matching: the time that its searches took, and its callback to yield."""

    __slots__ = ("app", "give_way", "is_long", "sliced", "used")

    def __init__(self, app: str, give_way: GiveWay) -> None:
        self.app = app
        self.give_way = give_way
        self.is_long = False
        self.used = 0.0
        self.sliced = 0.0


class MatchingShares:
    """The accounts of all apps that had slow searches.

    `latest` and `latest_at` are the app and time of the latest job. The caller sets `latest_at` for each job, and calls
    `switch_app` if the app differs from `latest`.
    """

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self._lock = threading.Lock()
        self._long = 0
        self.latest, self.latest_at = "", float("-inf")
        self._other_at = float("-inf")  # time of the latest job of any other app

    def switch_app(self, app: str) -> None:
        """Record a job of another app than the latest one."""
        self._other_at, self.latest = self.latest_at, app

    def check(self, app: str, now: float) -> None:
        """Raise `MatchingDeferred` if the app may not be matched now."""
        account = self.accounts.get(app)
        if account is None:
            return
        if account.long:
            raise MatchingDeferred(self._reserve(account, now + RETRY_INTERVAL, now))
        if account.paid_at - now > BURST / SHARE and self._others_have_work(app, now):
            raise MatchingDeferred(self._reserve(account, account.paid_at, now))

    def charge(self, job: JobMatching, took: float, now: float) -> None:
        """Count a slow search, and yield if necessary. Raises `MatchingDeferred` and `Interrupted`."""
        with self._lock:
            account = self._charged(job, took, now)
        job.sliced += took
        if job.sliced < SLICE:
            return
        searched, job.sliced = job.sliced, 0.0
        ahead = account.paid_at - now if self._others_have_work(job.app, now) else 0.0
        if not job.is_long and (job.used > LONG or ahead > BURST / SHARE):
            self._begin_long(job, account, now)
        # Earlier use of the app delays its later jobs. If this job waited for it too, the app would lose most of its
        # share.
        wait = min(ahead, searched / SHARE - searched) if job.is_long else 0.0
        if not job.give_way(max(wait, 0.0), job.is_long):
            raise Interrupted

    def end(self, job: JobMatching) -> None:
        """Record that the matching of a job has ended or was deferred."""
        if job.is_long:
            job.is_long = False
            with self._lock:
                self.accounts[job.app].long = False
                self._long -= 1

    def _charged(self, job: JobMatching, took: float, now: float) -> Account:
        account = self.accounts.get(job.app)
        if account is None:
            if len(self.accounts) > MANY_ACCOUNTS:
                self._forget_paid(now)
            account = self.accounts[job.app] = Account()
        account.jobs += not job.used
        account.used += took
        account.paid_at = min(max(account.paid_at, now) + took / SHARE, now + MAX_DEBT)
        job.used += took
        return account

    def _begin_long(self, job: JobMatching, account: Account, now: float) -> None:
        with self._lock:
            if account.long or self._long >= LONG_LIMIT:
                raise MatchingDeferred(self._reserve(account, now + RETRY_INTERVAL, now))
            account.long = job.is_long = True
            self._long += 1

    def _others_have_work(self, app: str, now: float) -> bool:
        at = self.latest_at if self.latest != app else self._other_at
        return now - at < OTHERS_RECENT_SECONDS

    @staticmethod
    def _reserve(account: Account, earliest: float, now: float) -> Deferral:
        """Reserve a start time for a job.

        The interval between jobs is the app's average matching time per job, stretched to its share.
        """
        moment = max(account.line.next_free, earliest)
        if moment - now > MAX_RESERVATION:
            return Deferral(MAX_RESERVATION, by_breaker=False, reserved=False, grows=True)
        account.line.next_free = moment + min(account.used / max(account.jobs, 1) / SHARE, MAX_DEBT)
        return Deferral(moment - now, by_breaker=False, reserved=False)

    def _forget_paid(self, now: float) -> None:
        for app, account in list(self.accounts.items()):
            if account.paid_at < now and not account.long:
                del self.accounts[app]
