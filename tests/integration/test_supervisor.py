"""The supervisor, if the system has no threads left."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sockudo_queue.errors import StartError
from sockudo_queue.observability.health import Heartbeats
from sockudo_queue.pipeline import supervisor as module
from sockudo_queue.pipeline.isolation import Isolation
from sockudo_queue.pipeline.supervisor import Supervisor
from tests.helpers.waiting import eventually


class Log:
    """Remembers what is logged."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def warning(self, event: str, **_fields: Any) -> None:
        self.events.append(event)

    def error(self, event: str, **_fields: Any) -> None:
        self.events.append(event)


@pytest.fixture
def busy_switching() -> Iterator[None]:
    """Let threads take turns all the time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("busy_switching")
def test_threads_that_die_together_are_all_counted() -> None:
    supervisor = Supervisor(Log(), slow=0.1)
    counted: list[None] = []

    def die_again_and_again() -> None:
        for _ in range(15_000):
            supervisor._died("notifier-1", ValueError())
        counted.append(None)

    threads = [threading.Thread(target=die_again_and_again) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(counted) == 4
    assert supervisor.gave_up.is_set()


def test_stuck_supervisor_fails_the_liveness_probe() -> None:
    """Without the supervisor no slow attempt releases its slot: good endpoints would wait for hanging ones."""
    stuck, let_go = threading.Event(), threading.Event()

    class Hanging:
        threads = slots = 0

        def enforce_deadlines(self) -> None:
            stuck.set()
            let_go.wait(10)

    supervisor = Supervisor(Log(), slow=0.1)
    beats = Heartbeats()
    supervisor._context = cast(
        Any, SimpleNamespace(beats=beats, pool=Hanging(), dispatcher=Hanging(), isolation=Isolation())
    )
    supervisor.keep("supervisor", supervisor._watch_slots, 0.05)
    supervisor.release()
    assert stuck.wait(5)
    assert eventually(beats.late).keys() == {"supervisor"}
    let_go.set()
    supervisor.stopping.set()
    eventually(lambda: not beats.oldest_by_kind())


def test_nothing_begins_before_every_thread_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[str] = []
    supervisor = Supervisor(Log(), slow=0.1)
    supervisor._context = cast(Any, SimpleNamespace(beats=Heartbeats()))
    supervisor.keep("one", lambda: began.append("one"))

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as context:
        context.setattr(threading.Thread, "start", refuse)
        with pytest.raises(StartError, match="ulimit -u"):
            supervisor.keep("two", lambda: began.append("two"))
    assert began == []
    supervisor.release()
    eventually(lambda: began == ["one"])


def test_lack_of_threads_is_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> threading.Thread:
        raise RuntimeError("can't start new thread")

    log = Log()
    supervisor = Supervisor(log, slow=0.1)
    supervisor._context = cast(Any, None)  # no worker gets that far
    supervisor.release()
    monkeypatch.setattr(module, "Worker", lambda name, _context: type("Idle", (), {"name": name})())
    monkeypatch.setattr(threading, "Thread", refuse)

    for _ in range(3):
        with pytest.raises(RuntimeError):
            supervisor.spawn()

    assert log.events == ["thread.not_started"]
    assert not supervisor.workers
