"""Data stored by an earlier version is read and delivered, and its counts continue: see tests/data/stored."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from sockudo_queue.core import delivery_state
from tests.helpers.commands import Commands
from tests.helpers.configs import app, config
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import APP_ID, APP_KEY, APP_SECRET
from tests.helpers.receiver import Answer, Receiver
from tests.helpers.redis_cluster import RedisCluster
from tests.helpers.redis_server import RedisServer
from tests.helpers.sqs_server import SqsServer, unused_name
from tests.helpers.stored_data import Kept, Snapshot, aged
from tests.helpers.stored_jobs import (
    EVENT_TYPES,
    LATER_APP,
    NEVER_APP,
    NOT_TEXT,
    NOT_TEXT_AGAIN,
    case_of,
    hook,
    sent_to,
)
from tests.helpers.stored_queues import StoredLists, StoredQueue, StoredSqs, StoredV2
from tests.helpers.waiting import eventually

Attempts = Mapping[tuple[str, str], int]

# By job and webhook: the attempt that is next.
OWED: Final[Attempts] = {
    ("untouched", "orders"): 1,
    ("untouched", "audit"): 1,
    ("untouched-too", "audit"): 1,
    ("last", "orders"): 1,
    ("last-too", "audit"): 1,
    ("moved", "orders"): 1,
    ("moved", "audit"): 1,
    ("moved-too", "orders"): 1,
    ("lapsed", "orders"): 1,
    ("tried-once", "orders"): 2,
    ("tried-thrice", "audit"): 4,
    ("put-back", "orders"): 2,
    ("put-back-whole", "audit"): 1,
    ("put-off", "stalled"): 1,
    ("promised", "stalled"): 1,
    ("unknown-yet", "orders"): 1,
    ("unknown-yet", "audit"): 1,
    ("replayed", "orders"): 1,
}
# By job and webhook: why it died, after how many attempts, what the last came to, and its deaths before.
DEAD: Final[Mapping[tuple[str, str | None], tuple[str, int, str | None, Sequence[tuple[str, int, str | None]]]]] = {
    ("exhausted", "orders"): ("exhausted", 3, "status-503", ()),
    ("timed-out", "down"): ("exhausted", 2, "read-timeout", ()),
    ("died-twice", "orders"): ("exhausted", 3, "status-500", [("refused", 1, "status-404")]),
    ("refused", "orders"): ("refused", 1, "status-404", ()),
    ("both-refused", "orders"): ("refused", 1, "status-404", ()),
    ("both-refused", "audit"): ("refused", 1, "status-400", ()),
    ("gone", "stalled"): ("refused", 1, "status-410", ()),
    ("gone-too", "stalled"): ("refused", 1, "status-410", ()),
    ("endpoint-down", "down"): ("endpoint-down", 0, None, ()),
    ("removed", "removed"): ("webhook-removed", 1, "status-500", ()),
    ("nowhere", None): ("unknown-app", 1, None, ()),
    ("lost-whole", None): ("worker-lost", 0, None, ()),
    ("lost-share", "audit"): ("worker-lost", 1, "status-500", ()),
}
# Whom the jobs are owed to that died whole, before a share was made.
WHOLE: Final = {"nowhere": ("orders", "audit"), "lost-whole": ("orders",)}
UNREADABLE: Final = ("unreadable", 0, None)

# A state's fields in the order in which they are written. What is nothing is left out.
FIELDS: Final = ("job", "app", "webhook", "attempts", "budget_from", "reserved", "guesses", "last", "history", "v")
FAIL_AGAIN: Final = ("tried-once", "tried-thrice", "put-back", "put-off", "promised")
LONG_RETRY: Final = {"initial_backoff_ms": 40_000, "max_backoff_ms": 40_000}
# No attempt is slow, so that nothing is put off on a busy machine and the ends of claims can be counted.
SETTINGS: Final = {"QUEUE_DELIVERY_SLOW_MS": "60000"}


class Reading:
    """The data of one layout in a real server, a receiver, and the daemon and the commands of this version."""

    def __init__(self, layout: str, queue: StoredQueue, receiver: Receiver, directory: Path) -> None:
        self.queue = queue
        self.receiver = receiver
        self.stored = Snapshot.loaded(layout)
        self.moved_ms = queue.load(self.stored)
        hooks = [hook(name, receiver.url(f"/{name}"), LONG_RETRY) for name in EVENT_TYPES]
        self._config = config(*(app(*hooks, app_id=each) for each in (APP_ID, LATER_APP, NEVER_APP)), **queue.sections)
        self.run = Commands(directory, self._config, queue.environment)

    def serve(self, settled: Mapping[str, int]) -> Snapshot:
        """Run a daemon until as many claims have ended in each of these ways, and return what it leaves behind."""
        with DaemonProcess(self._config, {**self.queue.environment, **SETTINGS}) as daemon:
            daemon.wait_ready(self.queue.ready_seconds)

            def ended() -> dict[str, float]:
                return {each: daemon.metric("sockudo_queue_settlements_total", outcome=each) for each in settled}

            eventually(lambda: ended() == settled, 20, lambda: f"{ended()}\n{daemon.output()}")
            if self.queue.outlives_its_clients:
                daemon.terminate()
                assert daemon.wait() == 0, daemon.output()
        return self.queue.dump()

    def attempts(self) -> dict[tuple[str, str], int]:
        """Return what came, by job and webhook; each must have come once, with its own bytes, signed."""
        requests = self.receiver.requests
        came = {(case_of(each.body), each.headers["x-sockudo-webhook"]): each for each in requests}
        assert len(came) == len(requests), Counter(case_of(each.body) for each in requests)
        for (case, webhook), request in came.items():
            assert request.path == f"/{webhook}"
            assert request.body == sent_to(webhook, case)
            signature = hmac.new(APP_SECRET.encode(), request.body, hashlib.sha256).hexdigest()
            signed = (request.headers["x-pusher-key"], request.headers["x-pusher-signature"])
            assert signed == (APP_KEY, signature)
        return {key: int(request.headers["x-sockudo-attempt"]) for key, request in came.items()}

    def ids(self) -> dict[str, str]:
        """Return the ids of the jobs that came, which are the same for all webhooks of a job."""
        pairs = {(case_of(each.body), each.headers["x-sockudo-job-id"]) for each in self.receiver.requests}
        ids = dict(pairs)
        assert len(ids) == len(set(ids.values())) == len(pairs)
        assert all(ids.values())
        return ids


class StoredData:
    """What every layout keeps."""

    layout: str

    @pytest.fixture
    def reading(self, queue: StoredQueue, receiver: Receiver, tmp_path: Path) -> Iterator[Reading]:
        yield Reading(self.layout, queue, receiver, tmp_path)
        queue.close()

    def test_a_state_is_written_as_it_was(self) -> None:
        states = [kept.state for kept in Snapshot.loaded(self.layout).records() if kept.state]
        assert len(states) > len(DEAD)
        for state in states:
            assert delivery_state.encode(delivery_state.decode(state)) == state

    def test_what_is_owed_is_delivered_once_and_dead_letters_stay(self, reading: Reading) -> None:
        left = reading.serve({"completed": len({case for case, _ in OWED}), "dead-letter": 1})
        assert reading.attempts() == OWED
        stored_ids = {kept.case: kept.job for kept in reading.stored.owed() if kept.job and kept.case}
        assert stored_ids.items() <= reading.ids().items()
        assert left.owed() == []
        check_dead_letters(left, reading.stored.letters())

    def test_dead_letters_are_named_and_delivered_by_a_replay(self, reading: Reading) -> None:
        letters = {letter.id: letter for letter in reading.stored.letters()}
        listed = reading.run("dead-letters", "list", "--json").json_lines
        assert sorted(letters) == sorted(each["id"] for each in listed)
        for each in listed:
            check_named(letters[each["id"]], each)
        for letter in (each for each in letters.values() if each.case == "died-twice" or each.body == NOT_TEXT):
            [shown] = reading.run("dead-letters", "show", letter.id, "--json").json_lines
            check_named(letter, shown)
            *_, before = expected_of(letter)
            assert [(death["reason"], death["attempts"], death["last"]) for death in shown["history"]] == list(before)
            assert shown["sha256"] == hashlib.sha256(letter.body).hexdigest()

        ran = reading.run("dead-letters", "replay", "--all", "--json")
        assert (ran.code, ran.json["replayed"]) == (0, len(DEAD)), ran
        jobs = len({case for case, _ in OWED}) + len(DEAD)
        left = reading.serve({"completed": jobs, "dead-letter": 1})

        again = {(case, each): 1 for case, webhook in DEAD for each in ([webhook] if webhook else WHOLE[case])}
        assert reading.attempts() == {**OWED, **again}
        assert {letter.case: letter.job for letter in letters.values() if letter.case}.items() <= reading.ids().items()
        assert left.owed() == []
        check_dead_letters(left, [letter for letter in letters.values() if not letter.case])

    def test_a_record_that_fails_again_is_counted_on(self, reading: Reading) -> None:
        answers = {"untouched-too": 500, "moved-too": 404} | dict.fromkeys(FAIL_AGAIN, 503)
        reading.receiver.answer(lambda request, _nth: Answer(answers.get(case_of(request.body), 200)))
        failed = len(FAIL_AGAIN) + 1
        jobs = len({case for case, _ in OWED})
        left = reading.serve({"completed": jobs - failed - 1, "retry": failed, "dead-letter": 2})

        assert reading.attempts() == OWED
        before = {kept.case: kept for kept in reading.stored.owed()}
        after = {kept.case: kept for kept in left.owed()}
        assert set(after) == {*FAIL_AGAIN, "untouched-too"}
        for case in FAIL_AGAIN:
            known = Kept("", "", aged(before[case].state, reading.moved_ms), b"").fields
            known |= {"attempts": known.get("attempts", 0) + 1, "last": "status-503"}
            assert without_tries(after[case].state) == written({**known, "reserved": None, "guesses": None})
            assert [reason for _, reason, _ in after[case].fields["tries"]] == ["status-503"]
            assert (after[case].id, after[case].body) == (before[case].id, before[case].body)
        tried = like(before["tried-once"].state).replace(b'"webhook":"orders"', b'"webhook":"audit"')
        assert like(without_tries(after["untouched-too"].state)) == tried
        assert after["untouched-too"].body == before["untouched-too"].body
        refused = {letter.case: letter for letter in left.letters()}
        assert like(without_tries(refused["moved-too"].state)) == like(refused["refused"].state)
        assert refused["moved-too"].body == before["moved-too"].body


def without_tries(state: bytes) -> bytes:
    """Return a state as a version wrote it that did not keep each try."""
    return re.sub(rb',"tries":\[\[.*?\]\]', b"", state)


def check_dead_letters(left: Snapshot, stored: Sequence[Kept]) -> None:
    """Letters stay byte for byte; the only new one is what was replayed although nothing can read it."""
    letters = {letter.id: letter for letter in left.letters()}
    for letter in stored:
        assert letters.pop(letter.id) == letter
    [again] = letters.values()
    assert again.body == NOT_TEXT_AGAIN
    assert again.fields["reason"] == "unreadable"
    assert [death["reason"] for death in again.fields["history"]] == ["unreadable"]


def expected_of(letter: Kept) -> tuple[str, int, str | None, Sequence[tuple[str, int, str | None]]]:
    return DEAD[letter.case, letter.webhook] if letter.case else (*UNREADABLE, ())


def check_named(letter: Kept, named: Mapping[str, Any]) -> None:
    reason, attempts, last, before = expected_of(letter)
    given = tuple(named[name] for name in ("webhook", "reason", "attempts", "last", "replays", "job"))
    assert given == (letter.webhook, reason, attempts, last, len(before), letter.job)


def written(fields: Mapping[str, Any]) -> bytes:
    """Return the bytes of a state."""
    given = {name: fields[name] for name in FIELDS if fields.get(name) is not None}
    return json.dumps(given, separators=(",", ":")).encode()


def like(state: bytes) -> bytes:
    """Return a state without what differs from one job to the next: its id and moments."""
    return re.sub(rb"\b\d{13}\b", b"MOMENT", re.sub(rb'"job":"[^"]+"', b'"job":"ID"', state))


class TestLists(StoredData):
    layout = "lists"

    @pytest.fixture
    def queue(self, redis_server: RedisServer) -> StoredLists:
        return StoredLists(redis_server.client(), {"REDIS_URL": redis_server.url})


class TestV2(StoredData):
    layout = "v2"

    @pytest.fixture
    def queue(self, redis_server: RedisServer) -> StoredV2:
        return StoredV2(redis_server.client(), {"REDIS_URL": redis_server.url})


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with RedisCluster(replicas=False) as started:
        yield started


def on_cluster(cluster: RedisCluster) -> tuple[Any, Mapping[str, str]]:
    """Return a client to the emptied cluster, and the settings of a daemon on it."""
    client = cluster.client()
    client.flushall()
    return client, {"QUEUE_DRIVER": "redis-cluster", "REDIS_CLUSTER_NODES": cluster.addresses}


class TestClusterLists(StoredData):
    layout = "cluster-lists"

    @pytest.fixture
    def queue(self, cluster: RedisCluster) -> StoredLists:
        return StoredLists(*on_cluster(cluster))


class TestClusterV2(StoredData):
    layout = "cluster-v2"

    @pytest.fixture
    def queue(self, cluster: RedisCluster) -> StoredV2:
        return StoredV2(*on_cluster(cluster))


class TestSqs(StoredData):
    layout = "sqs"

    @pytest.fixture
    def queue(self, sqs_server: SqsServer) -> StoredSqs:
        return StoredSqs(sqs_server, unused_name())
