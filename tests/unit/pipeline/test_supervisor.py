"""How the supervisor runs a service: from `release` on, again after a failure, and once at a stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sockudo_queue.observability.health import Heartbeats
from sockudo_queue.pipeline.supervisor import Supervisor


class Log:
    def __getattr__(self, _level: str) -> Callable[..., None]:
        return lambda *_words, **_fields: None


def run(serve: Callable[[Supervisor], None], *, is_stopping: bool) -> None:
    """Let a supervisor run a service to its end, in this thread."""
    supervisor = Supervisor(cast(Any, Log()), slow=0.1)
    supervisor.bind(cast(Any, SimpleNamespace(beats=Heartbeats())))
    if is_stopping:
        supervisor.stopping.set()
    supervisor.release()
    thread = threading.Thread(target=supervisor._run_service, args=("a", lambda: serve(supervisor), 1.0))
    thread.start()
    thread.join(5)
    assert not thread.is_alive()


@pytest.mark.parametrize("is_stopping", [False, True])
def test_service_is_served_once_also_where_the_stop_came_before_it_began(is_stopping: bool) -> None:
    served: list[int] = []
    run(lambda _supervisor: served.append(1), is_stopping=is_stopping)
    assert served == [1]


def test_service_that_fails_at_a_stop_is_served_once_more_and_no_longer() -> None:
    served: list[int] = []

    def fail(supervisor: Supervisor) -> None:
        served.append(1)
        supervisor.stopping.set()
        raise ValueError

    run(fail, is_stopping=False)
    assert len(served) == 2
