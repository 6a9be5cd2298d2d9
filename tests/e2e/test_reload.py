"""The app file is edited while webhooks are delivered: nothing is dropped, and a broken file changes nothing."""

from __future__ import annotations

import itertools
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.faults.measures import SCALE
from tests.helpers.commands import Commands, Ran
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import APP_ID, job, numbers
from tests.helpers.receiver import Receiver
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

LIST = "sockudo_queue::queue:webhooks"
EDITS = 20
SECONDS_BETWEEN_JOBS = 0.005 if SCALE >= 1 else 0.01


@contextmanager
def steady_jobs(client: redis.Redis) -> Iterator[list[int]]:
    """Push numbered jobs, one each `SECONDS_BETWEEN_JOBS`, for as long as the block runs."""
    pushed: list[int] = []
    stop = threading.Event()

    def push() -> None:
        for n in itertools.count(1):
            client.rpush(LIST, job(n))
            pushed.append(n)
            if stop.wait(SECONDS_BETWEEN_JOBS):
                return

    thread = threading.Thread(target=push)
    thread.start()
    try:
        yield pushed
    finally:
        stop.set()
        thread.join()


def arrived(receiver: Receiver) -> Counter[int]:
    """Count how often each job came."""
    return Counter(number for request in list(receiver.requests) for number in numbers(request.body))


def test_apps_are_edited_twenty_times_under_load(redis_server: RedisServer, receiver: Receiver) -> None:
    receiver.delays(0.001, 0.05)

    def at(path: str) -> dict[str, object]:
        return config(app(webhook(receiver.url(path), name="hook")))

    with DaemonProcess(at("/0"), redis_url=redis_server.url) as daemon:
        daemon.wait_ready()
        with steady_jobs(redis_server.client()) as pushed:
            receiver.wait_for(1)
            for edit in range(1, EDITS + 1):
                if edit == EDITS // 2:
                    daemon.config_path.write_text('{"app_manager": {"array": ')
                    eventually(lambda: daemon.events("apps.reload_failed"), 5)
                    seen = receiver.count
                    eventually(lambda mark=seen: receiver.count > mark + 20, 5)  # type: ignore[misc]  # still delivers
                    assert receiver.requests[-1].path == f"/{edit - 1}"
                    daemon.write_config(at(f"/{edit}"))
                    continue
                daemon.write_config(at(f"/{edit}"))
                edited_at = time.monotonic()
                if edit % 5 == 0:
                    daemon.signal(signal.SIGHUP)
                eventually(lambda path=f"/{edit}": receiver.requests[-1].path == path, 5)  # type: ignore[misc]
                assert time.monotonic() - edited_at < 2.0
        eventually(lambda: len(arrived(receiver)) == len(pushed), 10)
        counts = arrived(receiver)
        assert sorted(counts) == pushed
        assert set(counts.values()) == {1}
        assert daemon.events("thread.crashed") == []


def test_a_webhook_that_is_removed_leaves_a_dead_letter_of_what_it_was_owed(
    redis_server: RedisServer, receiver: Receiver
) -> None:
    receiver.always(503)
    both = config(app(webhook(receiver.url("/old"), name="old", retry={"initial_backoff_ms": 1500})))
    without = config(app(webhook(receiver.url("/new"), name="new")))
    with DaemonProcess(both, redis_url=redis_server.url) as daemon:
        daemon.wait_ready()
        redis_server.client().rpush(LIST, job(1))
        receiver.wait_for(1)
        daemon.write_config(without)
        eventually(lambda: daemon.events("apps.reloaded"), 5)
        eventually(lambda: daemon.events("job.dead_lettered"), 5)
        assert daemon.events("job.dead_lettered")[0]["reason"] == "webhook-removed"
        assert receiver.count == 1


def test_webhook_that_becomes_invalid_loses_nothing_and_is_replayed_once_it_is_right(
    redis_server: RedisServer, receiver: Receiver, tmp_path: Path
) -> None:
    def hooks(**keys: object) -> dict[str, object]:
        sound = webhook(receiver.url("/sound"), name="sound")
        return config(app(sound, webhook(receiver.url("/orders"), name="orders") | keys))

    def replay() -> Ran:
        file = json.loads(daemon.config_path.read_text())
        return Commands(tmp_path, file, {"REDIS_URL": redis_server.url})("dead-letters", "replay", "--all")

    with DaemonProcess(hooks(), redis_url=redis_server.url) as daemon, redis_server.client() as client:
        daemon.wait_ready()
        daemon.write_config(hooks(filter={"channel_pattern": "(?=x)"}))
        eventually(lambda: daemon.events("apps.reloaded"), 5)
        [line] = daemon.events("webhook.invalid")
        assert (line["webhook"], line["level"]) == ("orders", "error")
        client.rpush(LIST, *[job(n) for n in (1, 2, 3)])
        eventually(lambda: len(daemon.events("job.dead_lettered")) == 3, 5)
        receiver.wait_for(3)
        assert daemon.metric("sockudo_webhook_invalid", webhook="orders") == 1

        refused = replay()
        assert "replayed 0 dead letters" in refused.out
        assert f"skipped 3: webhook orders of app {APP_ID} is invalid; correct it" in refused.out

        daemon.write_config(hooks())
        eventually(lambda: len(daemon.events("apps.reloaded")) == 2, 5)
        assert daemon.metric("sockudo_webhook_invalid", webhook="orders") == 0
        assert "replayed 3 dead letters" in replay().out
        requests = receiver.wait_for(6)
    assert sorted((request.path, numbers(request.body)) for request in requests) == [
        (path, [n]) for path in ("/orders", "/sound") for n in (1, 2, 3)
    ]


def test_dead_letter_that_is_replayed_too_early_dies_again_without_harm(
    redis_server: RedisServer, receiver: Receiver, tmp_path: Path
) -> None:
    """The command reads another file than the daemon, so it cannot know."""
    right = config(app(webhook(receiver.url(), name="orders")))
    wrong = config(app(webhook("ftp://x/", name="orders")))
    with DaemonProcess(wrong, redis_url=redis_server.url) as daemon:
        daemon.wait_ready()
        redis_server.client().rpush(LIST, job(1))
        eventually(lambda: daemon.events("job.dead_lettered"), 5)
        run = Commands(tmp_path, right, {"REDIS_URL": redis_server.url})
        assert "replayed 1 dead letter" in run("dead-letters", "replay", "--all").out
        eventually(lambda: len(daemon.events("job.dead_lettered")) == 2, 5)
        daemon.write_config(right)
        eventually(lambda: daemon.events("apps.reloaded"), 5)
        assert "replayed 1 dead letter" in run("dead-letters", "replay", "--all").out
        [request] = receiver.wait_for(1)
    assert numbers(request.body) == [1]
