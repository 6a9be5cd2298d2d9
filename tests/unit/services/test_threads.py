"""The loop of service threads with periodic work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from sockudo_queue.observability.health import Heartbeats
from sockudo_queue.pipeline.worker import LIVE_WITHIN
from sockudo_queue.services.threads import BackgroundThreads
from tests.helpers.waiting import eventually


class Keeper:
    """Replaces the supervisor: starts each service in a thread."""

    def __init__(self) -> None:
        self.threads: dict[str, threading.Thread] = {}
        self.allowances: dict[str, float] = {}

    def keep(self, name: str, serve: Callable[[], None], allowance: float) -> None:
        self.allowances[name] = allowance
        self.threads[name] = threading.Thread(target=serve, daemon=True)
        self.threads[name].start()


class World:
    """Service threads that run the test's work and count the runs."""

    def __init__(self) -> None:
        self.stopping, self.supervisor, self.beats = threading.Event(), Keeper(), Heartbeats()
        context = SimpleNamespace(driver=None, beats=self.beats, stopping=self.stopping)
        self.services = BackgroundThreads(cast(Any, context), cast(Any, self.supervisor), cast(Any, None), None)
        self.done = 0

    def work(self) -> None:
        self.done += 1

    def ends(self, name: str = "a") -> bool:
        self.supervisor.threads[name].join(5)
        return not self.supervisor.threads[name].is_alive()


def test_work_runs_immediately_and_after_each_pause() -> None:
    world = World()
    pauses = iter([0.001, 0.001, 60.0])
    world.services.every("a", lambda: next(pauses), world.work)
    eventually(lambda: world.done == 3)
    assert "a" in world.beats._last
    assert world.supervisor.allowances == {"a": LIVE_WITHIN}
    world.stopping.set()
    assert world.ends()


def test_thread_ends_with_the_daemon_during_a_pause() -> None:
    world = World()
    world.services.every("a", lambda: 60.0, world.work)
    eventually(lambda: world.done == 1)
    world.stopping.set()
    assert world.ends()
    assert world.done == 1


def test_thread_with_its_own_end_event_outlives_the_stop() -> None:
    world, abandoned = World(), threading.Event()
    world.services.every("a", lambda: 0.001, world.work, until=abandoned)
    world.stopping.set()
    before = world.done
    eventually(lambda: world.done > before + 2)
    abandoned.set()
    assert world.ends()


def test_wake_event_ends_a_pause_early() -> None:
    world, asked = World(), threading.Event()

    def work() -> None:
        asked.clear()
        world.work()

    world.services.every("a", lambda: 60.0, work, wakes=asked)
    eventually(lambda: world.done == 1)
    asked.set()
    eventually(lambda: world.done == 2)
    world.stopping.set()
    asked.set()
    assert world.ends()
