"""The loop of service threads that do some work again and again."""

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
    """Stands for the supervisor: starts each service in a thread."""

    def __init__(self) -> None:
        self.threads: dict[str, threading.Thread] = {}
        self.allowances: dict[str, float] = {}

    def keep(self, name: str, serve: Callable[[], None], allowance: float) -> None:
        self.allowances[name] = allowance
        self.threads[name] = threading.Thread(target=serve, daemon=True)
        self.threads[name].start()


class World:
    """Service threads that do what a test gives them, and count how often."""

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


def test_work_is_done_at_once_and_again_after_each_pause() -> None:
    world = World()
    pauses = iter([0.001, 0.001, 60.0])
    world.services.every("a", lambda: next(pauses), world.work)
    eventually(lambda: world.done == 3)
    assert "a" in world.beats._last
    assert world.supervisor.allowances == {"a": LIVE_WITHIN}
    world.stopping.set()
    assert world.ends()


def test_it_ends_with_the_daemon_in_the_middle_of_a_pause() -> None:
    world = World()
    world.services.every("a", lambda: 60.0, world.work)
    eventually(lambda: world.done == 1)
    world.stopping.set()
    assert world.ends()
    assert world.done == 1


def test_it_goes_on_until_another_event_where_one_is_given() -> None:
    world, abandoned = World(), threading.Event()
    world.services.every("a", lambda: 0.001, world.work, until=abandoned)
    world.stopping.set()
    before = world.done
    eventually(lambda: world.done > before + 2)
    abandoned.set()
    assert world.ends()


def test_pause_is_cut_short_by_the_event_that_wakes_it() -> None:
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
