"""Failed starts before a job is claimed: bad settings, and a port that is in use."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import Any, Final

import pytest

from tests.faults.queue import SERVER_LIST, daemon_on, push
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import APP_ID, job, jobs
from tests.helpers.pages import Pages
from tests.helpers.receiver import Receiver
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

CANARY: Final = "CANARY"
GOOD: Final = config(app(webhook("http://127.0.0.1:9/")))


class ForkedDaemon(DaemonProcess):
    """For what a daemon says about its settings; other tests here see the ends of whole processes."""

    whole_start = False


# Settings, and the words that each line of the error must contain.
FAULTS: Final = {
    "a number that is none": ({"QUEUE_WORKERS": CANARY}, GOOD, [["QUEUE_WORKERS"]]),
    "a number out of bounds": ({"QUEUE_METRICS_PORT": "99999"}, GOOD, [["QUEUE_METRICS_PORT"]]),
    "an unknown driver": ({"QUEUE_DRIVER": CANARY}, GOOD, [["QUEUE_DRIVER", "redis"]]),
    "a renewal after the lease": (
        {"QUEUE_LEASE_DURATION_MS": "1000", "QUEUE_LEASE_RENEW_INTERVAL_MS": "2000"},
        GOOD,
        [["QUEUE_LEASE_RENEW_INTERVAL_MS"]],
    ),
    "two at once": (
        {"QUEUE_WORKERS": CANARY, "QUEUE_SHUTDOWN_TIMEOUT_MS": "-1"},
        GOOD,
        [["QUEUE_WORKERS"], ["QUEUE_SHUTDOWN_TIMEOUT_MS"]],
    ),
    "a password in a URL that is none": ({"REDIS_URL": f"redsi://:{CANARY}@h:1/0"}, GOOD, [["REDIS_URL"]]),
}


@pytest.mark.parametrize("case", FAULTS)
def test_bad_settings_end_with_a_line_for_each_fault(case: str) -> None:
    environment, file, expected = FAULTS[case]
    code, daemon = run(file, environment)
    lines = daemon.stderr().splitlines()

    assert code == 2
    assert len(lines) == len(expected), lines
    for words in expected:
        assert any(all(word in line for word in words) for line in lines), (words, lines)
    assert CANARY not in daemon.output()
    assert "Traceback" not in daemon.output()


# One key of a webhook that makes it invalid, and words of the reason.
INVALID: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "a scheme that is not called": ({"url": f"ftp://user:{CANARY}@h/"}, "url must begin with http"),
    "port 0": ({"url": f"http://{CANARY}:0/"}, "url has a port"),
    "no target": ({"url": None}, "has neither a url nor a lambda"),
    "a header with a line break": ({"headers": {"X-Token": f"{CANARY}\r\nX: y"}}, "header 'X-Token' has a value"),
    "a header name with a blank": ({"headers": {"X Token": CANARY}}, "header 'X Token' has a name"),
    "look-ahead": ({"filter": {"channel_pattern": f"(?={CANARY})"}}, "filter.channel_pattern: look-around"),
    "a back-reference": ({"filter": {"channel_pattern": r"(a)\1"}}, "filter.channel_pattern: backreferences"),
    "a pattern that is too large": ({"filter": {"channel_pattern": r"\w{9999}"}}, "compiles to about"),
    "timeout 0": ({"request_timeout_ms": 0}, "request_timeout_ms must be at least 1"),
    "a timeout of a week": ({"request_timeout_ms": 604_800_000}, "request_timeout_ms must be at most"),
    "a name that another has": ({"name": "sound"}, "name 'sound' is used"),
    "event types that are no list": ({"event_types": CANARY}, "event_types must be a list"),
}


def test_invalid_webhooks_cost_no_other_webhook(redis_server: RedisServer, receiver: Receiver) -> None:
    """One daemon has all of them, beside a sound webhook of the same app and one of another app."""
    sound = webhook(receiver.url("/sound"), name="sound")
    broken = [webhook(receiver.url("/broken"), name=name) | keys for name, (keys, _) in INVALID.items()]
    other = app(webhook(receiver.url("/other"), name="other"), app_id="other")
    with DaemonProcess(config(app(sound, *broken), other), redis_url=redis_server.url) as daemon:
        daemon.wait_ready()
        with redis_server.client() as client:
            push(client, [job(1), job(2, app_id="other")])
        receiver.wait_for(2)
        eventually(lambda: len(daemon.events("job.dead_lettered")) == len(INVALID), 10)
        dead = daemon.events("job.dead_lettered")
        logged = daemon.events("webhook.invalid")
        assert sorted(request.path for request in receiver.requests) == ["/other", "/sound"]
        assert daemon.metric("sockudo_webhook_dead_letters_total", reason="webhook-invalid") == len(INVALID)
        assert daemon.metric("sockudo_webhook_invalid", webhook="port 0") == 1
        assert CANARY not in daemon.output()
    names = [name if name != "a name that another has" else "sound-2" for name in INVALID]
    assert [line["webhook"] for line in logged] == names
    assert sorted(line["webhook"] for line in dead) == sorted(names)
    assert {(line["reason"], line["attempts"]) for line in dead} == {("webhook-invalid", 0)}
    for line, (_, words) in zip(logged, INVALID.values(), strict=True):
        assert words in line["text"]
        assert f"{daemon.config_path}: app '{APP_ID}', webhook " in line["text"]


@pytest.mark.parametrize("case", INVALID)
def test_strict_start_is_refused_for_an_invalid_webhook(case: str) -> None:
    keys, words = INVALID[case]
    file = config(app(webhook("http://127.0.0.1:9/", name="sound"), webhook("http://127.0.0.1:9/", name="bad") | keys))
    code, daemon = run(file, {}, "--strict")
    [line] = daemon.stderr().splitlines()
    assert code == 2
    assert words in line
    assert CANARY not in daemon.output()


def test_a_file_that_is_not_there_is_named() -> None:
    with DaemonProcess(environment={"QUEUE_CONFIG_FILE": "nowhere.json"}) as daemon:
        assert daemon.wait(10) == 2
        [line] = daemon.stderr().splitlines()
    assert "nowhere.json" in line


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_taken_metrics_port_ends_the_start_before_a_job_is_taken(
    redis_server: RedisServer, receiver: Receiver, host: str
) -> None:
    daemon = daemon_on(redis_server.url, receiver.url(), QUEUE_METRICS_HOST=host)
    with redis_server.client() as client, socket.create_server((host, daemon.metrics_port)):
        push(client, jobs(10))
        before = client.lrange(SERVER_LIST, 0, -1)
        with daemon:
            assert daemon.wait(10) == 3
            [line] = daemon.stderr().splitlines()
        assert client.lrange(SERVER_LIST, 0, -1) == before
        assert client.keys() == [SERVER_LIST.encode()]
    assert f"{host}:{daemon.metrics_port}" in line
    assert receiver.count == 0


def test_a_working_directory_that_is_gone_holds_nothing(redis_server: RedisServer) -> None:
    daemon = DaemonProcess(GOOD, redis_url=redis_server.url)
    gone = daemon.directory / "gone"
    command = ["sh", "-c", f'mkdir "{gone}" && cd "{gone}" && rmdir "{gone}" && exec "$@"', "sh", sys.executable, "-m"]
    for arguments, code in ((["stats", "--config", str(daemon.config_path)], 0), (["stats", "--config", "x.json"], 2)):
        done = subprocess.run(
            [*command, "sockudo_queue", *arguments],
            env=daemon.environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == code, done.stderr
    daemon.close()


def test_a_daemon_that_restarts_within_a_second_gets_its_port_again(
    redis_server: RedisServer, receiver: Receiver
) -> None:
    with ForkedDaemon(config(app(webhook(receiver.url()))), redis_url=redis_server.url) as daemon:
        for _ in range(3):
            daemon.wait_ready()
            daemon.metrics()
            daemon.terminate()
            assert daemon.wait() == 0
            daemon.start()
        daemon.wait_ready()


def test_pages_are_shown_by_a_daemon_that_has_imported_nothing_else(redis_server: RedisServer) -> None:
    """Other tests of pages fork their daemons from a process that has imported some of them."""
    settings = {"QUEUE_METRICS_PASSWORD": CANARY, "QUEUE_HISTORY": "all"}
    file = config(app(webhook("http://127.0.0.1:9/", name="orders")))
    with DaemonProcess(file, settings, redis_url=redis_server.url) as daemon:
        pages = Pages(daemon.wait_ready().metrics_port, CANARY)
        for path in ("/", "/attempts", "/dead-letters", f"/webhook?app={APP_ID}&webhook=orders"):
            assert pages.get(path).status == 200, path


def run(file: dict[str, Any], environment: dict[str, str], *arguments: str) -> tuple[int, DaemonProcess]:
    """Run a daemon that is expected to end by itself; its output can still be read."""
    daemon = ForkedDaemon(file, environment, arguments=arguments)
    return daemon.start().wait(10), daemon


@pytest.mark.parametrize(("platform", "name"), [("darwin", "macOS"), ("win32", "Windows")])
def test_other_system_gets_one_line_and_exit_code_3(platform: str, name: str) -> None:
    # What those systems do not have is taken away, so an import that needs it would be a traceback.
    script = (
        "import runpy, signal, sys; del signal.pthread_sigmask, signal.sigtimedwait; "
        f"sys.platform = {platform!r}; runpy.run_module('sockudo_queue', run_name='__main__')"
    )

    ran = subprocess.run([sys.executable, "-c", script, "run"], capture_output=True, text=True, timeout=30)

    assert (ran.returncode, ran.stdout) == (3, "")
    assert ran.stderr.startswith(f"sockudo-queue: runs on Linux only, and this is {name}; ")
    assert ran.stderr.count("\n") == 1
