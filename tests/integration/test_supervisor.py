"""The supervisor, where the system has nothing more to give."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from sockudo_queue import supervisor as module
from sockudo_queue.supervisor import Supervisor


class Log:
    """Remembers what is logged."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def warning(self, event: str, **_fields: Any) -> None:
        self.events.append(event)


def test_a_lack_of_threads_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> threading.Thread:
        raise RuntimeError("can't start new thread")

    log = Log()
    supervisor = Supervisor(log, slow=0.1)
    supervisor._place = None  # type: ignore[assignment]  # nobody gets as far as to work there
    monkeypatch.setattr(module, "Worker", lambda name, _place: type("Idle", (), {"name": name})())
    monkeypatch.setattr(threading, "Thread", refuse)

    for _ in range(3):
        with pytest.raises(RuntimeError):
            supervisor.spawn()

    assert log.events == ["worker.not_started"]
    assert not supervisor.workers
