"""The decisions of operators on Redis, as commands and daemons share them."""

from __future__ import annotations

import itertools
import time
from contextlib import ExitStack

import pytest

from sockudo_queue.core.controls import ControlState, WebhookKey
from sockudo_queue.drivers.base import Hold, RecordAudit, Retry
from sockudo_queue.drivers.redis import controls as module
from sockudo_queue.drivers.redis.controls import RedisControls
from sockudo_queue.drivers.redis.held import MAX_DUE, PLACE_WIDTH, PLACES, place_of, places_of
from sockudo_queue.drivers.redis.link import Link
from sockudo_queue.drivers.redis.source import own_key
from sockudo_queue.errors import BrokerRefused, BrokerUnavailable
from tests.drivers.conformance import settle, take_all
from tests.drivers.parking import ORDERS, count_held, hold
from tests.drivers.redis_lists import PREFIX, SOURCES, RedisLists, full, link_to
from tests.helpers.jobs import jobs
from tests.helpers.ports import free_port

MAIL = WebhookKey("shop", "mail")
FIRST_TWIN, SECOND_TWIN = WebhookKey("shop", "hook-922"), WebhookKey("shop", "hook-1172")
"""Their hashes have 20 bits in common."""
ODD = WebhookKey('a:"[\n\x00', "é {x}\u2028")


@pytest.fixture
def link(lists: RedisLists, cleanup: ExitStack) -> Link:
    made = link_to(lists.server.port)
    cleanup.callback(made.close)
    return made


@pytest.fixture
def controls(link: Link) -> RedisControls:
    return RedisControls(link, PREFIX)


def test_nothing_is_paused_where_nothing_was_done(controls: RedisControls) -> None:
    assert controls.version() == b""
    assert controls.read() == ControlState()
    assert not controls.resume(ORDERS, "ann")
    assert controls.version() == b""


def test_pause_is_there_for_others_until_the_resume(controls: RedisControls, link: Link) -> None:
    other = RedisControls(link, PREFIX)

    assert controls.pause(ORDERS, "ann@host")
    assert controls.pause(ODD, "x" * 1000 + "\n")
    assert not other.pause(ORDERS, "bob"), "the one who did it first stays"

    pauses = other.read().pauses
    assert set(pauses) == {ORDERS, ODD}
    assert pauses[ORDERS].by == "ann@host"
    assert pauses[ODD].by == "x" * 100
    assert other.resume(ORDERS, "bob")
    assert not controls.resume(ORDERS, "ann")
    assert set(controls.read().pauses) == {ODD}


def test_each_change_has_a_version_of_its_own(controls: RedisControls) -> None:
    versions = [controls.version()]
    for change in (controls.pause, controls.try_now, controls.try_now, controls.resume, controls.pause):
        change(ORDERS, "ann")
        versions.append(controls.version())
    assert len(set(versions)) == len(versions)
    controls.pause(ORDERS, "ann")
    assert controls.version() == versions[-1]


def test_prefixes_do_not_share_their_pauses(controls: RedisControls, link: Link) -> None:
    controls.pause(ORDERS, "ann")
    assert RedisControls(link, "other:").read() == ControlState()


def test_old_tries_go_and_later_ones_stay(controls: RedisControls, lists: RedisLists) -> None:
    controls.try_now(ORDERS, "ann")
    [field] = [field for field in lists.client.hkeys(controls.key) if field.startswith(b"try:")]
    before = controls.read().tries[ORDERS]
    controls.try_now(ORDERS, "ann")
    assert controls.read().tries[ORDERS] >= before
    lists.client.hset(controls.key, field, f"{before - module.TRY_KEPT_MS - 60_000} ann")
    controls.pause(MAIL, "ann")
    assert controls.read().tries == {}


def test_number_of_paused_webhooks_is_limited(controls: RedisControls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FIELDS", 3)
    for number in range(3):
        controls.pause(WebhookKey("shop", f"hook-{number}"), "ann")
    with pytest.raises(BrokerRefused, match="which is the maximum"):
        controls.pause(MAIL, "ann")
    assert not controls.pause(WebhookKey("shop", "hook-0"), "ann")
    assert controls.resume(WebhookKey("shop", "hook-0"), "ann")
    assert controls.pause(MAIL, "ann")


def test_tries_do_not_use_up_the_pauses_and_the_oldest_go(
    controls: RedisControls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_FIELDS", 3)
    tried = [WebhookKey("shop", f"hook-{number}") for number in range(5)]
    for webhook in tried:
        controls.try_now(webhook, "ann")
        time.sleep(0.002)  # tries of one millisecond have no order
    assert set(controls.read().tries) == set(tried[2:])
    for webhook in tried[:3]:
        assert controls.pause(webhook, "ann")
    assert controls.try_now(tried[0], "ann")
    assert set(controls.read().pauses) == set(tried[:3])


def test_fields_of_others_do_not_hide_pauses(controls: RedisControls, lists: RedisLists) -> None:
    lists.client.hset(controls.key, mapping={f"junk:{number}": "1 x" * 30 for number in range(10_000)})
    assert controls.pause(ORDERS, "ann")
    assert set(controls.read().pauses) == {ORDERS}


def test_too_many_pauses_are_refused(
    controls: RedisControls, lists: RedisLists, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists.client.hset(controls.key, mapping={f'pause:["shop","hook-{number}"]': "1 x" for number in range(7)})
    monkeypatch.setattr(module, "MAX_FIELDS", 3)
    with pytest.raises(BrokerRefused, match="more than 6 fields pause:"):
        controls.read()


def test_many_are_read_page_by_page(controls: RedisControls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 10)
    webhooks = {WebhookKey("shop", f"hook-{number}-{'x' * 60}") for number in range(600)}
    for webhook in webhooks:
        controls.pause(webhook, "ann")
    assert set(controls.read().pauses) == webhooks


def test_foreign_fields_are_skipped(controls: RedisControls, lists: RedisLists) -> None:
    controls.pause(ORDERS, "ann")
    odd = {
        b"pause:": b"1 x",
        b"pause:[]": b"1 x",
        b'pause:["a"]': b"1 x",
        b'pause:["a","b","c"]': b"1 x",
        b'pause:["a","b"]': b"-1 x",
        b'pause:["a","c"]': b"9" * 40,
        b'later:["a","b"]': b"1 x",
        b"\xff": b"\xff",
        b'pause:["a","d"]': b"17 \xff",
    }
    lists.client.hset(controls.key, mapping=odd)
    pauses = controls.read().pauses
    assert set(pauses) == {ORDERS, WebhookKey("a", "d")}
    assert pauses[WebhookKey("a", "d")].since_ms == 17


def test_full_server_lets_a_webhook_be_resumed(controls: RedisControls, lists: RedisLists) -> None:
    controls.pause(ORDERS, "ann")
    full(lists.client)
    assert controls.pause(MAIL, "ann")
    assert controls.resume(ORDERS, "ann")
    assert set(controls.read().pauses) == {MAIL}


def test_key_of_another_type_is_a_refusal(controls: RedisControls, lists: RedisLists) -> None:
    lists.client.set(controls.key, "of another type")
    for ask in (controls.version, controls.read, lambda: controls.pause(ORDERS, "ann")):
        with pytest.raises(BrokerRefused):
            ask()


def test_refused_login_is_an_outage_of_the_controls(lists: RedisLists) -> None:
    refused = RedisControls(link_to(lists.server.port, username="nobody", password="wrong"), PREFIX)
    away = RedisControls(link_to(free_port()), PREFIX)
    for each in (refused, away):
        with pytest.raises(BrokerUnavailable):
            each.version()


def test_places_do_not_overlap_and_every_score_is_exact() -> None:
    webhooks = [WebhookKey(f"app-{number % 10}", f"hook-{number}") for number in range(1_000)]
    places = places_of(webhooks)
    assert all(later - earlier >= PLACE_WIDTH for earlier, later in itertools.pairwise(places))
    assert max(places) + PLACE_WIDTH <= 2**53 == PLACES * PLACE_WIDTH
    assert place_of("ab", "c") != place_of("a", "bc")


def test_two_webhooks_at_one_place_lose_nothing(lists: RedisLists, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sockudo_queue.drivers.redis.held.PLACES", 1)
    driver = lists.driver()
    lists.push(*jobs(2))
    for claim, webhook in zip(take_all(driver), (ORDERS, MAIL), strict=True):
        hold(driver, claim, webhook)
    assert driver.release([MAIL]) == 0, "the place is paused"
    assert driver.release([]) == 2


def test_webhook_is_resumed_whatever_else_is_paused(lists: RedisLists) -> None:
    driver = lists.driver()
    lists.push(*jobs(2))
    for claim, webhook in zip(take_all(driver), (FIRST_TWIN, SECOND_TWIN), strict=True):
        hold(driver, claim, webhook)
    assert driver.release([SECOND_TWIN]) == 1
    assert count_held(driver, FIRST_TWIN, SECOND_TWIN) == [0, 1]


def test_release_leaves_room_for_others_that_are_due(lists: RedisLists) -> None:
    driver = lists.driver()
    lists.push(*jobs(50))
    for claim in take_all(driver):
        hold(driver, claim)
    lists.push(*jobs(MAX_DUE - 20))
    for claim in take_all(driver):
        settle(driver, claim, Retry(b"s", 0))

    assert driver.release([]) == 20
    assert count_held(driver, ORDERS) == [30]
    assert driver.release([]) == 1, "others that are always due do not stop a resume"


def test_release_divides_its_room_among_webhooks(lists: RedisLists, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sockudo_queue.drivers.redis.source.MAX_DUE", 40)
    driver = lists.driver()
    lists.push(*jobs(130))
    for number, claim in enumerate(take_all(driver)):
        hold(driver, claim, MAIL if number >= 120 else WebhookKey("shop", f"hook-{number % 2}"))

    assert 30 <= driver.release([]) <= 40
    assert count_held(driver, MAIL)[0] == 0
    delayed = lists.client.zrange(own_key(SOURCES[0], "delayed"), 0, 2, withscores=True)
    assert len({score for _, score in delayed}) == 1, "the first of each webhook are due first"
    assert all(40 <= left <= 50 for left in count_held(driver, *(WebhookKey("shop", f"hook-{n}") for n in range(2))))


def test_release_moves_members_with_any_score(lists: RedisLists) -> None:
    driver = lists.driver()
    scores = [float("-inf"), -1.5, 0.5, PLACE_WIDTH - 0.5, 2.0**53, 1e300, float("inf")]
    lists.client.zadd(own_key(SOURCES[0], "held"), {f"{number}/1": score for number, score in enumerate(scores)})
    assert driver.release([ORDERS]) == len(scores)


def test_an_older_version_takes_nothing_held_for_lost(lists: RedisLists) -> None:
    """Its audit does nothing while this key exists, and works again after the last held record was released."""
    driver = lists.driver()
    lists.push(*jobs(2))
    for claim, webhook in zip(take_all(driver), (ORDERS, MAIL), strict=True):
        hold(driver, claim, webhook)
    assert lists.client.hkeys(own_key(SOURCES[0], "further")) == [own_key(SOURCES[0], "held").encode()]
    assert driver.release([MAIL]) == 1
    assert lists.client.exists(own_key(SOURCES[0], "further"))
    assert driver.release([]) == 1
    assert not lists.client.exists(own_key(SOURCES[0], "further"))
    hold(driver, take_all(driver)[0])
    assert lists.client.exists(own_key(SOURCES[0], "further"))


def test_name_of_a_later_version_stays_in_the_list_of_keys(lists: RedisLists) -> None:
    driver, further = lists.driver(), own_key(SOURCES[0], "further")
    lists.push(*jobs(1))
    hold(driver, take_all(driver)[0])
    lists.client.hset(further, "later", "")
    assert driver.release([]) == 1
    assert lists.client.hkeys(further) == [b"later"]


def test_what_lost_its_place_while_others_are_held_is_put_back(lists: RedisLists) -> None:
    driver = lists.driver()
    lists.push(*jobs(3))
    first, *others = take_all(driver)
    hold(driver, first)
    for claim in others:
        settle(driver, claim, Retry(b"s", 3_600_000))
    lists.client.delete(own_key(SOURCES[0], "delayed"))
    assert driver.audit() == RecordAudit(0, 2, 0)
    lists.client.delete(own_key(SOURCES[0], "held"))
    assert driver.audit() == RecordAudit(0, 1, 0)
    assert len(take_all(driver)) == 3


def test_popped_job_is_parked_as_well(lists: RedisLists) -> None:
    driver = lists.at_most_once()
    lists.push(b"\x01job")
    claim = driver.next(None).claim
    assert claim is not None
    assert settle(driver, claim, Hold(b"a", *ORDERS), Retry(b"b", 0), splits=True)
    assert count_held(driver, ORDERS) == [1]
    assert driver.audit() == RecordAudit(0, 0, 0)
    other = driver.next(None).claim
    assert other is not None
    assert other.state == b"b"
    assert settle(driver, other)
    assert driver.release([]) == 1
    held = driver.next(None).claim
    assert held is not None
    assert (held.state, held.body) == (b"a", b"\x01job")
