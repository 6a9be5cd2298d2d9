"""The share of matching time of each app, so that one app's patterns never keep the others from being matched.

A search holds Python's lock, so nothing else in the process moves meanwhile. Only costly searches are counted; those of
ordinary patterns take microseconds. An app over its share is matched at the pace of its share: the job at hand waits
between two searches, without a slot, and the app's other jobs are put off. While no other app has work, one job is
matched at full speed.

Pure but for its lock: the caller says what time it is (seconds, monotonic). Safe from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from sockudo_queue.delivery.admission.circuit_breaker import ReservationSchedule
from sockudo_queue.delivery.admission.endpoint import LONGEST_RESERVATION, Deferral

SHARE: Final = 0.05
"""Part of the time that one app's costly searches may take while other apps have work. The others are to keep nine
tenths of their throughput, and the app's jobs cost more than their searches."""
BURST: Final = 0.1
"""Seconds of searching that an app may have ahead of its share: compiling its patterns must not put its jobs off."""
MOST_DEBT: Final = 10.0
"""Seconds for which an app is put off at most after its latest search, however long it searched before, perhaps while
no other app had work."""
SLICE: Final = 0.01
"""Seconds of searching after which a job gives way; others wait for that long at most, or for one search."""
LONG: Final = 0.1
"""Seconds of searching after which a job is taken off its slot, also while no other app has work; as a slow attempt."""
LONG_LIMIT: Final = 4
"""Jobs of different apps that may be matched off their slots. They share one lock, so more are no faster."""
OTHERS_WITHIN: Final = 1.0
"""Seconds for which the last job of another app shows that there is work for other apps."""
ASK_AGAIN: Final = 1.0
"""Seconds between two looks at whether a long job has ended; how long it takes cannot be known."""
CROWDED: Final = 1_000
"""Apps whose accounts are kept without a look at which are paid."""


class PutOff(Exception):
    """The job cannot be matched now. Holds the deferral."""

    def __init__(self, deferral: Deferral) -> None:
        super().__init__()
        self.deferral = deferral


class Interrupted(Exception):
    """The matching was cut off: the daemon stops, or the lease of the job was lost."""


GiveWay = Callable[[float, bool], bool]
"""Wait for so many seconds and let others work; the flag takes the job off its slot. Returns False to stop matching."""


class Account:
    """What one app has used: its share is paid at `paid_at`."""

    __slots__ = ("jobs", "line", "long", "paid_at", "used")

    def __init__(self) -> None:
        self.paid_at = 0.0
        self.long = False  # a job of it is matched off its slot
        self.line = ReservationSchedule()
        self.used = 0.0
        self.jobs = 0


class JobMatching:
    """One job while it is matched: what its searches have taken, and where it gives way."""

    __slots__ = ("app", "give_way", "is_long", "sliced", "used")

    def __init__(self, app: str, give_way: GiveWay) -> None:
        self.app = app
        self.give_way = give_way
        self.is_long = False
        self.used = 0.0
        self.sliced = 0.0


class MatchingShares:
    """The accounts of all apps that have had costly searches.

    `latest` and `latest_at` are the app of the latest job and its time. Who matches writes them for each job, and calls
    `turn_to` where the app is another one.
    """

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self._lock = threading.Lock()
        self._long = 0
        self.latest, self.latest_at = "", float("-inf")
        self._other_at = float("-inf")  # the same of the latest job of another app than that

    def turn_to(self, app: str) -> None:
        """Note that an app has work that was not the latest to have some."""
        self._other_at, self.latest = self.latest_at, app

    def check(self, app: str, now: float) -> None:
        """Raise `PutOff` where an app may not be matched now."""
        account = self.accounts.get(app)
        if account is None:
            return
        if account.long:
            raise PutOff(self._reserve(account, now + ASK_AGAIN, now))
        if account.paid_at - now > BURST / SHARE and self._others_have_work(app, now):
            raise PutOff(self._reserve(account, account.paid_at, now))

    def charge(self, job: JobMatching, took: float, now: float) -> None:
        """Count a costly search, and give way where it is time to. Raises `PutOff` and `Interrupted`."""
        with self._lock:
            account = self._charged(job, took, now)
        job.sliced += took
        if job.sliced < SLICE:
            return
        searched, job.sliced = job.sliced, 0.0
        ahead = account.paid_at - now if self._others_have_work(job.app, now) else 0.0
        if not job.is_long and (job.used > LONG or ahead > BURST / SHARE):
            self._begin_long(job, account, now)
        # What the app used before is paid by its later jobs: waiting for that, too, would take most of its share.
        wait = min(ahead, searched / SHARE - searched) if job.is_long else 0.0
        if not job.give_way(max(wait, 0.0), job.is_long):
            raise Interrupted

    def end(self, job: JobMatching) -> None:
        """Note that a job is matched, or will not be matched now."""
        if job.is_long:
            job.is_long = False
            with self._lock:
                self.accounts[job.app].long = False
                self._long -= 1

    def _charged(self, job: JobMatching, took: float, now: float) -> Account:
        account = self.accounts.get(job.app)
        if account is None:
            if len(self.accounts) > CROWDED:
                self._forget_paid(now)
            account = self.accounts[job.app] = Account()
        account.jobs += not job.used
        account.used += took
        account.paid_at = min(max(account.paid_at, now) + took / SHARE, now + MOST_DEBT)
        job.used += took
        return account

    def _begin_long(self, job: JobMatching, account: Account, now: float) -> None:
        with self._lock:
            if account.long or self._long >= LONG_LIMIT:
                raise PutOff(self._reserve(account, now + ASK_AGAIN, now))
            account.long = job.is_long = True
            self._long += 1

    def _others_have_work(self, app: str, now: float) -> bool:
        at = self.latest_at if self.latest != app else self._other_at
        return now - at < OTHERS_WITHIN

    @staticmethod
    def _reserve(account: Account, earliest: float, now: float) -> Deferral:
        """Return when a job may be matched, one after the other at the pace of what the app's jobs take."""
        moment = max(account.line.next_free, earliest)
        if moment - now > LONGEST_RESERVATION:
            return Deferral(LONGEST_RESERVATION, by_breaker=False, reserved=False, grows=True)
        account.line.next_free = moment + min(account.used / max(account.jobs, 1) / SHARE, MOST_DEBT)
        return Deferral(moment - now, by_breaker=False, reserved=False)

    def _forget_paid(self, now: float) -> None:
        for app, account in list(self.accounts.items()):
            if account.paid_at < now and not account.long:
                del self.accounts[app]
