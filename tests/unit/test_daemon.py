"""The daemon in this process with the memory driver: start and stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sockudo_queue import daemon as module
from sockudo_queue.apps.file import load_with_apps
from sockudo_queue.core.apps import StaticApps
from sockudo_queue.daemon import EXIT_GAVE_UP, EXIT_STOPPED, Daemon
from sockudo_queue.errors import StartError
from sockudo_queue.observability import logs
from sockudo_queue.runtime import limits
from tests.helpers.configs import app, config, webhook
from tests.helpers.jobs import job
from tests.helpers.log_state import logging_put_back
from tests.helpers.receiver import Receiver

SETTINGS = {
    "QUEUE_DRIVER": "memory",
    "QUEUE_MEMORY_INGRESS_PORT": "0",
    "QUEUE_METRICS_ENABLED": "false",
    "QUEUE_WORKERS": "2",
    "QUEUE_SHUTDOWN_TIMEOUT_MS": "200",
}


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Protect the log and the limits of this process from changes."""
    monkeypatch.setattr(limits, "set_up", lambda: 4_096)
    with logging_put_back(), Path(os.devnull).open("wb") as nowhere:
        logs.set_up("info", "json", nowhere.fileno())
        yield


@pytest.fixture
def make(receiver: Receiver, tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Return a factory of daemons with one webhook; they are stopped after the test."""
    made: list[Daemon] = []

    def make_daemon(**settings: str) -> Daemon:
        (tmp_path / "config.json").write_text(json.dumps(config(app(webhook(receiver.url())))))
        loaded, apps = load_with_apps("config.json", SETTINGS | settings, tmp_path, False)
        made.append(Daemon(loaded.settings, StaticApps(apps)))
        return made[-1]

    yield make_daemon
    for daemon in made:
        daemon._supervisor.stopping.set()
        daemon._abandoned.set()
        daemon._pool.stop()
        if daemon._ingress is not None:
            daemon._ingress.stop()


def test_daemon_delivers_and_stops_with_nothing_left(receiver: Receiver, make: Callable[..., Daemon]) -> None:
    daemon = make()
    daemon._start()
    daemon._driver.put(job(1))
    receiver.wait_for(1)

    assert daemon._drain() == EXIT_STOPPED

    assert sum(daemon._driver.depth().values()) == 0
    assert not daemon._claims
    assert daemon._pool.threads == 0


def test_stop_puts_back_what_is_in_flight_after_the_deadline(receiver: Receiver, make: Callable[..., Daemon]) -> None:
    receiver.hang()
    daemon = make()
    daemon._start()
    daemon._driver.put(job(1))
    receiver.wait_for(1)
    began = time.monotonic()

    assert daemon._drain() == EXIT_STOPPED

    assert time.monotonic() - began < 2
    assert not daemon._claims
    assert sum(daemon._driver.depth().values()) == 1


def test_stop_signal_ends_the_wait_for_signals(make: Callable[..., Daemon]) -> None:
    daemon = make()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        daemon._start()
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

        assert daemon._serve() == EXIT_STOPPED
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert daemon._supervisor.stopping.is_set()


def test_daemon_whose_threads_crash_gives_up(make: Callable[..., Daemon]) -> None:
    daemon = make()
    daemon._start()
    daemon._supervisor.gave_up.set()

    assert daemon._serve() == EXIT_GAVE_UP


def test_port_in_use_fails_the_start_before_a_thread_begins(make: Callable[..., Daemon]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        daemon = make(QUEUE_MEMORY_INGRESS_PORT=str(port))

        with pytest.raises(StartError, match=str(port)):
            daemon._start()

    assert daemon._pool.threads == 0


def test_hanging_call_is_waited_for_only_within_its_time() -> None:
    released = threading.Event()
    began = time.monotonic()

    assert not module._in_time(released.wait, 0.05)  # type: ignore[arg-type] # what it returns is not used

    assert time.monotonic() - began < 2
    released.set()
    assert module._in_time(lambda: None, 5)
