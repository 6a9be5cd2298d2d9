"""A Redis that is read-only or refuses the login: the daemon is not ready, logs little, and recovers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.faults.arrivals import Arrivals
from tests.faults.queue import daemon_on, log_tail, push
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import jobs
from tests.helpers.queue_v2 import Producer
from tests.helpers.receiver import Receiver
from tests.helpers.redis_binaries import ServerKind
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

NOTICED_SECONDS: Final = 8.0  # an idle worker looks for itself every 5 s
SICK_SECONDS: Final = 5.5  # longer than it takes every thread to come by


@contextmanager
def disk_is_full(server: RedisServer, client: Any) -> Iterator[str]:
    """Let the server fail to save, after which it takes no write (MISCONF)."""
    target = server.directory / "dump.rdb"
    (target / "in the way").mkdir(parents=True)
    client.config_set("save", "3600 1")
    client.bgsave()
    eventually(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
    yield "MISCONF"
    (target / "in the way").rmdir()
    target.rmdir()
    client.bgsave()
    eventually(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "ok")


@contextmanager
def demoted(server: RedisServer, client: Any) -> Iterator[str]:
    """Make the server a replica, as after a failover behind one address (READONLY)."""
    client.replicaof("127.0.0.1", 1)
    yield "replica"
    client.replicaof("NO", "ONE")


@contextmanager
def without_replicas(_server: RedisServer, client: Any) -> Iterator[str]:
    """Let the server ask for more replicas than it has, which is none (NOREPLICAS)."""
    client.config_set("min-replicas-to-write", 1)
    yield "NOREPLICAS"
    client.config_set("min-replicas-to-write", 0)


@pytest.mark.parametrize("sick", [disk_is_full, demoted, without_replicas])
def test_a_server_that_can_only_be_read_is_not_ready_and_resumes(
    receiver: Receiver, sick: Callable[[RedisServer, Any], Any]
) -> None:
    arrivals = Arrivals()
    receiver.answer(arrivals)
    with RedisServer() as server, server.client() as client, daemon_on(server.url, receiver.url()) as daemon:
        daemon.wait_ready()
        with sick(server, client) as reason:
            eventually(lambda: daemon.get("/readyz") == 503, NOTICED_SECONDS, log_tail(daemon))
            until = time.monotonic() + (SICK_SECONDS if sick is demoted else 0.0)
            while time.monotonic() < until:
                assert (daemon.get("/readyz"), daemon.get("/livez")) == (503, 200)
                time.sleep(0.1)  # between two probes, as a prober would
        push(client, jobs(20))
        arrivals.wait_for_all(20, NOTICED_SECONDS, log_tail(daemon))
        eventually(lambda: daemon.get("/readyz") == 200, NOTICED_SECONDS)
        eventually(lambda: daemon.events("broker.resumed"), NOTICED_SECONDS, log_tail(daemon))  # lines come a bit later

        (lost,) = daemon.events("broker.lost")
        assert reason.lower() in lost["reason"].lower()
        assert daemon.events("source.refused") == [], "one fault is logged once"
        assert arrivals.duplicates == 0


@pytest.mark.parametrize("sick", [disk_is_full, without_replicas])
def test_jobs_of_queue_v2_make_no_server_ready_that_takes_no_writes(
    receiver: Receiver, sick: Callable[[RedisServer, Any], Any]
) -> None:
    arrivals = Arrivals()
    receiver.answer(arrivals)
    with RedisServer() as server, server.client() as client, ExitStack() as after:
        for body in jobs(20):
            Producer(client).enqueue(body)
        with sick(server, client):
            daemon = after.enter_context(daemon_on(server.url, receiver.url()))
            eventually(lambda: daemon.events("broker.lost"), NOTICED_SECONDS, log_tail(daemon))
            until = time.monotonic() + SICK_SECONDS
            while time.monotonic() < until:
                assert (daemon.get("/readyz"), daemon.get("/livez")) == (503, 200)
                time.sleep(0.1)  # between two probes, as a prober would
            assert len(daemon.events("broker.lost")) == 1, "it does not come and go"
        arrivals.wait_for_all(20, NOTICED_SECONDS, log_tail(daemon))
        eventually(lambda: daemon.get("/readyz") == 200, NOTICED_SECONDS, log_tail(daemon))
        assert arrivals.duplicates == 0


def test_a_password_that_was_changed_is_read_again(receiver: Receiver, tmp_path: Path) -> None:
    arrivals = Arrivals()
    receiver.answer(arrivals)
    file = tmp_path / "password"
    file.write_text("old-CANARY\n")
    with RedisServer(password="old-CANARY") as server:
        environment = {"DATABASE_REDIS_PORT": str(server.port), "DATABASE_REDIS_PASSWORD_FILE": str(file)}
        with DaemonProcess(config(app(webhook(receiver.url()))), environment) as daemon:
            daemon.wait_ready()
            with server.client() as client:
                client.config_set("requirepass", "new-CANARY")
                client.client_kill_filter(skipme=True)
            eventually(lambda: daemon.get("/readyz") == 503, NOTICED_SECONDS, log_tail(daemon))
            eventually(
                lambda: [line for line in daemon.events("broker.lost") if "authentication failed" in line["reason"]]
            )
            file.write_text("new-CANARY\n")
            with server.client(password="new-CANARY") as client:
                push(client, jobs(5))
            arrivals.wait_for_all(5, NOTICED_SECONDS, log_tail(daemon))
            eventually(lambda: daemon.get("/readyz") == 200, NOTICED_SECONDS)
            assert "CANARY" not in daemon.output()


def test_rights_that_are_taken_away_are_noticed_and_their_return_too(receiver: Receiver) -> None:
    """Every form of the queue is refused at the same time, and each of them only when it is asked."""
    arrivals = Arrivals()
    receiver.answer(arrivals)
    with RedisServer(ServerKind.REDIS_7_0) as server, server.client() as client:
        client.execute_command("ACL", "SETUSER", "hooks", "on", ">secret", "~*", "+@all")
        url = f"redis://hooks:secret@127.0.0.1:{server.port}/0"
        with daemon_on(url, receiver.url()) as daemon:
            daemon.wait_ready()
            client.execute_command("ACL", "SETUSER", "hooks", "-evalsha")
            push(client, jobs(5))
            eventually(lambda: daemon.get("/readyz") == 503, NOTICED_SECONDS, log_tail(daemon))
            client.execute_command("ACL", "SETUSER", "hooks", "+evalsha")
            arrivals.wait_for_all(5, NOTICED_SECONDS, log_tail(daemon))
            eventually(lambda: daemon.get("/readyz") == 200, NOTICED_SECONDS, log_tail(daemon))
            eventually(
                lambda: daemon.events("broker.resumed"), NOTICED_SECONDS, log_tail(daemon)
            )  # lines come a bit later

            (lost,) = daemon.events("broker.lost")
            assert "evalsha" in lost["reason"]
            assert arrivals.duplicates == 0
