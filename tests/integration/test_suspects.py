"""A suspect claim, processed alone: what it waits for, what waits for it, and for how long."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any, Final

import pytest

from sockudo_queue.drivers.base import Claim
from sockudo_queue.pipeline import isolation as module
from sockudo_queue.pipeline.in_flight import ClaimsInFlight, JobInFlight
from sockudo_queue.pipeline.isolation import Isolation
from tests.helpers.waiting import eventually

SLOW: Final = 0.05


class Process:
    """The claims of a process, and a supervisor that looks at them all the time."""

    def __init__(self) -> None:
        self.claims, self.claiming, self.stopping = ClaimsInFlight(), False, threading.Event()
        self.isolation = Isolation(self.claims, lambda: self.claiming, self.stopping, slow=SLOW)
        threading.Thread(target=self._look, daemon=True).start()

    def add(self, name: str) -> str:
        claim = Claim("list", f"{name}/1", b"", b"", 2, 0)
        self.claims[claim.receipt] = JobInFlight(claim)
        return claim.receipt

    def begin(self, name: str) -> Any:
        """Begin with a suspect in a thread of its own; return a list that gets the answer and when it came."""
        answers: list[tuple[bool, float]] = []
        receipt = self.add(name)
        began = time.monotonic()

        def work() -> None:
            answers.append((self.isolation.begin(receipt), time.monotonic() - began))

        threading.Thread(target=work, daemon=True).start()
        return answers

    def _look(self) -> None:
        while not self.stopping.wait(0.005):
            self.isolation.update(time.monotonic())


@pytest.fixture
def process() -> Iterator[Process]:
    made = Process()
    yield made
    made.stopping.set()


def test_suspect_waits_until_other_jobs_have_ended(process: Process) -> None:
    other = process.add("other")
    process.claiming = True
    answers = process.begin("suspect")
    eventually(lambda: process.isolation.holds)
    del process.claims[other]
    assert not answers  # a claim may still be on its way
    process.claiming = False
    assert eventually(lambda: answers)[0][0]
    del process.claims["suspect/1"]
    eventually(lambda: not process.isolation.holds)


def test_the_others_go_on_when_it_has_become_slow(process: Process) -> None:
    answers = process.begin("suspect")
    assert eventually(lambda: answers)[0][0]
    began = time.monotonic()
    eventually(lambda: not process.isolation.holds)
    assert time.monotonic() - began < 10 * SLOW


def test_hanging_job_is_waited_for_only_once(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OTHERS_TIMEOUT", 0.3)
    process.add("hangs")
    first = process.begin("first")
    assert eventually(lambda: first)[0][1] >= 0.3
    del process.claims["first/1"]
    eventually(lambda: not process.isolation.holds)
    second = process.begin("second")
    ended, took = eventually(lambda: second)[0]
    assert ended
    assert took < 0.25


def test_a_second_suspect_goes_back(process: Process) -> None:
    process.isolation._slow = 10
    first = process.begin("first")
    eventually(lambda: first)
    second = process.begin("second")
    assert not eventually(lambda: second)[0][0]
    process.isolation.end("second/1")  # not the one that holds
    assert process.isolation.holds
    process.isolation.end("first/1")
    assert not process.isolation.holds


def test_a_stop_ends_the_wait(process: Process) -> None:
    process.add("hangs")
    answers = process.begin("suspect")
    eventually(lambda: process.isolation.holds)
    assert not answers
    process.stopping.set()
    began = time.monotonic()
    assert not eventually(lambda: answers)[0][0]
    assert time.monotonic() - began < 0.5
