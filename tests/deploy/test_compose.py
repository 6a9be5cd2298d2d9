"""The compose file is valid, its deployment loses nothing, and its services fit together."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import permutations
from pathlib import Path
from typing import Any, Final

import pytest
import redis
from jsonschema import Draft202012Validator

from sockudo_queue.config import Settings
from sockudo_queue.core import job
from sockudo_queue.drivers.redis.peers import producer_rule
from sockudo_queue.observability.tracing import plan
from tests.deploy import sources
from tests.helpers.commands import run_process
from tests.helpers.daemon import DaemonProcess
from tests.helpers.ports import free_port
from tests.helpers.queue_v2 import Producer
from tests.helpers.redis_binaries import ServerKind
from tests.helpers.redis_server import RedisServer
from tests.helpers.settings import read
from tests.helpers.waiting import eventually

FOLDER: Final = sources.ROOT / "deploy" / "compose"
JOBS: Final = (FOLDER / "jobs.jsonl").read_bytes().splitlines()
SERVICES: Final[dict[str, Any]] = sources.read(sources.COMPOSE)["services"]
DAEMONS: Final = ("queue", "queue-cluster", "queue-sqs", "queue-traced")
COMMAND: Final = re.compile(
    r"docker compose(?: --profile (\S+))? (up|exec|stop|start|logs)((?: (?![#<])[^\s`]+)*)(?: < (\S+))?"
)
PAGES_WITH_COMMANDS: Final = [
    page
    for page in (sources.COMPOSE, *sorted((sources.ROOT / "docs").glob("*.md")))
    if COMMAND.search(page.read_text())
]


def test_compose_file_is_valid() -> None:
    schema = sources.schema("check_jsonschema", "check_jsonschema/builtin_schemas/vendor/compose-spec.json")
    document = sources.read(sources.COMPOSE)
    assert [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(document)] == []
    document["services"]["queue"]["stop_grace"] = "30s"
    assert len(list(Draft202012Validator(schema).iter_errors(document))) == 1


@pytest.mark.parametrize("name", ["redis", "redis-1"])
def test_redis_keeps_what_it_has_taken_and_drops_nothing(name: str) -> None:
    command = SERVICES[name]["command"]
    assert command[0] == "redis-server"
    assert {"--appendonly yes", "--maxmemory-policy noeviction"} <= set(command)


@pytest.mark.parametrize("kind", [ServerKind.REDIS_7_0, ServerKind.VALKEY])
def test_the_server_may_queue_and_not_deliver(kind: ServerKind) -> None:
    """Redis takes the user from its command line, and it is the one that `check --acl` prints."""
    [user] = [each for each in SERVICES["redis"]["command"] if each.startswith("--user ")]
    rule = producer_rule("sockudo_queue:v2:{webhooks}").removeprefix("ACL SETUSER ")
    assert user == f"--user {rule.replace('PASSWORD', 'demo-producer')}"
    with RedisServer(kind, extra=(user,)) as server:
        url = f"redis://sockudo-producer:demo-producer@127.0.0.1:{server.port}/0"
        with redis.Redis.from_url(url, protocol=2) as client:
            Producer(client).enqueue(JOBS[0])
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.zadd("sockudo_queue:v2:{webhooks}:active", {"x": 1})
    config = json.loads((FOLDER / "config.json").read_text())
    assert config["queue"]["redis"]["url_override"] == "redis://sockudo-producer:demo-producer@redis:6379/0"
    environment = SERVICES["sockudo"]["environment"]
    assert environment.keys() == {"HOST", "QUEUE_DRIVER"}  # REDIS_URL would go before the file


@pytest.mark.parametrize("name", DAEMONS)
def test_the_time_to_stop_is_not_that_of_the_servers_file(name: str) -> None:
    own = int(SERVICES[name]["environment"]["QUEUE_SHUTDOWN_TIMEOUT_MS"])
    assert own == Settings().reliability.shutdown_timeout_ms


@pytest.mark.parametrize("name", DAEMONS)
def test_a_daemon_may_write_nothing_and_has_time_to_drain(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] == "65532:65532"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert int(service["stop_grace_period"].rstrip("s")) * 1000 > Settings().reliability.shutdown_timeout_ms
    assert "entrypoint" not in service  # the image's own, in the exec form


@pytest.mark.parametrize("name", DAEMONS)
def test_a_daemon_stops_before_what_it_delivers_to(name: str) -> None:
    """Or a stop of everything cuts off what is in flight, which arrives a second time after the next start."""
    assert SERVICES[name]["depends_on"]["receiver"] == {"condition": "service_started"}


def test_the_server_stops_before_the_daemon_and_has_time_to() -> None:
    """What it queues while it goes down still finds the daemon; its own grace of 10 s is the default of Docker too."""
    server = SERVICES["sockudo"]
    assert "queue" in server["depends_on"]
    assert int(server["stop_grace_period"].rstrip("s")) > 10


@pytest.mark.parametrize("name", DAEMONS)
def test_the_settings_of_a_daemon_are_good_ones(name: str, tmp_path: Path) -> None:
    environment = SERVICES[name]["environment"]
    outcome = read(tmp_path, (FOLDER / "config.json").read_bytes(), environment, strict=True)
    assert outcome.warnings == ()
    [app] = outcome.apps
    [webhook] = app.webhooks
    assert webhook.name == "receiver"


def test_the_daemon_with_spans_sends_them_to_the_collector_beside_it() -> None:
    result = plan.read(SERVICES["queue-traced"]["environment"])
    assert result.warnings == ()
    assert result.plan is not None
    assert (result.plan.host, result.plan.port) == ("collector", 4318)
    assert "collector" in SERVICES["queue-traced"]["depends_on"]  # It stops last, and takes the last spans.


@pytest.mark.parametrize(("known", "made"), [(1, 1), (6, 0)])
def test_the_cluster_is_made_once_and_its_nodes_known_anew_at_each_start(tmp_path: Path, known: int, made: int) -> None:
    """They may come back with each other's addresses. The script runs with programs that only write down the call."""
    programs = {
        "getent": 'echo "10.0.0.${2#redis-} $2"',
        "redis-cli": f"""echo "$*" >>"{tmp_path}/calls"
            case "$*" in
              *info) [ -e "{tmp_path}/asked-$2" ] && state=ok || state=fail; touch "{tmp_path}/asked-$2"
                printf "cluster_state:$state\\r\\ncluster_known_nodes:{known}\\r\\n" ;;
              *check*) [ "$(grep --count check "{tmp_path}/calls")" -gt 2 ] ;;
            esac""",
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    [script] = SERVICES["redis-cluster"]["command"]
    shell = [*SERVICES["redis-cluster"]["entrypoint"], script.replace("$$", "$")]
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(shell, env=environment, check=True, capture_output=True, timeout=20)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert sum("--cluster create" in call for call in calls) == made
    meetings = {call for call in calls if "cluster meet" in call}
    assert meetings == {
        f"-h redis-{one} cluster meet 10.0.0.{other} 6379" for one, other in permutations(range(1, 7), 2)
    }
    # At the end each node itself confirms that it accepts commands.
    assert calls.index("-h redis-6 cluster info") > calls.index("--cluster check redis-1:6379")
    assert [calls.count(f"-h redis-{node} cluster info") for node in range(1, 7)] == [2] * 6


def test_optional_services_start_only_with_their_profile() -> None:
    assert {name for name, service in SERVICES.items() if "profiles" not in service} == {"redis", "queue", "receiver"}
    for name, service in SERVICES.items():
        needed = service.get("depends_on", {})
        for other in needed:
            assert set(SERVICES[other].get("profiles", service.get("profiles", ()))) == set(
                service.get("profiles", ())
            ), name


def running_after(services: list[str], profile: str) -> set[str]:
    """Return what `up` starts: the named services, or all of the profile, and those that they depend on."""
    todo = services or [
        name for name, service in SERVICES.items() if not service.get("profiles") or profile in service["profiles"]
    ]
    found: set[str] = set()
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo.extend(SERVICES[name].get("depends_on", ()))
    return found


@pytest.mark.parametrize("page", PAGES_WITH_COMMANDS, ids=lambda page: str(page.relative_to(sources.ROOT)))
def test_commands_of_a_page_use_services_that_it_has_started(page: Path) -> None:
    running: set[str] = set()
    for profile, verb, arguments, file in COMMAND.findall(page.read_text()):
        services = [word for word in arguments.split() if not word.startswith("-")]
        if verb == "up":
            running |= running_after(services, profile)
        else:
            assert set(services[:1]) <= running, arguments
        assert not file or (sources.ROOT / file).is_file()
    assert running


def test_the_jobs_of_the_file_reach_the_receiver_with_right_signatures(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    for body in JOBS:
        job.decode(body)
    port, printed = free_port(), tmp_path / "printed"
    daemon = DaemonProcess(redis_url=redis_server.url)
    config = (FOLDER / "config.json").read_text().replace("http://receiver:8080", f"http://127.0.0.1:{port}")
    (daemon.directory / "config.json").write_text(config)
    push = ("push", str(FOLDER / "jobs.jsonl"))
    pushed = run_process(*push, environment=daemon.environment, directory=daemon.directory)
    assert pushed.returncode == 0, pushed.stderr
    with receiver(port, printed), daemon:
        eventually(lambda: printed.read_text().count("signature valid") == len(JOBS), 15, daemon.output)
    assert "INVALID" not in printed.read_text()


@contextmanager
def receiver(port: int, printed: Path) -> Iterator[None]:
    """Run the receiver of the compose file as it is run there; what it prints goes to `printed`."""
    command = [sys.executable, str(FOLDER / "receiver.py"), str(port)]
    with printed.open("wb") as output:
        process = subprocess.Popen(command, env=SERVICES["receiver"]["environment"], stdout=output)
    try:
        eventually(lambda: "listens" in printed.read_text(), 10)
        yield
        process.send_signal(getattr(signal, SERVICES["receiver"]["stop_signal"]))
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait(10)
