"""`stats`, `send-test`, `sign` and `verify` against a real queue, a real daemon and real receivers."""

from __future__ import annotations

import hmac
import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from sockudo_queue import cli
from sockudo_queue.commands import stats
from sockudo_queue.commands.terminal import format_rate, table
from sockudo_queue.core import job as jobs
from sockudo_queue.core.hmac_keys import hmac_key
from sockudo_queue.errors import BrokerRefused
from sockudo_queue.observability.health import Health, Heartbeats
from tests.faults.queue import SERVER_LIST, daemon_on, push
from tests.helpers.commands import Commands
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import APP_ID, APP_KEY, APP_SECRET, job
from tests.helpers.jobs import jobs as make_jobs
from tests.helpers.ports import free_port
from tests.helpers.receiver import Receiver
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

BODY: Final = b'{"time_ms":1,"events":[]}'
SIGNATURE: Final = hmac.new(APP_SECRET.encode(), BODY, "sha256").hexdigest()


@pytest.fixture
def run(redis_server: RedisServer, receiver: Receiver, tmp_path: Path) -> Commands:
    shop = app(
        webhook(receiver.url("/orders?token=CANARY"), name="orders"),
        webhook(
            receiver.url("/lobby"), name="lobby", event_types=["member_added"], filter={"channel_prefix": "presence-"}
        ),
    )
    return Commands(tmp_path, config(shop), {"REDIS_URL": redis_server.url, "QUEUE_METRICS_PORT": str(free_port())})


def test_a_body_is_signed_as_a_webhook_is(run: Commands, tmp_path: Path) -> None:
    assert run("sign", "--app", APP_ID, stdin=BODY).out == f"{SIGNATURE}\n"
    (tmp_path / "body").write_bytes(BODY)
    (tmp_path / "secret").write_text(f"{APP_SECRET}\n")
    assert run("sign", "--secret-file", str(tmp_path / "secret"), str(tmp_path / "body"), "--json").json == {
        "signature": SIGNATURE
    }


@pytest.mark.parametrize(
    ("signature", "body", "hint"),
    [
        (SIGNATURE.upper(), BODY, "lower-case"),
        (SIGNATURE, BODY + b"\n", "without its final line break"),
        (SIGNATURE[:-1], BODY, "64 hexadecimal digits"),
        ("\udcff\udcfe", BODY, "64 hexadecimal digits"),  # bytes of a command line that are no UTF-8
        (SIGNATURE, BODY + b" ", "check the secret"),
    ],
)
def test_a_wrong_signature_says_what_may_be_wrong(run: Commands, signature: str, body: bytes, hint: str) -> None:
    ran = run("verify", signature, "--app", APP_ID, stdin=body)
    assert ran.code == 1
    assert hint in ran.out
    assert APP_SECRET not in ran.out + ran.err
    assert run("verify", signature, "--app", APP_ID, "--json", stdin=body).json["valid"] is False


def test_a_right_signature_is_right(run: Commands) -> None:
    assert run("verify", SIGNATURE, "--app", APP_ID, stdin=BODY) == (0, "the signature is valid\n", "")


def test_flags_may_stand_between_other_arguments(run: Commands, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(BODY)
    for arguments in (
        [SIGNATURE, "--app", APP_ID, str(body)],
        [SIGNATURE, str(body), "--app", APP_ID],
        ["--app", APP_ID, SIGNATURE, str(body)],
        ["--app", APP_ID, "--", SIGNATURE, str(body)],
    ):
        assert run("verify", *arguments) == (0, "the signature is valid\n", "")
    assert run("verify", SIGNATURE, "--app", APP_ID, str(body), "more").code == 2
    assert run("verify", "--app", APP_ID).code == 2


def test_a_secret_that_is_nowhere_is_asked_for(run: Commands, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    for arguments in (
        [],
        ["--app", "nobody"],
        ["--secret-file", "nowhere"],
        ["--secret-file", str(tmp_path / "empty")],
    ):
        ran = run("sign", *arguments, stdin=BODY)
        assert (ran.code, ran.out) == (2, "")
        assert len(ran.err.splitlines()) == 1
    assert run("sign", "--app", APP_ID, str(tmp_path / "nowhere")).code == 2


def test_a_test_event_reaches_every_webhook_that_wants_it(run: Commands, receiver: Receiver) -> None:
    ran = run("send-test", APP_ID)
    assert (ran.code, ran.err) == (0, "")
    requests = {request.path.partition("?")[0]: request for request in receiver.wait_for(2)}
    job_id = ran.out.splitlines()[-1].split()[-1]
    for request in requests.values():
        expected = hmac.new(APP_SECRET.encode(), request.body, "sha256").hexdigest()
        assert request.headers["x-pusher-signature"] == expected
        assert (request.headers["x-pusher-key"], request.headers["x-sockudo-job-id"]) == (APP_KEY, job_id)
        assert job_id.startswith("test-")
    [event] = json.loads(requests["/lobby"].body)["events"]
    assert event == {"name": "member_added", "channel": "presence-sockudo-queue-test", "user_id": "test-user"}
    assert [line.split()[0] for line in ran.out.splitlines()[1:3]] == ["orders", "lobby"]
    assert ran.out.count("ok: 200 in ") == 2
    assert "CANARY" not in ran.out


def test_what_a_receiver_answers_is_shown(run: Commands, receiver: Receiver) -> None:
    receiver.always(401)
    ran = run("send-test", APP_ID, "channel_vacated", "--json")
    assert ran.code == 1
    orders, lobby = ran.json["webhooks"]
    assert (orders["delivered"], orders["status"], orders["reason"]) == (False, 401, "status-401")
    assert lobby["skipped"] == "channel_vacated is not in its event_types"
    receiver.refuse()
    assert "failed: refused" in run("send-test", APP_ID, "--webhook", "orders").out


def test_a_test_event_can_go_the_whole_way(run: Commands, redis_server: RedisServer) -> None:
    ran = run("send-test", APP_ID, "member_added", "--webhook", "lobby", "--queue", "--json")
    bodies: Any = redis_server.client().lrange(SERVER_LIST, 0, -1)
    [queued] = map(jobs.decode, bodies)
    assert (queued.app_id, queued.app_key, queued.job_id) == (APP_ID, APP_KEY, ran.json["job"])
    assert queued.signing_key is hmac_key(APP_SECRET)
    assert [event.channel for event in queued.events] == ["presence-sockudo-queue-test"]


def test_a_test_that_cannot_be_sent_says_why(run: Commands) -> None:
    for arguments, words in (
        (["nobody"], APP_ID),
        ([APP_ID, "--webhook", "nobody"], "orders, lobby"),
        ([APP_ID, "--secret-file", "nowhere"], "nowhere"),
    ):
        ran = run("send-test", *arguments)
        assert ran.code == 2
        assert words in ran.err
    ran = run("send-test", APP_ID, "member_added", "--channel", "x", "--webhook", "lobby")
    assert (ran.code, "not called: " in ran.out, "Job-Id" in ran.out) == (1, True, False)  # no webhook got one


@pytest.fixture
def daemon(own_redis: RedisServer, receiver: Receiver) -> Iterator[DaemonProcess]:
    with daemon_on(own_redis.url, receiver.url("/?t=CANARY")) as started:
        yield started.wait_ready()


def test_stats_show_depth_dead_letters_and_failing_webhooks(
    run: Commands, daemon: DaemonProcess, own_redis: RedisServer, receiver: Receiver
) -> None:
    run.environment |= {"REDIS_URL": own_redis.url, "QUEUE_METRICS_PORT": str(daemon.metrics_port)}
    receiver.always(404)
    with own_redis.client() as client:
        push(client, make_jobs(3))
        figures = eventually(lambda: _with_dead(run, 3), 10) or {}
        daemon.terminate()
        daemon.wait()
        push(client, [job(9, time_ms=1)])
    [grave] = figures["queue"]["dead_letters"]
    assert (grave["app"], grave["reason"], grave["last"], grave["count"]) == (APP_ID, "refused", "status-404", 3)
    [row] = figures["daemons"]
    assert row["ready"] is True
    assert row["webhooks"][0]["last_failure"] == "status-404"

    ran = run("stats")
    assert ran.code == 0
    assert "queue     redis: 1 ready, 0 in flight, 0 delayed" in ran.out
    assert "of 1970-01-01 00:00:00Z" in ran.out
    assert "dead      3 dead letters\n" in ran.out
    assert "no answer" in ran.out
    assert "CANARY" not in ran.out


def _with_dead(run: Commands, count: int) -> dict[str, Any] | None:
    stats: dict[str, Any] = run("stats", "--json").json
    counted = sum(row["failed"] for each in stats["daemons"] for row in each.get("webhooks", ()))
    return stats if sum(grave["count"] for grave in stats["queue"]["dead_letters"]) == counted == count else None


def test_stats_of_a_running_daemon_are_readable(run: Commands, daemon: DaemonProcess, own_redis: RedisServer) -> None:
    run.environment["REDIS_URL"] = own_redis.url
    ran = run("stats", "--url", f"http://127.0.0.1:{daemon.metrics_port}", "--url", f"127.0.0.1:{free_port()}")
    assert f"daemon    http://127.0.0.1:{daemon.metrics_port}: ready, " in ran.out
    # The rate is unknown before the second sample, and a zero would look like an outage.
    assert re.search(r"last minute: (no rate yet|0\.0 delivered and 0\.0 failed attempts/s)\n", ran.out)
    assert "no answer: Connection refused\n" in ran.out
    assert run("stats", "--url", "ftp://x").code == 2


def test_stats_show_dropped_dead_letters(run: Commands, own_redis: RedisServer, receiver: Receiver) -> None:
    receiver.always(404)
    with own_redis.client() as client, daemon_on(own_redis.url, receiver.url(), QUEUE_FAILED_RETENTION="1") as daemon:
        run.environment |= {"REDIS_URL": own_redis.url, "QUEUE_METRICS_PORT": str(daemon.wait_ready().metrics_port)}
        push(client, make_jobs(3))
        words = "          2 dead letters dropped by retention since the start\n"
        eventually(lambda: words in run("stats").out, 10)


def test_stats_limit_the_dead_letters_they_read_and_report_it(
    run: Commands, own_redis: RedisServer, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.always(404)
    run.environment["REDIS_URL"] = own_redis.url
    with own_redis.client() as client, daemon_on(own_redis.url, receiver.url()) as daemon:
        push(client, make_jobs(3))
        eventually(lambda: run("stats", "--json").json["queue"]["depth"]["dead-letter"] == 3, 10, daemon.output)
    monkeypatch.setattr(stats, "DEAD_LETTERS_SECONDS", 0.0)
    assert "dead      3 dead letters; the table counts the oldest 1\n" in run("stats").out


def test_tables_are_aligned_for_any_content() -> None:
    heading, *rows = table(("APP", "WEBHOOK"), [("\u65e5\u672c", "wide"), ("e\u0301tat", "marked"), ("abcd", "plain")])
    assert (heading, rows) == ("APP   WEBHOOK", ["\u65e5\u672c  wide", "e\u0301tat  marked", "abcd  plain"])


@pytest.mark.parametrize(
    ("done", "seconds", "shown"), [(19_009, 9.2, "2,066/s"), (10, 1, "10/s"), (7, 2, "3.5/s"), (3, 20.0, "0.15/s")]
)
def test_slow_rate_is_not_shown_as_zero(done: int, seconds: float, shown: str) -> None:
    assert format_rate(done, seconds) == shown


def test_stats_show_the_daemon_while_the_queue_is_unavailable(run: Commands, daemon: DaemonProcess) -> None:
    run.environment |= {
        "REDIS_URL": f"redis://:CANARY@127.0.0.1:{free_port()}/0",
        "QUEUE_METRICS_PORT": str(daemon.metrics_port),
    }
    ran = run("stats")
    assert ran.code == 3
    assert "ready, " in ran.out
    assert len(ran.err.splitlines()) == 1
    assert "CANARY" not in ran.out + ran.err


def test_another_program_on_the_port_is_recognised(run: Commands, receiver: Receiver) -> None:
    ran = run("stats", "--url", receiver.url())
    assert "is not from a sockudo-queue daemon" in ran.out


@pytest.mark.parametrize("url", ["http://[::1", "http://a..b/", f"http://{'a' * 300}/", "ftp://x", "", "http://h:x"])
def test_invalid_daemon_address_is_refused_in_one_line(run: Commands, url: str) -> None:
    ran = run("stats", "--url", url)
    assert (ran.code, ran.out) == (2, "")
    assert "http://10.0.0.7:9602" in ran.err
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize("url", ["http://user:CANARY@127.0.0.1:1/", "user:CANARY@127.0.0.1:1", "ftp://user:CANARY@x"])
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_login_in_an_address_is_not_shown(run: Commands, url: str, flags: list[str]) -> None:
    ran = run("stats", "--url", url, *flags)
    assert "CANARY" not in ran.out + ran.err
    assert ran.out + ran.err


@pytest.mark.parametrize("host", ["", "a..b", "a" * 300])
def test_health_answers_machines_too(run: Commands, host: str) -> None:
    run.environment["QUEUE_METRICS_HOST"] = host
    ran = run("health", "--json")
    assert (ran.code, ran.json["ok"]) == (1, False)


HOSTILE = "\x1b[31mEVIL\x1b]0;owned\x07\u202e"


def test_output_of_another_program_is_escaped_for_the_terminal(run: Commands) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                body = HOSTILE.encode()
                connection.sendall(b"HTTP/1.1 503 no\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

        threading.Thread(target=answer, daemon=True).start()
        run.environment["QUEUE_METRICS_PORT"] = str(listener.getsockname()[1])
        ran = run("health", "--ready")
    assert ran.code == 1
    assert "EVIL" in ran.out
    assert ran.out.removesuffix("\n").isprintable()


def test_error_text_of_a_server_is_escaped_for_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_options: object) -> int:
        raise BrokerRefused(HOSTILE)

    monkeypatch.setattr(cli, "_version", refused)
    assert cli.run(["version"]) == 3
    text = capsys.readouterr().err
    assert "EVIL" in text
    assert text.removesuffix("\n").isprintable()


def test_error_text_of_a_server_is_escaped_on_the_readiness_page() -> None:
    health = Health(Heartbeats())
    health.not_ready("broker", HOSTILE)
    status, page = health.ready_page()
    assert status == 503
    assert all(line.isprintable() for line in page.split("\n"))
