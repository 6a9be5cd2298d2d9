"""The attempt history of each driver passes the suite, and faults that only Redis has affect nothing else."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from sockudo_queue.config import HistorySettings, Settings
from sockudo_queue.drivers.factory import make_history
from sockudo_queue.drivers.redis.history import RedisHistory
from sockudo_queue.drivers.redis.link import Link
from sockudo_queue.drivers.redis.source import own_key
from sockudo_queue.drivers.ring_history import RingHistory
from sockudo_queue.errors import BrokerRefused, BrokerUnavailable
from sockudo_queue.history.entry import encode
from sockudo_queue.history.items import packed
from sockudo_queue.history.search import Criteria
from sockudo_queue.history.store import HistoryStore, OutOfMemory
from tests.drivers.history_conformance import LENGTH, HistoryConformance, find, jobs_in, row, write
from tests.drivers.redis_layouts import cluster_link
from tests.drivers.redis_lists import SOURCES, full, link_to
from tests.drivers.redis_v2 import BASE
from tests.helpers.redis_binaries import ServerKind
from tests.helpers.redis_cluster import RedisCluster
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

ALL = (BASE, *SOURCES)


class OnRedis:
    """A history on one server or a cluster, with every form of the queue beside it."""

    def __init__(self, link: Link, client: Any, source: str, cleanup: ExitStack) -> None:
        self.source = source
        self.client = client
        self._link = link
        cleanup.callback(link.close)

    def store(self, *, length: int = LENGTH, mode: str = "all") -> RedisHistory:
        return RedisHistory(self._link, ALL, length=length, mode=mode)

    def key(self, part: str = "attempts") -> str:
        return own_key(self.source, part)


def on_server(server: RedisServer, source: str, cleanup: ExitStack) -> OnRedis:
    client: Any = server.client()
    client.flushall()
    client.config_set("maxmemory", 0)
    return OnRedis(link_to(server.port), client, source, cleanup)


class TestLists(HistoryConformance):
    @pytest.fixture
    def history(self, any_redis: RedisServer, cleanup: ExitStack) -> OnRedis:
        return on_server(any_redis, SOURCES[0], cleanup)


class TestQueueV2(HistoryConformance):
    @pytest.fixture
    def history(self, redis_server: RedisServer, cleanup: ExitStack) -> OnRedis:
        return on_server(redis_server, BASE, cleanup)


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with RedisCluster(replicas=False) as started:
        yield started


class TestCluster(HistoryConformance):
    @pytest.fixture
    def history(self, cluster: RedisCluster, cleanup: ExitStack) -> OnRedis:
        client: Any = cluster.shared_client
        client.flushall()
        return OnRedis(cluster_link(cluster), client, SOURCES[1], cleanup)


class InProcess:
    """The ring of one daemon; another process has another one."""

    source = "queue"

    def __init__(self, driver: str) -> None:
        self._driver = driver

    def store(self, *, length: int = LENGTH, mode: str = "all") -> HistoryStore:
        settings = Settings(driver=self._driver, history=HistorySettings(mode=mode, length=length))
        store = make_history(settings)
        assert isinstance(store, RingHistory)
        return store


class TestMemory(HistoryConformance):
    @pytest.fixture(params=["memory", "sqs"])
    def history(self, request: pytest.FixtureRequest) -> InProcess:
        return InProcess(request.param)


@pytest.fixture
def history(any_redis: RedisServer, cleanup: ExitStack) -> OnRedis:
    return on_server(any_redis, SOURCES[0], cleanup)


def test_history_lies_in_the_slot_of_its_source_with_the_documented_names(history: OnRedis) -> None:
    for source in ALL:
        write(history.store(), source, row(1))
    keys = {key.decode() for key in history.client.keys("*")}
    assert keys == {own_key(source, part) for source in ALL for part in ("attempts", "attempts-figures")}
    assert f"sockudo-queue:{{{SOURCES[0]}}}:attempts" in keys
    assert not any(history.client.ttl(key) >= 0 for key in keys)


def test_replicas_share_the_history(history: OnRedis) -> None:
    one, two = history.store(), history.store()
    for number in range(10):
        write((one, two)[number % 2], history.source, row(number))
    assert jobs_in(find(one)) == jobs_in(find(two)) == [f"job-{number}" for number in reversed(range(10))]


def test_sources_are_searched_together_in_their_order(history: OnRedis) -> None:
    store = history.store()
    for number in range(12):
        write(store, ALL[number % 3], row(number))
        _wait_for_another_moment(history.client)
    assert jobs_in(find(store)) == [f"job-{number}" for number in reversed(range(12))]
    assert store.figures().entries == 12


def _wait_for_another_moment(client: Any) -> None:
    def now_ms() -> int:
        seconds, micros = client.time()
        return int(seconds * 1_000 + micros // 1_000)

    before = now_ms()
    eventually(lambda: now_ms() > before)


def modes_of(history: OnRedis) -> dict[str, tuple[int, int]]:
    return {each.mode: (each.since_ms // 1000, each.until_ms // 1000) for each in history.store().figures().modes}


def move_back(history: OnRedis, seconds: int) -> None:
    """Let all that was noted of modes be older."""
    for name, value in history.client.hgetall(history.key("attempts-figures")).items():
        if name.startswith((b"since-", b"seen-")):
            history.client.hset(history.key("attempts-figures"), name, int(value) - seconds)


def test_every_mode_that_was_used_is_named_with_its_time(history: OnRedis) -> None:
    write(history.store(mode="all"), history.source, row(1))
    move_back(history, 1_000)
    history.store(mode="all").note(history.source)
    [(since, until)] = modes_of(history).values()
    assert until - since >= 1_000  # a pause of all daemons begins no new period

    move_back(history, 1_000)
    history.store(mode="off").note(history.source)
    figures = history.store().figures()
    assert [each.mode for each in figures.modes] == ["off", "all"]
    assert figures.current_modes == ("off",)
    assert not figures.records_all

    move_back(history, 1_000)
    history.store(mode="all").note(history.source)
    since, until = modes_of(history)["all"]
    assert until - since < 10  # nothing was recorded in between


def test_modes_of_two_replicas_are_both_current(history: OnRedis) -> None:
    write(history.store(mode="all"), history.source, row(1))
    move_back(history, 100)
    for _ in range(2):
        for mode in ("failures", "all"):
            history.store(mode=mode).note(history.source)
    figures = history.store().figures()
    assert set(figures.current_modes) == {"all", "failures"}
    since, until = modes_of(history)["all"]
    assert until - since >= 100
    assert not figures.records_all


def test_daemon_that_records_nothing_removes_nothing(history: OnRedis) -> None:
    store = history.store()
    for number in range(20):
        write(store, history.source, row(number))
    history.store(length=1, mode="off").note(history.source)
    assert store.figures().entries == 20


def test_mode_is_not_noted_where_there_is_no_history(history: OnRedis) -> None:
    for mode in ("off", "all"):
        assert not history.store(mode=mode).note(history.source)
    assert history.client.keys("*") == []


def test_mode_is_noted_where_the_entries_have_gone(history: OnRedis) -> None:
    write(history.store(mode="all"), history.source, row(1))
    history.client.delete(history.key())
    history.store(mode="off").note(history.source)
    assert set(modes_of(history)) == {"all", "off"}
    assert not history.store().figures().records_all
    assert not history.client.exists(history.key())


def test_figures_that_are_gone_are_counted_anew_and_cost_no_entry(history: OnRedis) -> None:
    store = history.store(length=100_000)
    write(store, history.source, row(0), app="other")
    for number in range(3_000):
        write(store, history.source, row(number))
    before = store.figures().bytes
    history.client.delete(history.key("attempts-figures"))
    assert store.figures().complete_from_ms == store.figures().oldest_ms  # more is not known
    write(store, history.source, row(3_000), app="other")
    assert 1_000 <= store.figures().entries < 2_000  # in steps
    assert store.purge("other").entries == 2  # one that is counted already, and one that is not
    steps = 1
    while store.note(history.source):
        write(store, history.source, row(3_000 + steps))
        steps += 1
    assert 2 <= steps <= 4
    assert store.figures().entries == len(find(store).entries) == 3_000 + steps - 1
    assert store.figures().bytes == pytest.approx(before, rel=0.02)


def test_missing_stream_is_reported(history: OnRedis) -> None:
    store = history.store()
    write(store, history.source, row(1))
    history.client.delete(history.key())
    assert store.figures().complete_from_ms is not None
    write(store, history.source, row(2))
    figures = store.figures()
    assert (figures.entries, figures.complete_from_ms is not None) == (1, True)


def test_complete_is_only_what_every_source_still_has(history: OnRedis) -> None:
    """A busy source keeps less than a quiet one."""
    store = history.store(length=100)
    write(store, SOURCES[1], row(0))
    _wait_for_another_moment(history.client)
    for number in range(300):
        write(store, history.source, row(number))
    [first, *_] = history.client.xrange(history.key(), count=1)
    oldest_of_busy = int(first[0].partition(b"-")[0])
    figures = store.figures()
    assert figures.oldest_ms is not None
    assert figures.complete_from_ms is not None
    assert figures.oldest_ms < figures.complete_from_ms <= oldest_of_busy


def test_length_that_was_lowered_is_reached_in_small_steps(redis_server: RedisServer, cleanup: ExitStack) -> None:
    history = on_server(redis_server, SOURCES[0], cleanup)
    items = packed([("shop", encode(row(number))) for number in range(500)], "pod:1")
    large = history.store(length=1_000_000)
    for _ in range(300):  # 15 MB
        large.write(history.source, items, 0)
    small = history.store(length=100)
    assert small.write(history.source, packed([("shop", encode(row(1)))], "pod:1"), 0)
    steps, before = 1, large.figures().bytes
    while small.note(history.source):
        steps += 1
        after = large.figures().bytes
        assert before - after < 1_500_000
        before = after
    assert 3 < steps < 40
    assert jobs_in(find(small)) == ["job-1"]
    assert small.figures().entries == 1


@pytest.mark.parametrize(("share", "is_shortened"), [(0.99, True), (0.7, False)])
def test_history_gives_way_before_the_server_is_full(history: OnRedis, share: float, is_shortened: bool) -> None:
    store = history.store(length=100_000, mode="off")
    items = packed([("shop", encode(row(number))) for number in range(500)], "pod:1")
    for _ in range(60):
        store.write(history.source, items, 0)
    before = store.figures()
    history.client.config_set("maxmemory", round(int(history.client.info("memory")["used_memory"]) / share))
    store.give_way(history.source)
    after = store.figures()
    assert (after.entries < before.entries) == is_shortened
    assert after.entries > before.entries / 2
    assert (after.complete_from_ms is not None) == is_shortened
    assert len(find(store, 100_000).entries) == after.entries


@pytest.mark.parametrize("lost", ["attempts", "attempts-figures"])
def test_key_that_is_gone_costs_what_it_held(history: OnRedis, lost: str) -> None:
    store = history.store(length=100)
    for number in range(50):
        write(store, history.source, row(number))
    history.client.delete(history.key(lost))
    for number in range(50, 250):
        write(store, history.source, row(number))
    assert jobs_in(find(store))[0] == "job-249"
    assert len(find(store).entries) <= 100
    assert store.figures().entries <= 100


def test_full_server_stores_nothing_and_gets_memory_back(history: OnRedis) -> None:
    store = history.store(length=100_000)
    for number in range(400):
        write(store, history.source, *(row(number) for _ in range(10)))
    full(history.client)
    with pytest.raises(OutOfMemory):
        write(store, history.source, row(1_000))
    before = store.figures()
    for _ in range(3):
        store.make_room(history.source)
    after = store.figures()
    assert after.entries < before.entries / 4
    assert len(find(store).entries) == after.entries
    assert jobs_in(find(store))[0] == "job-399"
    history.client.config_set("maxmemory", 0)
    write(store, history.source, row(1_000))
    assert jobs_in(find(store))[0] == "job-1000"


def test_small_items_are_removed_in_several_calls(history: OnRedis) -> None:
    store = history.store(length=100_000)
    for _ in range(5):
        store.write(history.source, [b'["shop","pod:1"]\n' + encode(row(1))] * 1_000, 0)
    before, calls = store.figures(), calls_of_scripts(history)
    store.make_room(history.source)
    assert calls_of_scripts(history) - calls == 3
    assert before.entries / 2 - 2 <= store.figures().entries <= before.entries / 2


def calls_of_scripts(history: OnRedis) -> int:
    return int(history.client.info("commandstats")["cmdstat_evalsha"]["calls"])


def test_small_items_before_large_ones_are_read_within_the_bounds_of_a_reply(
    redis_server: RedisServer, cleanup: ExitStack
) -> None:
    history = on_server(redis_server, SOURCES[0], cleanup)
    store = history.store(length=1_000_000)
    events = ["channel_occupied", "x" * 200]
    items = packed([("shop", encode(row(number, events=events))) for number in range(1_000)], "pod:1")
    for _ in range(150):  # 45 MB, more than a reply may have
        store.write(history.source, items, 0)
    write(store, history.source, row(7_000))
    for number in range(200):
        write(store, history.source, row(10_000 + number, events=events * 2))
    assert jobs_in(find(store, job="job-7000")) == ["job-7000"]
    assert len(find(store, job="job-7").entries) == 150


def test_key_of_another_type_is_refused_and_the_others_are_searched(history: OnRedis) -> None:
    history.client.set(history.key(), "mine")
    store = history.store()
    write(store, SOURCES[1], row(1))
    with pytest.raises(BrokerRefused) as refused:
        write(store, history.source, row(2))
    assert not isinstance(refused.value, OutOfMemory)
    assert jobs_in(find(store)) == ["job-1"]
    assert len(store.figures().refused) == 1
    [refusal] = find(store).refused
    assert refusal.startswith(history.source)
    with pytest.raises(BrokerRefused):
        store.newest(history.source)
    assert history.client.get(history.key()) == b"mine"


@pytest.mark.parametrize("denied", ["xadd", "xrange", "xlen", "evalsha", "hset"])
def test_right_that_is_missing_is_a_refusal(history: OnRedis, denied: str) -> None:
    history.client.execute_command("ACL", "SETUSER", "poor", "reset", "on", ">pw", "~*", "+@all", f"-{denied}")
    link = link_to(int(history.client.connection_pool.connection_kwargs["port"]), username="poor", password="pw")
    store = RedisHistory(link, ALL, length=1, mode="all")
    if denied == "xrange":
        write(store, history.source, row(0))  # what is too old is looked at from here on
    with pytest.raises(BrokerRefused) as refused:
        write(store, history.source, row(1))
    assert not isinstance(refused.value, OutOfMemory)
    if denied != "evalsha":
        assert denied.upper() in store.refused_commands()
    link.close()


def test_server_that_cannot_save_is_no_refusal(history: OnRedis, any_redis: RedisServer) -> None:
    if any_redis.kind is ServerKind.REDIS_6_0:
        return  # it runs every script then
    history.client.config_set("min-replicas-to-write", 1)
    try:
        with pytest.raises(BrokerUnavailable):
            write(history.store(), history.source, row(1))
    finally:
        history.client.config_set("min-replicas-to-write", 0)


@pytest.mark.parametrize(
    "fields",
    [
        {"other": "x"},
        {"e": ""},
        {"e": b"\xff\xfe"},
        {"e": '["shop","pod"]\n[99999999999999999999]'},
        {"e": "x" * 200_000},
        {"a": "1", "b": "2", "c": "3"},
    ],
)
def test_foreign_item_does_not_end_a_search(history: OnRedis, fields: dict[str, Any]) -> None:
    store = history.store(length=100)
    write(store, history.source, row(1))
    history.client.xadd(history.key(), fields)
    write(store, history.source, row(2))
    assert [job for job in jobs_in(find(store)) if job.startswith("job-")] == ["job-2", "job-1"]
    assert store.purge("nobody").entries == 0
    for number in range(200):
        write(store, history.source, row(number))
    assert jobs_in(find(store))[0] == "job-199"
    assert history.client.xlen(history.key()) <= 101


@pytest.mark.parametrize(
    "figure", ["entries", "bytes", "gone", "counted", "since-all", "seen-all", "seen-off", "lost", "purged"]
)
@pytest.mark.parametrize("value", ["", "x", "-5", "9" * 15, "9" * 400, "1e300", "nan", b"\xff", "5-5", "5-" + "9" * 20])
def test_foreign_figure_does_not_end_an_answer(history: OnRedis, figure: str, value: str) -> None:
    store = history.store(length=100)
    write(store, history.source, row(1))
    history.client.hset(history.key("attempts-figures"), figure, value)
    store.figures()
    assert find(store).entries
    for number in range(2, 5):
        write(store, history.source, row(number), lost=1)
    assert jobs_in(find(store))[0] == "job-4"
    store.make_room(history.source)
    assert store.purge("shop").entries <= 4
    assert not find(store).entries
    assert store.figures().dropped >= 3


def test_new_items_are_given_once_and_in_their_order(history: OnRedis) -> None:
    store = history.store()
    write(store, history.source, row(1))
    cursor = store.newest(history.source)
    assert store.newest(SOURCES[1]) == "0-0"
    for number in range(120):
        write(store, history.source, row(number))
    read = list(store.after(history.source, cursor))
    assert sum(text.count(b"@") for _, text in read) == 120
    assert not list(store.after(history.source, read[-1][0]))


def test_search_goes_past_items_that_have_gone_meanwhile(history: OnRedis) -> None:
    store = history.store()
    for number in range(20):
        write(store, history.source, row(number))
    page = store.search(Criteria(), 5, None, lambda: False)
    history.client.xtrim(history.key(), maxlen=2, approximate=False)
    assert page.next is not None
    assert not find(store, 5, channel="room-3").entries


def test_purge_goes_past_a_key_of_another_type_and_names_it(history: OnRedis) -> None:
    store = history.store()
    history.client.set(own_key(BASE, "attempts"), "mine")
    write(store, history.source, row(1))
    write(store, SOURCES[1], row(2))
    removed, [refusal] = store.purge("shop")
    assert removed == 2
    assert refusal.startswith(BASE)


def test_refusal_in_the_middle_of_a_search_is_named(history: OnRedis) -> None:
    """For example, the server starts to run another client's script while the pages of a search are read."""
    store = history.store()
    for number in range(100):
        write(store, history.source, row(number))
    client, calls = history.client, 0

    def is_over() -> bool:
        nonlocal calls
        calls += 1
        if calls == 5:
            client.rename(history.key(), history.key("aside"))
            client.set(history.key(), "mine")
        return False

    page = store.search(Criteria(), 1_000, None, is_over)
    assert 0 < len(page.entries) < 100
    assert page.next is None
    assert [refusal.partition(": ")[0] for refusal in page.refused] == [history.source]


def test_search_up_to_an_item_finds_nothing_newer(history: OnRedis) -> None:
    store = history.store()
    write(store, history.source, row(1))
    up_to = {source: store.newest(source) for source in ALL}
    write(store, history.source, row(2))
    write(store, SOURCES[1], row(3))
    assert jobs_in(store.search(Criteria(), 10, None, lambda: False, up_to)) == ["job-1"]


def test_ring_counts_the_bytes_that_it_takes() -> None:
    ring = RingHistory(length=20_000, mode="all")
    tracemalloc.start()
    try:
        for number in range(10_000):
            write(ring, "queue", row(number))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert ring.figures().bytes == pytest.approx(taken, rel=0.1)
