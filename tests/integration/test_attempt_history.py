"""`attempts` on a real Redis: searching, following, the story of a job, purging, and how complete answers are."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from sockudo_queue.commands.follow import Follower
from sockudo_queue.drivers.redis.history import RedisHistory
from sockudo_queue.drivers.redis.source import own_key
from sockudo_queue.history.entry import EntryRow, encode
from sockudo_queue.history.figures import Mode
from sockudo_queue.history.items import packed
from sockudo_queue.history.search import Criteria
from tests.drivers.history_conformance import row, write
from tests.drivers.redis_lists import SOURCES, link_to
from tests.drivers.redis_v2 import BASE
from tests.faults.queue import SERVER_LIST, daemon_on, log_tail, push, records, settled
from tests.helpers.commands import CommandProcess, Commands
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import wiped_environment
from tests.helpers.jobs import APP_ID, job
from tests.helpers.ports import free_port
from tests.helpers.receiver import Answer, Receiver
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

HOSTILE: Final = "\u001b]0;owned\u0007\u009b31m\u202e"
SHOP: Final = app(webhook("http://127.0.0.1:9/", name="orders"))
RULE_BEFORE: Final = (
    "~sockudo_queue* ~sockudo-queue:* +evalsha +script|load +client|setname +ping +time +exists +get +decrby +llen "
    "+lindex +lrange +lpush +rpush +rpop +lset +ltrim +blmove +brpop +hget +hmget +hset +hdel +hincrby +hexists +hscan "
    "+zadd +zrem +zscore +zcard +zcount +zrange +zrangebyscore +zpopmin +xadd "
    "+xrevrange +client|list +info +hlen +hkeys"
)
"""The documented rule of the version before the history."""


@pytest.fixture
def run(redis_server: RedisServer, tmp_path: Path) -> Commands:
    return Commands(tmp_path, config(SHOP), {"REDIS_URL": redis_server.url})


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[RedisHistory]:
    with stored_on(redis_server) as store:
        yield store


@contextmanager
def stored_on(server: RedisServer) -> Iterator[RedisHistory]:
    store = RedisHistory(link_to(server.port), (BASE, *SOURCES), length=100_000, mode="all")
    yield store
    store.close()


def above(text: str) -> list[str]:
    """Return the first words of an answer's first lines."""
    return [line.split()[0] for line in text.splitlines() if line[:1].strip()][:3]


def test_empty_answer_does_not_claim_that_nothing_was_delivered(run: Commands) -> None:
    for arguments in ((), ("--channel", "room-1"), ("show", "j1")):
        ran = run("attempts", *arguments)
        assert above(ran.out) == ["recorded", "kept", "dropped"]
        assert "does not mean that nothing was delivered: with the mode failures a" in ran.out
        assert ran.code == (1 if "show" in arguments else 0)


def test_answer_without_an_entry_names_what_was_dropped_or_never_recorded(run: Commands, store: RedisHistory) -> None:
    write(store, SERVER_LIST, row(1))
    assert "it may be older than the time in `kept`" in run("attempts", "--job", "nowhere").out
    write(store, SERVER_LIST, row(2), lost=3)
    ran = run("attempts", "--job", "nowhere")
    assert "dropped   3 entries lost" in ran.out
    assert "it may be among the dropped entries" in ran.out


def test_mode_off_is_taken_from_the_settings_of_the_command(run: Commands) -> None:
    run.environment["QUEUE_HISTORY"] = "off"
    assert "recorded  off: nothing is recorded" in run("attempts").out


def test_table_has_what_a_person_needs(run: Commands, store: RedisHistory) -> None:
    write(store, SERVER_LIST, row(1), EntryRow(0, "job-1", "orders", 1, "dead-letter", "exhausted"))
    lines = run("attempts").out.splitlines()
    headings, tried, dead = lines[-3:]
    assert headings.split() == ["TIME", "APP", "WEBHOOK", "JOB", "ATTEMPT", "OUTCOME", "STATUS", "TOOK", "EVENTS"]
    assert tried.split()[2:] == [
        *("shop", "orders", "job-1", "1", "retryable", "(status-503)", "503", "5", "ms", "channel_occupied", "room-1")
    ]
    assert dead.split()[2:] == ["shop", "orders", "job-1", "1", "dead-letter", "(exhausted)", "-", "-", "-"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--job", "job-3"),
        ("--channel", "room-3"),
        ("--app", "other"),
        ("--reason", "dns"),
        ("--status", "404"),
        ("--webhook", "chat log"),
        ("--event", "member_added"),
        ("--outcome", "permanent"),
        ("--until", "2000-01-01T00:00Z"),
        ("--since", "1s", "--channel", "late"),
    ],
)
def test_each_filter_finds_its_entry_alone(run: Commands, store: RedisHistory, arguments: tuple[str, ...]) -> None:
    write(store, SERVER_LIST, row(1), row(2))
    write(store, SERVER_LIST, row(3, reason="dns", status=None))
    write(
        store,
        SERVER_LIST,
        EntryRow(4, "job-4", "chat log", 1, "permanent", "status-404", 404, 1, ["member_added", "x"]),
    )
    write(store, SERVER_LIST, row(5), app="other")
    late = EntryRow(4_000_000_000_000, "job-6", "orders", 1, "delivered", None, 200, 1, ["channel_occupied", "late"])
    write(store, SERVER_LIST, late)
    lines = run("attempts", *arguments, "--json").json_lines
    assert len(lines) == 2, lines
    assert lines[0]["history"]["entries"] == 6


def test_pages_and_limit(run: Commands, store: RedisHistory) -> None:
    for number in range(120):
        write(store, SERVER_LIST, row(number))
    *newest, end = run("attempts", "--json").json_lines[1:]
    assert [line["job"] for line in newest] == [f"job-{number}" for number in range(70, 120)]
    *older, _ = run("attempts", "--json", "--page", end["next"], "--limit", "20").json_lines[1:]
    assert [line["job"] for line in older] == [f"job-{number}" for number in range(50, 70)]
    assert len(run("attempts", "--json", "--limit", "10000").json_lines) == 121
    assert f"--page {end['next']}" in run("attempts").out


@pytest.mark.parametrize(
    ("arguments", "told_of"),
    [
        (("--page", "nonsense"), "--page"),
        (("--since", "yesterday"), "--since"),
        (("--until", "99999-01-01"), "--until"),
        (("--status", "5xx"), "--status"),
        (("--outcome", "lost"), "--outcome"),
        (("--limit", "0"), "--limit"),
        (("--limit", "10001"), "--limit"),
        (("purge",), "--app"),
    ],
)
def test_argument_that_cannot_be_used_is_named(run: Commands, arguments: tuple[str, ...], told_of: str) -> None:
    ran = run("attempts", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert told_of in ran.err
    assert "Traceback" not in ran.err


def test_settings_before_the_verb_count(run: Commands, store: RedisHistory, tmp_path: Path) -> None:
    write(store, SERVER_LIST, row(1))
    assert run("attempts", "--json", "show", "job-1").json["job"] == "job-1"
    assert run("attempts", "show", "job-1", "--json").json["job"] == "job-1"
    assert run("attempts", "--config", str(tmp_path / "none.json"), "show", "job-1").code == 2


def test_story_of_a_job(run: Commands, store: RedisHistory) -> None:
    def tried(
        at: int, webhook_name: str, number: int, outcome: str, reason: str | None, status: int | None
    ) -> EntryRow:
        return EntryRow(at, "j1", webhook_name, number, outcome, reason, status, 7, ["channel_occupied", "room-1"])

    write(store, SERVER_LIST, tried(1, "a", 1, "delivered", None, 200), tried(2, "b", 1, "retryable", "dns", None))
    write(store, SERVER_LIST, tried(3, "b", 2, "permanent", "status-404", 404), row(9))
    write(store, SERVER_LIST, EntryRow(3, "j1", "b", 2, "dead-letter", "refused"))
    ran = run("attempts", "show", "j1")
    assert (ran.code, above(ran.out)) == (0, ["recorded", "kept", "dropped"])
    story = [" ".join(line.split()[2:]) for line in ran.out.splitlines() if line.startswith("          1970")]
    assert story == [
        "attempt 1: delivered, status 200, 7 ms, channel_occupied room-1",
        "attempt 1: retryable (dns), 7 ms, channel_occupied room-1",
        "attempt 2: permanent (status-404), status 404, 7 ms, channel_occupied room-1",
        "dead letter: refused, after 2 attempts",
    ]
    story = run("attempts", "show", "j1", "--json").json
    assert [(each["webhook"], each["ending"], len(each["entries"])) for each in story["webhooks"]] == [
        ("a", "delivered", 1),
        ("b", "dead-letter", 3),
    ]


def test_trace_of_an_attempt_is_shown(run: Commands, store: RedisHistory) -> None:
    write(store, SERVER_LIST, row(1, trace_id="4bf92f3577b34da6a3ce929d0e0e4736", span_id="00f067aa0ba902b7"))
    assert "trace 4bf92f3577b34da6a3ce929d0e0e4736, span 00f067aa0ba902b7" in run("attempts", "show", "job-1").out
    shown = run("attempts", "--json").json_lines[1]
    assert (shown["trace_id"], shown["span_id"]) == ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")


def test_hostile_names_do_not_reach_the_terminal(run: Commands, store: RedisHistory) -> None:
    hostile = EntryRow(1, f"j{HOSTILE}", f"w{HOSTILE}", 1, f"o{HOSTILE}", f"r{HOSTILE}", 503, 1, [HOSTILE, HOSTILE])
    store.write(SERVER_LIST, packed([(f"a{HOSTILE}", encode(hostile))], HOSTILE), 0)
    for arguments in (("attempts",), ("attempts", "show", f"j{HOSTILE}"), ("attempts", "--json")):
        out = run(*arguments).out
        assert "owned" in out
        assert not set(HOSTILE) & set(out) - set("]0;owned31m")


def test_entries_of_an_app_are_removed_after_asking(run: Commands, store: RedisHistory) -> None:
    write(store, SERVER_LIST, row(1))
    write(store, SOURCES[1], row(2))
    write(store, SERVER_LIST, row(3), app="other")
    refused = run("attempts", "purge", "--app", APP_ID)
    assert (refused.code, "--yes" in refused.err) == (1, True)
    assert run("attempts", "purge", "--app", APP_ID, "--yes").out.startswith("deleted 2 entries")
    assert run("attempts", "purge", "--app", APP_ID, "--yes", "--json").json == {"purged": 0, "refused": []}
    ran = run("attempts")
    assert "job-3" in ran.out
    assert "job-1" not in ran.out
    assert "purged    entries of an app" in ran.out


@pytest.mark.parametrize("driver", ["memory", "sqs", "none"])
def test_driver_without_a_shared_history_is_named_in_one_line(run: Commands, driver: str) -> None:
    run.environment["QUEUE_DRIVER"] = driver
    for arguments in ((), ("show", "j"), ("purge", "--app", "a", "--yes")):
        ran = run("attempts", *arguments)
        assert (ran.code, ran.out, len(ran.err.splitlines())) == (1, "", 1)
        assert driver in ran.err
        assert ("A restart of the daemon deletes all entries" in ran.err) == (driver != "none")


def test_purge_that_could_not_look_everywhere_says_so(
    run: Commands, redis_server: RedisServer, store: RedisHistory
) -> None:
    write(store, SERVER_LIST, row(1))
    with redis_server.client() as client:
        client.set(own_key(BASE, "attempts"), "mine")
    ran = run("attempts", "purge", "--app", "shop", "--yes")
    assert (ran.code, ran.out.startswith("deleted 1 entry")) == (1, True)
    assert BASE in ran.err
    ran = run("attempts", "purge", "--app", "shop", "--yes", "--json")
    assert (ran.code, ran.json["purged"], len(ran.json["refused"])) == (1, 0, 1)


def test_answer_without_read_permission_does_not_claim_that_nothing_was_delivered(
    run: Commands, redis_server: RedisServer, store: RedisHistory
) -> None:
    write(store, SERVER_LIST, row(1))
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "poor", "reset", "on", ">pw", "~*", "+@all", "-xrevrange")
        run.environment["REDIS_URL"] = redis_server.url.replace("redis://", "redis://poor:pw@")
        ran, story = run("attempts"), run("attempts", "show", "job-1", "--json")
        client.execute_command("ACL", "DELUSER", "poor")
    assert [line.split()[0] for line in ran.out.splitlines()].count("missing") == 3
    assert "a part of the history could not be read" in ran.out
    assert (story.code, story.json["is_complete"], len(story.json["history"]["unread_sources"])) == (1, False, 3)


def test_entry_that_cannot_be_read_is_named_by_every_answer(run: Commands, store: RedisHistory) -> None:
    write(store, SERVER_LIST, row(1))
    store.write(SERVER_LIST, [b'["shop","pod:1"]\n["job-1"]'], 0)
    for arguments in ((), ("show", "job-1")):
        assert "missing   1 entry that this version cannot read" in run("attempts", *arguments).out
        assert run("attempts", *arguments, "--json").json_lines[0]["history"]["unreadable"] == 1
    assert run("attempts", "show", "job-1", "--json").json["is_complete"] is False


def test_answer_about_a_job_is_complete_only_if_nothing_can_be_missing(run: Commands, store: RedisHistory) -> None:
    def is_complete() -> bool:
        answers: list[bool] = [
            run("attempts", "show", each, "--json").json["is_complete"] for each in ("job-1", "nowhere")
        ]
        assert answers[0] == answers[1]
        return answers[0]

    assert not is_complete()  # no daemon has noted its mode
    write(store, SERVER_LIST, row(1))
    assert is_complete()
    write(store, SERVER_LIST, row(2), app="other")
    store.purge("other")
    assert not is_complete()


@pytest.mark.parametrize(
    "figure",
    [{"lost": "1"}, {"gone": "1751100000000"}, {"since-failures": "1751100000", "seen-failures": "9999999999"}],
)
def test_answer_about_a_job_is_incomplete_where_entries_may_be_missing(
    run: Commands, redis_server: RedisServer, store: RedisHistory, figure: dict[str, str]
) -> None:
    write(store, SERVER_LIST, row(1))
    assert run("attempts", "show", "job-1", "--json").json["is_complete"] is True
    with redis_server.client() as client:
        client.hset(own_key(SERVER_LIST, "attempts-figures"), mapping=figure)
    assert run("attempts", "show", "job-1", "--json").json["is_complete"] is False


def test_history_that_cannot_be_read_is_an_error(run: Commands, redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        for source in (BASE, *SOURCES):
            client.set(own_key(source, "attempts"), "mine")
        ran = run("attempts")
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (3, "", 1)
    assert "cannot be read" in ran.err
    run.environment["REDIS_URL"] = f"redis://127.0.0.1:{free_port()}/0"
    assert run("attempts").code == 3


def test_source_that_cannot_be_read_stands_above_the_answer(
    run: Commands, redis_server: RedisServer, store: RedisHistory
) -> None:
    write(store, SERVER_LIST, row(1))
    with redis_server.client() as client:
        client.set(own_key(BASE, "attempts"), "mine")
        ran = run("attempts")
    assert "job-1" in ran.out
    assert any(line.startswith("missing") and BASE in line for line in ran.out.splitlines())


def test_check_says_whether_attempts_are_recorded(run: Commands, redis_server: RedisServer) -> None:
    def found() -> list[dict[str, str]]:
        return [line for line in run("check", "--json").json["lines"] if line["subject"] == "history"]

    assert [line["level"] for line in found()] == ["ok"]
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "before", "reset", "on", ">pw", *RULE_BEFORE.split())
        run.environment["REDIS_URL"] = redis_server.url.replace("redis://", "redis://before:pw@")
        [line] = found()
        client.execute_command("ACL", "DELUSER", "before")
    assert line["level"] == "warning"
    assert all(name in line["text"] for name in ("XLEN", "XRANGE", "XDEL"))
    run.environment |= {"REDIS_URL": redis_server.url, "QUEUE_HISTORY": "off"}
    assert found() == []


def test_daemon_with_the_rights_of_before_delivers_and_warns_once(
    redis_server: RedisServer, receiver: Receiver
) -> None:
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "before", "reset", "on", ">pw", *RULE_BEFORE.split())
        url = redis_server.url.replace("redis://", "redis://before:pw@")
        with daemon_on(url, receiver.url(), QUEUE_HISTORY="all") as daemon:
            daemon.wait_ready()
            for number in range(3):
                push(client, [job(number)])
                receiver.wait_for(number + 1)
                eventually(lambda: daemon.events("history.stopped"), 5, log_tail(daemon))
            eventually(lambda: settled(daemon, "completed") == 3, 5, log_tail(daemon))
            assert len(daemon.events("history.stopped")) == 1
            assert daemon.metric("sockudo_queue_history_up") == 0
            assert daemon.metric("sockudo_queue_history_entries_dropped_total", reason="refused") >= 1
            assert daemon.get("/readyz") == 200
        client.execute_command("ACL", "DELUSER", "before")


@pytest.mark.parametrize(("mode", "outcomes"), [(Mode.OFF, []), (Mode.FAILURES, ["bad"]), (Mode.ALL, ["bad", "good"])])
def test_mode_says_which_attempts_are_recorded(
    redis_server: RedisServer, receiver: Receiver, run: Commands, mode: Mode, outcomes: list[str]
) -> None:
    hooks = [webhook(receiver.url(), name="good"), webhook(f"http://127.0.0.1:{free_port()}/", name="bad")]
    settings = {"QUEUE_HISTORY": str(mode), "QUEUE_HISTORY_CHANNELS": "false"}
    with redis_server.client() as client, daemon_on(redis_server.url, *hooks, **settings) as daemon:
        daemon.wait_ready()
        push(client, [job(1)])
        [request] = receiver.wait_for(1)
        eventually(lambda: len(daemon.events("delivery.attempted")) >= 2, 5, log_tail(daemon))
        eventually(lambda: records(client, "delayed"), 5, log_tail(daemon))
        daemon.terminate()
        assert daemon.wait() == 0  # what waited is stored at a stop
        [delayed] = records(client, "delayed")
    ran = run("attempts", "show", request.headers["x-sockudo-job-id"], "--json")
    assert sorted(story["webhook"] for story in ran.json["webhooks"]) == outcomes
    entries = [entry for story in ran.json["webhooks"] for entry in story["entries"]]
    assert all(entry["events"] == [{"name": "channel_occupied", "channel": None}] for entry in entries)
    assert [each[1] for each in delayed.state["tries"]] == ["refused"]


def test_delivery_that_follows_a_failure_is_recorded(
    redis_server: RedisServer, receiver: Receiver, run: Commands
) -> None:
    receiver.always(503)
    settings = {"QUEUE_DELIVERY_RETRY_INITIAL_BACKOFF_MS": "50"}
    with redis_server.client() as client, daemon_on(redis_server.url, receiver.url(), **settings) as daemon:
        daemon.wait_ready()
        push(client, [job(1)])
        [request] = receiver.wait_for(1)
        receiver.always(200)
        eventually(lambda: settled(daemon, "completed") == 1, 10, log_tail(daemon))
        show = ("attempts", "show", request.headers["x-sockudo-job-id"], "--json")
        [story] = eventually(lambda: run(*show).json["webhooks"], 5)
        eventually(lambda: run(*show).json["webhooks"][0]["ending"] == "delivered", 5)
    assert story["entries"][0]["reason"] == "status-503"


def test_delivery_after_an_attempt_that_a_stop_cut_short_is_recorded(
    redis_server: RedisServer, receiver: Receiver, run: Commands
) -> None:
    receiver.answer(lambda request, nth: Answer(reset=True, delay=0.5))
    with redis_server.client() as client:
        with daemon_on(redis_server.url, receiver.url()) as daemon:
            daemon.wait_ready()
            push(client, [job(1)])
            [request] = receiver.wait_for(1)
            daemon.terminate()
            assert daemon.wait() == 0
        receiver.always(200)
        with daemon_on(redis_server.url, receiver.url()) as daemon:
            daemon.wait_ready()
            eventually(lambda: settled(daemon, "completed") == 1, 10, log_tail(daemon))
            daemon.terminate()
            assert daemon.wait() == 0
    [story] = run("attempts", "show", request.headers["x-sockudo-job-id"], "--json").json["webhooks"]
    assert [entry["outcome"] for entry in story["entries"]] == ["retryable", "delivered"]


def test_delivery_of_a_replay_is_recorded(redis_server: RedisServer, receiver: Receiver, run: Commands) -> None:
    receiver.always(404)
    run.config_path.write_text(json.dumps(config(app(webhook(receiver.url(), name="orders")))))
    with redis_server.client() as client, daemon_on(redis_server.url, webhook(receiver.url(), name="orders")) as daemon:
        daemon.wait_ready()
        push(client, [job(1)])
        eventually(lambda: settled(daemon, "dead-letter") == 1, 10, log_tail(daemon))
        receiver.always(200)
        assert run("dead-letters", "replay", "--all").code == 0
        [request, _] = receiver.wait_for(2)
        show = ("attempts", "show", request.headers["x-sockudo-job-id"], "--json")
        eventually(lambda: run(*show).json["webhooks"][0]["ending"] == "delivered", 5)


def test_dead_letter_without_an_attempt_is_recorded_with_its_events(
    redis_server: RedisServer, receiver: Receiver, run: Commands
) -> None:
    hook = webhook("ftp://nowhere/", name="broken")
    with redis_server.client() as client, daemon_on(redis_server.url, hook) as daemon:
        daemon.wait_ready()
        push(client, [job(7), b"rubbish"])
        eventually(lambda: settled(daemon, "dead-letter") == 2, 10, log_tail(daemon))
        line = eventually(lambda: run("attempts", "--channel", "room-7", "--json").json_lines[1:], 5)
        assert [(each["outcome"], each["reason"], each["webhook"]) for each in line] == [
            ("dead-letter", "webhook-invalid", "broken")
        ]
        # An entry of another app is stored apart, perhaps a moment later.
        eventually(lambda: len(run("attempts", "--reason", "unreadable", "--json").json_lines) == 2, 5)


def test_dead_letter_shows_each_try(redis_server: RedisServer, receiver: Receiver, run: Commands) -> None:
    receiver.always(503)
    hook = webhook(receiver.url(), name="orders", retry={"max_attempts": 3, "initial_backoff_ms": 100})
    with redis_server.client() as client, daemon_on(redis_server.url, hook) as daemon:
        daemon.wait_ready()
        push(client, [job(1)])
        eventually(lambda: settled(daemon, "dead-letter") == 1, 10, log_tail(daemon))
        [dead] = records(client, "dead")
        letter = dead.receipt.rpartition("/")[0]
        shown = run("dead-letters", "show", letter)
        tries = run("dead-letters", "show", letter, "--json").json["tries"]
    assert shown.out.count("status-503, ") == 3
    assert [each["status"] for each in tries] == [503] * 3
    assert sorted(each["at_ms"] for each in tries) == [each["at_ms"] for each in tries]


class Followed:
    """`attempts --follow --json` as a process, and the lines that it has written."""

    def __init__(self, process: CommandProcess) -> None:
        self._process = process

    @property
    def error_lines(self) -> list[str]:
        return self._process.stderr().splitlines()

    @property
    def jobs(self) -> list[str]:
        """Return the jobs of the lines that are complete."""
        lines = [json.loads(line) for line in self._process.stdout().split("\n")[:-1]]
        return [line["job"] for line in lines if "job" in line]

    def end(self) -> tuple[int, list[str]]:
        """Interrupt it, and return its exit code and all its error lines."""
        self._process.signal(signal.SIGINT)
        ended = self._process.finish(10)
        return ended.returncode, ended.stderr.splitlines()


@contextmanager
def following(url: str) -> Iterator[Followed]:
    settings = {"REDIS_URL": url, "QUEUE_REDIS_RESPONSE_TIMEOUT_MS": "500"}
    arguments = ("attempts", "--follow", "--json", "--limit", "1")
    with CommandProcess(arguments, wiped_environment() | settings) as process:
        yield Followed(process)


def test_following_goes_on_over_a_restart_of_the_server() -> None:
    with RedisServer(appendonly=True, appendfsync="always") as server, stored_on(server) as store:
        write(store, SERVER_LIST, row(0))
        with following(server.url) as followed:
            eventually(lambda: followed.jobs == ["job-0"], 10, lambda: "".join(followed.error_lines))
            write(store, SERVER_LIST, row(1))
            eventually(lambda: followed.jobs == ["job-0", "job-1"], 10)
            server.kill()
            eventually(lambda: any("retrying" in line for line in followed.error_lines), 20)
            server.start()
            eventually(lambda: any("answers again" in line for line in followed.error_lines), 20)
            write(store, SOURCES[1], row(2), row(3))
            eventually(lambda: followed.jobs == ["job-0", "job-1", "job-2", "job-3"], 10)
            code, error_lines = followed.end()
            assert code == 1
            assert len([line for line in error_lines if "retrying" in line]) == 1
            assert "Traceback" not in "".join(error_lines)


def test_entry_that_comes_before_the_first_page_is_shown_once(store: RedisHistory) -> None:
    write(store, SERVER_LIST, row(1))
    follower = Follower(store, Criteria())
    up_to = follower.begin()
    write(store, SERVER_LIST, row(2))
    page = store.search(Criteria(), 10, None, lambda: False, up_to)
    assert [entry.row.job for entry in page.entries] == ["job-1"]
    assert [entry.row.job for entry in follower.new()] == ["job-2"]
    assert list(follower.new()) == []


def test_following_names_a_source_that_cannot_be_read_and_goes_on_with_it_later() -> None:
    with RedisServer() as server, stored_on(server) as store, server.client() as client:
        client.set(own_key(BASE, "attempts"), "mine")
        with following(server.url) as followed:
            eventually(lambda: any("cannot be read" in line for line in followed.error_lines), 10)
            write(store, SERVER_LIST, row(1))
            eventually(lambda: followed.jobs == ["job-1"], 10)
            client.delete(own_key(BASE, "attempts"))
            eventually(lambda: any("can be read again" in line for line in followed.error_lines), 10)
            write(store, BASE, row(2))
            eventually(lambda: followed.jobs == ["job-1", "job-2"], 10)
            _, error_lines = followed.end()
            assert len([line for line in error_lines if BASE in line]) == 2
