"""`dead-letters` on a real Redis: listing, showing, replaying and purging."""

from __future__ import annotations

import hashlib
import json
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from sockudo_queue import cli
from sockudo_queue.commands.acted import acted_line, system_user
from sockudo_queue.commands.terminal import moment
from sockudo_queue.core import delivery_state
from sockudo_queue.core.delivery_state import DeliveryState
from sockudo_queue.drivers.base import DeadLetter, Settlement
from sockudo_queue.drivers.redis.source import own_key
from sockudo_queue.drivers.sqs.client import EntryFailed
from tests.drivers.conformance import take
from tests.drivers.redis_lists import SOURCES, RedisLists
from tests.helpers.commands import CommandProcess, Commands
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import wiped_environment
from tests.helpers.jobs import APP_ID, APP_SECRET, dumps, event, job
from tests.helpers.ports import free_port
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

SHOP: Final = app(
    webhook("http://127.0.0.1:9/?t=CANARY", name="orders"), webhook("http://127.0.0.1:9/", name="chat log")
)
HOSTILE: Final = "\u001b]0;owned\u0007\u009b31m\u202e"


@pytest.fixture
def lists(redis_server: RedisServer) -> Iterator[RedisLists]:
    with ExitStack() as cleanup:
        yield RedisLists(redis_server, cleanup)


@pytest.fixture
def run(lists: RedisLists, tmp_path: Path) -> Commands:
    return Commands(tmp_path, config(SHOP), {"REDIS_URL": lists.server.url})


def kill(lists: RedisLists, body: bytes, *states: DeliveryState) -> str:
    """Let a job die: as a whole with one state without a webhook, else one letter per state. Returns its id."""
    lists.push(body)
    driver = lists.driver()
    claim = take(driver)
    parts = tuple(DeadLetter(delivery_state.encode(state), state.reason or "") for state in states)
    assert driver.settle([Settlement(claim, parts, splits=states[0].webhook is not None)]) == [True]
    died = now_ms(lists)
    eventually(lambda: now_ms(lists) > died)  # jobs that die in the same millisecond are in no order
    return claim.id


def now_ms(lists: RedisLists) -> int:
    seconds, microseconds = lists.client.time()
    return int(seconds * 1000 + microseconds // 1000)


def exhausted(job_id: str = "j1", webhook_name: str = "orders", **fields: object) -> DeliveryState:
    given = {"attempts": 10, "last": "status-503", "reason": "exhausted", "budget_from": 1, "died": 2} | fields
    return DeliveryState(job=job_id, app=APP_ID, webhook=webhook_name, **given)  # type: ignore[arg-type]


def test_an_empty_queue_has_none(run: Commands) -> None:
    assert run("dead-letters", "list") == (0, "no dead letters\n", "")
    assert run("dead-letters", "list", "--json") == (0, "", "")
    assert run("dead-letters", "list", "--webhook", "x").out == "no dead letter matches\n"
    assert run("dead-letters", "replay", "--all").out == "replayed 0 dead letters\n"
    assert run("dead-letters", "purge", "--all").out == "purged 0 dead letters\n"


def test_the_list_names_what_a_person_needs(run: Commands, lists: RedisLists) -> None:
    first = kill(lists, job(1), exhausted())
    second = kill(lists, job(2), DeliveryState(job="j2", app=APP_ID, reason="unknown-app"))
    heading, one, two, summary = run("dead-letters", "list").out.splitlines()
    assert heading.split() == ["ID", "SINCE", "REASON", "LAST", "ATTEMPTS", "EVENTS", "APP", "WEBHOOK"]
    assert one.split()[0] == f"{first}.0"
    assert one.split()[4:] == ["exhausted", "status-503", "10", "1", APP_ID, "orders"]
    assert two.split()[0] == second
    assert "unknown-app" in two
    assert summary == "2 dead letters: 1 exhausted, 1 unknown-app"


def test_filters_choose(run: Commands, lists: RedisLists) -> None:
    kill(lists, job(1), exhausted(), exhausted(webhook_name="chat log", reason="refused"))
    kill(lists, b"rubbish", DeliveryState(job="x", reason="unreadable"))
    kill(lists, job(3, app_id="other"), DeliveryState(job="y", reason="worker-lost"))

    def chosen(*arguments: str) -> list[str]:
        return [line["reason"] for line in run("dead-letters", "list", "--json", *arguments).json_lines]

    assert chosen() == ["exhausted", "refused", "unreadable", "worker-lost"]
    assert chosen("--webhook", "orders") == ["exhausted"]
    assert chosen("--reason", "refused") == ["refused"]
    assert chosen("--app", APP_ID) == ["exhausted", "refused"]
    assert chosen("--app", "other") == ["worker-lost"]  # its state does not know the app; the job does
    assert chosen("--older-than", "1h") == []
    assert len(chosen("--newer-than", "1h")) == 4
    assert chosen("--limit", "1") == ["worker-lost"]
    lists.advance(7200)
    assert len(chosen("--older-than", "1h")) == 4
    assert run("dead-letters", "list", "--older-than", "soon").code == 2


def test_filters_that_leave_nothing_say_that_it_is_the_filters(run: Commands, lists: RedisLists) -> None:
    kill(lists, job(1), exhausted(), exhausted(webhook_name="chat log"))
    none = "no dead letter matches; without the filters there are 2\n"
    slip = ("--webhook", "order")
    assert run("dead-letters", "list", *slip).out == none
    assert run("dead-letters", "replay", *slip).out == f"replayed 0 dead letters\n{none}"
    assert run("dead-letters", "purge", "--yes", *slip).out == f"purged 0 dead letters\n{none}"
    assert run("dead-letters", "purge", "--yes", "--json", *slip).json == {"purged": 0, "gone": 0, "by": system_user()}


def test_a_long_list_shows_the_newest_and_counts_the_rest(run: Commands, lists: RedisLists) -> None:
    for number in range(5):
        kill(lists, job(number), exhausted(f"j{number}"))
    lines = run("dead-letters", "list", "--limit", "2").out.splitlines()
    assert lines[3] == "… and 3 older; --limit 0 shows all"
    assert lines[4] == "5 dead letters: 5 exhausted"
    assert len(run("dead-letters", "list", "--limit", "0").out.splitlines()) == 7


@pytest.mark.parametrize("limit", ["-1", "9" * 30, "x", "1.5", ""])
def test_invalid_limit_is_refused_in_one_line(run: Commands, limit: str) -> None:
    ran = run("dead-letters", "list", "--limit", limit)
    assert (ran.code, ran.out) == (2, "")
    assert "argument --limit" in ran.err


def test_one_is_shown_with_its_past_and_without_its_secret(run: Commands, lists: RedisLists) -> None:
    state = delivery_state.replayed(exhausted())
    again = exhausted(history=state.history, reason="refused", attempts=1, last="status-404")
    identity = kill(lists, job(1), again)
    shown = run("dead-letters", "show", f"{identity}.0").out
    assert "reason    refused" in shown
    assert "before    1970-01-01 00:00:00Z  exhausted after 10 attempts, the last: status-503; then replayed" in shown
    assert event(channel="room-1").decode() in shown
    assert hashlib.sha256(job(1)).hexdigest() in shown
    details = run("dead-letters", "show", f"{identity}.0", "--json").json
    assert details["history"] == [{"reason": "exhausted", "died_ms": 2, "attempts": 10, "last": "status-503"}]
    assert details["event_list"][0]["channel"] == "room-1"
    for output in (shown, str(details), run("dead-letters", "list").out):
        assert APP_SECRET not in output
        assert "CANARY" not in output


def test_a_job_is_found_by_the_id_that_receivers_see(run: Commands, lists: RedisLists) -> None:
    kill(lists, job(1), exhausted("seen"), exhausted("seen", "chat log"))
    assert [line["webhook"] for line in run("dead-letters", "show", "seen", "--json").json_lines] == [
        "orders",
        "chat log",
    ]
    missing = run("dead-letters", "show", "nowhere")
    assert missing.code == 1
    assert "nowhere" in missing.err


def test_an_unreadable_body_is_only_measured(run: Commands, lists: RedisLists, tmp_path: Path) -> None:
    body = b"\xff\x00 secret=CANARY \x1b[31m"
    identity = kill(lists, body, DeliveryState(job="x", reason="unreadable"))
    shown = run("dead-letters", "show", identity).out
    details = run("dead-letters", "show", identity, "--json").json
    for output in (shown, str(details)):
        assert "CANARY" not in output
        assert hashlib.sha256(body).hexdigest() in output
        assert "not valid UTF-8" in output
    assert f"{len(body)} bytes" in shown

    target = tmp_path / "body"
    assert run("dead-letters", "show", identity, "--raw", str(target)).code == 0
    assert target.read_bytes() == body
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    again = run("dead-letters", "show", identity, "--raw", str(target))
    assert (again.code, again.out) == (2, "")
    assert "File exists" in again.err


def test_nothing_of_a_job_reaches_the_terminal_as_a_command(run: Commands, lists: RedisLists) -> None:
    hostile = job(1, app_id=HOSTILE, key=HOSTILE, events=[dumps({"name": "x" + HOSTILE[4:], "channel": HOSTILE[4:]})])
    identity = kill(
        lists, hostile, DeliveryState(job=HOSTILE, app=HOSTILE, webhook=HOSTILE, reason=HOSTILE, last=HOSTILE)
    )
    for output in (
        run("dead-letters", "list"),
        run("dead-letters", "show", f"{identity}.0"),
        run("dead-letters", "show", HOSTILE + "?"),
        run("dead-letters", "replay", "--all"),
        run("dead-letters", "purge", "--all"),
    ):
        assert all(character.isprintable() for line in output for character in str(line).replace("\n", "")), output


def test_a_replay_takes_what_is_owed_back_to_work(run: Commands, lists: RedisLists) -> None:
    identity = kill(lists, job(1), exhausted(), exhausted(webhook_name="chat log"))
    ran = run("dead-letters", "replay", f"{identity}.1")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("replayed 1 dead letter in ")
    claim = take(lists.driver())
    state = delivery_state.decode(claim.state)
    assert (claim.id, claim.body) == (f"{identity}.1", job(1))
    assert (state.job, state.webhook, state.attempts, state.budget_from) == ("j1", "chat log", 0, None)
    assert state.history == (delivery_state.EarlierFailure("exhausted", 2, 10, "status-503"),)
    assert len(run("dead-letters", "list", "--json").json_lines) == 1


def test_replay_requires_a_selection(run: Commands, lists: RedisLists) -> None:
    kill(lists, job(1), exhausted())
    for verb in ("replay", "purge"):
        for arguments in ([], ["j1", "--all"]):
            refused = run("dead-letters", verb, *arguments)
            assert (refused.code, refused.out) == (1, "")
            assert "--all" in refused.err
    assert len(run("dead-letters", "list", "--json").json_lines) == 1


def test_a_replay_by_filter_leaves_the_others(run: Commands, lists: RedisLists) -> None:
    for number in range(25):
        kill(lists, job(number), exhausted(f"j{number}"), exhausted(f"j{number}", "chat log"))
    assert run("dead-letters", "replay", "--webhook", "orders", "--dry-run").out == "would replay 25 dead letters\n"
    ran = run("dead-letters", "replay", "--webhook", "orders", "--json")
    assert ran.json["replayed"] == 25
    assert {line["webhook"] for line in run("dead-letters", "list", "--json").json_lines} == {"chat log"}
    assert lists.driver().depth()["delayed"] == 25


def test_dead_letters_that_would_fail_again_are_kept_and_reported(run: Commands, lists: RedisLists) -> None:
    kill(lists, b"rubbish", DeliveryState(job="x", reason="unreadable"))
    kill(lists, job(1), exhausted(webhook_name="old name"))
    newer = kill(lists, job(2), exhausted())
    lists.client.hset(own_key(SOURCES[0], "records"), f"{newer}.0", b'\x01{"v":99}\n' + job(2))
    ran = run("dead-letters", "replay", "--all")
    assert ran.out.startswith("replayed 0 dead letters\n")
    assert "unreadable" in ran.out
    assert (
        f"app {APP_ID} no longer has a webhook old name; use --to NAME to send them to one of: orders, chat log"
        in ran.out
    )
    assert "newer version" in ran.out
    assert run("dead-letters", "replay", "--webhook", "old name", "--to", "orders", "--json").json["replayed"] == 1
    assert delivery_state.decode(take(lists.driver()).state).webhook == "orders"
    assert run("dead-letters", "replay", "--reason", "unreadable", "--json").json["replayed"] == 1


def test_what_is_owed_to_an_invalid_webhook_is_left_and_its_reason_is_shown(lists: RedisLists, tmp_path: Path) -> None:
    broken = webhook("http://127.0.0.1:9/?t=CANARY", name="orders", request_timeout_ms=0)
    file = config(app(broken, webhook("http://127.0.0.1:9/", name="chat log")))
    run = Commands(tmp_path, file, {"REDIS_URL": lists.server.url})
    kill(lists, job(1), exhausted(reason="webhook-invalid"), exhausted(webhook_name="chat log"))

    ran = run("dead-letters", "replay", "--all")
    assert ran.out.splitlines()[0].startswith("replayed 1 dead letter in ")
    assert f"skipped 1: webhook orders of app {APP_ID} is invalid; correct it, or use --to NAME to send them" in ran.out
    assert "request_timeout_ms must be at least 1" in ran.out
    assert "CANARY" not in ran.out + ran.err
    assert "skipped" not in run("dead-letters", "replay", "--all", "--to", "chat log").out

    code, _, error = run("send-test", APP_ID, "--webhook", "orders")
    assert code == 2
    assert f"webhook orders of app '{APP_ID}' is invalid: request_timeout_ms must be at least 1" in error


def test_replay_of_a_missing_dead_letter_exits_with_1(run: Commands) -> None:
    assert run("dead-letters", "replay", "nowhere").code == 1
    assert run("dead-letters", "purge", "nowhere", "--yes").code == 1


@pytest.mark.parametrize("verb", [["replay"], ["purge", "--yes"]])
def test_an_id_that_is_not_there_is_named(run: Commands, lists: RedisLists, verb: list[str]) -> None:
    letter = f"{kill(lists, job(1), exhausted())}.0"
    ran = run("dead-letters", *verb, letter, "nowhere")
    assert ran.code == 1  # not all was done
    assert "nowhere" in ran.err
    assert letter not in ran.err
    assert lists.driver().depth()["dead-letter"] == 0


def test_a_low_rate_holds_from_the_first_letter_on(run: Commands, lists: RedisLists) -> None:
    for number in range(3):
        kill(lists, job(number), exhausted(f"j{number}"))
    started = time.monotonic()
    assert run("dead-letters", "replay", "--all", "--rate", "4", "--json").json["replayed"] == 3
    one_by_one = time.monotonic()
    kill(lists, job(4), exhausted("j4"))
    kill(lists, job(5), exhausted("j5"))
    assert run("dead-letters", "replay", "--all", "--rate", "1", "--json").json["replayed"] == 2
    assert time.monotonic() - one_by_one > 0.9
    assert one_by_one - started < 20
    assert run("dead-letters", "replay", "--all", "--rate", "1e-300").code == 2


def test_a_replay_at_a_rate_takes_its_time(run: Commands, lists: RedisLists) -> None:
    for number in range(30):
        kill(lists, job(number), exhausted(f"j{number}"))
    started = time.monotonic()
    assert run("dead-letters", "replay", "--all", "--rate", "50", "--json").json["replayed"] == 30
    assert 0.35 < time.monotonic() - started < 5
    assert run("dead-letters", "replay", "--all", "--rate", "0").code == 2


def test_two_replays_at_once_double_nothing(run: Commands, lists: RedisLists) -> None:
    for number in range(60):
        kill(lists, job(number), exhausted(f"j{number}"))
    environment = wiped_environment() | run.environment | {"QUEUE_CONFIG_FILE": str(run.config_path)}
    command = ("dead-letters", "replay", "--all", "--json")
    with CommandProcess(command, environment) as first, CommandProcess(command, environment) as second:
        reports = [json.loads(each.finish(30).stdout) for each in (first, second)]
    assert sum(each["replayed"] for each in reports) == 60
    assert lists.driver().depth()["delayed"] == 60


def test_a_purge_asks_and_removes_what_was_counted(run: Commands, lists: RedisLists) -> None:
    kill(lists, job(1), exhausted(), exhausted(webhook_name="chat log"))
    refused = run("dead-letters", "purge", "--webhook", "orders")
    assert (refused.code, refused.out) == (1, "")
    assert "1 dead letter (1 exhausted)" in refused.err
    assert (
        run("dead-letters", "purge", "--webhook", "orders", "--yes").out
        == f"purged 1 dead letter\n{acted_line(action='purge', by=system_user(), count=1)}\n"
    )
    assert run("dead-letters", "purge", "--all", "--yes", "--json").json == {
        "purged": 1,
        "gone": 0,
        "by": system_user(),
    }
    assert lists.is_empty()


@pytest.mark.parametrize("driver", ["memory", "none"])
def test_driver_without_reachable_dead_letters_is_reported(tmp_path: Path, driver: str) -> None:
    run = Commands(tmp_path, config(SHOP), {"QUEUE_DRIVER": driver, "QUEUE_METRICS_PORT": "9777"})
    for arguments in (["list"], ["show", "x"], ["replay", "--all"], ["purge", "--all", "--yes"]):
        ran = run("dead-letters", *arguments)
        assert (ran.code, ran.out) == (1, "")
        assert ("http://127.0.0.1:9777/" in ran.err) == (driver == "memory")


def test_a_broker_that_is_away_is_one_line(tmp_path: Path) -> None:
    run = Commands(tmp_path, config(SHOP), {"REDIS_URL": f"redis://:CANARY@127.0.0.1:{free_port()}/0"})
    for arguments in (["list"], ["show", "x"], ["replay", "x"], ["replay", "--all"], ["purge", "--all", "--yes"]):
        ran = run("dead-letters", *arguments)
        assert ran.code == 3
        assert len(ran.err.splitlines()) == 1
        assert ran.err.startswith("sockudo-queue: the queue server: ")
        assert "CANARY" not in ran.err


@pytest.mark.parametrize("passing", [True, False])
def test_a_fault_that_names_sqs_is_not_put_down_to_a_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, passing: bool
) -> None:
    error = EntryFailed("InternalError" if passing else "InvalidId", sender_fault=not passing).error

    def answer(_: object) -> int:
        raise error

    monkeypatch.setattr(cli, "_answer", answer)
    assert cli.run([]) == 3
    assert capsys.readouterr().err == f"sockudo-queue: {error}\n"


def test_a_broker_that_is_frozen_is_one_line(tmp_path: Path) -> None:
    with RedisServer() as server:
        environment = {"REDIS_URL": server.url, "QUEUE_REDIS_RESPONSE_TIMEOUT_MS": "200"}
        run = Commands(tmp_path, config(SHOP), environment)
        server.pause()
        ran = run("dead-letters", "list")
    assert ran == (3, "", "sockudo-queue: the queue server: the server did not answer in time\n")


def test_event_is_shown_unchanged_even_with_numbers_python_cannot_parse(run: Commands, lists: RedisLists) -> None:
    digits = "1" * 5000
    body = job(1, events=[event("channel_occupied", "room-1")]).replace(
        b'"room-1"', f'"rö\u202e-1",\n "n":{digits}'.encode()
    )
    kill(lists, body, exhausted())
    ran = run("dead-letters", "show", "j1", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.removesuffix("\n").isprintable()
    assert f'"n":{digits}' in ran.out
    (shown,) = json.loads(ran.out, parse_int=str)["event_list"]
    assert shown["channel"] == "rö\u202e-1"


def test_invalid_members_among_dead_letters_stop_no_command(run: Commands, lists: RedisLists) -> None:
    kill(lists, job(1), exhausted())
    source = SOURCES[0]
    for number, score in enumerate(("inf", "1.5", "1e20")):
        member = b"\xff\x1b[31m%d/1" % number
        lists.client.hset(own_key(source, "records"), member.rpartition(b"/")[0], job(2))
        lists.client.zadd(own_key(source, "dead"), {member: float(score)})
    for command in (["list"], ["list", "--json"], ["show", "j1"]):
        ran = run("dead-letters", *command)
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.replace("\n", "").isprintable()
    assert run("stats").code == 0
    assert "4 dead letters" in run("dead-letters", "purge", "--all", "--yes").out
    assert run("dead-letters", "list").out == "no dead letters\n"


@pytest.mark.parametrize("milliseconds", [10**30, -(10**30)])
def test_a_number_that_is_no_time_is_shown_as_it_is(milliseconds: int) -> None:
    assert moment(milliseconds) == f"{milliseconds} ms"
